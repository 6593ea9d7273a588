"""Answers with every field that public clients recorded, of the recorded types; invented values.

Where a field can hold what tells of the holder, or of the session, it holds PRIVATE.
"""

from __future__ import annotations

from typing import Any

PRIVATE = "Simulated Holder"
ID = "DU0001234"
CONID = 265598
SERVER = {"serverName": "JifN1", "serverVersion": "Build 10.1, Jan 1, 2026"}


def account(name: str = ID, **more: Any) -> dict[str, Any]:
    """An entry of /portfolio/accounts."""
    flags = ("PrepaidCrypto-Z", "PrepaidCrypto-P", "faclient", "covestor", "noClientTrading")
    parent = {"mmc": [], "accountId": "", "isMParent": False, "isMChild": False}
    return {
        "id": name,
        "accountId": name,
        "accountVan": PRIVATE,
        "accountTitle": PRIVATE,
        "displayName": PRIVATE,
        "accountAlias": PRIVATE,
        "accountStatus": 1700000000000,
        "currency": "USD",
        "type": "DEMO",
        "tradingType": "STKNOPT",
        "businessType": "INDEPENDENT",
        "category": "",
        "ibEntity": "IBLLC-US",
        "clearingStatus": "O",
        "acctCustType": "INDIVIDUAL",
        "brokerageAccess": True,
        "trackVirtualFXPortfolio": False,
        "parent": {**parent, "isMultiplex": False},
        "desc": PRIVATE,
        **dict.fromkeys(flags, False),
        **more,
    }


def amount(figure: float | None, currency: str | None = "USD", **more: Any) -> dict[str, Any]:
    """An item of the summary."""
    rest = {"timestamp": 1767225600, "value": None, "severity": 0}
    return {"amount": figure, "currency": currency, "isNull": figure is None, **rest, **more}


def ledger(currency: str = "USD", **more: Any) -> dict[str, Any]:
    """An entry of the ledger."""
    names = "commoditymarketvalue futuremarketvalue corporatebondsmarketvalue interest dividends"
    names += " warrantsmarketvalue unrealizedpnl stockmarketvalue moneyfunds realizedpnl funds"
    names += " issueroptionsmarketvalue stockoptionmarketvalue futuresonlypnl tbondsmarketvalue"
    names += " futureoptionmarketvalue cashbalancefxsegment tbillsmarketvalue cryptocurrencyvalue"
    return {
        **dict.fromkeys(names.split(), 0.0),
        "settledcash": 100.5,
        "cashbalance": 100.5,
        "netliquidationvalue": 100.5,
        "exchangerate": 1,
        "sessionid": 1,
        "currency": currency,
        "acctcode": ID,
        "key": "LedgerList",
        "timestamp": 1767225600,
        "severity": 0,
        "secondkey": currency,
        "endofbundle": 1,
        **more,
    }


def position(name: str = "AAPL", **more: Any) -> dict[str, Any]:
    """A position in its short form, 21 fields."""
    nothing = dict.fromkeys(("exchs", "expiry", "putOrCall", "multiplier", "exerciseStyle"))
    return {
        "acctId": ID,
        "conid": CONID,
        "contractDesc": name,
        "position": 3.0,
        "mktPrice": 10.5,
        "mktValue": 31.5,
        "currency": "USD",
        "avgCost": 10.0,
        "avgPrice": 10.0,
        "realizedPnl": 0.0,
        "unrealizedPnl": 1.5,
        **nothing,
        "strike": 0.0,
        "conExchMap": [],
        "assetClass": "STK",
        "undConid": 0,
        "model": "",
        **more,
    }


def enriched_position(desc: str = "AAPL", **more: Any) -> dict[str, Any]:
    """A position as a later call gives it: more fields, and some of another type."""
    step = {"decimalDigits": 2, "lowerEdge": 0.0, "wholeDigits": 4}
    added = {
        "strike": "0",
        "multiplier": 0.0,
        "ticker": "AAPL",
        "name": "APPLE INC",
        "fullName": "AAPL",
        "listingExchange": "NASDAQ",
        "countryCode": "US",
        "type": "COMMON",
        "sector": "Technology",
        "sectorGroup": "Computers",
        "group": None,
        "lastTradingDay": None,
        "hasOptions": True,
        "isUS": True,
        "isEventContract": False,
        "chineseName": "&#x82F9;&#x679C;",
        "allExchanges": "NASDAQ,NYSE",
        "incrementRules": [{"lowerEdge": 0.0, "increment": 0.01}],
        "displayRule": {"magnification": 0, "displayRuleStep": [step]},
        "time": 33,
        "pageSize": 100,
    }
    return {**position(desc), **added, **more}


def session(up: bool = True, **more: Any) -> dict[str, Any]:
    """What init and the status say, in full."""
    state = {"authenticated": up, "established": up, "competing": False, "connected": up}
    rest = {"message": "", "MAC": PRIVATE, "serverInfo": SERVER, "hardware_info": PRIVATE}
    return {**state, **rest, "fail": "", **more}


def iserver_accounts(*ids: str, **more: Any) -> dict[str, Any]:
    """The answer of /iserver/accounts."""
    names = ids or (ID,)
    props = {"hasChildAccounts": False, "supportsCashQty": True, "supportsFractions": True}
    features = {"showGFIS": True, "snapshotRefreshTimeout": 30, "allowedAssetTypes": "STK,CFD"}
    return {
        "accounts": list(names),
        "acctProps": dict.fromkeys(names, props),
        "aliases": dict.fromkeys(names, PRIVATE),
        "allowFeatures": features,
        "chartPeriods": {"STK": ["*"]},
        "groups": ["All"] if len(names) > 1 else [],
        "profiles": [],
        "selectedAccount": names[0],
        "serverInfo": SERVER,
        "sessionId": PRIVATE,
        "isFT": False,
        "isPaper": True,
        **more,
    }


def listing(conid: object = CONID, exchange: str = "NASDAQ", us: bool = True) -> dict[str, Any]:
    """A contract of a company in /trsrv/stocks."""
    return {"conid": conid, "exchange": exchange, "isUS": us}


def company(name: str = "APPLE INC", *contracts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "chineseName": None, "assetClass": "STK", "contracts": list(contracts)}


def quote(**fields: Any) -> list[dict[str, Any]]:
    """A snapshot: f31="1.00" gives the field 31."""
    named = {name[1:]: value for name, value in fields.items()}
    more = {"server_id": "q1", "_updated": 1767225600123, "6119": "q1"}
    return [{"conid": CONID, "conidEx": str(CONID), **more, **named}]


def bar(day: int, **more: Any) -> dict[str, Any]:
    """A daily bar; day 0 is 1 January 2026."""
    time = 1767277800000 + day * 86_400_000
    return {"o": 10.0, "h": 11.5, "l": 9.75, "c": 11.0, "v": 1234.5, "t": time, **more}


def history(*bars: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "serverId": "1",
        "symbol": "AAPL",
        "text": "APPLE INC",
        "priceFactor": 100,
        "startTime": "20260101-14:30:00",
        "high": "1150/1234.5/0",
        "low": "975/1234.5/0",
        "timePeriod": "1m",
        "barLength": 86400,
        "mdAvailability": "S",
        "mktDataDelay": 0,
        "outsideRth": False,
        "volumeFactor": 1,
        "priceDisplayRule": 1,
        "priceDisplayValue": "2",
        "negativeCapable": False,
        "messageVersion": 2,
        "points": 0,
        "data": list(bars),
        **more,
    }


TICKLE = {
    "session": PRIVATE,
    "ssoExpires": 1,
    "collission": False,
    "userId": 1,
    "hmds": {"error": "no bridge"},
    "iserver": {"authStatus": session()},
}
