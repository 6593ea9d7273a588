"""What the demo makes of what IBKR, or a proxy before it, answers. What the sandbox shows by
`--fault` stands in the transcripts, and not here again."""

from __future__ import annotations

import base64
import re
from typing import Any
from unittest import mock

import pytest
from requests.adapters import HTTPAdapter

import demo
from tests.conftest import Result, in_haste, run
from tests.sandbox import Answer, Sandbox, endpoints, error_answer, json_answer, recorded
from tests.sandbox import faults as at

pytestmark = pytest.mark.usefixtures("all_well", "settled")


class InTurn(dict[str, Any]):
    """The answers of a path, one after the other, the last one for ever."""

    def get(self, route: str) -> Answer | None:
        answers = self.setdefault(route.split()[1], [None])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def seen(path: str, *answers: Any) -> tuple[Result, Sandbox]:
    """`answers`: each an Answer, or the JSON of one."""
    with Sandbox() as sandbox:
        made = [answer if isinstance(answer, Answer) else json_answer(answer) for answer in answers]
        sandbox.answers = InTurn({path: made})
        return run(sandbox), sandbox


def check(rows: list[tuple[Any, ...]]) -> None:
    """Each row: the path, its answer or a tuple of some in turn, what the demo says, whether there
    is an error, and what it never says."""
    wrong = []
    for path, answer, says, errs, *never in rows:
        answers = answer if type(answer) is tuple else (answer,)
        result, _ = seen(path, *answers)
        text = result.out + result.err
        if says not in text or any(word in text for word in never) or errs != ("error: " in text):
            wrong.append(f"{path} {says!r} {errs} {never}\n{text}")
    assert not wrong, "\n\n".join(wrong)


UP = recorded(f"POST {at.INIT}")
DOWN = {**UP, "authenticated": False, "established": False}
OTHER = "warning: no brokerage session: held by another session\nhint: "


def test_the_brokerage_session_is_up_held_or_refused() -> None:
    rows = [
        (at.INIT, {**UP, "competing": True}, "    up\n", 0),
        (at.INIT, {**DOWN, "competing": True}, OTHER, 0),
        (at.STATUS, recorded("status refused"), OTHER, 0),
        (at.INIT, {**DOWN, "message": "not for you"}, "error: POST /iserver/auth/ssodh/init: ", 1),
    ]
    check(rows)


def test_a_session_that_is_held_in_spite_of_compete_is_an_error(server: Sandbox) -> None:
    server.answers = {f"POST {at.INIT}": json_answer({**DOWN, "competing": True})}
    result = run(server, "--compete")
    assert re.search("(?m)^error: .*in spite of --compete\nhint: close TWS", result.err)


ALL, MINE = {"id": "All", "accountId": "All"}, recorded(f"GET {at.ACCOUNTS}")[0]
ITEM = {"amount": 5.0, "currency": "USD", "isNull": False}
SMALL = [
    {"contractDesc": "BTC", "position": 1.234e-05, "mktPrice": 98123.25, "mktValue": 1.2100000381},
    {"contractDesc": "SUBPENNY", "position": 1000000, "mktPrice": 4e-05, "mktValue": 40.0},
    {"contractDesc": "JPY.USD", "position": -1000000, "mktPrice": 0.0066895, "mktValue": -6689.5},
    {"contractDesc": "EUR.USD", "position": 0.99999999, "mktPrice": 1.1287749, "mktValue": None},
]
SMALL_SHOWN = """
    contractDesc    position   mktPrice   mktValue  unrealizedPnl  currency
    BTC           0.00001234  98,123.25       1.21  -              -
    SUBPENNY       1,000,000    0.00004      40.00  -              -
    JPY.USD       -1,000,000  0.0066895  -6,689.50  -              -
    EUR.USD       0.99999999  1.1287749          -  -              -
"""


def test_the_portfolio_is_shown_as_it_is() -> None:
    summary = {"netliquidation": {**ITEM, "isNull": True}, "buyingpower": ITEM, "cushion": None}
    rows = [
        (at.ACCOUNTS, [ALL, MINE], "Summary of DU0001234\n", 0, "of All"),
        (at.SUMMARY, summary, "    buyingpower    5.00  USD\n\n", 0, "netliquidation "),
        (at.POSITIONS, SMALL, SMALL_SHOWN, 0),
        (at.POSITIONS, SMALL * 4, "    first 10 of 16\n", 0),
        (at.POSITIONS, {}, "an answer of an unexpected form (TypeError: not a list): {}\n", 1),
    ]
    check(rows)


FULL = {"31": 201.1, "84": 201.08, "88": 900, "86": 201.12, "85": 1300, "6509": "DPB"}
SHOWN = """
    last   bid     bid size  ask     ask size  data
    201.1  201.08  900       201.12  1,300     delayed
"""
N = {"6509": "N"}


def quotes(*answers: dict[str, Any]) -> tuple[Any, ...]:
    return tuple([{"conid": 265598, "conidEx": "265598", **fields}] for fields in answers)


def test_a_quote_fills_up_and_is_shown_as_far_as_it_came() -> None:
    nothing = {"31": "-1", "84": "-", "86": "", "88": "N/A"}
    rows = [
        (at.SNAPSHOT, quotes(N, {**N, "31": 201.1}, {**FULL, "31": ""}), SHOWN, 0, "hint: "),
        (at.SNAPSHOT, quotes({**FULL, "6509": "YpB"}), "  frozen, delayed\n", 0),
        (at.SNAPSHOT, quotes({**FULL, "6509": "O"}), "incomplete\nhint: no market-data sub", 0),
        (at.SNAPSHOT, quotes(nothing), "no price in 8 s\nhint: ", 1),
    ]
    check(rows)


def test_bars_say_when_their_session_opened() -> None:
    bar = {"o": 50.1, "h": 51.0, "l": 49.5, "c": 0.00004, "v": 310.0, "t": 1794783600000}
    hour_later = {**bar, "v": 4418.765, "t": bar["t"] + 3600_000}
    shown = """
    opened (UTC)       open   high    low    close     volume
    2026-11-15 23:00  50.10  51.00  49.50  0.00004     31,000
    2026-11-16        50.10  51.00  49.50  0.00004  441,876.5
"""
    rows = [
        (at.HISTORY, {"volumeFactor": 100, "data": [bar, hour_later]}, shown, 0),
        (at.HISTORY, {"points": 4}, "an answer of an unexpected form (KeyError: 'data')", 1),
        (at.HISTORY, {"data": [{"t": bar["t"], "c": 1.5, "v": None}]}, "     1.50  -\n", 0),
    ]
    check(rows)


PAGE = b"<style>p {}</style><script>go(1)</script><body>Log<br>in <b>here</b></body>"
FORBIDDEN = json_answer({"error": "Forbidden", "error_description": "not for this user"}, 403)
ODD_TEXT = error_answer(500, "\x1b[2J\u00e9")
SIGNATURE = error_answer(401, "Invalid signature")
NO_CHART = error_answer(500, "No data of type EODChart is available for the exchange 'BEST'")


def test_an_error_is_quoted_and_its_hint_helps_with_it() -> None:
    where = "error: GET /portfolio/DU0001234/summary: "
    moved = Answer(302, headers={"Location": "/sso"})
    rows = [
        (at.SUMMARY, Answer(404), f"{where}HTTP 404: (empty)\nhint: ", 1, "base_url"),
        (at.SUMMARY, Answer(200, PAGE), f"{where}the answer is not JSON: Log in here\nhint: ", 1),
        (at.SUMMARY, [1], "an answer of an unexpected form (AttributeError: ", 1),
        (at.LEDGER, FORBIDDEN, "HTTP 403: Forbidden not for this user\nhint: ", 1),
        (at.LEDGER, Answer(cut=0), "Positions of DU0001234\n", 1),
        (at.LEDGER, ODD_TEXT, "HTTP 500: \\x1b[2J\\xe9\nhint: try later", 1, "\x1b", "\u00e9"),
        (at.SNAPSHOT, SIGNATURE, "hint: run python -m tests.sandbox", 1, "TWS", "later"),
        (at.HISTORY, NO_CHART, "hint: no market-data subscription", 1, "try later"),
        (at.TOKEN, Answer(400, PAGE), "\nhint: is base_url right?", 1, "Generate"),
        (at.TOKEN, moved, "a redirect to /sso\nhint: is base_url right?", 1),
    ]
    check(rows)


def test_a_logout_that_did_not_happen_is_a_warning() -> None:
    lost = Answer(cut=0)
    rows = [
        (at.LOGOUT, Answer(200), "all well", 0, "warning"),
        (at.LOGOUT, (lost, {"status": True}), "all well", 0, "warning"),
        (at.LOGOUT, lost, "error: POST /logout: ", 1),
        (at.LOGOUT, {"status": True, "confirmed": True}, "warning: POST /logout: ", 0),
    ]
    check(rows)


def test_after_a_time_out_or_429_nothing_but_the_logout_is_sent() -> None:
    for answer in (Answer(delay=30), Answer(429)):
        with in_haste():
            result, sandbox = seen(at.ACCOUNTS, answer)
        assert result.err.count("error: ") == 1
        paths = [request.path for request in sandbox.requests]
        assert paths[paths.index(at.ACCOUNTS) + 1 :] == [at.LOGOUT]


def test_after_an_answer_below_200_its_connection_is_not_used() -> None:
    """Where the real answer follows, it would be taken for the next request's."""
    result, sandbox = seen(at.ACCOUNTS, Answer(103))
    connections = [request.connection for request in sandbox.requests]
    place = [request.status for request in sandbox.requests].index(103)
    assert connections[place] != connections[place + 1]
    assert "error: GET /portfolio/accounts: HTTP 103: " in result.err


def test_a_request_starts_no_sooner_than_110_ms_after_the_one_before(server: Sandbox) -> None:
    genuine = HTTPAdapter.send
    starts: list[tuple[str, float]] = []

    def send(adapter: Any, request: Any, **options: Any) -> Any:
        starts.append((request.path_url.partition("?")[0], demo.monotonic()))
        return genuine(adapter, request, **options)

    with mock.patch.object(HTTPAdapter, "send", send):
        run(server)
    pauses: dict[str, float] = {}
    for (before, sooner), (path, later) in zip(starts, starts[1:]):
        assert later - sooner > 0.1099, path
        if path == before:
            pauses[path.replace("/v1/api", "")] = later - sooner
    assert pauses == {at.STATUS: pytest.approx(1), at.SNAPSHOT: pytest.approx(0.5)}


def test_a_secret_that_the_server_repeats_is_not_shown(server: Sandbox) -> None:
    def tell(call: Any) -> Any:
        token = call.session.token
        secrets = [server.identity.access_token, token.hex(), base64.b64encode(token).decode()]
        return {"error": " ".join(secrets)}

    with mock.patch.dict(endpoints.FUNCTIONS, {at.LEDGER: tell}):
        assert ": *** *** ***\n" in run(server, "--verbose").err
