"""Whatever a config holds or a server answers, the demo keeps its manners."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keys.check import check_config
from tests.conftest import in_haste, run
from tests.sandbox import Answer, Sandbox, recorded
from tests.sandbox.endpoints import find_route

pytestmark = pytest.mark.usefixtures("all_well")

TOKEN = "POST /oauth/live_session_token"
FIELDS = check_config({}, "config.json").names
NAMES = [*FIELDS, "error", "fail", "authenticated", "accountId", "conid", "31", "6509"]

many = settings(
    max_examples=30,  # of each property
    phases=[Phase.reuse, Phase.generate],  # to shrink what fails would take minutes
    deadline=None,  # an example is a whole run
    suppress_health_check=[HealthCheck.too_slow],
)
texts = st.text() | st.sampled_from(["", "~", "a\0b", "\x1b[31m", "N", "C1", "265598"])
numbers = st.integers() | st.floats() | st.sampled_from([10**400, 1e308, 1767225600000])
leaves = st.none() | st.booleans() | numbers | texts
names = st.sampled_from(NAMES) | texts
anything = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=10
)


@st.composite
def changed(draw: st.DrawFn, genuine: Any) -> Any:
    """An answer with one of its parts, or all of it, replaced by anything."""
    if not genuine or not isinstance(genuine, (list, dict)) or draw(st.integers(0, 5)) == 0:
        return draw(anything)
    places = list(genuine) if isinstance(genuine, dict) else range(len(genuine))
    place = draw(st.sampled_from(places))
    genuine[place] = draw(changed(genuine[place]))
    return genuine


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox, in_haste():
        yield sandbox


@pytest.fixture(scope="module")
def routes(sandbox: Sandbox) -> list[str]:
    """All that the demo calls."""
    run(sandbox)
    return sorted({find_route(request) for request in sandbox.requests})


def check_manners(sandbox: Sandbox, *options: str, config: Any = None) -> str:
    """Return stdout."""
    sandbox.requests.clear()
    status, out, err = run(sandbox, *options, config=config)
    assert re.fullmatch("[ -~\n]*", out + err)
    assert "fault of the demo" not in err
    assert bool(re.search("(?m)^error: .+\nhint: .+", err)) == (status != 0)
    assert not (status == 2 and sandbox.requests)
    return out


@many
@given(anything | st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1))
def test_any_json_as_config(sandbox: Sandbox, value: Any) -> None:
    sandbox.answers = {}
    config = {**sandbox.config, **value} if isinstance(value, dict) else value
    check_manners(sandbox, config=json.dumps(config))


@many
@given(st.data(), st.sampled_from(["-v", "--compete"]))
def test_any_answer(sandbox: Sandbox, routes: list[str], data: st.DataObject, option: str) -> None:
    route = data.draw(st.sampled_from(routes))
    genuine = {} if route == TOKEN else recorded(route)
    body = data.draw(st.binary() | changed(genuine).map(lambda value: json.dumps(value).encode()))
    status = data.draw(st.just(200) | st.integers(200, 599))
    cut = data.draw(st.none() | st.integers(0, 300))
    sandbox.answers = {route: Answer(status, body, cut=cut)}
    out = check_manners(sandbox, option)
    assert ("valid until" in out) == ("/logout" in [request.path for request in sandbox.requests])
