"""The endpoints whose answers depend on something; all others are entries of recorded.json."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from tests.sandbox import answers
from tests.sandbox.answers import ENTRIES, RefusedError, error_answer, recorded
from tests.sandbox.identity import Session
from tests.sandbox.server import Request

SETTLING = 0.5  # seconds after init when /iserver opens to who never asks for the status
LENGTHS = {"min": 60, "h": 3600, "d": 86400, "w": 604800, "m": 2592000, "y": 31536000}
OPEN_PORTFOLIO = {"/portfolio/accounts", "/portfolio/subaccounts", "/portfolio/subaccounts2"}
FIRST = "DU0001234"  # of the two accounts in recorded.json
SECOND = "DU0005678"
QUOTES = {quote["conidEx"]: quote for quote in recorded("GET /iserver/marketdata/snapshot")}


@dataclass
class Call:
    """A request that passed the gate, and what its endpoint may look at."""

    request: Request
    session: Session
    sessions: list[Session]  # all of them
    answer: Any = None  # as recorded, of the account in the path


def find_route(request: Request) -> str:
    """The route with its {parts}, such as "GET /portfolio/{id}/summary". Raises RefusedError."""
    known = []
    for route in ENTRIES:
        method, _, path = route.partition(" ")
        path = path.replace("{page}", "0").replace("{next}", "[0-9]+")
        pattern = re.sub(r"\{[a-z]+\}", "[^/]+", path)
        if re.fullmatch(pattern, request.plain_path):
            if method == request.method:
                return route
            known.append(method)
    if known:
        reason = f"wrong HTTP method: this path is known for {' and '.join(known)} only"
        raise RefusedError(reason, error_answer(405, "Method Not Allowed"))
    reason = "signature right; the sandbox has no such endpoint: recorded.json has all"
    raise RefusedError(reason, answers.NOT_FOUND)


def answer_of(route: str, call: Call) -> Any:
    needs = ENTRIES[route].get("needs", "").split()
    if "brokerage" in needs:
        need_brokerage(call)
    if "/iserver/accounts" in needs and "/iserver/accounts" not in call.session.called:
        answer = error_answer(500, answers.ACCOUNTS_FIRST)
        raise RefusedError("/iserver/accounts first", answer)
    which = "answer"
    if "account" in needs and need_account(call) == SECOND:
        which = "second"
    path = route.split()[1]
    if path in call.session.called:
        route = ENTRIES[route].get("later", route)
    call.answer = recorded(route, which)
    function = FUNCTIONS.get(path)
    return function(call) if function else call.answer


def need_brokerage(call: Call) -> None:
    session = call.session
    if session.brokerage in ("held", "taken"):
        raise RefusedError("another session holds the brokerage session", answers.NOT_AUTHENTICATED)
    waited = call.request.arrived - session.brokerage_since
    if session.brokerage == "settling" and waited >= SETTLING:
        session.brokerage = "ready"
    if session.brokerage != "ready":
        raise RefusedError("ssodh/init missing, or not settled yet", answers.NO_BRIDGE)


def need_account(call: Call) -> str:
    if not OPEN_PORTFOLIO & call.session.called:
        answer = error_answer(400, answers.ACCOUNTS_FIRST)
        raise RefusedError("/portfolio/accounts or /portfolio/subaccounts first", answer)
    account = call.request.path.split("/")[2]
    if account not in (FIRST, SECOND):
        raise RefusedError("unknown account", error_answer(401, "unauthorized"))
    return account


def init(call: Call) -> Any:
    session = call.session
    if call.request.method == "GET":
        call.request.remarks.append("init by GET is documented as POST")
    compete = call.request.asked("compete") in ("true", "True")
    if session.brokerage in ("held", "taken") and not compete:
        session.brokerage = "held"
        return recorded("init refused")
    session.ended = False  # if it is used again after its logout
    if compete:  # takes over at once
        for other in call.sessions:
            if other.brokerage != "none":
                other.brokerage = "taken"
        session.brokerage = "ready"
    return {**call.answer, "established": session.brokerage == "ready"}


def status(call: Call) -> Any:
    """Ready when asked for the second time."""
    session = call.session
    if session.brokerage == "none":
        return recorded("status without a session")
    if session.brokerage in ("held", "taken"):
        return {**recorded("status refused"), "competing": session.brokerage == "taken"}
    if "/iserver/auth/status" in session.called:
        session.brokerage = "ready"
    ready = session.brokerage == "ready"
    return {**call.answer, "authenticated": ready, "established": ready}


def logout(call: Call) -> Any:
    call.session.brokerage = "none"
    call.session.ended = True
    return call.answer


def stocks(call: Call) -> Any:
    symbols = call.request.asked("symbols").split(",")
    return {symbol: call.answer.get(symbol, []) for symbol in symbols}


def search(call: Call) -> Any:
    symbol = call.request.asked("symbol")
    return [row for row in call.answer if row["symbol"] == symbol]


def snapshot(call: Call) -> Any:
    """It fills up: no price at first, then the last one, then all that was asked for."""
    rows = []
    asked_before = call.session.snapshots
    for text in call.request.asked("conids").split(","):
        conid = text.partition("@")[0]  # behind it stands an exchange
        if not conid.isdecimal():
            raise RefusedError("conid is not a number", answers.BAD_REQUEST)
        row = {"conid": int(conid), "conidEx": text}
        names = ["_updated", "server_id", "31"][: asked_before[text] + 2]
        if asked_before[text] > 1:  # three fields come unasked
            names = ["_updated", *call.request.asked("fields").split(","), "server_id", "6509"]
        asked_before[text] += 1
        known = QUOTES.get(conid, {})
        for name in names:
            if name in known:
                row[name] = known[name]
        rows.append(row)
    return rows


def history(call: Call) -> Any:
    """The recorded bars over and over, in proportion to the last price, around the clock."""
    conid = call.request.asked("conid").partition("@")[0]
    contract = ENTRIES.get(f"GET /iserver/contract/{conid}/info")
    if contract is None:
        raise RefusedError("unknown conid", answers.BAD_REQUEST)
    period = seconds(call.request.asked("period", "1m"))
    bar = seconds(call.request.asked("bar", "1d"))
    rows = call.answer["data"]
    newest = rows[-1]["t"] // 1000
    price = float(QUOTES[conid]["31"].lstrip("CH"))
    factor = price / rows[-1]["c"]
    for row in rows:
        for name in "ochl":
            row[name] = round(row[name] * factor, 2)
    older = itertools.cycle(reversed(rows))
    bars = []
    for begins in range(newest, newest - period, -bar)[:1000]:  # IBKR sends no more
        day = datetime.fromtimestamp(begins, timezone.utc)
        if day.weekday() < 5 and str(day.date()) != "2025-12-25":  # the market is open
            bars.append({**next(older), "t": begins * 1000})
    return {**call.answer, "symbol": contract["answer"]["symbol"], "data": bars[::-1]}


def seconds(text: str) -> int:
    """The length of a period or a bar, such as 30min or 1m, which is a month."""
    match = re.fullmatch("([1-9][0-9]{0,2})(min|h|d|w|m|y)", text)
    if not match:
        raise RefusedError("period or bar is not like 30min, 1d, 1m", answers.BAD_REQUEST)
    return int(match[1]) * LENGTHS[match[2]]


FUNCTIONS: dict[str, Callable[[Call], Any]] = {
    "/iserver/auth/ssodh/init": init,
    "/iserver/auth/status": status,
    "/logout": logout,
    "/trsrv/stocks": stocks,
    "/iserver/secdef/search": search,
    "/iserver/marketdata/snapshot": snapshot,
    "/iserver/marketdata/history": history,
}
