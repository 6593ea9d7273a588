"""Invented data in the shapes of the real answers.

Tables: the first line names the columns, each cell is JSON, an empty one leaves the field out.
"""

from __future__ import annotations

import json
from typing import Any


def rows(text: str) -> list[dict[str, Any]]:
    names, *lines = (line.split("|") for line in text.strip().splitlines())
    table = []
    for line in lines:
        row = {}
        for name, cell in zip(names, line):
            if cell.strip():
                row[name.strip()] = json.loads(cell)
        table.append(row)
    return table


# Accounts

NOW = 1767225600  # the moment at which all of this was so, in seconds
_ACCOUNTS = """
id         |currency|desc
"DU0001234"|"USD"   |"DU0001234"
"DU0005678"|"EUR"   |"DU0005678"
"""


def _account(row: dict[str, Any]) -> dict[str, Any]:
    name = row["id"]
    parent = {"mmc": [], "accountId": "", "isMParent": False, "isMChild": False}
    return {
        "id": name,
        "PrepaidCrypto-Z": False,
        "PrepaidCrypto-P": False,
        "brokerageAccess": True,
        "accountId": name,
        "accountVan": name,
        "accountTitle": "Simulated Holder",
        "displayName": name,
        "accountAlias": None,
        "accountStatus": 1704067200000,
        "currency": row["currency"],
        "type": "DEMO",
        "tradingType": "STKNOPT",
        "businessType": "INDEPENDENT",
        "category": "",
        "ibEntity": "IBLLC-US",
        "faclient": False,
        "clearingStatus": "O",
        "covestor": False,
        "noClientTrading": False,
        "trackVirtualFXPortfolio": False,
        "acctCustType": "INDIVIDUAL",
        "parent": {**parent, "isMultiplex": False},
        "desc": row["desc"],
    }


ACCOUNTS = [_account(row) for row in rows(_ACCOUNTS)]
IDS = [str(account["id"]) for account in ACCOUNTS]

# Amounts

_SUMMARY = """
name                  |amount    |currency|value      |timestamp
"accountcode"         |0.0       |null    |"DU0001234"|1767225600000
"netliquidation"      |1339037.2 |"USD"   |           |1767225600000
"totalcashvalue"      |1256229.7 |"USD"   |           |1767225600000
"availablefunds"      |1301540.85|"USD"   |           |1767225600000
"buyingpower"         |5206163.4 |"USD"   |           |1767225600000
"excessliquidity"     |1305290.1 |"USD"   |           |1767225600000
"grosspositionvalue"  |95927.5   |"USD"   |           |1767225600000
"initmarginreq"       |37496.35  |"USD"   |           |1767225600
"maintmarginreq"      |33747.1   |"USD"   |           |1767225600
"postexpirationexcess"|null      |"USD"   |null       |1767225600000
"""
_LEDGER = """
currency|cashbalance|netliquidationvalue|stockmarketvalue|unrealizedpnl|realizedpnl|exchangerate
"USD"   |1250000.25 |1321587.75         |69117.5         |16562.5      |420.1      |1
"EUR"   |-3200.5    |6999.5             |10200.0         |2200.0       |0.0        |1.1
"JPY"   |1500000.0  |1500000.0          |0.0             |0.0          |0.0        |0.0065
"BASE"  |1256229.7  |1339037.2          |80337.5         |18982.5      |420.1      |1
"""
_NOTHING = """commoditymarketvalue futuremarketvalue corporatebondsmarketvalue
warrantsmarketvalue interest moneyfunds funds issueroptionsmarketvalue stockoptionmarketvalue
futuresonlypnl tbondsmarketvalue futureoptionmarketvalue tbillsmarketvalue dividends
cryptocurrencyvalue"""


def _amount(row: dict[str, Any]) -> dict[str, Any]:
    amount = row["amount"]
    return {
        "amount": amount,
        "currency": row["currency"],
        "isNull": amount is None,
        "timestamp": row["timestamp"],
        "value": row.get("value", str(amount)),
        "severity": 0,
    }


def _money(row: dict[str, Any]) -> dict[str, Any]:
    money = {**row, "settledcash": row["cashbalance"], "cashbalancefxsegment": 0.0}
    for name in _NOTHING.split():
        money[name] = 0.0
    money["sessionid"] = 1
    money["acctcode"] = IDS[0]
    money["key"] = "LedgerList"
    money["timestamp"] = NOW
    money["severity"] = 0
    money["secondkey"] = row["currency"]
    if row["currency"] != "BASE":
        money["endofbundle"] = 1
    return money


_EMPTY = {"amount": 0.0, "currency": "EUR", "value": "0.0", "timestamp": NOW * 1000}
SUMMARIES: dict[str, Any] = {
    IDS[0]: {row["name"]: _amount(row) for row in rows(_SUMMARY)},
    IDS[1]: {"netliquidation": _amount(_EMPTY)},
}
LEDGERS: dict[str, Any] = {
    IDS[0]: {row["currency"]: _money(row) for row in rows(_LEDGER)},
    IDS[1]: {},
}

# Contracts

_POSITIONS = """
assetClass|contractDesc       |conid    |currency|position|mktPrice|mktValue|avgCost|unrealizedPnl
"STK"     |"AAPL"             |265598   |"USD"   |300.0   |231.5   |69450.0 |180.25 |15375.0
"STK"     |"IBM"              |8314     |"USD"   |-25.0   |262.4   |-6560.0 |250.0  |-310.0
"STK"     |"MSFT"             |272093   |"USD"   |12.5    |498.2   |6227.5  |400.0  |1227.5
"STK"     |"SAP"              |14204    |"EUR"   |40.0    |255.0   |10200.0 |200.0  |2200.0
"OPT"     |"SPY DEC2026 600 C"|700000001|"USD"   |2.0     |12.35   |2470.0  |1100.0 |270.0
"STK"     |"OLDCO (delisted)" |700000002|"USD"   |1000.0  |null    |null    |null   |null
"""
_LISTINGS = """
symbol|name                         |conid    |exchange|isUS |currency
"AAPL"|"LS 1X AAPL"                 |493546048|"LSEETF"|false|"GBP"
"AAPL"|"APPLE INC"                  |38708077 |"MEXI"  |false|"MXN"
"AAPL"|"APPLE INC"                  |265598   |"NASDAQ"|true |"USD"
"IBM" |"INTL BUSINESS MACHINES CORP"|8314     |"NYSE"  |true |"USD"
"IBM" |"INTL BUSINESS MACHINES CORP"|1411277  |"IBIS"  |false|"EUR"
"MSFT"|"MICROSOFT CORP"             |272093   |"NASDAQ"|true |"USD"
"SAP" |"SAP SE"                     |14204    |"IBIS"  |false|"EUR"
"SAP" |"SAP SE-SPONSORED ADR"       |5063     |"NYSE"  |true |"USD"
"""
_QUOTES = """
conid   |31       |84      |88     |86      |85     |6509
"265598"|"C231.50"|"231.48"|"400"  |"231.52"|"1,300"|"RpB"
"8314"  |"262.40" |"262.35"|"1,100"|"262.45"|"200"  |"DPB"
"272093"|"H498.20"|""      |""     |"-1"    |"-1"   |"ZB"
"5063"  |"280.10" |"280.05"|"100"  |"280.20"|"100"  |"RpB"
"""
LISTINGS = rows(_LISTINGS)
QUOTES = {row["conid"]: row for row in rows(_QUOTES)}
SNAPSHOT_SERVER = "q0"


def _position(row: dict[str, Any]) -> dict[str, Any]:
    """As the first call has it; the second adds what the contract is."""
    option = row["assetClass"] == "OPT"
    per_contract = None if row["avgCost"] is None else row["avgCost"] / (100 if option else 1)
    return {
        "acctId": IDS[0],
        **row,
        "avgPrice": per_contract,
        "realizedPnl": 0.0,
        "exchs": None,
        "expiry": "20261218" if option else None,
        "putOrCall": "C" if option else None,
        "multiplier": 100.0 if option else None,
        "strike": "600" if option else 0.0,
        "exerciseStyle": None,
        "conExchMap": [],
        "undConid": 756733 if option else 0,
        "model": "",
    }


def contract_details(conid: int, symbol: str, name: str, exchange: str) -> dict[str, Any]:
    """What an enriched position and a contract definition have in common."""
    steps = [{"decimalDigits": 2, "lowerEdge": 0.0, "wholeDigits": 4}]
    return {
        "conid": conid,
        "ticker": symbol,
        "name": name,
        "fullName": symbol,
        "listingExchange": exchange,
        "countryCode": "US",
        "type": "COMMON",
        "sector": "Technology",
        "sectorGroup": "Computers",
        "group": "Computers",
        "lastTradingDay": None,
        "hasOptions": True,
        "isUS": exchange in ("NASDAQ", "NYSE"),
        "isEventContract": False,
        "chineseName": "&#x6A21;&#x62DF;",
        "allExchanges": f"SMART,{exchange}",
        "incrementRules": [{"lowerEdge": 0.0, "increment": 0.01}],
        "displayRule": {"magnification": 0, "displayRuleStep": steps},
        "time": 1,
        "pageSize": 100,
    }


def enriched(position: dict[str, Any]) -> dict[str, Any]:
    symbol = position["contractDesc"].split()[0]
    listing = listing_of(position["conid"]) or {"name": symbol, "exchange": "NYSE"}
    more = contract_details(position["conid"], symbol, listing["name"], listing["exchange"])
    changed = {**position, **more}
    if position["assetClass"] == "STK":
        changed["strike"] = "0"
        changed["multiplier"] = 0.0
    return changed


def listing_of(conid: int) -> dict[str, Any] | None:
    for listing in LISTINGS:
        if listing["conid"] == conid:
            return listing
    return None


POSITIONS: dict[str, Any] = {IDS[0]: [_position(row) for row in rows(_POSITIONS)], IDS[1]: []}
STOCKS: dict[str, list[dict[str, Any]]] = {}
for _row in LISTINGS:
    _companies = STOCKS.setdefault(_row["symbol"], [])
    if not _companies or _companies[-1]["name"] != _row["name"]:
        _company = {"name": _row["name"], "chineseName": None, "assetClass": "STK"}
        _companies.append({**_company, "contracts": []})
    _contract = {name: _row[name] for name in ("conid", "exchange", "isUS")}
    _companies[-1]["contracts"].append(_contract)

# Daily bars of AAPL; those of another contract are in proportion to its last price

_BARS = """
day|o     |h     |l     |c     |v
-16|226.10|227.45|225.30|226.90|412345.0
-15|226.95|228.80|226.40|228.15|398110.5
-14|228.20|229.00|226.75|227.05|405876.0
-13|227.00|227.60|224.90|225.40|510023.0
-10|225.55|227.85|225.10|227.70|387654.25
-9 |227.80|229.95|227.65|229.60|402211.0
-8 |229.40|230.10|228.25|228.85|365498.0
-6 |228.90|230.75|228.60|230.40|377120.0
-3 |230.55|232.20|230.05|231.95|441876.5
-2 |231.90|232.65|230.80|231.10|352090.0
-1 |231.05|232.10|230.60|231.50|361447.0
"""
BARS = rows(_BARS)

HISTORY: dict[str, Any] = {  # in its order; None where it depends on the stock
    "serverId": "simulated",
    "symbol": None,
    "text": None,
    "priceFactor": 100,
    "startTime": "20251217-14:30:00",
    "high": "23265/352090/0",
    "low": "22490/510023/0",
    "timePeriod": None,
    "barLength": 24 * 60 * 60,
    "mdAvailability": "S",
    "mktDataDelay": 0,
    "outsideRth": False,
    "tradingDayDuration": 1440,
    "volumeFactor": 1,
    "priceDisplayRule": 1,
    "priceDisplayValue": "2",
    "chartPanStartTime": "20251217-14:30:00",
    "direction": -1,
    "negativeCapable": False,
    "messageVersion": 2,
    "points": len(BARS) - 1,
    "travelTime": 12,
    "data": None,
}
