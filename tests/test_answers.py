"""Every broken answer: one clear error, the independent steps still print, no secret shows."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Callable
from urllib.parse import quote, unquote, urlsplit

import pytest
import requests

import demo
import oauth
from tests.conftest import Result, Runner
from tests.sandbox import ACCOUNTS as GENUINE_ACCOUNTS
from tests.sandbox import DH_PRIME, Answer, Request, Sandbox, error_answer, json_answer

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
LOGOUT = "POST /logout"

Bend = Callable[[Request, Answer], Answer]


class Bent(Sandbox):
    """A sandbox that sends what `bend` makes of each of its genuine answers."""

    bend: Bend | None = None

    def respond(self, request: Request) -> Answer:
        answer = super().respond(request)
        return self.bend(request, answer) if self.bend else answer


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[Bent]:
    """One for all tests."""
    with Bent() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(module_sandbox: Bent, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bent]:
    """The module's sandbox as new, and neither a proxy nor a logger left over from elsewhere."""
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(oauth.log, "handlers", [])
    level = oauth.log.level
    module_sandbox.answers, module_sandbox.bend = {}, None
    fresh(module_sandbox)
    yield module_sandbox
    oauth.log.setLevel(level)


def fresh(sandbox: Sandbox) -> None:
    """Forget the runs so far, and their secrets but for the access token's three."""
    sandbox.requests.clear()
    sandbox.complaints.clear()
    del sandbox.secrets[3:]
    sandbox.logged_out = False
    oauth.log.handlers.clear()


def lines_of(text: str) -> list[str]:
    """The lines, with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


def check_manners(result: Result) -> None:
    """Whatever was answered: printable ASCII, and no holder's name."""
    text = result.out + result.err
    assert re.fullmatch("[ -~\n]*", text), ascii(re.findall("[^ -~\n]+", text))
    assert "Simulated Holder" not in text


def check_one_error(result: Result, route: str, error: str, hint: str) -> None:
    assert result.status == 1
    first, second = result.err.splitlines()
    path = re.escape(route).replace(r"\{id\}", "DU0001234").replace(r"\{page\}", "0")
    assert re.match(f"error: {path}: ", first), first
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second


# The blocks of the output that depend on nobody else, each with a figure from its genuine answer

BLOCKS = {
    "token": ("Live session token", "valid until"),
    "init": ("Brokerage session", "POST /iserver/auth/ssodh/init 200"),
    "accounts": ("Accounts", "DU0001234 DEMO USD"),
    "summary": ("Summary of DU0001234", "netliquidation 1,339,037.20 USD"),
    "ledger": ("Ledger of DU0001234", "EUR -3,200.50 -3,200.50 10,200.00 6,999.50"),
    "positions": ("Positions of DU0001234", "SPY DEC2026 600 C 2.00 12.35 2,470.00 270.00 USD"),
    "stock": ("Stock AAPL", "APPLE INC NASDAQ 265598"),
    "quote": ("Quote of AAPL", "bid 231.48 x 400"),
    "logout": ("Logout", "POST /logout 200"),
}
LOST = {  # the blocks that a route's failure takes away
    INIT: {"init", "quote"},
    ACCOUNTS: {"accounts", "summary", "ledger", "positions"},
    SUMMARY: {"summary"},
    LEDGER: {"ledger"},
    POSITIONS: {"positions"},
    STOCKS: {"stock", "quote"},
    STATUS: {"quote"},
    ISERVER: {"quote"},
    SNAPSHOT: {"quote"},
    LOGOUT: {"logout"},
}
NOT_BEGUN = {  # and of these, the headings too
    INIT: {"quote"},
    ACCOUNTS: {"summary", "ledger", "positions"},
    STOCKS: {"quote"},
}


def check_independent_blocks(result: Result, *routes: str) -> None:
    lines = lines_of(result.out)
    lost = {block for route in routes for block in LOST[route]}
    not_begun = {block for route in routes for block in NOT_BEGUN.get(route, set())}
    for block, (heading, figure) in BLOCKS.items():
        title = heading.partition(" of ")[0] + " of" if block in not_begun else heading
        begun = any(line.startswith(title) for line in lines)
        assert begun == (block not in not_begun), block
        if block not in lost:
            assert any(line.startswith(figure) for line in lines), block


def check_all(
    sandbox: Sandbox, run: Runner, check: Callable[[Result], None], verbose: bool = True
) -> None:
    """Run the demo as it is and with -v; in both it has to hold, and to log out."""
    for options in ([], ["-v"]) if verbose else ([],):
        fresh(sandbox)
        result = run(sandbox, *options)
        check_manners(result)
        if LOGOUT not in sandbox.answers:
            assert sandbox.logged_out
        check(result)


# What is broken at any endpoint alike

READ = [INIT, ACCOUNTS, SUMMARY, LEDGER, POSITIONS, STOCKS, STATUS, ISERVER, SNAPSHOT]
WANTS_LIST = {ACCOUNTS, POSITIONS, SNAPSHOT}
INCOMPLETE = "IncompleteRead"
FORM = "an answer of another form than expected"
NOT_JSON = "the answer is not JSON"
LATER = "later"
GZIP = {"Content-Encoding": "gzip"}
HTML = {"Content-Type": "text/html"}
PLAIN = {"Content-Type": "text/plain"}
DEEP = b"[" * 100_000 + b"]" * 100_000
MEGABYTE = b'"' + b"x" * 1_000_000 + b'"'
PAGE = b"<!doctype html><html><head><title>Sorry</title></head><body><p>Down</p></body></html>"
MOVED = {"Location": "/v1/api/tickle"}

ANYWHERE: list[tuple[str, Answer, str, str]] = [
    ("null", json_answer(None), f"{FORM}: null", LATER),
    ("true", json_answer(True), f"{FORM}: true", LATER),
    ("a number", json_answer(0), f"{FORM}: 0", LATER),
    ("a text", json_answer("DU0001234"), f'{FORM}: "DU0001234"', LATER),
    ("not a number", Answer(200, b"NaN"), f"{FORM}: NaN", LATER),
    ("a megabyte of text", Answer(200, MEGABYTE), f'{FORM}: "xxxxxxxx', LATER),
    ("a page", Answer(200, PAGE, HTML), f"{NOT_JSON}: Sorry Down", LATER),
    ("nothing", Answer(200), NOT_JSON, LATER),
    ("nothing, 204", Answer(204), NOT_JSON, LATER),
    ("nothing, 304", Answer(304), "HTTP 304", LATER),
    ("a moved page that says not where", Answer(302), "HTTP 302", LATER),
    ("a redirect", Answer(302, headers=MOVED), "HTTP 302, a redirect, which is never followed", "log-in page"),
    ("a permanent redirect", Answer(308, headers=MOVED), "HTTP 308, a redirect, which is never followed", "log-in page"),
    ("half of a text", Answer(200, b'{"a": [1, 2'), NOT_JSON, LATER),
    ("two values", Answer(200, b"{} []"), NOT_JSON, LATER),
    ("brackets without end", Answer(200, DEEP), NOT_JSON, LATER),
    ("no UTF-8", Answer(200, b'{"a": "\xff\xfe\xfd"}', PLAIN), "", ""),
    ("zero bytes", Answer(200, b"\0" * 50), NOT_JSON, LATER),
    ("plain though gzip is said", Answer(200, b"{}", GZIP), "while decompressing", LATER),
    ("cut off in the body", Answer(200, b"[" + b" " * 300 + b"]", cut=400), INCOMPLETE, LATER),
    ("cut off in the headers", Answer(200, b"[]", cut=60), "", ""),
    ("a dropped connection", Answer(cut=0), "Remote end closed connection", "check the network"),
    ("a status of 418", Answer(418, b"short and stout", PLAIN), "HTTP 418: short and stout", LATER),
    ("a status of 400", error_answer(400, "Bad Request: no bridge"), "HTTP 400: Bad Request: no bridge", "not ready"),
    ("a status of 403", Answer(403, b"Error 403 - Access Denied", PLAIN), "HTTP 403: Error 403 - Access Denied", "VPN"),
    ("a status of 404", Answer(404, PAGE, HTML), "HTTP 404: Sorry Down", "base_url"),
    ("a status of 410", Answer(410), "HTTP 410", "1.api.ibkr.com"),
    ("a status of 500", Answer(500, b"Oops, that went wrong", PLAIN), "HTTP 500: Oops, that went wrong", LATER),
    ("a status of 500 with JSON", error_answer(500, "Please query /accounts first"), "HTTP 500: Please query /accounts first", "not ready"),
    ("a status of 503", Answer(503), "HTTP 503", "maintenance"),
    ("a status of 999", Answer(999, b"?", PLAIN), "?", LATER),
    ("an error that is an object", json_answer({"error": {"code": 5}}, 500), "HTTP 500: {'code': 5}", LATER),
    ("an error that is null", json_answer({"error": None}, 500), "HTTP 500: None", LATER),
    ("an error in a list", json_answer([{"error": "no"}], 500), 'HTTP 500: [{"error":"no"}]', LATER),
    ("a text of escape sequences", Answer(500, b"\x1b[31mred\x1b[0m\x07\x9b", PLAIN), r"HTTP 500: \x1b[31mred\x1b[0m\x07", LATER),
    ("an error of escape sequences", error_answer(500, "\x1b[31mred\u202edlrow\u2066\x85"), r"HTTP 500: \x1b[31mred\u202edlrow\u2066", LATER),
    ("an error of half a character", error_answer(500, "a\ud800b"), r"HTTP 500: a\ud800b", LATER),
    ("an error without end", error_answer(500, "e" * 100_000), "HTTP 500: " + "e" * 200, LATER),
    ("a server's clock out of time", error_answer(500, "x")._replace(headers={"Date": "Mon, 99 Foo 99999 99:99:99 +9999"}), "HTTP 500: x", LATER),
]  # fmt: skip
OF_OBJECTS: list[tuple[str, Answer, str, str]] = [
    ("a list", json_answer([{"a": 1}]), f'{FORM}: [{{"a":1}}]', LATER),
    ("a list of numbers", json_answer([1, 2.5]), f"{FORM}: [1,2.5]", LATER),
    (
        "an error, 200",
        json_answer({"error": "Request refused"}),
        "HTTP 200: Request refused",
        LATER,
    ),
    ("an error that is a number, 200", json_answer({"error": 7}), "HTTP 200: 7", LATER),
]
OF_LISTS: list[tuple[str, Answer, str, str]] = [
    ("an object", json_answer({"0": {"a": 1}}), f'{FORM}: {{"0":{{"a":1}}}}', LATER),
    ("an empty object", json_answer({}), f"{FORM}: {{}}", LATER),
    (
        "an error, 200",
        json_answer({"error": "Request refused"}),
        "HTTP 200: Request refused",
        LATER,
    ),
]
GENERAL = [
    (f"{route}: {name}", route, answer, error, hint)
    for shift, route in enumerate(READ)
    for place, (name, answer, error, hint) in enumerate(
        [*ANYWHERE, *(OF_LISTS if route in WANTS_LIST else OF_OBJECTS)]
    )
    if error and (place + shift) % 3 == 0  # each at three of the nine endpoints, for the time
]

# What is broken at one endpoint only

REFUSED = error_answer(401, "not authenticated")
SAID = "HTTP 401: not authenticated"
NO_ACCOUNT = "no account in the answer"
NO_STOCK = "no stock has the symbol AAPL"
NOT_READY = "the brokerage session is not ready"
NO_PRICE = "no price after 8 questions"


def account_ids(*values: Any) -> Answer:
    return json_answer([{"accountId": value, "currency": "USD"} for value in values])


def contracts(value: Any) -> Answer:
    return json_answer({"AAPL": [{"name": "APPLE INC", "contracts": value}]})


def conid(value: Any) -> Answer:
    return contracts([{"conid": value, "exchange": "NASDAQ", "isUS": True}])


def price(**fields: Any) -> Answer:
    named = {name.lstrip("f"): value for name, value in fields.items()}
    return json_answer([{"conid": 265598, "conidEx": "265598", **named}])


PARTICULAR: list[tuple[str, str, Answer, str, str]] = [
    ("the token is refused, init", INIT, REFUSED, SAID, "close TWS"),
    ("the token is refused, status", STATUS, REFUSED, SAID, "close TWS"),
    ("the token is refused, iserver", ISERVER, REFUSED, SAID, "close TWS"),
    ("the token is refused, snapshot", SNAPSHOT, REFUSED, SAID, "close TWS"),
    ("the token is refused, accounts", ACCOUNTS, REFUSED, SAID, "run the demo again"),
    ("the token is refused, stocks", STOCKS, REFUSED, SAID, "run the demo again"),
    ("the token is refused, logout", LOGOUT, REFUSED, SAID, "run the demo again"),
    ("the account is unknown, summary", SUMMARY, REFUSED, SAID, "nothing is wrong with the keys"),
    ("the account is unknown, ledger", LEDGER, REFUSED, SAID, "nothing is wrong with the keys"),
    ("the account is unknown, positions", POSITIONS, REFUSED, SAID, "nothing is wrong with the keys"),
    ("no dh token", INIT, error_answer(500, "failed to generate sso dh token"), "HTTP 500: failed to generate sso dh token", "fault of IBKR's"),
    ("the logout fails", LOGOUT, Answer(500), "HTTP 500", LATER),
    ("the logout is unavailable", LOGOUT, Answer(503), "HTTP 503", "maintenance"),
    ("the logout leads elsewhere", LOGOUT, Answer(302, headers=MOVED), "HTTP 302, a redirect", "log-in page"),
    ("the logout is cut off", LOGOUT, Answer(200, b"x" * 500, cut=400), INCOMPLETE, LATER),
    ("the logout is not answered", LOGOUT, Answer(cut=0), "Remote end closed connection", "check the network"),
    ("the logout is not gzip", LOGOUT, Answer(200, b"{}", GZIP), "while decompressing", LATER),
    ("no accounts", ACCOUNTS, json_answer([]), NO_ACCOUNT, "ask IBKR"),
    ("an account that is null", ACCOUNTS, json_answer([None]), NO_ACCOUNT, "ask IBKR"),
    ("accounts that are numbers", ACCOUNTS, json_answer([1, 2]), NO_ACCOUNT, "ask IBKR"),
    ("accounts that are texts", ACCOUNTS, json_answer(["DU0001234"]), NO_ACCOUNT, "ask IBKR"),
    ("accounts in a second list", ACCOUNTS, json_answer([[{"accountId": "DU0001234"}]]), NO_ACCOUNT, "ask IBKR"),
    ("an account without an id", ACCOUNTS, json_answer([{"currency": "USD"}]), NO_ACCOUNT, "ask IBKR"),
    ("an account id of null", ACCOUNTS, account_ids(None), NO_ACCOUNT, "ask IBKR"),
    ("an account id of a number", ACCOUNTS, account_ids(1234), NO_ACCOUNT, "ask IBKR"),
    ("an account id of true", ACCOUNTS, account_ids(True), NO_ACCOUNT, "ask IBKR"),
    ("an account id of a list", ACCOUNTS, account_ids(["DU0001234"]), NO_ACCOUNT, "ask IBKR"),
    ("an account id of nothing", ACCOUNTS, account_ids(""), NO_ACCOUNT, "ask IBKR"),
    ("an account id of one dot", ACCOUNTS, account_ids("."), NO_ACCOUNT, "ask IBKR"),
    ("an account id of two dots", ACCOUNTS, account_ids(".."), NO_ACCOUNT, "ask IBKR"),
    ("no such symbol", STOCKS, json_answer({}), NO_STOCK, "--symbol"),
    ("another symbol", STOCKS, json_answer({"IBM": [{"contracts": [{"conid": 1}]}]}), NO_STOCK, "--symbol"),
    ("a symbol of null", STOCKS, json_answer({"AAPL": None}), NO_STOCK, "--symbol"),
    ("a symbol of a number", STOCKS, json_answer({"AAPL": 265598}), NO_STOCK, "--symbol"),
    ("a symbol of an object", STOCKS, json_answer({"AAPL": {"contracts": []}}), NO_STOCK, "--symbol"),
    ("a symbol of nothing", STOCKS, json_answer({"AAPL": []}), NO_STOCK, "--symbol"),
    ("a symbol of nulls", STOCKS, json_answer({"AAPL": [None, 1, "x"]}), NO_STOCK, "--symbol"),
    ("no contracts", STOCKS, json_answer({"AAPL": [{"name": "APPLE INC"}]}), NO_STOCK, "--symbol"),
    ("contracts of null", STOCKS, contracts(None), NO_STOCK, "--symbol"),
    ("contracts of a text", STOCKS, contracts("265598"), NO_STOCK, "--symbol"),
    ("contracts of an object", STOCKS, contracts({"conid": 265598}), NO_STOCK, "--symbol"),
    ("contracts of numbers", STOCKS, contracts([265598]), NO_STOCK, "--symbol"),
    ("a conid missing", STOCKS, contracts([{"exchange": "NASDAQ"}]), NO_STOCK, "--symbol"),
    ("a conid of null", STOCKS, conid(None), NO_STOCK, "--symbol"),
    ("a conid of text", STOCKS, conid("265598"), NO_STOCK, "--symbol"),
    ("a conid of true", STOCKS, conid(True), NO_STOCK, "--symbol"),
    ("a conid of a fraction", STOCKS, conid(265598.5), NO_STOCK, "--symbol"),
    ("a conid of a list", STOCKS, conid([265598]), NO_STOCK, "--symbol"),
    ("a status of nothing", STATUS, json_answer({}), NOT_READY, "in a minute"),
    ("a status of texts", STATUS, json_answer({"authenticated": "true", "connected": "true"}), NOT_READY, "in a minute"),
    ("a status of ones", STATUS, json_answer({"authenticated": 1, "connected": 1}), NOT_READY, "in a minute"),
    ("a status of lists", STATUS, json_answer({"authenticated": [1], "connected": {}, "fail": []}), NOT_READY, "in a minute"),
    ("not connected", STATUS, json_answer({"authenticated": True, "connected": False}), NOT_READY, "in a minute"),
    ("not authenticated", STATUS, json_answer({"authenticated": False, "connected": True}), NOT_READY, "in a minute"),
    ("never established", STATUS, json_answer({"authenticated": True, "connected": True, "established": False}), NOT_READY, "in a minute"),
    ("no quote", SNAPSHOT, json_answer([]), NO_PRICE, "open"),
    ("a quote of null", SNAPSHOT, json_answer([None]), NO_PRICE, "open"),
    ("a quote of numbers", SNAPSHOT, json_answer([265598, 231.5]), NO_PRICE, "open"),
    ("a quote of a list", SNAPSHOT, json_answer([["31", "231.50"]]), NO_PRICE, "open"),
    ("a quote that never comes", SNAPSHOT, price(), NO_PRICE, "open"),
    ("a price of nothing", SNAPSHOT, price(f31=""), NO_PRICE, "open"),
    ("a price of -1", SNAPSHOT, price(f31="-1", f84="-1", f86="-1"), NO_PRICE, "open"),
    ("a bid without an ask", SNAPSHOT, price(f84="231.48", f88="400", f86=""), NO_PRICE, "open"),
    ("sizes without prices", SNAPSHOT, price(f85="1,300", f88="400"), NO_PRICE, "open"),
    ("available, no price", SNAPSHOT, price(f6509="RpB"), NO_PRICE, "open"),
]  # fmt: skip
BROKEN = [*GENERAL, *PARTICULAR]


@pytest.mark.parametrize(
    ("route", "answer", "error", "hint"),
    [row[1:] for row in BROKEN],
    ids=[row[0] for row in BROKEN],
)
def test_a_broken_answer_is_one_error_and_the_independent_steps_still_print(
    sandbox: Bent, run: Runner, route: str, answer: Answer, error: str, hint: str
) -> None:
    sandbox.answers = {route: answer}

    def check(result: Result) -> None:
        check_one_error(result, route, error, hint)
        check_independent_blocks(result, route)

    check_all(sandbox, run, check, verbose=route in (LEDGER, LOGOUT))


def test_429_stops_all_but_the_logout(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {SUMMARY: error_answer(429, "Too Many Requests")}

    def check(result: Result) -> None:
        check_one_error(result, SUMMARY, "HTTP 429: Too Many Requests", "wait 15 minutes")
        assert "Ledger" not in result.out
        assert "Quote" not in result.out

    check_all(sandbox, run, check)


@pytest.mark.parametrize("body", [b'{"a": "\xff\xfe\xfd"}', b'["\xc3", "\xed\xa0\x80"]'])
@pytest.mark.parametrize("route", READ)
def test_what_is_not_utf_8_does_no_harm(
    sandbox: Bent, run: Runner, route: str, body: bytes
) -> None:
    sandbox.answers = {route: Answer(200, body)}
    for options in ([], ["-v"]):
        check_manners(run(sandbox, *options))


# Odd, but not broken: the step prints what there is, and all is well

NO_AMOUNT = "0 of 0 amount currency"
READY = json_answer({"authenticated": True, "connected": True})


def amount(value: str) -> Answer:
    return Answer(200, b'{"netliquidation": {"amount": %s, "currency": "USD"}}' % value.encode())


def position(count: int, **fields: Any) -> Answer:
    row = {"contractDesc": "AAPL", "position": 1.5, "currency": "USD", **fields}
    return json_answer([row] * count)


ODD: list[tuple[str, dict[str, Answer], str]] = [
    ("an account of odd types", {ACCOUNTS: json_answer([{"accountId": "DU0001234", "type": 5, "currency": []}])}, "DU0001234 5.00 -"),
    ("an account after useless ones", {ACCOUNTS: json_answer([{"accountId": ".."}, None, {"accountId": 5}, {"accountId": "DU0001234", "type": "DEMO", "currency": "USD"}])}, "3 of 3 type currency|.. - -|DU0001234 DEMO USD"),
    ("a summary of nothing", {SUMMARY: json_answer({})}, NO_AMOUNT),
    ("a summary item of null", {SUMMARY: json_answer({"netliquidation": None})}, NO_AMOUNT),
    ("a summary item of a list", {SUMMARY: json_answer({"netliquidation": [5]})}, NO_AMOUNT),
    ("a summary item of a text", {SUMMARY: json_answer({"netliquidation": "5"})}, NO_AMOUNT),
    ("a summary item of a number", {SUMMARY: json_answer({"netliquidation": 5})}, NO_AMOUNT),
    ("a summary item of nothing", {SUMMARY: json_answer({"netliquidation": {}})}, "1 of 1 amount currency|netliquidation - -"),
    ("a summary item that is null by its word", {SUMMARY: json_answer({"netliquidation": {"amount": 5, "currency": "USD", "isNull": True}})}, NO_AMOUNT),
    ("an amount of null", {SUMMARY: amount("null")}, "netliquidation - USD"),
    ("an amount of NaN", {SUMMARY: amount("NaN")}, "netliquidation - USD"),
    ("an amount of Infinity", {SUMMARY: amount("-Infinity")}, "netliquidation - USD"),
    ("an amount of 1e400", {SUMMARY: amount("1e400")}, "netliquidation - USD"),
    ("an amount of 400 digits", {SUMMARY: amount("9" * 400)}, "netliquidation - USD"),
    ("an amount of an object", {SUMMARY: amount("{}")}, "netliquidation - USD"),
    ("an amount of a list", {SUMMARY: amount("[1]")}, "netliquidation - USD"),
    ("an amount of text", {SUMMARY: amount('"a lot"')}, "netliquidation a lot USD"),
    ("an amount of a long text", {SUMMARY: amount('"%s"' % ("9" * 999))}, f"netliquidation {'9' * 40} USD"),
    ("a small amount", {SUMMARY: amount("1e-300")}, "netliquidation 0.0000 USD"),
    ("a negative amount", {SUMMARY: amount("-1234.5")}, "netliquidation -1,234.50 USD"),
    ("a currency of a number", {SUMMARY: json_answer({"netliquidation": {"amount": 1, "currency": 7}})}, "netliquidation 1.00 7.00"),
    ("a ledger of nothing", {LEDGER: json_answer({})}, "0 of 0 cashbalance settledcash stockmarketvalue netliquidationvalue"),
    ("a ledger of null", {LEDGER: json_answer({"USD": None, "EUR": 5, "JPY": "x", "BASE": []})}, "0 of 0 cashbalance settledcash stockmarketvalue netliquidationvalue"),
    ("a ledger item of nothing", {LEDGER: json_answer({"USD": {}})}, "- - - - -"),
    ("a ledger of odd types", {LEDGER: json_answer({"USD": {"currency": None, "cashbalance": "x", "settledcash": [1]}})}, "- x - - -"),
    ("a ledger of 1,000 currencies", {LEDGER: json_answer({f"C{n}": {"currency": f"C{n}"} for n in range(1000)})}, "10 of 1000 cashbalance settledcash stockmarketvalue netliquidationvalue|C9 - - - -"),
    ("no positions", {POSITIONS: json_answer([])}, "0 of 0 position mktPrice mktValue unrealizedPnl currency"),
    ("positions of null", {POSITIONS: json_answer([None, 5, "x", []])}, "0 of 0 position mktPrice mktValue unrealizedPnl currency"),
    ("a position of nothing", {POSITIONS: json_answer([{}])}, "1 of 1 position mktPrice mktValue unrealizedPnl currency|- - - - - -"),
    ("a position of nulls", {POSITIONS: position(1, contractDesc=None, position=None, mktPrice=None, mktValue=None, unrealizedPnl=None, currency=None)}, "- - - - - -"),
    ("a position of odd types", {POSITIONS: position(1, contractDesc=5, position="x", mktPrice=[1], mktValue={}, unrealizedPnl="")}, "5.00 x - - - USD"),
    ("a position of a long name", {POSITIONS: position(1, contractDesc="n" * 5000)}, f"{'n' * 40} 1.50 - - - USD"),
    ("a position", {POSITIONS: position(1)}, "1 of 1 position mktPrice mktValue unrealizedPnl currency|AAPL 1.50 - - - USD"),
    ("100 positions", {POSITIONS: position(100)}, "10 of 100 position mktPrice mktValue unrealizedPnl currency|AAPL 1.50 - - - USD"),
    ("1,000 positions", {POSITIONS: position(1000)}, "10 of 1000 position mktPrice mktValue unrealizedPnl currency|AAPL 1.50 - - - USD"),
    ("a stock of odd names", {STOCKS: json_answer({"AAPL": [{"name": None, "contracts": [{"conid": 265598, "exchange": 5, "isUS": "yes"}]}]})}, "1 of 1 exchange conid|- 5.00 265598"),
    ("a stock among useless ones", {STOCKS: json_answer({"AAPL": [None, {"contracts": [None, {"conid": "1"}]}, {"name": "APPLE INC", "contracts": [{"conid": 265598}]}]})}, "1 of 1 exchange conid|APPLE INC - 265598"),
    ("an init of nothing", {INIT: json_answer({})}, "POST /iserver/auth/ssodh/init 200"),
    ("an init that waits", {INIT: json_answer({"wait": 1000})}, "POST /iserver/auth/ssodh/init 200"),
    ("an init of odd types", {INIT: json_answer({"authenticated": 1, "connected": "true", "passed": None})}, "POST /iserver/auth/ssodh/init 200"),
    ("an init that is ready", {INIT: READY}, "POST /iserver/auth/ssodh/init 200"),
    ("an init that says refused, and is not", {INIT: json_answer({"passed": False})}, "bid 231.48 x 400"),
    ("a status with nothing established", {STATUS: json_answer({"authenticated": True, "connected": True, "established": None}), ISERVER: json_answer({"accounts": None}), SNAPSHOT: price(f31="1.00")}, "last 1.00"),
    ("a status that competes", {STATUS: json_answer({"competing": True})}, "left out: another session has the market data; see --compete"),
    ("a status that fails", {STATUS: json_answer({"fail": "\x1b[31mForce compete"})}, "left out: another session has the market data; see --compete"),
    ("iserver accounts of nothing", {ISERVER: json_answer({})}, "left out: another session has the market data; see --compete"),
    ("iserver accounts of odd types", {ISERVER: json_answer({"accounts": 5, "selectedAccount": []})}, "bid 231.48 x 400"),
    ("not subscribed", {SNAPSHOT: price(f6509="N")}, "last -|bid - x -|ask - x -|data not subscribed"),
    ("a price after useless ones", {SNAPSHOT: json_answer([None, [], 5, {"conid": 265598, "31": "5.00"}])}, "last 5.00"),
    ("bid and ask only", {SNAPSHOT: price(f84="1.00", f86="2.00", f6509="D")}, "last -|bid 1.00 x -|ask 2.00 x -|data delayed"),
    ("a halted price", {SNAPSHOT: price(f31="H1.00", f6509="Z")}, "last halted 1.00|data frozen"),
    ("an unknown availability", {SNAPSHOT: price(f31="1.00", f6509="?")}, "data unknown"),
    ("an availability of a number", {SNAPSHOT: price(f31="1.00", f6509=7)}, "data unknown"),
    ("an availability of nothing", {SNAPSHOT: price(f31="1.00", f6509="")}, "data unknown"),
    ("an availability of null", {SNAPSHOT: price(f31="1.00", f6509=None)}, "data unknown"),
    ("a price of a letter", {SNAPSHOT: price(f31="C")}, "last previous close"),
    ("a price without end", {SNAPSHOT: price(f31="1" * 9000)}, f"last {'1' * 40}"),
    ("a logout of nothing", {LOGOUT: Answer(204)}, "POST /logout 204"),
    ("a logout of a page", {LOGOUT: Answer(200, PAGE, HTML)}, "POST /logout 200"),
    ("a logout of brackets", {LOGOUT: Answer(200, DEEP)}, "POST /logout 200"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "printed"), [row[1:] for row in ODD], ids=[row[0] for row in ODD]
)
def test_an_odd_answer_prints_what_there_is(
    sandbox: Bent, run: Runner, answers: dict[str, Answer], printed: str
) -> None:
    sandbox.answers = answers

    def check(result: Result) -> None:
        assert (result.status, result.err) == (0, "")
        lines = lines_of(result.out)
        for wanted in printed.split("|"):
            assert any(line.startswith(wanted) for line in lines), wanted
        own = [
            {"init"} if r == INIT else {"accounts"} if r == ACCOUNTS else LOST[r] for r in answers
        ]
        for block in BLOCKS.keys() - set().union(*own):
            assert any(line.startswith(BLOCKS[block][1]) for line in lines), block

    check_all(sandbox, run, check)


@pytest.mark.parametrize("answer", [json_answer({"authenticated": True, "fail": "no"}), READY])
def test_a_session_that_stays_refused_is_an_error_for_who_asked_to_take_it_over(
    sandbox: Bent, run: Runner, answer: Answer
) -> None:
    sandbox.answers = {STATUS: answer, ISERVER: json_answer({})}
    result = run(sandbox, "--compete")
    assert result.status == 1
    path = "POST /iserver/auth/status" if b"fail" in answer.body else "GET /iserver/accounts"
    message = f"error: {path}: the brokerage session is refused\n"
    assert result.err == message + "hint: log out elsewhere, then wait\n"


def requests_sent(sandbox: Bent, run: Runner, *options: str) -> dict[str, Request]:
    sent = {}

    def bend(request: Request, answer: Answer) -> Answer:
        sent[f"{request.method} {request.path}"] = request
        return answer

    sandbox.bend = bend
    run(sandbox, *options)
    return sent


@pytest.mark.parametrize("options", [[], ["--compete"]])
def test_the_session_of_others_is_taken_over_only_on_demand(
    sandbox: Bent, run: Runner, options: list[str]
) -> None:
    request = requests_sent(sandbox, run, *options)[INIT]
    assert json.loads(request.body) == {"publish": True, "compete": bool(options)}


def test_every_request_names_the_program(sandbox: Bent, run: Runner) -> None:
    sent = requests_sent(sandbox, run)
    assert {request.headers["User-Agent"] for request in sent.values()} == {"ibkr-oauth-demo"}


def test_no_request_waits_for_ever(
    sandbox: Bent, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []
    send = requests.Session.send

    def noting(*arguments: Any, **options: Any) -> requests.Response:
        timeouts.append(options["timeout"])
        return send(*arguments, **options)

    monkeypatch.setattr(requests.Session, "send", noting)
    run(sandbox)
    assert timeouts == [(10, 30)] * (len(sandbox.requests) - 1) + [10]


def test_a_status_of_success_other_than_200_is_success(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {LOGOUT: Answer(204, b""), LEDGER: json_answer({}, 201)}
    assert run(sandbox)[::2] == (0, "")


def test_an_answer_of_another_form_is_quoted(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {LEDGER: json_answer([1, 2])}
    assert run(sandbox).err == (
        "error: GET /portfolio/DU0001234/ledger: an answer of another form than expected: [1,2]\n"
        "hint: try later; with -v the demo shows every answer whole\n"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error_answer(500, "e" * 300), "e" * 200),
        (Answer(500, b"e" * 300, PLAIN), "e" * 200),
        (Answer(500, b"<b>" * 666 + b"abc", PLAIN), "abc"),
        (Answer(302, b"", {"Location": "/" + "e" * 300}), "/" + "e" * 199),
    ],
)
def test_of_what_the_server_says_the_beginning_is_shown(
    sandbox: Bent, run: Runner, answer: Answer, said: str
) -> None:
    sandbox.answers = {SUMMARY: answer}
    assert run(sandbox).err.splitlines()[0].endswith(f": {said}")


def test_bytes_that_are_no_text_are_shown_as_such(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {SUMMARY: Answer(500, b"a\xffb", PLAIN)}
    result = run(sandbox, "-v")
    assert "    < a\\ufffdb\n" in result.out
    assert "HTTP 500: a\\ufffdb\n" in result.err


@pytest.mark.parametrize("name", [5, None, ["DU1"], "", ".", "..", "..."])
def test_an_account_needs_a_name_that_is_no_path(sandbox: Bent, run: Runner, name: Any) -> None:
    sandbox.answers = {ACCOUNTS: account_ids(name, "X.", "DU0001234")}
    result = run(sandbox)
    assert "Summary of X.\n" in result.out


def test_an_amount_that_is_said_to_be_null_is_left_out(sandbox: Bent, run: Runner) -> None:
    null = {"amount": 5, "currency": "USD", "isNull": True}
    real = {"amount": 6, "currency": "USD", "isNull": False}
    sandbox.answers = {SUMMARY: json_answer({"netliquidation": null, "buyingpower": real})}
    shown = lines_of(run(sandbox).out)
    assert {"1 of 1 amount currency", "buyingpower 6.00 USD"} <= set(shown)


def stocks(*contracts: dict[str, Any]) -> Answer:
    companies = [
        {"name": contract.pop("name", "N"), "contracts": [contract]} for contract in contracts
    ]
    return json_answer({"AAPL": companies})


def test_the_first_listing_in_the_us_is_taken(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {
        STOCKS: stocks(
            {"name": "A", "conid": 7, "exchange": "X", "isUS": False},
            {"name": "Z", "conid": 1, "exchange": "Z", "isUS": True},
            {"name": "A", "conid": 2, "exchange": "A", "isUS": True},
        )
    }
    lines = lines_of(run(sandbox).out)
    head = lines.index("3 of 3 exchange conid")
    assert lines[head + 1 : head + 4] == ["Z Z 1", "A A 2", "A X 7"]
    assert requests_sent(sandbox, run)[SNAPSHOT].query.startswith("conids=1&")


@pytest.mark.parametrize("wrong", [0, -1, True, "5", 5.0, None])
def test_a_contract_id_is_a_positive_whole_number(sandbox: Bent, run: Runner, wrong: Any) -> None:
    sandbox.answers = {STOCKS: stocks({"conid": wrong, "isUS": True}, {"conid": 265598})}
    result = run(sandbox)
    assert "N - 265598" in lines_of(result.out)
    assert result.status == 0


@pytest.mark.parametrize("refused", [True, False])
def test_a_session_that_others_have_is_left_to_them(
    sandbox: Bent, run: Runner, refused: bool
) -> None:
    waiting = {"authenticated": False, "connected": True}
    sandbox.answers = {
        INIT: json_answer({**waiting, **({"passed": False} if refused else {})}),
        STATUS: json_answer({**waiting, "competing": not refused}),
    }
    result = run(sandbox)
    assert result[::2] == (0, "")
    assert "    left out: another session has the market data; see --compete\n" in result.out
    assert [r.path for r in sandbox.requests].count("/iserver/auth/status") == 10


@pytest.mark.parametrize(
    ("fields", "enough"),
    [
        ({"31": "5"}, True),
        ({"84": "5", "86": "6"}, True),
        ({"84": "5"}, False),
        ({"86": "5", "85": "1"}, False),
        ({"6509": "NpB"}, True),
        ({"6509": "RpB"}, False),
    ],
)
def test_a_quote_needs_a_price_or_both_sides_or_no_subscription(
    sandbox: Bent, run: Runner, fields: dict[str, str], enough: bool
) -> None:
    sandbox.answers = {SNAPSHOT: json_answer([{"conid": 265598, **fields}])}
    result = run(sandbox)
    error = "error: GET /iserver/marketdata/snapshot: no price after 8 questions\n"
    hint = "hint: try while the market is open\n"
    assert result[::2] == ((0, "") if enough else (1, error + hint))
    asked = [r.path for r in sandbox.requests].count("/iserver/marketdata/snapshot")
    assert asked == (1 if enough else 8)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("5.10", "5.10"),
        ("C5.10", "previous close 5.10"),
        ("H5.10", "halted 5.10"),
        ("X1", "X1"),
    ],
)
def test_a_letter_before_the_price_is_explained(
    sandbox: Bent, run: Runner, sent: str, shown: str
) -> None:
    sandbox.answers = {SNAPSHOT: price(f31=sent)}
    assert f"    last  {shown}\n" in run(sandbox).out


@pytest.mark.parametrize("quality", [{}, {"6509": "?"}])
def test_data_of_a_quality_that_nobody_knows_is_called_unknown(
    sandbox: Bent, run: Runner, quality: dict[str, str]
) -> None:
    sandbox.answers = {SNAPSHOT: json_answer([{"conid": 265598, "31": "5", **quality}])}
    assert "    data  unknown\n" in run(sandbox).out


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("Tue, 14 Nov 2023 22:13:50 GMT", ""),
        ("Tue, 14 Nov 2023 22:12:50 GMT", ""),
        ("Tue, 14 Nov 2023 22:13:51 GMT", "31 s"),
        ("Tue, 14 Nov 2023 22:12:49 GMT", "31 s"),
        ("Tue, 14 Nov 2023 23:20:00 GMT", "4,000 s"),
        ("yesterday", ""),
        ("", ""),
        ("Tue, 14 Nov 99999 22:13:10 GMT", ""),
        ("Mon, 99 Foo 99999 99:99:99 +9999", ""),
        ("Tue, 14 Nov 2023 22:13:10 +99999999999999", ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("route", [TOKEN, ACCOUNTS])
def test_a_clock_that_is_off_is_pointed_out_once(
    sandbox: Bent,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
    route: str,
    date: str | None,
    said: str,
) -> None:
    now = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT, as `date -u -d @1700000000` says

    def show(hook: Any, response: requests.Response, **options: object) -> None:
        response.headers.pop("Date")
        if date is not None and route.endswith(urlsplit(response.url).path[len("/v1/api") :]):
            response.headers["Date"] = date
        genuine(hook, response, **options)

    genuine = demo.Demo.show
    monkeypatch.setattr(demo, "time", lambda: now)
    monkeypatch.setattr(demo.Demo, "show", show)
    warning = f"warning: this computer's clock is {said} off the server's\n"
    hint = "hint: set it: signatures carry the time\n"
    assert run(sandbox)[::2] == (0, warning + hint if said and route == TOKEN else "")


def test_a_failure_does_not_undo_a_stop() -> None:
    console = demo.Console()

    def fail() -> None:
        console.stopped = True  # as when nobody reads the output any more
        response = requests.Response()
        response.status_code = 500
        raise oauth.AnswerError("HTTP 500", response=response)

    demo.Demo("https://h/v1/api", demo.command_line([]), console).step("Step", fail)
    assert console.stopped


def test_the_line_of_an_answer_shows_how_long_it_took(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = demo.command_line([])
    response = requests.Response()
    response.status_code, response.elapsed = 200, timedelta(seconds=1.234)
    steps = demo.Demo("https://h/v1/api", options, demo.Console())
    steps.doing = "GET /portfolio/v1/api"
    steps.show(response)
    assert capsys.readouterr().out == f"  {'GET /portfolio/v1/api':<50} 200   1,234 ms\n"


@pytest.mark.parametrize("value", [True, False])
def test_an_amount_that_is_true_or_false_is_no_figure(
    sandbox: Bent, run: Runner, value: bool
) -> None:
    sandbox.answers = {
        SUMMARY: json_answer({"netliquidation": {"amount": value, "currency": "USD"}})
    }
    assert "netliquidation - USD" in lines_of(run(sandbox).out)


@pytest.mark.parametrize("value", [None, [], {}, True, -1, "-1", ""])
def test_a_price_that_is_no_data_is_asked_for_again(
    sandbox: Bent, run: Runner, value: object
) -> None:
    sandbox.answers = {SNAPSHOT: price(f31=value)}
    check_one_error(run(sandbox), SNAPSHOT, NO_PRICE, "open")


def test_the_price_of_another_contract_is_not_shown(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {SNAPSHOT: json_answer([{"conid": 8314, "conidEx": "8314", "31": "262.40"}])}
    result = run(sandbox)
    assert "last  262.40" not in result.out
    check_one_error(result, SNAPSHOT, NO_PRICE, "open")


@pytest.mark.parametrize("value", [-1, 10**40, 0])
def test_a_contract_id_out_of_range_is_refused_in_one_error(
    sandbox: Bent, run: Runner, value: int
) -> None:
    sandbox.answers = {STOCKS: conid(value)}
    result = run(sandbox)
    assert result.status == 1
    assert len(re.findall("^error: ", result.err, re.MULTILINE)) == 1
    check_manners(result)


# An account id in a path

IDS = [
    "../../iserver/x", "a/b?c#d", "%2e%2e", "..%2f..", "\u202edlrow", "caf\u00e9", "\ud800", "a b", "a\r\nX: y",
    "a\0b", "\\..\\..", ";x=1", "@host", "//host/x", "+", "&conids=1", "\x1b[31m", "..\u2025", "n" * 3000, ". .",
]  # fmt: skip


@pytest.mark.parametrize("account", IDS, ids=ascii)
def test_an_account_id_stays_one_segment_of_the_path(
    sandbox: Bent, run: Runner, account: str
) -> None:
    sandbox.answers = {ACCOUNTS: account_ids(account)}

    def check(result: Result) -> None:
        assert result.status == 1
        assert result.err.count("error: ") == result.err.count("HTTP 401") == 3
        sent = [r.path for r in sandbox.requests if r.path.startswith("/portfolio/")][1:]
        segment = quote(account.encode("utf-8", "replace"), safe="")
        rest = ("summary", "ledger", "positions/0")
        assert sent == [f"/portfolio/{segment}/{what}" for what in rest]
        for figure in (BLOCKS["stock"][1], BLOCKS["quote"][1]):
            assert figure in lines_of(result.out)

    check_all(sandbox, run, check)


def test_an_account_id_without_end_fails_and_the_rest_goes_on(sandbox: Bent, run: Runner) -> None:
    sandbox.answers = {ACCOUNTS: account_ids("n" * 100_000)}

    def check(result: Result) -> None:
        assert result.status == 1
        assert len(re.findall("^error: ", result.err, re.MULTILINE)) == 3
        for figure in (BLOCKS["stock"][1], BLOCKS["quote"][1]):
            assert figure in lines_of(result.out)

    check_all(sandbox, run, check)


# Characters that a terminal obeys

NASTY = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x08\r\n\t\0\x7f\x85\x9b31m\u200b\u202edlrow\u2066\u2069\u2028\ufeff\U0001f600"
NASTY_ITEM = dict.fromkeys(
    (
        *("type", "currency", "amount", "cashbalance", "settledcash", "contractDesc", "mktPrice"),
        *("31", "84", "85", "86", "88", "6509", "fail", "message", "stockmarketvalue"),
    ),
    NASTY,
)
NASTY_ANSWERS: list[tuple[str, Any]] = [
    (INIT, {**NASTY_ITEM, "error": NASTY}),
    (ACCOUNTS, [{**NASTY_ITEM, "accountId": NASTY}]),
    (ACCOUNTS, [{**NASTY_ITEM, "accountId": "DU0001234"}]),
    (SUMMARY, {"netliquidation": NASTY_ITEM}),
    (LEDGER, {"USD": NASTY_ITEM, NASTY: NASTY_ITEM}),
    (POSITIONS, [NASTY_ITEM] * 3),
    (STOCKS, {"AAPL": [{"name": NASTY, "contracts": [{"conid": 265598, "exchange": NASTY}]}]}),
    (STATUS, NASTY_ITEM),
    (ISERVER, {NASTY: NASTY, "error": NASTY}),
    (SNAPSHOT, [{**NASTY_ITEM, "conid": 265598}]),
    (LOGOUT, {"error": NASTY}),
    (TOKEN, {"error": NASTY}),
]


@pytest.mark.parametrize("raw", [False, True], ids=["escaped", "raw"])
@pytest.mark.parametrize(("route", "data"), NASTY_ANSWERS)
def test_no_character_reaches_the_terminal_that_it_obeys(
    sandbox: Bent, run: Runner, route: str, data: Any, raw: bool
) -> None:
    text = json.dumps(data, ensure_ascii=not raw)
    text = text.replace(r"\u001b", "\x1b").replace(r"\u0007", "\x07") if raw else text
    for status in (200, 500):
        sandbox.answers = {route: Answer(status, text.encode("utf-8", "surrogatepass"))}
        for options in ([], ["-v"]):
            check_manners(run(sandbox, *options))


def test_a_header_of_control_characters_is_not_shown(sandbox: Bent, run: Runner) -> None:
    headers = {
        "Content-Type": "\x1b[31m",
        "Content-Encoding": "\x1b[31m",
        "X-\x1b": "\x9b",
        "Date": "\x1b",
    }
    sandbox.answers = dict.fromkeys(READ, Answer(200, b"[]", headers))
    for options in ([], ["-v"]):
        check_manners(run(sandbox, *options))


# A server that says back what it knows


def echo(sandbox: Bent, route: str, status: int, form: Callable[[str], bytes]) -> list[str]:
    """Let the route answer with all that was sent to it. Returns the signatures, as they come."""
    signatures: list[str] = []

    def bend(request: Request, answer: Answer) -> Answer:
        header = request.headers["Authorization"]
        signature = str(re.findall('oauth_signature="([^"]+)"', header)[0])
        signatures.extend((signature, unquote(signature)))
        if not re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), f"{request.method} {request.path}"):
            return answer
        known = [sandbox.access_token, header, sandbox.access_token_secret]
        tokens = [] if route == TOKEN else [sandbox._sessions[0].token]  # else the client has none
        for secret in (sandbox._secret, *tokens):
            known += [secret.hex(), base64.b64encode(secret).decode()]
        return Answer(status, form(" ".join(known)), {"Content-Type": "text/plain;charset=utf-8"})

    sandbox.bend = bend
    return signatures


def as_text(known: str) -> bytes:
    return known.encode()


def as_error(known: str) -> bytes:
    return json.dumps({"error": known}).encode()


def as_lines(known: str) -> bytes:
    return known.replace(" ", "\n").encode()


def as_url(known: str) -> bytes:
    return quote(known, safe="").encode()


ECHOED = [TOKEN, INIT, ACCOUNTS, SUMMARY, STOCKS, SNAPSHOT, LOGOUT]


FORMS = [as_text, as_error, as_lines, as_url]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("route", ECHOED[1:])
def test_what_the_server_says_back_is_masked(
    sandbox: Bent, run: Runner, route: str, status: int, form: Callable[[str], bytes]
) -> None:
    for options in ([], ["-v"]):
        signatures = echo(sandbox, route, status, form)
        fresh(sandbox)
        result = run(sandbox, *options)
        check_manners(result)
        assert "***" in result.out + result.err or route == LOGOUT
        for signature in signatures:
            assert signature not in result.out + result.err


@pytest.mark.parametrize("form", FORMS)
def test_what_the_token_request_is_told_back_is_masked(
    sandbox: Bent, run: Runner, form: Callable[[str], bytes]
) -> None:
    for options in ([], ["-v"]):
        signatures = echo(sandbox, TOKEN, 401, form)
        fresh(sandbox)
        result = run(sandbox, *options)
        check_manners(result)
        assert "***" in result.err
        for signature in signatures:
            assert signature not in result.out + result.err


@pytest.mark.parametrize("route", [ACCOUNTS, LEDGER, LOGOUT])
def test_a_cookie_that_the_server_says_back_is_masked(
    sandbox: Bent, run: Runner, route: str
) -> None:
    cookies: list[str] = []

    def bend(request: Request, answer: Answer) -> Answer:
        cookies.extend(request.headers.get_all("Cookie", []))
        if f"{request.method} {request.path}" != route.replace("{id}", "DU0001234"):
            return answer
        return error_answer(500, f"bad cookie {cookies[-1]}")

    sandbox.bend = bend
    run(sandbox, "-v")
    assert cookies


def test_the_secrets_of_the_config_are_masked_in_every_form(sandbox: Bent, run: Runner) -> None:
    decrypted = next(secret for secret in sandbox.secrets if isinstance(secret, bytes))
    told = [sandbox.access_token, decrypted.hex(), base64.b64encode(decrypted).decode()]
    sandbox.answers = {SUMMARY: error_answer(500, " ".join(told))}
    config = {**sandbox.config, "access_token": f" {sandbox.access_token}\n"}
    assert "HTTP 500: *** *** ***\n" in run(sandbox, config=config).err


def pieces(secret: str) -> set[str]:
    """What tells a part of a secret from chance."""
    return {secret[start : start + 8] for start in range(len(secret) - 7)}


@pytest.mark.parametrize("offset", range(175, 200, 3))
def test_a_secret_at_the_cut_of_an_error_is_masked(sandbox: Bent, run: Runner, offset: int) -> None:
    for answer in (
        error_answer(500, "e" * offset + sandbox.access_token),
        Answer(500, b"e" * offset + sandbox.access_token.encode(), PLAIN),
        Answer(500, b"<p>" * 600 + b"e" * (offset - 1) + sandbox.access_token.encode(), PLAIN),
    ):
        sandbox.answers = {SUMMARY: answer}
        text = "".join(run(sandbox)[1:])
        assert not [piece for piece in pieces(sandbox.access_token) if piece in text]


def test_a_secret_at_the_end_of_what_is_read_of_a_page_is_masked(
    sandbox: Bent, run: Runner
) -> None:
    body = b"<p>" * 662 + b"e" * 4 + sandbox.access_token.encode()
    sandbox.answers = {SUMMARY: Answer(500, body, HTML)}
    text = "".join(run(sandbox)[1:])
    assert not [piece for piece in pieces(sandbox.access_token) if piece in text]


@pytest.mark.parametrize("offset", [15, 20, 21, 25, 30, 32, 36])
def test_a_secret_at_the_cut_of_a_table_cell_is_masked(
    sandbox: Bent, run: Runner, offset: int
) -> None:
    sandbox.answers = {POSITIONS: position(1, contractDesc="e" * offset + sandbox.access_token)}
    text = "".join(run(sandbox)[1:])
    assert not [piece for piece in pieces(sandbox.access_token) if piece in text]


NAMED = json.dumps(GENUINE_ACCOUNTS[:1])
ONE_LINE = NAMED.replace(": ", ":")
HOLDERS = {
    "on one line": ONE_LINE,
    "with spaces": NAMED.replace(": ", " : "),
    "indented": json.dumps(GENUINE_ACCOUNTS[:1], indent=2),
    "on a line of its own": NAMED.replace(": ", ":\n"),
    "with a quotation mark": NAMED.replace("Simulated Holder", r"\"Sim\" Simulated Holder"),
    "with a backslash": NAMED.replace("Simulated Holder", r"a\\\" Simulated Holder"),
    "with a line separator": NAMED.replace("Simulated Holder", "a\u2028Simulated Holder"),
    "with a next line": NAMED.replace("Simulated Holder", "a\u0085Simulated Holder"),
    "by the display name": NAMED.replace('"displayName": "DU0001234"', '"displayName": "Simulated Holder"'),
    "by the alias": NAMED.replace('"accountAlias": null', '"accountAlias": "Simulated Holder"'),
}  # fmt: skip


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", HOLDERS.values(), ids=HOLDERS)
def test_the_holders_name_never_shows_at_any_verbosity(
    sandbox: Bent, run: Runner, body: str, status: int
) -> None:
    assert "Simulated Holder" in body
    sandbox.answers = {ACCOUNTS: Answer(status, body.encode())}
    for options in ([], ["-v"]):
        check_manners(run(sandbox, *options))


# The token's answer: refused as a whole, or in one part while all the others are genuine

LACKS = "the answer lacks a part of the exchange"
NO_HEX = "the Diffie-Hellman response is not a hex number"
OUT_OF_RANGE = "the Diffie-Hellman response is out of range"
BAD_PROOF = "the server's proof of the live session token is wrong: the token is not used"
BAD_TIME = "the answer's expiration is not in milliseconds"
RESPONSE, PROOF = "diffie_hellman_response", "live_session_token_signature"
EXPIRES = "live_session_token_expiration"

Edit = Callable[[dict[str, Any]], Any]


def put(field: str, value: Any) -> Edit:
    return lambda answer: {**answer, field: value}


def drop(field: str) -> Edit:
    return lambda answer: {name: value for name, value in answer.items() if name != field}


def edit(field: str, change: Callable[[Any], Any]) -> Edit:
    return lambda answer: {**answer, field: change(answer[field])}


ARABIC = str.maketrans("0123456789", "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669")

REFUSED_PARTS: list[tuple[str, Edit, str]] = [
    ("response missing", drop(RESPONSE), LACKS),
    ("response null", put(RESPONSE, None), LACKS),
    ("response an int", edit(RESPONSE, lambda text: int(text, 16)), LACKS),
    ("response a small int", put(RESPONSE, 2), LACKS),
    ("response a list", edit(RESPONSE, lambda text: [text]), LACKS),
    ("response true", put(RESPONSE, True), LACKS),
    ("response empty", put(RESPONSE, ""), NO_HEX),
    ("response not hex", put(RESPONSE, "not hex at all"), NO_HEX),
    ("response with 0x", edit(RESPONSE, lambda text: "0x" + text), NO_HEX),
    ("response with a plus", edit(RESPONSE, lambda text: "+" + text), NO_HEX),
    ("response with a minus", edit(RESPONSE, lambda text: "-" + text), NO_HEX),
    ("response with an underscore", edit(RESPONSE, lambda text: text[:9] + "_" + text[9:]), NO_HEX),
    ("response with a space in front", edit(RESPONSE, lambda text: " " + text), NO_HEX),
    ("response with a line break behind", edit(RESPONSE, lambda text: text + "\n"), NO_HEX),
    ("response with colons", edit(RESPONSE, lambda text: ":".join(re.findall("..?", text))), NO_HEX),
    ("response with Arabic digits", edit(RESPONSE, lambda text: text.translate(ARABIC)), NO_HEX),
    ("response with wide digits", put(RESPONSE, "\uff11\uff12" * 256), NO_HEX),
    ("response with half a character", edit(RESPONSE, lambda text: text + "\ud800"), NO_HEX),
    ("response with a zero byte", edit(RESPONSE, lambda text: text + "\0"), NO_HEX),
    ("response 0", put(RESPONSE, "0"), OUT_OF_RANGE),
    ("response 00", put(RESPONSE, "00"), OUT_OF_RANGE),
    ("response 1", put(RESPONSE, "1"), OUT_OF_RANGE),
    ("response 0001", put(RESPONSE, "0001"), OUT_OF_RANGE),
    ("response p - 1", put(RESPONSE, f"{DH_PRIME - 1:x}"), OUT_OF_RANGE),
    ("response p", put(RESPONSE, f"{DH_PRIME:x}"), OUT_OF_RANGE),
    ("response p + 1", put(RESPONSE, f"{DH_PRIME + 1:x}"), OUT_OF_RANGE),
    ("response p + 5", put(RESPONSE, f"{DH_PRIME + 5:x}"), OUT_OF_RANGE),
    ("response 2 p", put(RESPONSE, f"{2 * DH_PRIME:x}"), OUT_OF_RANGE),
    ("response p higher", edit(RESPONSE, lambda text: f"{int(text, 16) + DH_PRIME:x}"), OUT_OF_RANGE),
    ("response twice", edit(RESPONSE, lambda text: text + text), OUT_OF_RANGE),
    ("response without end", put(RESPONSE, "f" * 1_000_000), OUT_OF_RANGE),
    ("response 2", put(RESPONSE, "2"), BAD_PROOF),
    ("response p - 2", put(RESPONSE, f"{DH_PRIME - 2:x}"), BAD_PROOF),
    ("response cut", edit(RESPONSE, lambda text: text[:-1]), BAD_PROOF),
    ("proof missing", drop(PROOF), LACKS),
    ("proof null", put(PROOF, None), LACKS),
    ("proof an int", edit(PROOF, lambda text: int(text, 16)), LACKS),
    ("proof a list", edit(PROOF, list), LACKS),
    ("proof an object", put(PROOF, {}), LACKS),
    ("proof true", put(PROOF, True), LACKS),
    ("proof empty", put(PROOF, ""), BAD_PROOF),
    ("proof wrong", put(PROOF, "00" * 20), BAD_PROOF),
    ("proof wrong in its last digit", edit(PROOF, lambda text: f"{text[:-1]}{int(text[-1], 16) ^ 1:x}"), BAD_PROOF),
    ("proof cut", edit(PROOF, lambda text: text[:-1]), BAD_PROOF),
    ("proof cut in front", edit(PROOF, lambda text: text[1:]), BAD_PROOF),
    ("proof longer", edit(PROOF, lambda text: text + "0"), BAD_PROOF),
    ("proof with a line break", edit(PROOF, lambda text: text + "\n"), BAD_PROOF),
    ("proof in upper case", edit(PROOF, lambda text: "A" + text.upper()[1:]), BAD_PROOF),
    ("proof not ASCII", put(PROOF, "\u00e9" * 40), BAD_PROOF),
    ("proof of wide digits", put(PROOF, "\uff11" * 40), BAD_PROOF),
    ("proof of half characters", put(PROOF, "\ud800" * 40), BAD_PROOF),
    ("proof without end", put(PROOF, "0" * 1_000_000), BAD_PROOF),
    ("expiration missing", drop(EXPIRES), LACKS),
    ("expiration null", put(EXPIRES, None), LACKS),
    ("expiration a text", edit(EXPIRES, str), LACKS),
    ("expiration a float", edit(EXPIRES, float), LACKS),
    ("expiration NaN", put(EXPIRES, float("nan")), LACKS),
    ("expiration true", put(EXPIRES, True), LACKS),
    ("expiration a list", put(EXPIRES, []), LACKS),
    ("expiration 0", put(EXPIRES, 0), BAD_TIME),
    ("expiration negative", put(EXPIRES, -1), BAD_TIME),
    ("expiration in microseconds", edit(EXPIRES, lambda time: time * 1000), BAD_TIME),
    ("expiration of 4,000 digits", put(EXPIRES, 10**4000), BAD_TIME),
    ("nothing in it", lambda _: {}, LACKS),
    ("a list", lambda answer: [answer], LACKS),
    ("a list of pairs", lambda answer: list(answer.items()), LACKS),
    ("in an envelope", lambda answer: {"data": answer}, LACKS),
    ("in other names", lambda answer: {name.upper(): value for name, value in answer.items()}, LACKS),
    ("an error, 200", lambda _: {"error": "no", "statusCode": 200}, LACKS),
    ("a number", lambda _: 5, LACKS),
    ("null", lambda _: None, LACKS),
]  # fmt: skip


def check_no_token(sandbox: Sandbox, result: Result, error: str, hint: str) -> None:
    """One error, and after it not even a logout."""
    check_manners(result)
    check_one_error(result, TOKEN, error, hint)
    assert [record.path for record in sandbox.requests] == ["/oauth/live_session_token"]
    assert "Live session token" in result.out
    assert "Logout" not in result.out
    assert "Brokerage" not in result.out
    assert "valid until" not in result.out


@pytest.mark.parametrize(
    ("change", "error"), [row[1:] for row in REFUSED_PARTS], ids=[row[0] for row in REFUSED_PARTS]
)
def test_a_token_that_is_wrong_in_one_part_is_not_used(
    sandbox: Bent, run: Runner, change: Edit, error: str
) -> None:
    def bend(_: Request, answer: Answer) -> Answer:
        return answer._replace(body=json.dumps(change(json.loads(answer.body))).encode())

    sandbox.bend = bend
    for options in ([], ["-v"]):
        fresh(sandbox)
        check_no_token(sandbox, run(sandbox, *options), error, "")


@pytest.mark.parametrize(
    "change", [edit(RESPONSE, str.upper), edit(RESPONSE, "000{}".format), put("more", [None])]
)
def test_a_token_in_another_spelling_is_used(sandbox: Bent, run: Runner, change: Edit) -> None:
    def bend(request: Request, answer: Answer) -> Answer:
        if not request.path.startswith("/oauth/"):
            return answer
        return answer._replace(body=json.dumps(change(json.loads(answer.body))).encode())

    sandbox.bend = bend
    assert run(sandbox).status == 0


TOKEN_401: list[tuple[str, Answer, str, str]] = [
    ("invalid consumer", error_answer(401, "id: 39687, error: invalid consumer"), "HTTP 401: id: 39687, error: invalid consumer", "nine characters"),
    ("LST failed", error_answer(401, "id: 1, error: LST failed, error: "), "HTTP 401: id: 1, error: LST failed", "generate the token again"),
    ("401 without a reason", Answer(401), "HTTP 401", "clock may be wrong"),
    ("401 of a page", Answer(401, PAGE, HTML), "HTTP 401: Sorry Down", "clock may be wrong"),
    ("429", error_answer(429, "Too Many Requests"), "HTTP 429: Too Many Requests", "wait 15 minutes"),
    ("201 with the answer", Answer(201, b"{}"), "HTTP 201", "body says why"),
]  # fmt: skip
NO_TOKEN = [
    (name, answer, error, hint)
    for name, answer, error, hint in [*ANYWHERE, *TOKEN_401]
    if answer.status not in (200, 204, 304) and error not in (NOT_JSON,)
]
NO_TOKEN += [
    (name, answer, error.replace(FORM, LACKS), hint)
    for name, answer, error, hint in ANYWHERE
    if answer.status == 200
]
NO_TOKEN += [
    (f"nothing, {status}", Answer(status), f"HTTP {status}", "") for status in (204, 302, 304)
]


@pytest.mark.parametrize(
    ("answer", "error"), [row[1:3] for row in NO_TOKEN], ids=[row[0] for row in NO_TOKEN]
)
def test_an_answer_without_a_token_ends_it_all(
    sandbox: Bent, run: Runner, answer: Answer, error: str
) -> None:
    sandbox.answers = {TOKEN: answer}
    for options in ([], ["-v"]):
        fresh(sandbox)
        check_no_token(sandbox, run(sandbox, *options), error.split(": ")[0], "")


@pytest.mark.parametrize(
    ("answer", "error", "hint"), [row[1:] for row in TOKEN_401], ids=[row[0] for row in TOKEN_401]
)
def test_a_refused_token_request_says_what_may_be_the_reason(
    sandbox: Bent, run: Runner, answer: Answer, error: str, hint: str
) -> None:
    sandbox.answers = {TOKEN: answer}
    check_no_token(sandbox, run(sandbox), error, hint)


def test_there_are_as_many_rows_as_the_project_promises() -> None:
    assert len(PARTICULAR) + len(ANYWHERE) >= 70
    assert len({row[0] for row in BROKEN}) == len(BROKEN)
