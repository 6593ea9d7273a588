"""The endpoints whose answers depend on something; all others are entries of recorded.json.

A function takes a Call and returns JSON, mostly made of the recorded answer.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from tests.sandbox.answers import (
    ACCOUNTS_FIRST,
    BAD_REQUEST,
    ENTRIES,
    NO_BRIDGE,
    NOT_AUTHENTICATED,
    NOT_FOUND,
    UNAUTHORIZED,
    RefusedError,
    error_answer,
    recorded,
)
from tests.sandbox.gate import Request, parameters, without_slash
from tests.sandbox.sessions import Session, Sessions

SETTLING = 0.5  # seconds after init when /iserver opens to who never asks for the status
IDS = [account["id"] for account in recorded("GET /portfolio/accounts")]
DAY = 24 * 3600  # in seconds
MOST_BARS = 1000
OPEN_PORTFOLIO = {"/portfolio/accounts", "/portfolio/subaccounts", "/portfolio/subaccounts2"}


@dataclass
class Call:
    """A request that passed the gate, and what its endpoint may look at."""

    request: Request
    session: Session
    sessions: Sessions
    now: float
    answer: Any = None  # as recorded, of the account in the path

    def asked(self, name: str, default: str = "") -> str:
        return str(parameters(self.request).get(name, default))

    def listed(self, name: str) -> list[str]:
        """A parameter that is a list with commas."""
        return self.asked(name).split(",")

    def part(self, index: int) -> str:
        return self.request.path.split("/")[index]


Endpoint = Callable[[Call], Any]
FUNCTIONS: dict[str, Endpoint] = {}


def endpoint(*routes: str) -> Callable[[Endpoint], Endpoint]:
    def register(function: Endpoint) -> Endpoint:
        FUNCTIONS.update(dict.fromkeys(routes, function))
        return function

    return register


def answer_of(route: str, call: Call) -> Any:
    """What a route answers, as JSON. Raises RefusedError."""
    entry = ENTRIES[route]
    needs = entry.get("needs", "").split()
    if "brokerage" in needs:
        need_brokerage(call)
    if "/iserver/accounts" in needs and "/iserver/accounts" not in call.session.called:
        raise RefusedError("/iserver/accounts first", error_answer(500, ACCOUNTS_FIRST))
    which = "answer"
    if "account" in needs and need_account(call) == IDS[1]:
        which = "second"
    call.answer = copy.deepcopy(entry.get(which))
    function = FUNCTIONS.get(route)
    if function:
        return function(call)
    return call.answer


def need_brokerage(call: Call) -> None:
    session = call.session
    if session.brokerage in ("held", "taken"):
        raise RefusedError("another session holds the brokerage session", NOT_AUTHENTICATED)
    waited = call.now - session.brokerage_since
    if session.brokerage == "settling" and waited >= SETTLING:
        session.brokerage = "ready"
    if session.brokerage != "ready":
        raise RefusedError("ssodh/init missing, or not settled yet", NO_BRIDGE)


def need_account(call: Call) -> str:
    """The account in the path."""
    if not OPEN_PORTFOLIO & call.session.called:
        first = "/portfolio/accounts or /portfolio/subaccounts first"
        raise RefusedError(first, error_answer(400, ACCOUNTS_FIRST))
    account = call.part(2)
    if account not in IDS:
        raise RefusedError("unknown account", UNAUTHORIZED)
    return account


def number(text: str) -> int:
    """A contract's id; behind an @ stands an exchange. Raises RefusedError."""
    conid = text.partition("@")[0]
    if not re.fullmatch("[0-9]{1,12}", conid):
        raise RefusedError("conid is not a number", BAD_REQUEST)
    return int(conid)


# Sessions


@endpoint("POST /iserver/auth/ssodh/init", "GET /iserver/auth/ssodh/init")
def init(call: Call) -> Any:
    session = call.session
    if call.request.method == "GET":
        call.request.remarks.append("init by GET is documented as POST")
    compete = call.asked("compete").lower() == "true"
    if session.brokerage in ("held", "taken") and not compete:
        session.brokerage = "held"
        return recorded("init refused")
    if session in call.sessions.ended:  # used again after its logout
        call.sessions.ended.remove(session)
        call.sessions.live.insert(0, session)
    settle(session, call.now)
    if compete:  # takes over at once
        for other in call.sessions.live:
            if other is not session and other.brokerage != "none":
                other.brokerage = "taken"
        session.brokerage = "ready"
    return {**call.answer, "established": session.brokerage == "ready"}


def settle(session: Session, now: float) -> None:
    if session.brokerage != "ready":
        session.brokerage = "settling"
        session.brokerage_since = now
        session.polls = 0


@endpoint("POST /iserver/auth/status", "GET /iserver/auth/status")
def status(call: Call) -> Any:
    session = call.session
    if session.brokerage == "none":
        return recorded("status without a session")
    if session.brokerage in ("held", "taken"):
        return {**recorded("status refused"), "competing": session.brokerage == "taken"}
    session.polls += 1
    if session.polls >= 2:
        session.brokerage = "ready"
    ready = session.brokerage == "ready"
    return {**call.answer, "authenticated": ready, "established": ready}


@endpoint("POST /tickle", "GET /tickle")
def tickle(call: Call) -> Any:
    ready = call.session.brokerage == "ready"
    call.answer["iserver"]["authStatus"].update(authenticated=ready, established=ready)
    return call.answer


# Portfolio


@endpoint("GET /portfolio/{id}/positions/{page}")
def positions(call: Call) -> Any:
    """Short at first; a later call knows the contracts, too."""
    if int(call.part(4)) or not call.answer:
        return []
    if "/portfolio/{id}/positions/{page}" in call.session.called:
        return recorded("GET /portfolio/{id}/position/{conid}")
    return call.answer


@endpoint("GET /portfolio/{id}/position/{conid}")
def position(call: Call) -> Any:
    conid = number(call.part(4))
    return [row for row in call.answer if row["conid"] == conid]


@endpoint("GET /iserver/account/orders")
def orders(call: Call) -> Any:
    """Nothing at first; a later call has them."""
    if "/iserver/account/orders" in call.session.called:
        return call.answer
    return {"orders": [], "snapshot": False}


# Contracts


@endpoint("GET /trsrv/stocks")
def stocks(call: Call) -> Any:
    return {symbol: call.answer.get(symbol, []) for symbol in call.listed("symbols")}


@endpoint("GET /trsrv/secdef")
def secdef(call: Call) -> Any:
    conids = call.listed("conids")
    return {"secdef": [row for row in call.answer["secdef"] if str(row["conid"]) in conids]}


@endpoint("GET /iserver/secdef/search", "POST /iserver/secdef/search")
def search(call: Call) -> Any:
    symbol = call.asked("symbol")
    return [row for row in call.answer if row["symbol"] == symbol]


@endpoint("GET /iserver/contract/{conid}/info")
def info(call: Call) -> Any:
    return contract(number(call.part(3)))


def contract(conid: int) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = recorded("GET /iserver/contract/{conid}/info")
    if str(conid) not in known:
        raise RefusedError("unknown conid", BAD_REQUEST)
    return known[str(conid)]


# Market data


def recorded_quotes() -> dict[int, dict[str, Any]]:
    return {quote["conid"]: quote for quote in recorded("GET /iserver/marketdata/snapshot")}


@endpoint("GET /iserver/marketdata/snapshot")
def snapshot(call: Call) -> Any:
    """It fills up: no price at first, then the last one, then all that was asked for."""
    quotes = recorded_quotes()
    answer = []
    for text in call.listed("conids"):
        conid = number(text)
        row = {"conid": conid, "conidEx": text, "_updated": int(time.time() * 1000)}
        names = [*call.listed("fields"), "server_id", "6509"]  # the last two come unasked
        before = call.session.snapshots[text]
        if before < 2:
            names = ["server_id", "31"][: before + 1]
        call.session.snapshots[text] += 1
        known = quotes.get(conid, {})
        for name in names:
            if name in known:
                row[name] = known[name]
        answer.append(row)
    return answer


LENGTHS = {"min": 60, "h": 3600, "d": DAY, "w": 7 * DAY, "m": 30 * DAY, "y": 365 * DAY}


@endpoint("GET /iserver/marketdata/history")
def history(call: Call) -> Any:
    """The recorded bars over and over, in proportion to the last price; the oldest first. The
    market is open around the clock, but for weekends and the Christmas among the recorded ones."""
    conid = number(call.asked("conid"))
    symbol, period = contract(conid)["symbol"], call.asked("period", "1m")
    length, bar = seconds(period), seconds(call.asked("bar", "1d"))
    rows = call.answer["data"]
    price = recorded_quotes().get(conid, {}).get("31", "100")
    factor = float(price.lstrip("CH")) / rows[-1]["c"]
    newest = rows[-1]["t"] // 1000
    bars: list[dict[str, Any]] = []
    for begins in range(newest, newest - length, -bar):
        day = datetime.fromtimestamp(begins, timezone.utc)
        if day.weekday() < 5 and (day.month, day.day) != (12, 25):
            row = rows[-1 - len(bars) % len(rows)]
            prices = {name: round(row[name] * factor, 2) for name in "ochl"}
            bars.append({**prices, "v": row["v"], "t": begins * 1000})
    newest_last = bars[:MOST_BARS][::-1]
    return {**call.answer, "symbol": symbol, "timePeriod": period, "data": newest_last}


def seconds(text: str) -> int:
    """The length of a period or a bar, such as 30min or 1m, which is a month."""
    match = re.fullmatch("([1-9][0-9]{0,2})(min|h|d|w|m|y)", text)
    if not match:
        raise RefusedError("period or bar is not like 30min, 2h, 1d, 1w, 1m, 1y", BAD_REQUEST)
    return int(match[1]) * LENGTHS[match[2]]


# Which route a request is for


def find_route(request: Request) -> str:
    """The route with its {parts}, such as "GET /portfolio/{id}/summary". Raises RefusedError."""
    methods = []
    for route in ENTRIES:
        method, _, path = route.partition(" ")
        pattern = re.sub(r"\{[a-z]+\}", "[^/]+", path.replace("{page}", "[0-9]+"))
        if re.fullmatch(pattern, without_slash(request.path)):
            if method == request.method:
                return route
            methods.append(method)
    if not methods:
        raise RefusedError("signature right; the sandbox has no such endpoint", NOT_FOUND)
    reason = f"wrong HTTP method: this path is known for {' and '.join(methods)} only"
    raise RefusedError(reason, error_answer(405, "Method Not Allowed"))
