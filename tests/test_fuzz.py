"""Properties: whatever stands in a config or comes from a server, the demo keeps its manners.

HYPOTHESIS_EXAMPLES sets the number of examples of each.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import gc
import io
import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import demo
import oauth
from tests import recorded
from tests.conftest import assert_no_secret
from tests.sandbox import DH_PRIME, KEYS, Answer, Request, Sandbox

TOKEN = "POST /oauth/live_session_token"
WHOLE = recorded.quote(f31="5.10", f84="5.08", f85="1,300", f86="5.12", f88="9", f6509="RpB")
GENUINE: dict[str, Any] = {
    "POST /iserver/auth/ssodh/init": recorded.session(),
    "GET /portfolio/accounts": [recorded.account(), recorded.account("All")],
    "GET /portfolio/{id}/summary": {"netliquidation": recorded.amount(1.5)},
    "GET /portfolio/{id}/ledger": {"USD": recorded.ledger(), "BASE": recorded.ledger("BASE")},
    "GET /portfolio/{id}/positions/{page}": [recorded.position(), recorded.enriched_position()],
    "GET /trsrv/stocks": {"AAPL": [recorded.company("APPLE INC", recorded.listing())]},
    "POST /iserver/auth/status": recorded.session(),
    "GET /iserver/accounts": recorded.iserver_accounts(),
    "GET /iserver/marketdata/snapshot": WHOLE,
    "GET /iserver/marketdata/history": recorded.history(recorded.bar(0), recorded.bar(1)),
    "POST /logout": {"status": True},
}
ROUTES = [TOKEN, *GENUINE]

# urllib3 drops the socket of an answer whose Content-Length is two numbers
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

many = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "50")),
    deadline=None,  # a loaded machine is slow; sockets and the whole run have limits of their own
    suppress_health_check=[HealthCheck.too_slow],  # an example is a whole run of the demo
    print_blob=True,
)


class Changed(Sandbox):
    """A sandbox that replaces fields of its genuine token answer."""

    token_fields: dict[str, Any]

    def respond(self, request: Request) -> Answer:
        answer = super().respond(request)
        if request.path.endswith("/live_session_token") and TOKEN not in self.answers:
            body = {**json.loads(answer.body), **self.token_fields}
            return answer._replace(body=json.dumps(body).encode())
        return answer


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Changed]:
    """One for all examples, each of which sets its answers anew."""
    sandbox = Changed()
    with sandbox, pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        patch.setattr(oauth, "TIMEOUT", (5, 0.5))
        patch.setattr(demo, "LOGOUT_SECONDS", 1)
        patch.setattr(demo, "sleep", lambda _: None)
        yield sandbox
    gc.collect()  # now, while the filter below holds


def run_demo(
    sandbox: Changed, *options: str, config: bytes | None = None, key: bytes | None = None
) -> None:
    """Run the demo once and check its manners."""
    sandbox.requests.clear()
    sandbox.complaints.clear()
    del sandbox.secrets[3:]
    oauth.log.handlers.clear()
    path = sandbox.config_path
    if config is not None:
        path = sandbox.folder / "other.json"
        path.write_bytes(config)
    if key is not None:
        (sandbox.folder / "other.pem").write_bytes(key)
    out, err = io.StringIO(), io.StringIO()
    gc.disable()  # hypothesis listens to it, which fails where an answer has filled the stack
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = demo.main([str(path), *options])
    gc.enable()
    text = out.getvalue() + err.getvalue()
    assert status in (0, 1, 2)
    assert re.fullmatch("[ -~\n]*", text), ascii(text)
    assert "Traceback" not in text
    assert bool(re.search("^error: ", err.getvalue(), re.MULTILINE)) == (status != 0)
    assert not (status == 2 and sandbox.requests)
    assert_no_secret(text, sandbox.secrets)


# Strategies

TEXTS = [
    "", " ", ".", "..", "../..", "-1", "0", "1", "C", "H1", "N", "null", "USD", "AAPL", "DU0001234", "265598", "~", "~/x",
    "~nobody/x", "/", "a\0b", "\ud800", "\u202e\u2066", "\x1b[31m", "\r\n", "private_signature.pem", "dhparam.pem",
    "config.json", "limited_poa", "test_realm", "TESTCONS", "SIMULATED", "your-consumer-key", "0x", "0x17", "f" * 600,
    "=" * 344, "A" * 342 + "==", "https://", "not authenticated", "no bridge", "query /accounts first",
]  # fmt: skip
FIELDS = [
    "base_url", "realm", "consumer_key", "signature_key_fp", "encryption_key_fp", "access_token", "access_token_secret",
    "dh_prime", "dh_generator",
]  # fmt: skip
NAMES = [
    "error", "accountId", "currency", "amount", "isNull", "conid", "contracts", "isUS", "name", "exchange", "31", "84",
    "85", "86", "88", "6509", "fail", "competing", "passed", "authenticated", "connected", "established", "AAPL",
    "netliquidation", "contractDesc", "position", "mktPrice", "diffie_hellman_response",
    "live_session_token_signature", "live_session_token_expiration", "data", "t", "o", "aliases", "accounts", *FIELDS,
]  # fmt: skip
texts = st.one_of(st.sampled_from(TEXTS), st.text(st.characters()), st.text())
names = st.one_of(st.sampled_from(NAMES), texts)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, 1, 2, -1, 10**15, 10**30, 10**400, 1e308, 265598, 1767225600000]),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    leaves,
    lambda values: st.one_of(st.lists(values), st.dictionaries(names, values)),
    max_leaves=20,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to a value's parts, its own first."""
    found = [path]
    items: Any = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list) else items
    for name, part in items:
        found += places(part, (*path, name))
    return found


@st.composite
def changed(draw: st.DrawFn, genuine: Any) -> Any:
    """The genuine value with one or a few of its parts replaced by anything."""
    result = copy.deepcopy(genuine)
    for path in draw(st.lists(st.sampled_from(places(genuine)), min_size=1, max_size=4)):
        value = draw(anything)
        part = result
        with contextlib.suppress(LookupError, TypeError):  # an earlier change took the place away
            for name in path[:-1]:
                part = part[name]
            if path:
                part[path[-1]] = value
            else:
                result = value
    return result


def as_json(value: Any, escaped: bool = True) -> bytes:
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


# (1) Any JSON as config


@many
@given(
    value=st.one_of(
        anything.map(lambda value: (value, None)),
        st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=3).map(
            lambda fields: (None, fields)
        ),
        st.dictionaries(names, leaves, min_size=1, max_size=3).map(lambda fields: (None, fields)),
    ),
    escaped=st.booleans(),
    check=st.booleans(),
)
def test_any_json_as_config(
    sandbox: Changed, value: tuple[Any, dict[str, Any] | None], escaped: bool, check: bool
) -> None:
    whole, fields = value
    sandbox.answers, sandbox.token_fields = {}, {}
    config = whole if fields is None else {**sandbox.config, **fields}
    with contextlib.suppress(AttributeError, TypeError):
        check = check or config.get("base_url") != sandbox.base_url  # nothing goes out of here
    run_demo(sandbox, *["--check"] * check, config=as_json(config, escaped))


# (2) Any bytes as config or key file

PEMS = [path.read_bytes() for path in sorted(KEYS.glob("*.pem"))]
SIGNATURE = RSA.import_key((KEYS / "private_signature.pem").read_bytes())
PARTS = ["n", "e", "d", "p", "q", "u"]
PEM_NUMBERS = [0, *(int(getattr(SIGNATURE, part)) for part in PARTS[:5])]
PEM_NUMBERS += [PEM_NUMBERS[3] % (PEM_NUMBERS[4] - 1), PEM_NUMBERS[3] % (PEM_NUMBERS[5] - 1)]
PEM_NUMBERS += [pow(PEM_NUMBERS[5], -1, PEM_NUMBERS[4])]


Edits = list[tuple[int, int, bytes]]

edits = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.sampled_from([0, 1, 1, 1, 2, 65, 1000]),
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from([b"A", b"/", b"\n", b"-", b"", b"\r\n", b"\xef\xbb\xbf", b"\0"]),
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes: Edits) -> bytes:
    """The bytes with a few pieces replaced, removed or inserted."""
    for start, length, piece in changes:
        start %= len(data) + 1
        data = data[:start] + piece + data[start + length :]
    return data


def near(genuine: bytes) -> st.SearchStrategy[bytes]:
    return edits.map(lambda changes: edited(genuine, changes))


def pem(values: list[int], kind: bytes = b"RSA PRIVATE KEY") -> bytes:
    text = base64.encodebytes(DerSequence(values).encode())
    return b"-----BEGIN " + kind + b"-----\n" + text + b"-----END " + kind + b"-----\n"


@st.composite
def odd_key(draw: st.DrawFn) -> bytes:
    """A PEM file of the old form, one or two of whose numbers are others."""
    values = list(PEM_NUMBERS)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, 8))
        others = [0, 1, 2, 3, values[place] + 1, values[place] * 2, values[place] - 2, -5, DH_PRIME]
        values[place] = draw(st.one_of(st.sampled_from([*others, *PEM_NUMBERS]), st.integers()))
    kind = draw(st.sampled_from([b"RSA PRIVATE KEY", b"PRIVATE KEY", b"RSA PUBLIC KEY", b"X"]))
    return pem(values, kind)


files = st.one_of(
    st.binary(max_size=300),
    odd_key(),
    st.sampled_from(PEMS).flatmap(near),
    st.sampled_from(PEMS).map(lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
)


@many
@given(
    data=st.one_of(
        st.binary().map(lambda data: ("config", data)),
        edits.map(lambda changes: ("near config", changes)),
        files.map(lambda data: ("signature_key_fp", data)),
        files.map(lambda data: ("encryption_key_fp", data)),
    ),
    check=st.booleans(),
)
def test_any_bytes_as_config_or_key_file(
    sandbox: Changed, data: tuple[str, Any], check: bool
) -> None:
    sandbox.answers, sandbox.token_fields = {}, {}
    what, content = data
    if what == "config":
        run_demo(sandbox, "--check", config=content)
    elif what == "near config":
        run_demo(sandbox, "--check", config=edited(as_json(sandbox.config), content))
    else:
        config = {**sandbox.config, what: "other.pem"}
        run_demo(sandbox, *["--check"] * check, config=as_json(config), key=content)


# (3) Any JSON as answer

options = st.sampled_from([(), ("-v",), ("--compete",)])
token_answers = st.dictionaries(
    st.sampled_from([name for name in NAMES if name[:4] in ("diff", "live")]), anything, min_size=1
)


@many
@given(
    answers=st.one_of(
        *(
            st.tuples(st.just(route), st.one_of(changed(genuine), anything))
            for route, genuine in GENUINE.items()
        ),
        st.tuples(st.just(TOKEN), anything),
        st.tuples(st.just(""), token_answers),
    ),
    escaped=st.booleans(),
    options=options,
)
def test_any_json_as_answer(
    sandbox: Changed, answers: tuple[str, Any], escaped: bool, options: tuple[str, ...]
) -> None:
    route, value = answers
    sandbox.token_fields = {} if route else value
    sandbox.answers = {route: Answer(200, as_json(value, escaped))} if route else {}
    run_demo(sandbox, *options)


# (4) Any bytes as answer

HEADERS = [
    "Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding", "Location", "Set-Cookie", "Date",
    "Connection", "Retry-After", "WWW-Authenticate", "Proxy-Authenticate", "X", "",
]  # fmt: skip
HEADER_VALUES = [
    "", "0", "1", "5", "-1", "gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "chunked", "close", "keep-alive",
    "text/html; charset=utf-16", "application/json; charset=utf-7", "application/json; charset=punycode", "x; charset=\0",
    "x; charset=undefined", "x; charset=idna", "x; charset=rot13", "/v1/api/tickle", "http://[", "http://x.invalid/",
    "a=b", "a=b; Domain=.127.0.0.1; Max-Age=x; Path=x", "=", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -0000",
    "Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 99 Foo 2026", "1 Jan 99999999999 0:0:0", "\x1b[31m", "\xff",
]  # fmt: skip
latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
statuses = st.one_of(
    st.sampled_from([200, 200, 200, 204, 301, 302, 304, 400, 401, 403, 404, 410, 429, 500, 503]),
    st.integers(0, 1000),
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(list(GENUINE.values())).map(as_json).flatmap(near),
    st.sampled_from(
        [b"", b"[]", b"{}", b"[" * 5000, b"\xff\xfe{\0}\0", b"<html>", b"5\r\n[   ]\r\n0\r\n\r\n"]
    ),
)
ends = st.one_of(st.just(10**9), st.just(10**9), st.integers(0, 600))  # then the sandbox closes


@many
@given(
    routes=st.lists(st.sampled_from(ROUTES), min_size=1, max_size=3),
    status=statuses,
    body=bodies,
    headers=st.dictionaries(
        st.one_of(st.sampled_from(HEADERS), latin),
        st.one_of(st.sampled_from(HEADER_VALUES), latin),
        max_size=3,
    ),
    cut=ends,
    options=options,
)
def test_any_bytes_as_answer(
    sandbox: Changed,
    routes: list[str],
    status: int,
    body: bytes,
    headers: dict[str, str],
    cut: int,
    options: tuple[str, ...],
) -> None:
    sandbox.token_fields = {}
    sandbox.answers = dict.fromkeys(routes, Answer(status, body, headers, cut))
    run_demo(sandbox, *options)


# (5) Any number in a table


@many
@given(
    value=st.one_of(
        st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_any_number_keeps_its_eight_first_digits_and_is_never_rounded_to_zero(value: float) -> None:
    text = demo.number(value)
    assert re.fullmatch(r"-?(\d{1,3}(,\d{3})*\.\d{2,}|\d(\.\d+)?e[+-]\d+)", text)
    assert len(text) <= 40
    assert math.isclose(float(text.replace(",", "")), value, rel_tol=5.1e-8, abs_tol=0)


@many
@given(rows=st.lists(st.lists(leaves, min_size=3, max_size=3), max_size=12))
def test_any_table_is_aligned(rows: list[list[Any]]) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        demo.Console().table(("a", "b", "c"), [dict(zip("abc", row)) for row in rows])
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + min(len(rows), 10)
    assert len({len(line) for line in lines}) == 1


# Found by these


@pytest.mark.parametrize("path", ["~\0", "~\ud800", "~\ud800/private.pem"])
@pytest.mark.parametrize("field", ["signature_key_fp", "encryption_key_fp"])
def test_a_home_folder_that_cannot_be_a_name_is_one_error(
    sandbox: Changed, field: str, path: str
) -> None:
    run_demo(sandbox, "--check", config=as_json({**sandbox.config, field: path}))


@pytest.mark.parametrize(("place", "value"), [(4, 1), (5, 0), (5, 1)], ids=["p=1", "q=0", "q=1"])
@pytest.mark.parametrize("field", ["signature_key_fp", "encryption_key_fp"])
def test_a_key_whose_factor_is_none_is_one_error(
    sandbox: Changed, field: str, place: int, value: int
) -> None:
    values = [*PEM_NUMBERS[:place], value, *PEM_NUMBERS[place + 1 :]]
    sandbox.answers, sandbox.token_fields = {}, {}
    config = as_json({**sandbox.config, field: "other.pem"})
    run_demo(sandbox, "--check", config=config, key=pem(values))
