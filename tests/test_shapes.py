"""Every answer of the sandbox has the recorded fields, of the recorded types.

tests/sandbox/shapes.json holds what public clients recorded of the real API: "?" after a name is
a field that not every recording has, "<...>" stands for a name that the data gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import ROUTES
from tests.test_sandbox import ACCOUNT, Setup, open_setup

SHAPES = json.loads((Path(__file__).parent / "sandbox" / "shapes.json").read_text("ascii"))
QUERIES = {
    "/trsrv/stocks": "symbols=AAPL,NOSUCH",
    "/trsrv/secdef": "conids=265598,8314",
    "/iserver/secdef/search": "symbol=AAPL",
    "/iserver/account": "acctId=" + ACCOUNT,
    "/iserver/marketdata/snapshot": "conids=265598&fields=31,84,86",
    "/iserver/marketdata/history": "conid=265598&period=1m&bar=1d",
}
NAMES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
UNRECORDED = {  # in the invented data on purpose: a client has to stand them
    "/portfolio/{id}/summary": {"amount"},
    "/portfolio/{id}/positions/{page}": {"mktPrice", "mktValue", "avgCost", "avgPrice"}
    | {"unrealizedPnl"},
}


def differences(shape: Any, value: Any, where: str, full: bool = False) -> Iterator[str]:
    """Where the value is not of the shape; `full`: fields that may be absent must be there."""
    if isinstance(shape, str):
        if NAMES.get(type(value)) not in shape.split("|"):
            yield f"{where}: {value!r} is no {shape}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where}: no list"
            return
        for index, item in enumerate(value):
            if shape:
                yield from differences(shape[0], item, f"{where}[{index}]", full)
    elif not isinstance(value, dict):
        yield f"{where}: no object"
    else:
        yield from object_differences(shape, value, where, full)


def object_differences(shape: Any, value: Any, where: str, full: bool) -> Iterator[str]:
    known = set()
    for key, inner in sorted(shape.items(), key=lambda item: item[0].startswith("<")):
        name = key.rstrip("?")
        if name.startswith("<"):
            for each in value.keys() - known:
                yield from differences(inner, value[each], f"{where}.{each}", full)
            known |= value.keys()
            continue
        known.add(name)
        if name in value:
            yield from differences(inner, value[name], f"{where}.{name}", full)
        elif full or not key.endswith("?"):
            yield f"{where}: {name} is missing"


@pytest.fixture(scope="module")
def session() -> Iterator[Setup]:
    with open_setup() as setup:
        setup.client.log_in()
        for method, path in (
            ("POST", "/iserver/auth/ssodh/init"),
            ("POST", "/iserver/auth/status"),
            ("POST", "/iserver/auth/status"),
            ("GET", "/iserver/accounts"),
            ("GET", "/portfolio/accounts"),
        ):
            assert setup.client.send(method, path).status == 200
        yield setup


@pytest.mark.parametrize("route", sorted(SHAPES.keys() - {"POST /oauth/live_session_token"}))
def test_an_answer_has_the_recorded_fields_and_types(session: Setup, route: str) -> None:
    assert route in ROUTES
    if route == "POST /logout":  # of a session of its own: others go on with theirs
        token = session.client.token
        session.client.log_in()
    method, path = route.split()
    target = path.replace("{id}", ACCOUNT).replace("{page}", "0").replace("{conid}", "265598")
    for _ in range(3):  # short at first, then all of it
        reply = session.client.send(method, target, QUERIES.get(path, ""))
        assert reply.status == 200
        allowed = UNRECORDED.get(path, set())
        found = [
            difference
            for difference in differences(SHAPES[route], reply.json, "")
            if difference.split(":")[0].rpartition(".")[2] not in allowed
        ]
        assert found == []
        if route == "POST /logout":
            session.client.token = token
            return
    assert reply.json or path == "/iserver/account/trades"


def test_positions_are_short_at_first_and_enriched_afterwards() -> None:
    with open_setup() as setup:
        setup.client.log_in()
        setup.client.send("GET", "/portfolio/subaccounts")
        path = f"/portfolio/{ACCOUNT}/positions/0"
        short = setup.client.send("GET", path).json[0]
        long = setup.client.send("GET", path).json[0]
    assert (len(short), short["strike"], short["multiplier"]) == (21, 0.0, None)
    assert (len(long), long["strike"], long["multiplier"]) == (40, "0", 0.0)
    assert list(differences(SHAPES["GET /portfolio/{id}/positions/{page}"], [long], "", True)) == []


def test_the_token_answer_has_the_recorded_fields() -> None:
    with open_setup() as setup:
        reply = setup.client.log_in()
    assert list(differences(SHAPES["POST /oauth/live_session_token"], reply.json, "")) == []
