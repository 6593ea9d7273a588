"""What clients were tripped by in IBKR's answers stands in the recorded ones of the sandbox, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox import recorded

LEDGER = recorded("GET /portfolio/{id}/ledger")
SUMMARY = recorded("GET /portfolio/{id}/summary")
SHORT = recorded("GET /portfolio/{id}/positions/{page}")
ENRICHED = recorded("GET /portfolio/{id}/position/{conid}")
STATUS = recorded("POST /iserver/auth/status")
BROKERAGE = recorded("GET /iserver/accounts")
FOUND = recorded("GET /iserver/secdef/search")
STOCKS = recorded("GET /trsrv/stocks")["AAPL"]
QUOTE = recorded("GET /iserver/marketdata/snapshot")[0]
ORDER = recorded("GET /iserver/account/orders")["orders"][0]


SURPRISES: dict[str, Callable[[], Any]] = {
    "positions have 21 fields, and about twice as many when enriched": lambda: (len(SHORT[0]), len(ENRICHED[0])) == (21, 40),
    "strike and multiplier change type": lambda: (SHORT[0]["strike"], ENRICHED[0]["strike"], SHORT[0]["multiplier"], ENRICHED[0]["multiplier"]) == (0.0, "0", None, 0.0),
    "any number of a position may be null": lambda: SHORT[-1]["mktPrice"] is None,
    "positions may be negative, or fractions": lambda: {row["position"] for row in SHORT} >= {-25.0, 12.5},
    "the ledger has a pseudo currency": lambda: [*LEDGER][-1] == "BASE" and "endofbundle" not in LEDGER["BASE"],
    "the ledger's time is in seconds, the summary's in either": lambda: LEDGER["USD"]["timestamp"] < 1e10 < SUMMARY["buyingpower"]["timestamp"] > 1e10 > SUMMARY["initmarginreq"]["timestamp"],
    "the summary has numbers as text, too": lambda: SUMMARY["buyingpower"]["value"] == str(SUMMARY["buyingpower"]["amount"]),
    "text items of the summary have no currency": lambda: SUMMARY["accountcode"]["currency"] is None,
    "several accounts begin with a group": lambda: BROKERAGE["accounts"][0] == "All" and len(BROKERAGE["acctProps"]["All"]) == 3,
    "the alias tells the holder's name": lambda: "Simulated Holder" in BROKERAGE["aliases"].values(),
    "the status without a session lacks most fields": lambda: len(recorded("status without a session")) == 4,
    "a refused init has another shape": lambda: recorded("init refused").keys() - STATUS.keys() == {"passed"},
    "no bridge in tickle is normal": lambda: recorded("POST /tickle")["hmds"] == {"error": "no bridge"},
    "search has the US listing first": lambda: FOUND[0]["companyHeader"] == "APPLE INC - NASDAQ",
    "search has the options' months": lambda: "months" in FOUND[0]["sections"][1] and FOUND[0]["restricted"] is None,
    "the company with the US listing is not always first": lambda: not STOCKS[0]["contracts"][0]["isUS"],
    "conid is text in search, a number elsewhere": lambda: (FOUND[0]["conid"], QUOTE["conid"], SHORT[0]["conid"]) == ("265598", 265598, 265598),
    "prices of a quote are text, with a letter; sizes have commas": lambda: (QUOTE["31"], QUOTE["85"]) == ("C231.50", "1,300"),
    "an order's price is text, its quantity a number": lambda: (ORDER["price"], ORDER["totalSize"]) == ("200.00", 10.0),
}  # fmt: skip


@pytest.mark.parametrize("surprise", SURPRISES)
def test_a_surprise_of_the_real_answers_is_there(surprise: str) -> None:
    assert SURPRISES[surprise]()
