"""What the demo makes of answers: real ones come out right, broken ones are one clear error."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Union
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote

import pytest
import requests

import oauth
from tests import recorded
from tests.conftest import Result, Runner
from tests.recorded import account, amount, bar, company, listing, position, session
from tests.sandbox import Answer, Request, Sandbox, error_answer, json_answer

TOKEN = "POST /oauth/live_session_token"
INIT = "POST /iserver/auth/ssodh/init"
ACCOUNTS = "GET /portfolio/accounts"
SUMMARY = "GET /portfolio/{id}/summary"
LEDGER = "GET /portfolio/{id}/ledger"
POSITIONS = "GET /portfolio/{id}/positions/{page}"
STOCKS = "GET /trsrv/stocks"
STATUS = "POST /iserver/auth/status"
ISERVER = "GET /iserver/accounts"
SNAPSHOT = "GET /iserver/marketdata/snapshot"
HISTORY = "GET /iserver/marketdata/history"
LOGOUT = "POST /logout"
READ = [INIT, ACCOUNTS, SUMMARY, LEDGER, POSITIONS, STOCKS, STATUS, ISERVER, SNAPSHOT, HISTORY]

Bend = Callable[[Request, Answer], Answer]
Answers = dict[str, Any]  # of a route: an Answer, or JSON; or a tuple of these, for one call each


class Bent(Sandbox):
    """A sandbox that sends what a test wants in place of its genuine answers."""

    bend: Bend | None = None
    in_turn: dict[str, list[Answer]]  # the last one stays

    def respond(self, request: Request) -> Answer:
        answer = super().respond(request)
        if request.path == HISTORY.split()[1] and answer.status == 404:  # TODO: sandbox
            answer = self.answers.get(HISTORY) or json_answer(recorded.history(*BARS))
        turns = self.in_turn.get(f"{request.method} {request.path}")
        if turns:
            answer = turns.pop(0) if len(turns) > 1 else turns[0]
        return self.bend(request, answer) if self.bend else answer

    def give(self, answers: Answers) -> None:
        self.answers, self.in_turn, self.bend = {}, {}, None
        for route, wanted in answers.items():
            if type(wanted) is tuple:
                self.in_turn[route] = [as_answer(each) for each in wanted]
            else:
                self.answers[route] = as_answer(wanted)
        fresh(self)


def as_answer(wanted: Any) -> Answer:
    return wanted if isinstance(wanted, Answer) else json_answer(wanted)


def fresh(sandbox: Sandbox) -> None:
    """Forget the runs so far, and their secrets but for the access token's three."""
    sandbox.requests.clear()
    sandbox.complaints.clear()
    del sandbox.secrets[3:]
    sandbox.logged_out = False


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[Bent]:
    with Bent() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(module_sandbox: Bent) -> Bent:
    """The module's sandbox as new."""
    module_sandbox.give({})
    return module_sandbox


def lines_of(text: str) -> list[str]:
    """The lines, with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


def check_manners(result: Result) -> None:
    """Whatever was answered: printable ASCII, and nothing of the holder."""
    text = result.out + result.err
    assert re.fullmatch("[ -~\n]*", text), ascii(re.findall("[^ -~\n]+", text))
    assert recorded.PRIVATE not in text


def asked(sandbox: Sandbox, route: str) -> int:
    return [f"{record.method} {record.path}" for record in sandbox.requests].count(route)


# Real answers: what was recorded or reported, and what is printed then

FORCE = "Force compete capability must be used together with compete flag"
REFUSED = {"passed": False, "authenticated": False, "connected": True, "competing": False}
SHORT = {"authenticated": False, "competing": False, "connected": False, "MAC": "00:00"}
SETTLING = session(False, connected=True)
HELD = (
    "warning: another session of this username holds the brokerage session"
    "|hint: close TWS, IBKR Mobile and Client Portal of this username, and run again"
    "|hint: or run with --compete, which logs them out"
)
IN_SPITE = (
    "error: {}: refused, in spite of --compete"
    "|hint: close TWS, IBKR Mobile and Client Portal of this username, and run again"
)
SAYS = "error: {}: IBKR says: {}|hint: try later; with -v the demo shows every answer whole"
LEFT_OUT = "left out: there is no brokerage session"
NOT_READY = "error: POST /iserver/auth/status: the brokerage session is not ready|hint: try again in a minute"
STATUS_SLOW = "Timeout while contacting the authentication server"
NOT_YET = "consumer key has not yet been authorized for trading"

FIRST = recorded.quote()
WHOLE = recorded.quote(
    f31="201.10", f84="201.08", f85="1,300", f86="201.12", f88="900", f6509="RpB"
)
QUOTE = "last 201.10|bid 201.08 x 900|ask 201.12 x 1,300|data real time"
PRICES = recorded.quote(f31="201.10", f84="201.08", f86="201.12")
NO_PRICE = (
    "error: GET /iserver/marketdata/snapshot: no price in 8 s|hint: try while the market is open"
)
TWO = [account("All"), account("DU0005678"), account()]
UNKNOWN = "error: GET /portfolio/accounts: no account {}|hint: there is {}"
POSITION_HEAD = "position mktPrice mktValue unrealizedPnl currency"
BARS = [bar(day, v=day, c=1.1287749) for day in range(21)]
BARS_ANSWER = recorded.history(*BARS)
FIVE = "|".join(
    f"2026-01-{day + 1} 10.00 11.50 9.75 1.1287749 {day}.00" for day in range(16, 21)
)

Row = tuple[str, str, Answers, str, str]  # name, options, answers, lines of stdout and of stderr

OPEN = {ISERVER: (recorded.iserver_accounts(),), SNAPSHOT: (WHOLE,), HISTORY: (BARS_ANSWER,)}

REAL: list[Row] = [
    # positions: three forms of the same call, small numbers, 100 a page
    ("short positions", "", {POSITIONS: [position("IBM", position=-25.0)]}, f"1 of 1 {POSITION_HEAD}|IBM -25.00 10.50 31.50 1.50 USD", ""),
    ("enriched positions", "", {POSITIONS: [recorded.enriched_position("SPY C600", multiplier=100.0)]}, f"1 of 1 {POSITION_HEAD}|SPY C600 3.00 10.50 31.50 1.50 USD", ""),
    ("short and enriched positions", "", {POSITIONS: [position(), recorded.enriched_position("B")]}, f"2 of 2 {POSITION_HEAD}|AAPL 3.00 10.50|B 3.00 10.50", ""),
    ("a position without prices yet", "", {POSITIONS: [position(mktPrice=None, mktValue=None, unrealizedPnl=None)]}, "AAPL 3.00 - - - USD", ""),
    ("a fragment of a position", "", {POSITIONS: [{"acctId": "DU0001234", "conid": 1, "position": 0.5}]}, "- 0.50 - - - -", ""),
    ("100 positions", "", {POSITIONS: [position(f"P{n}") for n in range(100)]}, f"10 of 100 {POSITION_HEAD}|P9 3.00", ""),
    ("no position", "", {POSITIONS: []}, f"0 of 0 {POSITION_HEAD}", ""),
    ("a crypto quantity", "", {POSITIONS: [position("BTC", position=1.234e-05, mktPrice=98123.25, mktValue=1.21)]}, "BTC 0.00001234 98,123.25 1.21", ""),
    ("a price below a cent", "", {POSITIONS: [position("SUBPENNY", position=1000000, mktPrice=4e-05)]}, "SUBPENNY 1,000,000.00 0.00004 31.50", ""),
    ("a small exchange rate", "", {POSITIONS: [position("JPY.USD", position=-1000000, mktPrice=0.0066895, mktValue=-6689.5)]}, "JPY.USD -1,000,000.00 0.0066895 -6,689.50", ""),
    ("an exchange rate of seven digits", "", {POSITIONS: [position("EUR.USD", position=20000, mktPrice=1.1287749, mktValue=22575.498)]}, "EUR.USD 20,000.00 1.1287749 22,575.498", ""),
    # summary and ledger
    ("a summary with texts", "", {SUMMARY: {"accountcode": amount(0.0, None, value="DU0001234"), "netliquidation": amount(1234567.8, value="1234567.8")}}, "1 of 1 amount currency|netliquidation 1,234,567.80 USD", ""),
    ("a summary item that is null", "", {SUMMARY: {"netliquidation": amount(None), "buyingpower": amount(5, timestamp=1767225600000)}}, "1 of 1 amount currency|buyingpower 5.00 USD", ""),
    ("a ledger of one currency", "", {LEDGER: {"USD": recorded.ledger(), "BASE": recorded.ledger("BASE")}}, "USD 100.50 100.50 0.00 100.50|BASE 100.50 100.50 0.00 100.50", ""),
    ("a ledger in whole numbers", "", {LEDGER: {"JPY": recorded.ledger("JPY", cashbalance=1500000, settledcash=-1)}}, "JPY 1,500,000.00 -1.00 0.00 100.50", ""),
    # accounts
    ("a group first", "", {ACCOUNTS: TWO[:1] + TWO[2:]}, "2 of 2 type currency|All DEMO USD|Summary of DU0001234|netliquidation 1,339,037.20 USD", ""),
    ("the second account, by its id", "--account DU0001234", {ACCOUNTS: TWO}, "Summary of DU0001234|Positions of DU0001234", ""),
    ("an unknown account", "--account U1", {ACCOUNTS: TWO}, "3 of 3 type currency|bid 231.48 x 400", UNKNOWN.format("U1", "All, DU0005678, DU0001234")),
    ("an account that is a path", "--account ..", {ACCOUNTS: [*TWO, account("..")]}, "bid 231.48 x 400", UNKNOWN.format("..", "All, DU0005678, DU0001234")),
    ("an account without access", "", {SUMMARY: Answer(500)}, "Ledger of DU0001234|bid 231.48 x 400", "error: GET /portfolio/DU0001234/summary: HTTP 500: nothing more said|hint: try later; with -v the demo shows every answer whole"),
    # stocks
    ("a listing in the US behind another", "", {STOCKS: {"AAPL": [company("LS AAPL", listing(7, "LSE", False)), company("APPLE INC", listing(8, "MEXI", False), listing())]}}, "3 of 3 exchange conid|APPLE INC NASDAQ 265598|LS AAPL LSE 7|APPLE INC MEXI 8", ""),
    ("an unknown symbol", "--symbol nosuch", {STOCKS: {"NOSUCH": []}}, "Stock NOSUCH", "error: GET /trsrv/stocks: no stock has the symbol NOSUCH|hint: try another --symbol"),
    ("a share class with a dot", "--symbol brk.b", {STOCKS: {}}, "Stock BRK.B", 'error: GET /trsrv/stocks: no stock has the symbol BRK.B|hint: IBKR writes a share class with a space: --symbol "BRK B"'),
    ("a symbol of more than letters", "--symbol BRK-B", {STOCKS: {"BRK-B": [company("BERKSHIRE", listing())]}}, "BERKSHIRE NASDAQ 265598", ""),
    # the quote comes in parts
    ("a quote after a first empty answer", "", {SNAPSHOT: (FIRST, WHOLE)}, QUOTE, ""),
    ("a quote after an empty entry", "", {SNAPSHOT: ([{}], [], WHOLE)}, QUOTE, ""),
    ("last, then bid and ask, then availability", "", {SNAPSHOT: (FIRST, recorded.quote(f31="201.10"), recorded.quote(f84="201.08", f85="1,300", f86="201.12", f88="900"), recorded.quote(f6509="RpB"))}, QUOTE, ""),
    ("bid and ask, then all", "", {SNAPSHOT: (FIRST, recorded.quote(f84="271.51", f86="271.59", f6509="RpB"), WHOLE)}, QUOTE, ""),
    ("N/A, then prices", "", {SNAPSHOT: (FIRST, recorded.quote(f31="N/A", f55="-"), WHOLE)}, QUOTE, ""),
    ("dashes, nothing and -1, then prices", "", {SNAPSHOT: (recorded.quote(f31="-", f84="", f86="-1", f6509="RpB"), recorded.quote(f31=-1, f84=None, f86=" "), WHOLE)}, QUOTE, ""),
    ("numbers instead of texts", "", {SNAPSHOT: recorded.quote(f31=201.1, f84=201, f85=1300, f86=0.00004, f88=900.0, f6509="RpB")}, "last 201.10|bid 201.00 x 900.00|ask 0.00004 x 1,300.00|data real time", ""),
    ("one side only", "", {SNAPSHOT: recorded.quote(f84="1.05", f88="3", f86="-1", f6509="DPB")}, "last -|bid 1.05 x 3|ask - x -|data delayed", ""),
    ("last only", "", {SNAPSHOT: recorded.quote(f31="1.05", f6509="ZB")}, "last 1.05|bid - x -|ask - x -|data frozen", ""),
    ("not subscribed, then delayed", "", {SNAPSHOT: (recorded.quote(f6509="N"), recorded.quote(f31="C201.10", f84="201.08", f86="201.12", f6509="DPB"))}, "last previous close 201.10|bid 201.08 x -|ask 201.12 x -|data delayed", ""),
    ("not subscribed", "", {SNAPSHOT: recorded.quote(f6509="NpB")}, "last -|bid - x -|ask - x -|data not subscribed", ""),
    ("an agreement incomplete", "", {SNAPSHOT: recorded.quote(f6509="O")}, "last -|data market-data agreement incomplete", ""),
    ("a halted stock", "", {SNAPSHOT: recorded.quote(f31="H1.00", f84="0.99", f86="1.01", f6509="YB")}, "last halted 1.00|data frozen, delayed", ""),
    ("an availability that nobody knows", "", {SNAPSHOT: recorded.quote(f31="1.00", f84="1", f86="2", f6509="S")}, "data S, which this demo does not know", ""),
    ("an availability of four letters", "", {SNAPSHOT: recorded.quote(f31="1.00", f84="1", f86="2", f6509="DPBv")}, "data delayed", ""),
    ("no availability", "", {SNAPSHOT: PRICES}, "last 201.10|data -, which this demo does not know", ""),
    ("no quote", "", {SNAPSHOT: FIRST}, "Daily bars of AAPL", NO_PRICE),
    ("an unasked contract", "", {SNAPSHOT: [{"conid": 8314, "conidEx": "8314", "31": "262.40"}]}, "Quote of AAPL", NO_PRICE),
    # the brokerage session
    ("up at once", "", {INIT: session(), **OPEN}, QUOTE, ""),
    ("up, in the form of 2024", "", {INIT: {"authenticated": True, "competing": False, "connected": True}, **OPEN}, QUOTE, ""),
    ("up, though competing", "", {INIT: session(competing=True), **OPEN}, QUOTE, ""),
    ("wait, then up", "", {INIT: {"wait": 1000}, STATUS: (SHORT, SETTLING, session()), **OPEN}, QUOTE, ""),
    ("established late", "", {INIT: session(established=False), STATUS: (session(established=False), session()), **OPEN}, QUOTE, ""),
    ("never up", "", {INIT: SETTLING, STATUS: SHORT}, "Stock AAPL|Quote of AAPL|Daily bars of AAPL|" + LEFT_OUT, NOT_READY),
    ("refused at once", "", {INIT: REFUSED}, "Stock AAPL|" + LEFT_OUT, HELD),
    ("refused by the status", "", {INIT: {"wait": 1000}, STATUS: {**SHORT, "fail": FORCE}}, LEFT_OUT, HELD),
    ("competing", "", {INIT: session(False, connected=True, competing=True)}, LEFT_OUT, HELD),
    ("refused, with --compete", "--compete", {INIT: REFUSED}, LEFT_OUT, IN_SPITE.format(INIT)),
    ("refused by the status, with --compete", "--compete", {INIT: {"wait": 1000}, STATUS: {**SHORT, "fail": FORCE}}, LEFT_OUT, IN_SPITE.format(STATUS)),
    ("another fail", "", {INIT: {"wait": 1000}, STATUS: session(False, fail=STATUS_SLOW)}, LEFT_OUT, SAYS.format(STATUS, STATUS_SLOW)),
    ("a message", "", {INIT: session(False, message=NOT_YET)}, LEFT_OUT, SAYS.format(INIT, NOT_YET)),
    ("no account in the brokerage session", "", {ISERVER: {}}, "Daily bars of AAPL", "error: GET /iserver/accounts: no account in the answer|hint: the username has none, or its brokerage session is not up"),
    ("several accounts, All first", "", {ISERVER: recorded.iserver_accounts("All", "DU0001234"), SNAPSHOT: WHOLE}, QUOTE, ""),
    # daily bars
    ("bars, more than five", "", {HISTORY: BARS_ANSWER}, f"5 of 5 open high low close volume|{FIVE}", ""),
    ("one bar", "", {HISTORY: recorded.history(bar(0, v=5), points=1)}, "1 of 1 open high low close volume|2026-01-01 10.00 11.50 9.75 11.00 5.00", ""),
    ("bars of small prices", "", {HISTORY: recorded.history(bar(0, o=4e-05, h=0.0066895, l=0, v=1e9))}, "2026-01-01 0.00004 0.0066895 0.00 11.00 1,000,000,000.00", ""),
    ("a bar without parts", "", {HISTORY: recorded.history({"t": "x"}, bar(1, v=None))}, "- - - - - -|2026-01-02 10.00 11.50 9.75 11.00 -", ""),
    ("no bars", "", {HISTORY: recorded.history()}, "Daily bars of AAPL", "error: GET /iserver/marketdata/history: no bars in the answer|hint: try later; with -v the demo shows every answer whole"),
    ("bars that are not there", "", {HISTORY: error_answer(500, "Chart data unavailable, no data")}, "Daily bars of AAPL", "error: GET /iserver/marketdata/history: HTTP 500: Chart data unavailable, no data|hint: try later; with -v the demo shows every answer whole"),
    ("bars too slow", "", {HISTORY: error_answer(503, "Service Unavailable")}, "Daily bars of AAPL", "error: GET /iserver/marketdata/history: HTTP 503: Service Unavailable|hint: IBKR is slow or in maintenance (midnight, Saturday evening, New York): try later"),
    # the logout
    ("confirmed", "", {LOGOUT: {"confirmed": False, "status": True}}, "POST /logout 200", ""),
    ("not logged out", "", {LOGOUT: {"status": False}}, "POST /logout 200", "warning: POST /logout: IBKR says that it did not log out|hint: the session ends by itself some minutes after the last request"),
    ("still logged in", "", {LOGOUT: {"confirmed": True}}, "POST /logout 200", "warning: POST /logout: IBKR says that it did not log out|hint: the session ends by itself some minutes after the last request"),
    ("an error, 200", "", {LOGOUT: {"error": "no session"}}, "POST /logout 200", "warning: POST /logout: IBKR says that it did not log out|hint: the session ends by itself some minutes after the last request"),
    ("a logout that fails", "", {LOGOUT: error_answer(500, "no")}, "POST /logout 500", "error: POST /logout: HTTP 500: no|hint: try later; with -v the demo shows every answer whole"),
    ("a logout without words", "", {LOGOUT: Answer(204)}, "POST /logout 204", ""),
]  # fmt: skip
"""Lines are separated by |, and begin so; stderr is given whole."""


@pytest.mark.parametrize(
    ("options", "answers", "printed", "said"), [row[1:] for row in REAL], ids=[r[0] for r in REAL]
)
def test_a_real_answer_comes_out_right(
    sandbox: Bent, run: Runner, options: str, answers: Answers, printed: str, said: str
) -> None:
    sandbox.give(answers)
    result = run(sandbox, *options.split())
    check_manners(result)
    assert result.err.splitlines() == said.split("|") * bool(said)
    assert result.status == ("error:" in said)
    lines = lines_of(result.out)
    for wanted in printed.split("|"):
        assert any(line.startswith(wanted) for line in lines), wanted
    assert [record.path for record in sandbox.requests].count("/logout") == 1
