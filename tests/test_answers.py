"""What the demo makes of answers: real ones come out right, broken ones are one clear error."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any, Callable
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote

import pytest
import requests

import demo
from tests import recorded
from tests.conftest import Result, Runner, start_demo
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
UNKNOWN = "error: GET /portfolio/accounts: no account {}|hint: IBKR lists {}"
POSITION_HEAD = "position mktPrice mktValue unrealizedPnl currency"
BARS = [bar(day, v=day, c=1.1287749) for day in range(21)]
BARS_ANSWER = recorded.history(*BARS)
FIVE = "|".join(f"2026-01-{day + 1} 10.00 11.50 9.75 1.1287749 {day}.00" for day in range(16, 21))

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
    ("an unknown account of very many", "--account U1", {ACCOUNTS: [account("D" * 40)] * 4 + [account("D" * 33)]}, "5 of 5 type currency", UNKNOWN.format("U1", ", ".join(["D" * 40] * 4) + ", " + "D" * 29 + "...")),
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
    ("no availability", "", {SNAPSHOT: PRICES}, "last 201.10|bid 201.08 x -|ask 201.12 x -|data -", ""),
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
    ("a message beside a session that is up", "", {INIT: session(message=NOT_YET), **OPEN}, QUOTE, SAYS.format(INIT, NOT_YET)),
    ("a message", "", {INIT: session(False, message=NOT_YET)}, LEFT_OUT, SAYS.format(INIT, NOT_YET)),
    ("no account in the brokerage session", "", {ISERVER: {}}, "Daily bars of AAPL", "error: GET /iserver/accounts: no account in the answer|hint: the username has none, or its brokerage session is not up"),
    ("another status of success", "", {INIT: json_answer(session(), 202), **OPEN}, "POST /iserver/auth/ssodh/init 202", ""),
    ("several accounts, All first", "", {ISERVER: recorded.iserver_accounts("All", "DU0001234"), SNAPSHOT: WHOLE}, QUOTE, ""),
    # daily bars
    ("bars, more than five", "", {HISTORY: BARS_ANSWER}, f"5 of 5 open high low close volume|{FIVE}", ""),
    ("one bar", "", {HISTORY: recorded.history(bar(0, v=5), points=1)}, "1 of 1 open high low close volume|2026-01-01 10.00 11.50 9.75 11.00 5.00", ""),
    ("bars of small prices", "", {HISTORY: recorded.history(bar(0, o=4e-05, h=0.0066895, l=0, v=1e9))}, "2026-01-01 0.00004 0.0066895 0.00 11.00 1,000,000,000.00", ""),
    ("a bar without parts", "", {HISTORY: recorded.history({"t": "x"}, bar(1, v=None))}, "- - - - - -|2026-01-02 10.00 11.50 9.75 11.00 -", ""),
    ("no bars", "", {HISTORY: recorded.history()}, "Daily bars of AAPL", "error: GET /iserver/marketdata/history: no bars in the answer|hint: try later; with -v the demo shows every answer whole"),
    ("bars that are not there", "", {HISTORY: error_answer(500, "Chart data unavailable, no data")}, "Daily bars of AAPL", "error: GET /iserver/marketdata/history: HTTP 500: Chart data unavailable, no data|hint: try later; with -v the demo shows every answer whole"),
    ("bars too slow", "", {HISTORY: error_answer(503, "Service Unavailable")}, "Daily bars of AAPL", "error: GET /iserver/marketdata/history: HTTP 503: Service Unavailable|hint: IBKR is slow or in maintenance (midnight, Saturday, New York): try later"),
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


# Broken answers: one clear error, and the steps that do not depend on it still print

BLOCKS = {  # that depend on nobody else, each with a figure from its genuine answer
    "token": ("Live session token", "valid until"),
    "init": ("Brokerage session", "POST /iserver/auth/ssodh/init 200"),
    "accounts": ("Accounts", "DU0001234 DEMO USD"),
    "summary": ("Summary of DU0001234", "netliquidation 1,339,037.20 USD"),
    "ledger": ("Ledger of DU0001234", "EUR -3,200.50 -3,200.50 10,200.00 6,999.50"),
    "positions": ("Positions of DU0001234", "SPY DEC2026 600 C 2.00 12.35 2,470.00 270.00 USD"),
    "stock": ("Stock AAPL", "APPLE INC NASDAQ 265598"),
    "quote": ("Quote of AAPL", "bid 231.48 x 400"),
    "history": ("Daily bars of AAPL", "5 of 5 open high low close volume"),
    "logout": ("Logout", "POST /logout 200"),
}
LOST = {  # the blocks that a route's failure takes away
    INIT: {"init", "quote", "history"},
    ACCOUNTS: {"accounts", "summary", "ledger", "positions"},
    SUMMARY: {"summary"},
    LEDGER: {"ledger"},
    POSITIONS: {"positions"},
    STOCKS: {"stock", "quote", "history"},
    STATUS: {"quote", "history"},
    ISERVER: {"quote"},
    SNAPSHOT: {"quote"},
    HISTORY: {"history"},
    LOGOUT: {"logout"},
}
NOT_BEGUN = {ACCOUNTS: {"summary", "ledger", "positions"}, STOCKS: {"quote", "history"}}


def check_one_error(result: Result, route: str, error: str, hint: str) -> None:
    assert result.status == 1
    first, second = result.err.splitlines()
    path = re.escape(route).replace(r"\{id\}", "DU0001234").replace(r"\{page\}", "0")
    assert re.match(f"error: {path}: ", first), first
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second


def check_independent_blocks(result: Result, route: str) -> None:
    lines = lines_of(result.out)
    for block, (heading, figure) in BLOCKS.items():
        begun = any(line.startswith(heading.split(" DU")[0]) for line in lines)
        assert begun == (block not in NOT_BEGUN.get(route, set())), block
        if block not in LOST[route]:
            assert any(line.startswith(figure) for line in lines), block


WANTS_LIST = {ACCOUNTS, POSITIONS, SNAPSHOT}
INCOMPLETE = "IncompleteRead"
FORM = "an answer of another form than expected"
NOT_JSON = "the answer is not JSON"
REDIRECT = "a redirect, which is never followed"
LATER = "later"
GZIP = {"Content-Encoding": "gzip"}
HTML = {"Content-Type": "text/html"}
PLAIN = {"Content-Type": "text/plain"}
DEEP = b"[" * 100_000 + b"]" * 100_000
MEGABYTE = b'"' + b"x" * 1_000_000 + b'"'
PAGE = b"<!doctype html><html><head><title>Sorry</title></head><body><p>Down &amp; out</p></body></html>"
MOVED = {"Location": "/v1/api/tickle"}
COLOURS = "\x1b[31mred\u202edlrow\u2066\x85"

ANYWHERE: list[tuple[str, Answer, str, str]] = [
    ("null", json_answer(None), f"{FORM}: null", LATER),
    ("a number", json_answer(0), f"{FORM}: 0", LATER),
    ("a text", json_answer("DU0001234"), f'{FORM}: "DU0001234"', LATER),
    ("not a number", Answer(200, b"NaN"), f"{FORM}: NaN", LATER),
    ("a megabyte of text", Answer(200, MEGABYTE), f'{FORM}: "xxxxxxxx', LATER),
    ("a page", Answer(200, PAGE, HTML), f"{NOT_JSON}: Sorry Down & out", LATER),
    ("nothing", Answer(200), NOT_JSON, LATER),
    ("nothing, 304", Answer(304), "HTTP 304", LATER),
    ("a moved page that says not where", Answer(302), "HTTP 302", LATER),
    ("a redirect", Answer(302, headers=MOVED), f"HTTP 302, {REDIRECT}", "log-in page"),
    ("a permanent redirect", Answer(308, headers=MOVED), f"HTTP 308, {REDIRECT}", "log-in page"),
    ("half of a text", Answer(200, b'{"a": [1, 2'), NOT_JSON, LATER),
    ("brackets without end", Answer(200, DEEP), NOT_JSON, LATER),
    ("deep, and right", Answer(500, b"[" * 900 + b"]" * 900), "HTTP 500: ", LATER),
    ("no UTF-8", Answer(200, b'{"a": "\xff"}', PLAIN), NOT_JSON, LATER),
    ("zero bytes", Answer(200, b"\0" * 50), NOT_JSON, LATER),
    ("plain though gzip is said", Answer(200, b"{}", GZIP), "while decompressing", LATER),
    ("cut off in the body", Answer(200, b"[" + b" " * 300 + b"]", cut=400), INCOMPLETE, LATER),
    ("a dropped connection", Answer(cut=0), "Remote end closed connection", "check the network"),
    ("a status of 418", Answer(418, b"short and stout", PLAIN), "HTTP 418: short and stout", LATER),
    ("a status of 400", error_answer(400, "Bad Request: no bridge"), "HTTP 400: Bad Request: no bridge", "not ready"),
    ("a status of 403", Answer(403, b"Error 403 - Access Denied", PLAIN), "HTTP 403: Error 403 - Access Denied", "VPN"),
    ("a status of 404", Answer(404, PAGE, HTML), "HTTP 404: Sorry Down", LATER),
    ("a status of 407", Answer(407), "HTTP 407", "HTTPS_PROXY"),
    ("a status of 410", Answer(410), "HTTP 410", "1.api.ibkr.com"),
    ("a status of 500 with JSON", error_answer(500, "Please query /accounts first"), "HTTP 500: Please query /accounts first", "not ready"),
    ("a status of 503", Answer(503), "HTTP 503", "maintenance"),
    ("an invalid signature", error_answer(401, "Invalid signature"), "HTTP 401: Invalid signature", "tests.sandbox --serve"),
    ("an error that is an object", json_answer({"error": {"code": 5}}, 500), 'HTTP 500: {"code": 5}', LATER),
    ("an error that is null", json_answer({"error": None}, 500), "HTTP 500: null", LATER),
    ("an error in a list", json_answer([{"error": "no"}], 500), 'HTTP 500: [{"error": "no"}]', LATER),
    ("an error of escape sequences", error_answer(500, COLOURS), r"HTTP 500: \x1b[31mred\u202edlrow\u2066", LATER),
    ("an error of half a character", error_answer(500, "a\ud800b"), r"HTTP 500: a\ud800b", LATER),
    ("an error without end", error_answer(500, "e" * 100_000), "HTTP 500: " + "e" * 200, LATER),
    ("a page without end", Answer(500, b"<b>" * 666 + b"abc", PLAIN), "HTTP 500: abc", LATER),
    ("bytes that are no text", Answer(500, b"a\xffb", PLAIN), r"HTTP 500: a\ufffdb", LATER),
    ("an empty list instead of an object", json_answer([]), f"{FORM}: []", LATER),
    ("an object instead of a list", json_answer({"0": {}}), f'{FORM}: {{"0": {{}}}}', LATER),
    ("an error, 200", json_answer({"error": "Request refused"}), "HTTP 200: Request refused", LATER),
]  # fmt: skip
GENERAL = [
    (f"{route}: {name}", route, answer, error, hint)
    for shift, route in enumerate(READ)
    for place, (name, answer, error, hint) in enumerate(ANYWHERE)
    if (place + shift) % 3 == 0  # each at three or four of the ten, for the time
    and (route in WANTS_LIST or "of a list" not in name)
    and (route not in WANTS_LIST or "of an object" not in name)
]

REFUSAL = error_answer(401, "not authenticated")
SAID = "HTTP 401: not authenticated"
NO_ACCOUNT = "no account in the answer"
NO_STOCK = "no stock has the symbol AAPL"
NOT_UP = "the brokerage session is not ready"


def account_ids(*values: Any) -> Answer:
    return json_answer([{"accountId": value, "currency": "USD"} for value in values])


def contracts(value: Any) -> Answer:
    return json_answer({"AAPL": [{"name": "APPLE INC", "contracts": value}]})


def no(what: str, *values: Any) -> list[tuple[str, str, Answer, str, str]]:
    """Rows of answers that lack what is asked for."""
    route, wrap, error, hint = LACKING[what]
    return [(f"{what} {value!r}", route, as_answer(wrap(value)), error, hint) for value in values]


LACKING: dict[str, tuple[str, Callable[[Any], Any], str, str]] = {
    "accounts": (ACCOUNTS, json_answer, NO_ACCOUNT, "ask IBKR"),
    "account id": (ACCOUNTS, account_ids, NO_ACCOUNT, "ask IBKR"),
    "stocks": (STOCKS, json_answer, NO_STOCK, "--symbol"),
    "contracts": (STOCKS, contracts, NO_STOCK, "--symbol"),
    "status": (STATUS, json_answer, NOT_UP, "in a minute"),
    "quote": (SNAPSHOT, lambda value: [value], "no price in 8 s", "open"),
}
PARTICULAR: list[tuple[str, str, Answer, str, str]] = [
    *((f"not authenticated, {route}", route, REFUSAL, SAID, "close TWS") for route in (INIT, STATUS, ISERVER, SNAPSHOT, HISTORY)),
    *((f"not authenticated, {route}", route, REFUSAL, SAID, "run the demo again") for route in (ACCOUNTS, STOCKS, LOGOUT)),
    ("not authenticated, in capitals", HISTORY, error_answer(401, "Not Authenticated"), "HTTP 401: Not Authenticated", "close TWS"),
    ("the account is unknown", SUMMARY, REFUSAL, SAID, "nothing is wrong with the keys"),
    ("an account that has answered", LEDGER, Answer(401), "HTTP 401: nothing more said", "hint: this account has answered before: try later"),
    ("no dh token", INIT, error_answer(500, "failed to generate sso dh token"), "HTTP 500: failed to generate sso dh token", "fault of IBKR's"),
    ("the logout is unavailable", LOGOUT, Answer(503), "HTTP 503", "maintenance"),
    ("the logout leads elsewhere", LOGOUT, Answer(302, headers=MOVED), "HTTP 302, a redirect", "log-in page"),
    ("the logout is cut off", LOGOUT, Answer(200, b"x" * 500, cut=400), INCOMPLETE, LATER),
    ("the logout is not answered", LOGOUT, Answer(cut=0), "Remote end closed connection", "check the network"),
    *no("accounts", [], [None], [1], ["DU0001234"], [[{"accountId": "DU0001234"}]], [{"currency": "USD"}]),
    *no("account id", None, 1234, True, ["DU0001234"], "", ".", "..", "ALL"),
    *no("stocks", {}, {"IBM": [{"contracts": [{"conid": 1}]}]}, {"AAPL": None}, {"AAPL": 5}, {"AAPL": {"contracts": []}}, {"AAPL": [None, 1, "x"]}, {"AAPL": [{"name": "APPLE INC"}]}),
    *no("contracts", None, "265598", {"conid": 265598}, [265598], [{"exchange": "NASDAQ"}]),
    *no("contracts", *([{"conid": value, "isUS": True}] for value in (None, "265598", True, 265598.5, [265598], 0, -1))),
    *no("status", {}, {"authenticated": "true", "connected": "true"}, {"authenticated": 1, "connected": 1}, {"authenticated": [1], "connected": {}, "fail": []}, {"authenticated": True, "connected": False}),
    *no("quote", None, 5, ["31", "231.50"], {"conid": 265598}, {"conid": 8314, "31": "262.40"}, *({"conid": 265598, "31": nothing} for nothing in ("", "-1", -1, None, True, [], {}))),
]  # fmt: skip
BROKEN = [*GENERAL, *PARTICULAR]


@pytest.mark.parametrize(
    ("route", "answer", "error", "hint"), [row[1:] for row in BROKEN], ids=[r[0] for r in BROKEN]
)
def test_a_broken_answer_is_one_error_and_the_independent_steps_still_print(
    sandbox: Bent, run: Runner, route: str, answer: Answer, error: str, hint: str
) -> None:
    sandbox.give({route: answer})
    result = run(sandbox, *["-v"] * (route in (LEDGER, LOGOUT)))
    check_manners(result)
    check_one_error(result, route, error, hint)
    check_independent_blocks(result, route)
    assert sandbox.logged_out or route == LOGOUT


def test_429_stops_all_but_the_logout(sandbox: Bent, run: Runner) -> None:
    sandbox.give({SUMMARY: error_answer(429, "Too Many Requests")})
    result = run(sandbox)
    check_one_error(result, SUMMARY, "HTTP 429: Too Many Requests", "wait 15 minutes")
    assert "Ledger" not in result.out
    assert [record.path for record in sandbox.requests][-2:] == [
        "/portfolio/DU0001234/summary",
        "/logout",
    ]


# Odd, but not broken: the step prints what there is, and all is well

NO_AMOUNT = "0 of 0 amount currency"
NO_LEDGER = "0 of 0 cashbalance settledcash stockmarketvalue netliquidationvalue"


def figure(value: str) -> Answer:
    return Answer(200, b'{"netliquidation": {"amount": %s, "currency": "USD"}}' % value.encode())


ODD: list[tuple[str, Answers, str]] = [
    ("an account of odd types", {ACCOUNTS: [{"accountId": "DU0001234", "type": 5, "currency": []}]}, "DU0001234 5.00 -"),
    ("an account after useless ones", {ACCOUNTS: [{"accountId": ".."}, None, {"accountId": 5}, account()]}, "3 of 3 type currency|.. - -|DU0001234 DEMO USD"),
    *((f"a summary of {item!r}", {SUMMARY: {"netliquidation": item}}, NO_AMOUNT) for item in (None, [5], "5", 5, {"amount": 5, "isNull": True})),
    *((f"an amount {text}", {SUMMARY: figure(text)}, "netliquidation - USD") for text in ("null", "NaN", "-Infinity", "1e400", "{}", "[1]", "true", "false")),
    ("an amount of 400 digits", {SUMMARY: figure("9" * 400)}, "netliquidation 1.0000000e+400 USD"),
    ("an amount of text", {SUMMARY: figure('"a lot"')}, "netliquidation a lot USD"),
    ("an amount of a long text", {SUMMARY: figure('"%s"' % ("9" * 999))}, f"netliquidation {'9' * 37}... USD"),
    ("a very small amount", {SUMMARY: figure("1e-300")}, "netliquidation 1e-300 USD"),
    *((f"a ledger of {value!r}", {LEDGER: value}, NO_LEDGER) for value in ({}, {"USD": None, "EUR": 5, "JPY": "x", "BASE": []})),
    ("a ledger of odd types", {LEDGER: {"USD": {"currency": None, "cashbalance": "x", "settledcash": [1]}}}, "- x - - -"),
    ("positions of null", {POSITIONS: [None, 5, "x", []]}, f"0 of 0 {POSITION_HEAD}"),
    ("a position of nothing", {POSITIONS: [{}]}, f"1 of 1 {POSITION_HEAD}|- - - - - -"),
    ("a position of odd types", {POSITIONS: [position("x", contractDesc=5, position="x", mktPrice=[1], mktValue={}, unrealizedPnl="")]}, "5.00 x - - - USD"),
    ("a position of a long name", {POSITIONS: [position("n" * 5000)]}, f"{'n' * 37}... 3.00"),
    ("a stock of odd names", {STOCKS: {"AAPL": [{"name": None, "contracts": [{"conid": 265598, "exchange": 5, "isUS": "yes"}]}]}}, "1 of 1 exchange conid|- 5.00 265598"),
    ("a stock among useless ones", {STOCKS: {"AAPL": [None, {"contracts": [None, {"conid": "1"}]}, company("APPLE INC", {"conid": 265598})]}}, "1 of 1 exchange conid|APPLE INC - 265598"),
    ("an init of odd types", {INIT: {"authenticated": 1, "connected": "true", "passed": None}}, "bid 231.48 x 400"),
    ("iserver accounts of odd types", {ISERVER: {"accounts": 5, "selectedAccount": []}}, "bid 231.48 x 400"),
    ("a price after useless ones", {SNAPSHOT: [None, [], 5, {"conid": 265598, "31": "5.00"}]}, "last 5.00"),
    ("a price of a letter", {SNAPSHOT: recorded.quote(f31="C")}, "last previous close -"),
    ("a price without end", {SNAPSHOT: recorded.quote(f31="1" * 9000, f84="1")}, "last -|bid 1 x -"),
    ("bars of odd types", {HISTORY: {"data": [None, 5, {"t": 10**30, "o": []}, {"t": True, "c": "x"}]}}, "2 of 2 open high low close volume|- - - - - -|- - - - x -"),
    ("a logout of a page", {LOGOUT: Answer(200, PAGE, HTML)}, "POST /logout 200"),
    ("a logout of brackets", {LOGOUT: Answer(200, DEEP)}, "POST /logout 200"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "printed"), [row[1:] for row in ODD], ids=[row[0] for row in ODD]
)
def test_an_odd_answer_prints_what_there_is(
    sandbox: Bent, run: Runner, answers: Answers, printed: str
) -> None:
    sandbox.give(answers)
    result = run(sandbox)
    check_manners(result)
    assert (result.status, result.err) == (0, "")
    lines = lines_of(result.out)
    for wanted in printed.split("|"):
        assert any(line.startswith(wanted) for line in lines), wanted


# What is sent, and when


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
    sent = requests_sent(sandbox, run, *options)
    assert json.loads(sent[INIT].body) == {"publish": True, "compete": bool(options)}
    assert {request.headers["User-Agent"] for request in sent.values()} == {"ibkr-oauth-demo"}


def test_quote_and_bars_are_those_of_the_first_listing_in_the_us(
    sandbox: Bent, run: Runner
) -> None:
    listings = [listing(7, "X", False), listing(1, "Z", True), listing(2, "A", True)]
    sandbox.give({STOCKS: {"AAPL": [company("A", *listings)]}})
    sent = requests_sent(sandbox, run)
    assert sent[SNAPSHOT].query == "conids=1&fields=31,84,85,86,88,6509"
    assert sent[HISTORY].query == "conid=1&period=1m&bar=1d"


@pytest.mark.parametrize(
    ("answers", "route", "times"),
    [
        ({SNAPSHOT: FIRST}, SNAPSHOT, 16),
        ({SNAPSHOT: (FIRST, PRICES, WHOLE)}, SNAPSHOT, 3),
        ({STATUS: SETTLING}, STATUS, 10),
        ({INIT: session(), **OPEN}, STATUS, 0),
        ({INIT: REFUSED}, STATUS, 0),
        ({INIT: REFUSED}, ISERVER, 0),
    ],
)
def test_a_question_is_asked_until_it_is_answered_and_no_more(
    sandbox: Bent, run: Runner, answers: Answers, route: str, times: int
) -> None:
    sandbox.give(answers)
    run(sandbox)
    assert asked(sandbox, route) == times


def test_a_session_that_settles_slowly_is_not_waited_for_longer_than_said(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 100_000, 6))
    monkeypatch.setattr(demo, "monotonic", lambda: float(next(times)))
    with Sandbox("init-never-ready") as sandbox:
        result = run(sandbox)
        asked = [request for request in sandbox.requests if request.path == "/iserver/auth/status"]
    assert "the brokerage session is not ready" in result.err
    assert 1 <= len(asked) < 3


def test_never_more_than_ten_requests_start_in_any_second(sandbox: Bent) -> None:
    starts: list[float] = []

    def bend(_: Request, answer: Answer) -> Answer:
        starts.append(time.monotonic())
        return answer

    sandbox.give({INIT: session(), **OPEN})  # no polls, so eleven requests in a row
    sandbox.bend = bend
    out, err = start_demo(sandbox.config_path).communicate(timeout=60)
    assert err == ""
    assert "bid   201.08 x 900" in out
    assert len(starts) == 11
    seconds = [later - earlier for earlier, later in zip(starts, starts[10:])]
    assert min(seconds) > 1
    assert starts[-1] - starts[0] < 1.1 + 2  # though no slower than that, but for a busy machine


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


ODD_IDS = [
    "../../iserver/x", "a/b?c#d", "%2e%2e", "..%2f..", "\u202edlrow", "caf\u00e9", "\ud800", "a b", "a\r\nX: y",
    "a\0b", "\\..\\..", ";x=1", "@host", "//host/x", "+", "&conids=1", "\x1b[31m", "..\u2025", "n" * 40, ". .",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_account_id_stays_one_segment_of_the_path(sandbox: Bent, run: Runner, odd: str) -> None:
    sandbox.give({ACCOUNTS: account_ids(odd)})
    result = run(sandbox, "-v")
    check_manners(result)
    assert result.status == 1
    assert result.err.count("error: ") == result.err.count("HTTP 401") == 3
    sent = [r.path for r in sandbox.requests if r.path.startswith("/portfolio/")][1:]
    segment = percent_encoded(odd.encode("utf-8", "replace"), safe="")
    assert sent == [f"/portfolio/{segment}/{what}" for what in ("summary", "ledger", "positions/0")]
    assert BLOCKS["quote"][1] in lines_of(result.out)


# Characters that a terminal obeys

NASTY = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x08\r\n\t\0\x7f\x85\x9b31m\u200b\u202edlrow\u2066\u2069\u2028\ufeff\U0001f600"
NASTY_ITEM: dict[str, Any] = dict.fromkeys(
    ["type", "currency", "amount", "cashbalance", "contractDesc", "mktPrice", "31", "84", "85", "86", "88", "6509", "fail", "o", "v"],
    NASTY,
)  # fmt: skip
NASTY_ANSWERS: list[tuple[str, Any]] = [
    (INIT, {**NASTY_ITEM, "error": NASTY}),
    (ACCOUNTS, [{**NASTY_ITEM, "accountId": NASTY}]),
    (SUMMARY, {"netliquidation": NASTY_ITEM}),
    (LEDGER, {"USD": NASTY_ITEM, NASTY: NASTY_ITEM}),
    (POSITIONS, [NASTY_ITEM] * 3),
    (STOCKS, {"AAPL": [{"name": NASTY, "contracts": [{"conid": 265598, "exchange": NASTY}]}]}),
    (STATUS, NASTY_ITEM),
    (ISERVER, {NASTY: NASTY, "error": NASTY}),
    (SNAPSHOT, [{**NASTY_ITEM, "conid": 265598}]),
    (HISTORY, {"data": [NASTY_ITEM]}),
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
        sandbox.give({route: Answer(status, text.encode("utf-8", "surrogatepass"))})
        check_manners(run(sandbox, "-v"))


# The token request; the parts of its answer are in test_oauth.py


NO_TOKEN: list[tuple[Any, str]] = [
    ({"live_session_token_signature": "00" * 20}, "the server's proof of the live session token is wrong"),
    ({"live_session_token_expiration": None}, "the answer lacks a part of the exchange"),
    ({"diffie_hellman_response": "f" * 1_000_000}, "the Diffie-Hellman response is out of range"),
    ({"diffie_hellman_response": "\uff11" * 512}, "the Diffie-Hellman response is not a hex number"),
    (json_answer(None), "the answer lacks a part of the exchange"),
    (json_answer([1]), "the answer lacks a part of the exchange"),
    (Answer(200, PAGE, HTML), "the answer is not JSON: Sorry Down"),
    (Answer(204), "HTTP 204: nothing more said"),
    (Answer(302, headers=MOVED), f"HTTP 302, {REDIRECT}"),
    (Answer(404, PAGE, HTML), "HTTP 404: Sorry Down|check base_url in the config"),
    (Answer(400), f"HTTP 400: nothing more said|try {LATER}"),
    (Answer(401), "HTTP 401: nothing more said|Generate"),
    (error_answer(401, "invalid consumer"), "HTTP 401: invalid consumer|consumer_key"),
    (error_answer(429, "Too Many Requests"), "HTTP 429: Too Many Requests|wait 15 minutes"),
    (Answer(503), "HTTP 503: nothing more said|maintenance"),
    (Answer(cut=0), "Remote end closed connection|check the network, and base_url"),
    (Answer(200, DEEP), "the answer is not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "said"), NO_TOKEN)
def test_without_a_token_there_is_one_error_and_nothing_further_is_sent(
    sandbox: Bent, run: Runner, answer: Any, said: str
) -> None:
    def bend(_: Request, genuine: Answer) -> Answer:
        if isinstance(answer, Answer):
            return answer
        return json_answer({**json.loads(genuine.body), **answer})

    sandbox.bend = bend
    result = run(sandbox, "-v")
    check_manners(result)
    assert result.status == 1
    first, *hints = result.err.splitlines()
    message, _, hint = said.partition("|")
    assert first.startswith(f"error: {TOKEN}: ")
    assert message in first
    assert hints
    assert all(line.startswith("hint: ") for line in hints)
    assert hint in hints[0]
    assert [record.path for record in sandbox.requests] == ["/oauth/live_session_token"]


def test_the_time_of_an_answer_is_in_milliseconds(sandbox: Bent, run: Runner) -> None:
    sandbox.give({ISERVER: as_answer(recorded.iserver_accounts())._replace(delay=0.05)})
    lines = lines_of(run(sandbox).out)
    said = next(line for line in lines if line.startswith(f"{ISERVER} 200 "))
    assert 50 <= int(said.split()[-2]) < 5000


@pytest.mark.parametrize(
    "date",
    ["", "soon", "Sat, 28 Nov , 10:00:00 GMT", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"],
)
def test_a_date_that_is_none_says_nothing_of_the_clock(
    sandbox: Bent, run: Runner, date: str
) -> None:
    def bend(_: Request, answer: Answer) -> Answer:
        return answer._replace(headers={**answer.headers, "Date": date})

    sandbox.bend = bend
    result = run(sandbox)
    assert (result.status, result.err) == (0, "")


# What is secret or private stays hidden, whatever the server says back


SPELLINGS: dict[str, Callable[[str], str]] = {
    "text": str,
    "error": lambda known: json.dumps({"error": known}),
    "lines": lambda known: known.replace(" ", "\n"),
    "URL": lambda known: percent_encoded(known, safe=""),
    "JSON": lambda known: '{"error": "' + "".join(f"\\u{ord(c):04x}" for c in known) + '"}',
    "broken JSON": lambda known: '{"a": "' + known.replace("=", r"\u003d").replace("/", r"\/"),
    "HTML": lambda known: known.translate({61: "&#61;", 43: "&#x2B;", 47: "&#47;"}),
    "capitals": str.upper,
    "without padding": lambda known: known.replace("=", ""),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("route", [TOKEN, ACCOUNTS, SNAPSHOT, LOGOUT])
def test_what_the_server_says_back_is_masked(
    sandbox: Bent, run: Runner, route: str, spell: Callable[[str], str]
) -> None:
    signatures: list[str] = []

    def bend(request: Request, answer: Answer) -> Answer:
        header = request.headers["Authorization"]
        signature = str(re.findall('oauth_signature="([^"]+)"', header)[0])
        signatures.extend((signature, unquote(signature)))
        if f"{request.method} {request.path}" != route:
            return answer
        texts = [secret for secret in sandbox.secrets[:3] if isinstance(secret, str)]
        texts.append(signatures[-1])
        raw = [secret for secret in sandbox.secrets if isinstance(secret, bytes)]
        for secret in (each for each in raw if len(each) in (20, 32) and route != TOKEN):
            texts += [secret.hex(), base64.b64encode(secret).decode()]
        return Answer(401, spell(" ".join(texts)).encode(), PLAIN)

    sandbox.bend = bend
    result = run(sandbox, "-v")
    text = result.out + result.err
    check_manners(result)
    assert "***" in text
    plain = re.sub(r"\\+u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
    readings = [text, plain, html.unescape(text), unquote(text), re.sub("[\\\\\\s<>]", "", text)]
    for secret in (*sandbox.secrets[:2], *signatures):
        assert isinstance(secret, str)
        for reading in readings:
            assert secret.rstrip("=").lower() not in reading.lower()


@pytest.mark.parametrize("route", [TOKEN, ACCOUNTS, LOGOUT])
def test_a_signature_in_a_redirect_is_masked(sandbox: Bent, run: Runner, route: str) -> None:
    sent: list[str] = []

    def bend(request: Request, answer: Answer) -> Answer:
        if f"{request.method} {request.path}" != route:
            return answer
        sent.extend(re.findall('oauth_signature="([^"]+)"', request.headers["Authorization"]))
        return Answer(302, headers={"Location": f"/login?{sent[0]}", "Set-Cookie": "a=abcdefgh"})

    sandbox.bend = bend
    result = run(sandbox, "-v")
    assert "a redirect, which is never followed: /login?***\n" in result.err
    assert not [piece for piece in pieces(unquote(sent[0])) if piece in result.out + result.err]


def pieces(secret: str) -> set[str]:
    """What tells a part of a secret from chance."""
    return {secret[start : start + 8] for start in range(len(secret) - 7)}


@pytest.mark.parametrize("offset", range(176, 200, 6))
def test_a_secret_at_the_cut_of_an_error_or_a_cell_is_masked(
    sandbox: Bent, run: Runner, offset: int
) -> None:
    secret = sandbox.access_token
    for answers in (
        {SUMMARY: error_answer(500, "e" * offset + secret)},
        {SUMMARY: Answer(500, b"e" * offset + secret.encode(), PLAIN)},
        {SUMMARY: Answer(500, b"<p>" * 662 + b"e" * 4 + secret.encode(), HTML)},
        {POSITIONS: [position("e" * (offset - 163) + secret)]},
    ):
        sandbox.give(answers)
        result = run(sandbox, "-v")
        assert not [piece for piece in pieces(secret) if piece in result.out + result.err]


def test_a_cookie_is_masked(sandbox: Bent, run: Runner) -> None:
    cookies: list[str] = []

    def bend(request: Request, answer: Answer) -> Answer:
        cookies.extend(request.headers.get_all("Cookie", []))
        return answer if "ledger" not in request.path else error_answer(500, cookies[-1])

    sandbox.bend = bend
    run(sandbox, "-v")  # which looks for all secrets
    assert cookies


PRIVATE_ANSWERS: Answers = {
    ACCOUNTS: [account(aliases=[recorded.PRIVATE], userName=recorded.PRIVATE)],
    INIT: session(),
    STATUS: session(),
    LEDGER: {"USD": recorded.ledger(sessionid=recorded.PRIVATE)},
    ISERVER: recorded.iserver_accounts(),
    STOCKS: recorded.TICKLE,
}


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("route", PRIVATE_ANSWERS)
def test_names_and_session_ids_never_show(
    sandbox: Bent, run: Runner, route: str, status: int
) -> None:
    text = json.dumps(PRIVATE_ANSWERS[route])
    assert recorded.PRIVATE in text
    for body in (
        text,
        json.dumps([json.loads(text)] * 2, indent=1),
        text.replace("Sim", "\\u0053im"),
    ):
        sandbox.give({route: Answer(status, body.encode())})
        check_manners(run(sandbox, "-v"))


HARMLESS = {
    ACCOUNTS: '"accountId": "DU0001234"|"type": "DEMO"|"tradingType": "STKNOPT"|"accountStatus": 1700000000000',
    POSITIONS: '"contractDesc": "SPY"|"name": "APPLE INC"|"fullName": "AAPL"|"ticker": "AAPL"|"sector": "Technology"',
    INIT: '"serverName": "JifN1"|"message": ""|"established": true',
    ISERVER: '"selectedAccount": "DU0001234"|"isPaper": true',
    STOCKS: '"name": "APPLE INC"|"exchange": "NASDAQ"',
    HISTORY: '"text": "APPLE INC"|"serverId": "1"|"symbol": "AAPL"',
    SUMMARY: '"value": "DU0001234"|"severity": 0',
}
SHOWN: Answers = {
    ACCOUNTS: [account()],
    POSITIONS: [recorded.enriched_position("SPY")],
    INIT: session(),
    ISERVER: recorded.iserver_accounts(),
    STOCKS: {"AAPL": [company("APPLE INC", listing())]},
    HISTORY: recorded.history(),
    SUMMARY: {"accountcode": amount(0.0, None, value="DU0001234")},
}


@pytest.mark.parametrize("route", HARMLESS)
def test_what_a_reader_needs_is_shown_indented(sandbox: Bent, run: Runner, route: str) -> None:
    sandbox.give({route: SHOWN[route]})
    out = run(sandbox, "-v").out
    for wanted in HARMLESS[route].split("|"):
        assert re.search(rf"(?m)^    < +{re.escape(wanted)},?$", out), wanted
