"""The endpoints: one method each, its paths above it in ROUTES."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from tests.sandbox.answers import (
    ACCOUNTS_FIRST,
    COMPETE_FLAG,
    COMPETING,
    NO_BRIDGE,
    NOT_AUTHENTICATED,
    UNKNOWN_ACCOUNT,
    Answer,
    RefusedError,
    error_answer,
    json_answer,
    session_status,
)
from tests.sandbox.data import (
    ACCOUNTS,
    BARS,
    HISTORY,
    IDS,
    LEDGERS,
    LISTINGS,
    NOW,
    POSITIONS,
    QUOTES,
    SNAPSHOT_SERVER,
    STOCKS,
    SUMMARIES,
    contract_details,
    enriched,
    listing_of,
)
from tests.sandbox.gate import Record, Request, parameters, without_slash
from tests.sandbox.sessions import Session, Sessions

NO_STOCK_HAS = [
    "cusip",
    "expiry_full",
    "maturity_date",
    "contract_clarification_type",
    "classifier",
]
NO_STOCK_HAS += ["text", "multiplier", "underlying_issuer", "contract_month"]
SETTLING = 0.5  # seconds after init when /iserver opens to who never asks for the status
DAY = 24 * 3600

ROUTES = {  # and the name of each: in the faults, and of the method that answers
    "POST /oauth/live_session_token": "token",
    "GET /portfolio/accounts": "accounts",
    "GET /portfolio/subaccounts": "accounts",
    "GET /portfolio/{id}/meta": "meta",
    "GET /portfolio/{id}/summary": "summary",
    "GET /portfolio/{id}/ledger": "ledger",
    "GET /portfolio/{id}/allocation": "allocation",
    "GET /portfolio/{id}/positions/{page}": "positions",
    "GET /portfolio/{id}/position/{conid}": "position",
    "GET /portfolio2/accounts": "accounts",
    "GET /portfolio2/{id}/positions": "positions2",
    "GET /trsrv/stocks": "stocks",
    "GET /trsrv/secdef": "secdef",
    "GET /one/user": "user",
    "GET /ibcust/marketdata/subscriptions": "subscriptions",
    "POST /iserver/auth/ssodh/init": "init",
    "GET /iserver/auth/ssodh/init": "init",
    "GET /iserver/auth/status": "status",
    "POST /iserver/auth/status": "status",
    "GET /iserver/accounts": "iserver",
    "POST /iserver/account": "switch",
    "GET /iserver/account/orders": "orders",
    "GET /iserver/account/trades": "trades",
    "GET /iserver/account/pnl/partitioned": "pnl",
    "POST /iserver/questions/suppress": "suppress",
    "GET /iserver/marketdata/snapshot": "snapshot",
    "GET /iserver/marketdata/history": "history",
    "GET /iserver/contract/{conid}/info": "info",
    "GET /iserver/secdef/search": "search",
    "POST /iserver/secdef/search": "search",
    "GET /tickle": "tickle",
    "POST /tickle": "tickle",
    "GET /logout": "logout",
    "POST /logout": "logout",
}
_PARTS = {"{id}": "[^/]+", "{page}": "[0-9]{1,6}", "{conid}": "[^/]+"}


def _pattern(path: str) -> re.Pattern[str]:
    for part, expression in _PARTS.items():
        path = path.replace(part, expression)
    return re.compile(path)


PATHS: dict[str, re.Pattern[str]] = {}
for _route in ROUTES:
    PATHS[_route.split()[1]] = _pattern(_route.split()[1])


def known_path(path: str) -> str:
    """The path with its {parts}, or empty."""
    for known, pattern in PATHS.items():
        if pattern.fullmatch(without_slash(path)):
            return known
    return ""


def part(request: Request, index: int) -> str:
    return request.path.split("/")[index]


def number(text: str) -> int:
    """A contract's id. Raises RefusedError."""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise RefusedError("conid is not a number", error_answer(400, "Bad Request"))
    return int(text)


def account_properties() -> dict[str, dict[str, bool]]:
    """Three fields for the pseudo account `All`, eight for a real one."""
    each = {"hasChildAccounts": False, "supportsCashQty": True, "supportsFractions": True}
    properties = {"All": each}
    for name in IDS:
        properties[name] = {
            **each,
            "liteUnderPro": False,
            "noFXConv": False,
            "isProp": False,
            "allowCustomerTime": True,
            "autoFx": False,
        }
    return properties


class Endpoints:
    """The answers to requests that passed the gate. Not for two requests at once."""

    def __init__(self, fault: str, sessions: Sessions, now: Callable[[], float]) -> None:
        self.fault = fault
        self.sessions = sessions
        self.now = now

    def answer(self, name: str, request: Request, session: Session, record: Record) -> Answer:
        if name == "init" and request.method == "GET":
            record.remarks.append("init by GET is documented as POST")
        method: Callable[[Request, Session], Answer] = getattr(self, name)
        return method(request, session)

    # Portfolio

    def accounts(self, _request: Request, session: Session) -> Answer:
        session.called.add("accounts")
        return json_answer(ACCOUNTS)

    def account(self, request: Request, session: Session) -> str:
        """The account in the path. Raises RefusedError."""
        if "accounts" not in session.called:
            first = "/portfolio/accounts or /portfolio/subaccounts first"
            raise RefusedError(first, error_answer(400, ACCOUNTS_FIRST))
        account = part(request, 2)
        if account not in IDS:
            raise RefusedError("unknown account", UNKNOWN_ACCOUNT)
        return account

    def meta(self, request: Request, session: Session) -> Answer:
        return json_answer(ACCOUNTS[IDS.index(self.account(request, session))])

    def summary(self, request: Request, session: Session) -> Answer:
        return json_answer(SUMMARIES[self.account(request, session)])

    def ledger(self, request: Request, session: Session) -> Answer:
        return json_answer(LEDGERS[self.account(request, session)])

    def allocation(self, request: Request, session: Session) -> Answer:
        self.account(request, session)
        classes = {"long": {"STK": 85877.5, "OPT": 2470.0, "CASH": 1256229.7}}
        sectors = {"long": {"Technology": 85877.5, "Others": 2470.0}}
        groups = {"long": {"Computers": 85877.5, "Others": 2470.0}}
        return json_answer(
            {
                "assetClass": {**classes, "short": {"STK": -6560.0}},
                "sector": {**sectors, "short": {"Technology": -6560.0}},
                "group": {**groups, "short": {"Computers": -6560.0}},
            }
        )

    def positions(self, request: Request, session: Session) -> Answer:
        held = POSITIONS[self.account(request, session)]
        if int(part(request, 4)):
            return json_answer([])
        if "positions" in session.called:
            return json_answer([enriched(position) for position in held])
        return json_answer(held)

    def position(self, request: Request, session: Session) -> Answer:
        held = POSITIONS[self.account(request, session)]
        conid = number(part(request, 4))
        return json_answer([enriched(each) for each in held if each["conid"] == conid])

    def positions2(self, request: Request, session: Session) -> Answer:
        answer = []
        for position in POSITIONS[self.account(request, session)]:
            entry = {
                "position": position["position"],
                "conid": str(position["conid"]),
                "avgCost": position["avgCost"] or 0.0,
                "avgPrice": position["avgPrice"] or 0.0,
                "currency": position["currency"],
                "description": position["contractDesc"],
                "isLastToLoq": False,
                "marketPrice": position["mktPrice"] or 0.0,
                "marketValue": position["mktValue"] or 0.0,
                "realizedPnl": position["realizedPnl"],
                "secType": position["assetClass"],
                "timestamp": NOW,
                "unrealizedPnl": position["unrealizedPnl"] or 0.0,
                "assetClass": position["assetClass"],
                "sector": "Technology",
                "group": "Computers",
                "model": "",
            }
            answer.append(entry)
        return json_answer(answer)

    # Contracts

    def stocks(self, request: Request, _session: Session) -> Answer:
        symbols = str(parameters(request).get("symbols", "")).split(",")
        return json_answer({symbol: STOCKS.get(symbol, []) for symbol in symbols[:100]})

    def secdef(self, request: Request, _session: Session) -> Answer:
        found = []
        for text in str(parameters(request).get("conids", "")).split(","):
            listing = listing_of(number(text))
            if listing is None:
                continue
            symbol, name, exchange = listing["symbol"], listing["name"], listing["exchange"]
            definition = contract_details(listing["conid"], symbol, name, exchange)
            definition["currency"] = listing["currency"]
            definition["assetClass"] = "STK"
            definition["expiry"] = None
            definition["putOrCall"] = None
            definition["strike"] = "0"
            definition["undConid"] = 0
            definition["multiplier"] = 0.0
            found.append(definition)
        return json_answer({"secdef": found})

    def search(self, request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        symbol = str(parameters(request).get("symbol", ""))
        listings = [listing for listing in LISTINGS if listing["symbol"] == symbol]
        listings.sort(key=lambda listing: not listing["isUS"])
        found = []
        for listing in listings:
            option = {"secType": "OPT", "months": "DEC26;JAN27", "exchange": "SMART;CBOE;"}
            sections = [{"secType": "STK"}, option] if listing["isUS"] else [{"secType": "STK"}]
            entry = {
                "conid": str(listing["conid"]),
                "companyHeader": f"{listing['name']} - {listing['exchange']}",
                "companyName": listing["name"],
                "symbol": symbol,
                "description": listing["exchange"],
                "restricted": None,
                "sections": sections,
            }
            found.append(entry)
        return json_answer(found)

    def info(self, request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        listing = listing_of(number(part(request, 3)))
        if listing is None:
            raise RefusedError("unknown conid", error_answer(400, "Bad Request: bad conid"))
        answer: dict[str, Any] = dict.fromkeys(NO_STOCK_HAS)
        answer["cfi_code"] = ""
        answer["symbol"] = listing["symbol"]
        answer["con_id"] = listing["conid"]
        answer["industry"] = "Computers"
        answer["instrument_type"] = "STK"
        answer["has_related_contracts"] = True
        answer["trading_class"] = listing["symbol"]
        answer["valid_exchanges"] = f"SMART,{listing['exchange']}"
        answer["allow_sell_long"] = False
        answer["is_zero_commission_security"] = False
        answer["local_symbol"] = listing["symbol"]
        answer["currency"] = listing["currency"]
        answer["underlying_con_id"] = 0
        answer["r_t_h"] = True
        answer["company_name"] = listing["name"]
        answer["smart_available"] = True
        answer["exchange"] = "SMART"
        answer["category"] = "Computers"
        return json_answer(answer)

    # Sessions

    def user(self, _request: Request, _session: Session) -> Answer:
        return json_answer({"username": "simulated", "isPaper": True})

    def subscriptions(self, _request: Request, _session: Session) -> Answer:
        return json_answer([{"name": "Simulated Market Data", "subscribed": True}])

    def init(self, request: Request, session: Session) -> Answer:
        compete = str(parameters(request).get("compete", False)).lower() == "true"
        if self.fault == "competing" and not compete:
            session.brokerage = "competing"
            return json_answer(COMPETING)
        self.sessions.revive(session)
        self.settle(session)
        if compete:  # takes over at once
            for other in self.sessions.live:
                if other is not session and other.brokerage != "none":
                    other.brokerage = "competing"
            session.brokerage = "ready"
        return json_answer(session_status(True, established=session.brokerage == "ready"))

    def settle(self, session: Session) -> None:
        if session.brokerage != "ready":
            session.brokerage = "settling"
            session.brokerage_since = self.now()
            session.polls = 0

    def status(self, _request: Request, session: Session) -> Answer:
        if session.brokerage == "competing":
            competing = self.fault != "competing"
            return json_answer(session_status(False, competing=competing, fail=COMPETE_FLAG))
        if session.brokerage == "none":
            short = {"authenticated": False, "competing": False, "connected": False}
            return json_answer({**short, "MAC": "00:00:00:00:00:00"})
        session.polls += 1
        if session.brokerage == "settling" and session.polls >= 2:
            session.brokerage = "ready"
        return json_answer(session_status(session.brokerage == "ready", fail=""))

    def need_brokerage(self, session: Session) -> None:
        if session.brokerage == "competing":
            raise RefusedError("another session holds on", NOT_AUTHENTICATED)
        settled = self.now() - session.brokerage_since >= SETTLING
        if session.brokerage == "settling" and settled:
            session.brokerage = "ready"
        if session.brokerage == "settling":
            raise RefusedError("ssodh/init not settled yet", NO_BRIDGE)
        if session.brokerage != "ready":
            raise RefusedError("ssodh/init missing", NO_BRIDGE)

    def tickle(self, _request: Request, session: Session) -> Answer:
        status = session_status(session.brokerage == "ready")
        answer = {
            "session": "51a7ed51a7ed51a7ed51a7ed51a7ed51",
            "hmds": {"error": "no bridge"},
            "iserver": {"authStatus": status},
        }
        return json_answer(answer)

    def logout(self, _request: Request, session: Session) -> Answer:
        self.sessions.end(session)
        return json_answer({"status": True})

    # Brokerage

    def iserver(self, _request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        several = ["All", *IDS]
        answer = {
            "accounts": several,
            "acctProps": account_properties(),
            "aliases": {name: name for name in several},
            "allowFeatures": {
                "showGFIS": True,
                "showEUCostReport": False,
                "snapshotRefreshTimeout": 30,
                "allowedAssetTypes": "STK,OPT,CASH",
            },
            "chartPeriods": {"STK": ["*"], "OPT": ["2h", "1d", "1w", "1m"]},
            "groups": ["All"],
            "profiles": [],
            "selectedAccount": IDS[0],
            "serverInfo": {"serverName": "SIMULATED", "serverVersion": "Build 0.0.0, simulated"},
            "sessionId": "simulated",
            "isFT": False,
            "isPaper": True,
        }
        return json_answer(answer)

    def switch(self, request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        account = parameters(request).get("acctId")
        if not account:
            raise RefusedError("no acctId", error_answer(400, "Bad Request: acctId"))
        if account == IDS[0]:
            return json_answer({"success": "Account already set"})
        if account not in IDS:
            raise RefusedError("unknown account", error_answer(500, "Account not found"))
        return json_answer({"set": True, "acctId": account})

    def orders(self, _request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        return json_answer({"orders": [], "snapshot": False})

    def trades(self, _request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        return json_answer([])

    def pnl(self, _request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        return json_answer({"upnl": {}})

    def suppress(self, _request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        return json_answer({"status": "submitted"})

    def snapshot(self, request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        if "iserver" not in session.called:
            raise RefusedError("/iserver/accounts first", error_answer(500, ACCOUNTS_FIRST))
        asked = parameters(request)
        fields = str(asked.get("fields", "")).split(",")
        answer = []
        for text in str(asked.get("conids", "")).split(",")[:100]:
            conid = number(text)
            entry: dict[str, Any] = {"conid": conid, "conidEx": text}
            entry["_updated"] = int(time.time() * 1000)
            entry["server_id"] = SNAPSHOT_SERVER
            known = self.quote(text, session.subscribe(text))
            for name in (*fields, "6509"):
                if name in known:
                    entry[name] = known[name]
            answer.append(entry)
        return json_answer(answer)

    def quote(self, conid: str, before: int) -> dict[str, str]:
        """It fills up: nothing at first, then the last price, then all of it."""
        if before == 0:
            return {}
        if self.fault == "no-subscription":
            return {"6509": "N"}
        known: dict[str, str] = dict(QUOTES.get(conid, {}))
        known.pop("conid", None)
        if self.fault == "one-sided-quote":
            known.pop("86", None)
            known.pop("85", None)
        if before == 1:
            return {name: value for name, value in known.items() if name == "31"}
        return known

    def history(self, request: Request, session: Session) -> Answer:
        self.need_brokerage(session)
        text = str(parameters(request).get("conid", ""))
        listing = listing_of(number(text))
        if listing is None:
            raise RefusedError("unknown conid", error_answer(500, "Chart data unavailable"))
        answer = {
            **HISTORY,
            "symbol": listing["symbol"],
            "text": listing["name"],
            "timePeriod": str(parameters(request).get("period", "1m"))[:10],
            "data": self.bars(text),
        }
        return json_answer(answer)

    def bars(self, conid: str) -> list[dict[str, Any]]:
        last = QUOTES.get(conid, {}).get("31", "100").lstrip("CH")
        factor = float(last) / BARS[-1]["c"]
        answer = []
        for row in BARS:
            bar: dict[str, Any] = {name: round(row[name] * factor, 2) for name in "ohlc"}
            bar["v"] = row["v"]
            bar["t"] = (NOW + row["day"] * DAY + 52200) * 1000  # 14:30 UTC, when New York opens
            answer.append(bar)
        return answer
