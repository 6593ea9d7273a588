"""A stand-in for api.ibkr.com on this machine, for this demo and for any other client.

    python -m tests.sandbox [--fault NAME] [demo options]     runs demo.py against it
    python -m tests.sandbox --serve [--port N]                stays up, explains refused signatures

Real HTTP, real RSA, real Diffie-Hellman; throw-away keys and invented data. It checks a request
as a server does, from the public keys, and on purpose shares no code with `oauth.py`: two
programs that agree by sharing a function prove nothing.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # for a Ctrl-C while the imports below run
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import base64
import contextlib
import difflib
import email.utils
import gzip
import hashlib
import heapq
import hmac
import http.client
import http.server
import itertools
import json
import re
import secrets
import shlex
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from Crypto.Cipher import PKCS1_v1_5
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15
from Crypto.Util.asn1 import DerSequence

BASE_PATH = "/v1/api"
CONSUMER = "SIMULATED"
REALM = "limited_poa"
TIMESTAMP_WINDOW = 300  # seconds, either way
TOKEN_LIFE = 24 * 3600  # seconds
SETTLING = 0.5  # seconds after init when /iserver opens to a client that never asks for the status
RATE_LIMIT = 10  # requests in any second: above it IBKR answers 429
REMEMBERED = 2000  # requests that the sandbox keeps a record of, so that its memory stays flat
SESSIONS = 50  # live session tokens that are good at the same time
BODY_LIMIT = 1 << 20  # bytes
GZIP_FROM = 600  # bytes: longer bodies are compressed for clients that accept it

KEYS = Path(__file__).resolve().parent / "throwaway-keys"
DEMO = Path(__file__).resolve().parent.parent / "demo.py"

ROUTES = {  # and the name of each: in the faults, and of the method that answers
    "POST /oauth/live_session_token": "token",
    "GET /portfolio/accounts": "accounts",
    "GET /portfolio/{id}/summary": "summary",
    "GET /portfolio/{id}/ledger": "ledger",
    "GET /portfolio/{id}/positions/{page}": "positions",
    "GET /trsrv/stocks": "stocks",
    "POST /iserver/auth/ssodh/init": "init",
    "GET /iserver/auth/status": "status",
    "POST /iserver/auth/status": "status",
    "GET /iserver/accounts": "iserver",
    "GET /iserver/marketdata/snapshot": "snapshot",
    "GET /iserver/secdef/search": "search",
    "POST /iserver/secdef/search": "search",
    "GET /tickle": "tickle",
    "POST /tickle": "tickle",
    "POST /logout": "logout",
}
PATHS = {  # as patterns
    path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
    for path in (route.split()[1] for route in ROUTES)
}


def _read_dh_parameters(pem: str) -> tuple[int, int]:
    prime, generator = DerSequence().decode(base64.b64decode("".join(pem.split("\n")[1:-2])))[:2]
    return prime, generator


DH_PRIME, DH_GENERATOR = _read_dh_parameters((KEYS / "dhparam.pem").read_text("ascii"))


# Answers and faults


class Answer(NamedTuple):
    """An HTTP answer. `cut`: send only so many bytes of it, then close. `delay`: in seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut: int | None = None
    delay: float = 0


def json_answer(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data, separators=(",", ":")).encode())


def error_answer(status: int, error: str) -> Answer:
    return json_answer({"error": error, "statusCode": status}, status)


def text_answer(status: int, text: str, subtype: str) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": f"text/{subtype};charset=utf-8"})


def html_answer(status: int, title: str) -> Answer:
    text = f"<html><head><title>{status} {title}</title></head><body>{title}</body></html>\n"
    return text_answer(status, text, "html")


def session_status(ready: bool, **more: Any) -> dict[str, Any]:
    """What init and status say about the brokerage session."""
    status = {"authenticated": ready, "established": ready, "competing": False, "connected": True}
    server = {"serverName": "SIMULATED", "serverVersion": "Build 0.0.0, simulated"}
    rest = {"message": "", "MAC": "00:00:00:00:00:00", "serverInfo": server}
    return {**status, **rest, "hardware_info": "simulated|00:00:00:00:00:00", **more}


ACCESS_DENIED = text_answer(403, "Error 403 - Access Denied", "plain")
NOT_FOUND = html_answer(404, "Not Found")
NOT_AUTHENTICATED = error_answer(401, "not authenticated")
NO_BRIDGE = error_answer(400, "Bad Request: no bridge")
UNKNOWN_ACCOUNT = error_answer(401, "unauthorized")
ACCOUNTS_FIRST = "Please query /accounts first"
COMPETING = {"passed": False, "authenticated": False, "connected": True, "competing": False}
COMPETE_FLAG = "Force compete capability must be used together with compete flag"


class Fault(NamedTuple):
    """One thing that goes wrong. Most are one canned answer, to the named routes or to all."""

    where: str
    what: str
    answer: Answer | None = None
    dh_response: str | None = None  # sent in place of the genuine one
    wanted: Callable[[int], bool] = lambda _: True  # else the server draws again
    clock_ahead: float = 0  # seconds

    @property
    def help(self) -> str:
        return f"{self.where}: {self.what}"

    @property
    def answers(self) -> dict[str, Answer]:
        names = self.where.split(", ")
        routes = [route for route, name in ROUTES.items() if name in names or names == ["all"]]
        return dict.fromkeys(routes, self.answer) if self.answer else {}


_LST_FAILED = "id: 118871, error: LST failed, error: "
_NO_SECRET = f"{_LST_FAILED}No access secret key found for SIMULATED"
_BUSY = "Service Unavailable"
_NEVER = json_answer(session_status(False))
_HALF = Answer(200, b'[{"conid":265598,"contractDesc":"AAPL"},' + b" " * 400 + b"]", cut=300)
_MOVED = Answer(302, headers={"Location": f"{BASE_PATH}/tickle"})
_SSO_DH = json_answer({"error": "failed to generate sso dh token"}, 500)

FAULTS = {
    "invalid-consumer": Fault(
        "token", "401, invalid consumer", error_answer(401, "id: 39687, error: invalid consumer")
    ),
    "lst-failed": Fault("token", "401, LST failed, no secret", error_answer(401, _NO_SECRET)),
    "lst-failed-empty": Fault("token", "401, LST failed", error_answer(401, _LST_FAILED)),
    "token-401": Fault("token", "401 without a reason", error_answer(401, "id: 40312, error: ")),
    "clock-off": Fault("token", "401, the server's clock is 10 minutes ahead", clock_ahead=600),
    "wrong-proof": Fault("token", "the proof does not fit the live session token"),
    "dh-zero": Fault("token", "Diffie-Hellman response 0", dh_response="0"),
    "dh-one": Fault("token", "Diffie-Hellman response 1", dh_response="1"),
    "dh-p-minus-1": Fault("token", "Diffie-Hellman response p-1", dh_response=f"{DH_PRIME - 1:x}"),
    "dh-not-hex": Fault("token", "Diffie-Hellman response not hex", dh_response="not hex at all"),
    "dh-empty": Fault("token", "Diffie-Hellman response empty", dh_response=""),
    "k-top-bit": Fault(
        "no failure", "K has its top bit set", wanted=lambda k: k.bit_length() % 8 == 0
    ),
    "k-odd-digits": Fault(
        "no failure", "K has an odd number of digits", wanted=lambda k: 0 < k.bit_length() % 8 < 5
    ),
    "k-short": Fault(
        "no failure",
        "K is a byte shorter",
        wanted=lambda k: k.bit_length() <= DH_PRIME.bit_length() - 8,
    ),
    "access-denied": Fault("all", "403, plain text, from the edge", ACCESS_DENIED),
    "not-found": Fault("all", "404, HTML", NOT_FOUND),
    "unavailable": Fault("all", "503, empty", Answer(503)),
    "html-503": Fault("summary", "503, HTML", html_answer(503, _BUSY)),
    "unavailable-json": Fault("stocks", "503, JSON", error_answer(503, _BUSY)),
    "too-many-requests": Fault("accounts", "429", error_answer(429, "Too Many Requests")),
    "redirect": Fault("accounts", "302 to another path", _MOVED),
    "no-accounts": Fault("accounts", "an empty list", json_answer([])),
    "unknown-account": Fault("summary", "401, unknown account", UNKNOWN_ACCOUNT),
    "200-with-error": Fault(
        "ledger", "status 200 with an error in it", json_answer({"error": "Request refused"})
    ),
    "dropped-connection": Fault("ledger", "connection closed, no answer", Answer(cut=0)),
    "truncated-body": Fault("positions", "the answer ends half-way", _HALF),
    "no-positions": Fault("positions", "an empty list", json_answer([])),
    "gone": Fault("init", "410, empty", Answer(410)),
    "sso-dh-token": Fault("init", "500, failed to generate sso dh token", _SSO_DH),
    "init-waits": Fault("init", "answers wait, then settles", json_answer({"wait": 1000})),
    "init-never-ready": Fault("init, status", "the brokerage session never settles", _NEVER),
    "competing": Fault("init", "refused because of another session, unless compete is true"),
    "not-authenticated": Fault("iserver, snapshot", "401, not authenticated", NOT_AUTHENTICATED),
    "no-bridge": Fault("iserver, snapshot", "400, no bridge", NO_BRIDGE),
    "accounts-first": Fault(
        "snapshot", "400, query /accounts first", error_answer(400, ACCOUNTS_FIRST)
    ),
    "no-subscription": Fault("snapshot", "not subscribed, so no price ever"),
    "logout-fails": Fault("logout", "500", error_answer(500, "Internal Server Error")),
}


# Invented data: tables, the first line names the columns, each cell is JSON


def rows(text: str) -> list[dict[str, Any]]:
    names, *lines = (line.split("|") for line in text.strip().splitlines())
    return [
        {name.strip(): json.loads(cell) for name, cell in zip(names, line) if cell.strip()}
        for line in lines
    ]


ACCOUNTS = [
    {**row, "accountId": row["id"], "displayName": row["id"], "accountTitle": "Simulated Holder"}
    for row in rows("""
id         |accountAlias|currency|type  |tradingType|businessType |faclient|parent
"DU0001234"|null        |"USD"   |"DEMO"|"STKNOPT"  |"INDEPENDENT"|false   |{"isMParent":false}
"DU0005678"|null        |"EUR"   |"DEMO"|"STKNOPT"  |"INDEPENDENT"|false   |{"isMParent":false}
""")
]
IDS = [str(account["id"]) for account in ACCOUNTS]
_SUMMARY = """
name                  |amount    |currency|value      |timestamp
"accountcode"         |0.0       |null    |"DU0001234"|1767225600000
"netliquidation"      |1339037.2 |"USD"   |null       |1767225600000
"totalcashvalue"      |1256229.7 |"USD"   |null       |1767225600000
"availablefunds"      |1301540.85|"USD"   |null       |1767225600000
"buyingpower"         |5206163.4 |"USD"   |null       |1767225600000
"excessliquidity"     |1305290.1 |"USD"   |null       |1767225600000
"grosspositionvalue"  |95927.5   |"USD"   |null       |1767225600000
"initmarginreq"       |37496.35  |"USD"   |null       |1767225600
"maintmarginreq"      |33747.1   |"USD"   |null       |1767225600
"postexpirationexcess"|null      |"USD"   |null       |1767225600000
"""
_LEDGER = """
currency|cashbalance|netliquidationvalue|stockmarketvalue|unrealizedpnl|realizedpnl|exchangerate
"USD"   |1250000.25 |1321587.75         |69117.5         |16562.5      |420.1      |1
"EUR"   |-3200.5    |6999.5             |10200.0         |2200.0       |0.0        |1.1
"JPY"   |1500000.0  |1500000.0          |0.0             |0.0          |0.0        |0.0065
"BASE"  |1256229.7  |1339037.2          |80337.5         |18982.5      |420.1      |1
"""
_POSITIONS = """
assetClass|contractDesc       |conid    |currency|position|mktPrice|mktValue|avgCost|unrealizedPnl
"STK"     |"AAPL"             |265598   |"USD"   |300.0   |231.5   |69450.0 |180.25 |15375.0
"STK"     |"IBM"              |8314     |"USD"   |-25.0   |262.4   |-6560.0 |250.0  |-310.0
"STK"     |"MSFT"             |272093   |"USD"   |12.5    |498.2   |6227.5  |400.0  |1227.5
"STK"     |"SAP"              |14204    |"EUR"   |40.0    |255.0   |10200.0 |200.0  |2200.0
"OPT"     |"SPY DEC2026 600 C"|700000001|"USD"   |2.0     |12.35   |2470.0  |1100.0 |270.0
"STK"     |"OLDCO (delisted)" |700000002|"USD"   |1000.0  |null    |null    |null   |null
"""
_DETAILS: dict[str, dict[str, Any]] = {
    "STK": {"expiry": None, "putOrCall": None, "strike": 0.0, "multiplier": None},
    "OPT": {"expiry": "20261218", "putOrCall": "C", "strike": "600", "multiplier": 100.0},
}
_LISTINGS = """
symbol|name                         |conid    |exchange|isUS
"AAPL"|"LS 1X AAPL"                 |493546048|"LSEETF"|false
"AAPL"|"APPLE INC"                  |38708077 |"MEXI"  |false
"AAPL"|"APPLE INC"                  |265598   |"NASDAQ"|true
"IBM" |"INTL BUSINESS MACHINES CORP"|8314     |"NYSE"  |true
"IBM" |"INTL BUSINESS MACHINES CORP"|1411277  |"IBIS"  |false
"MSFT"|"MICROSOFT CORP"             |272093   |"NASDAQ"|true
"SAP" |"SAP SE"                     |14204    |"IBIS"  |false
"SAP" |"SAP SE-SPONSORED ADR"       |5063     |"NYSE"  |true
"""
_QUOTES = """
conid   |31       |84      |88     |86      |85     |6509
"265598"|"C231.50"|"231.48"|"400"  |"231.52"|"1,300"|"RpB"
"8314"  |"262.40" |"262.35"|"1,100"|"262.45"|"200"  |"DPB"
"272093"|"H498.20"|""      |""     |"-1"    |"-1"   |"ZB"
"5063"  |"280.10" |"280.05"|"100"  |"280.20"|"100"  |"RpB"
"""
_UNUSED = {"interest": 0.0, "dividends": 0.0, "timestamp": 1767225600}
SUMMARIES: dict[str, Any] = {
    IDS[0]: {r.pop("name"): {**r, "isNull": r["amount"] is None} for r in rows(_SUMMARY)},
    IDS[1]: {"netliquidation": {"amount": 0.0, "currency": "EUR", "isNull": False, "value": None}},
}
LEDGERS: dict[str, Any] = {
    IDS[0]: {
        row["currency"]: {**row, "settledcash": row["cashbalance"], **_UNUSED}
        for row in rows(_LEDGER)
    },
    IDS[1]: {},
}
POSITIONS: dict[str, Any] = {
    IDS[0]: [
        {"acctId": IDS[0], **row, "realizedPnl": 0.0, **_DETAILS[row["assetClass"]]}
        for row in rows(_POSITIONS)
    ],
    IDS[1]: [],
}
QUOTES = {row["conid"]: row for row in rows(_QUOTES)}
STOCKS: dict[str, list[dict[str, Any]]] = {}
for (_symbol, _name), _group in itertools.groupby(
    rows(_LISTINGS), lambda row: (row["symbol"], row["name"])
):
    _contracts = [{name: row[name] for name in ("conid", "exchange", "isUS")} for row in _group]
    _company = {"name": _name, "chineseName": None, "assetClass": "STK", "contracts": _contracts}
    STOCKS.setdefault(_symbol, []).append(_company)


# The signature, as a server checks it

Pairs = list[tuple[str, str]]
Named = list[tuple[str, Any]]  # keys, each with the mistake of using it

_PAIR = re.compile(r'([a-z_]+)="([^"]*)"')
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*")
_CHALLENGE = re.compile(r"[1-9a-f][0-9a-f]*")
DIGESTS = (("", "sha256"), ("SHA-1 instead of SHA-256", "sha1"))


class Request(NamedTuple):
    method: str
    path: str  # as on the wire, without BASE_PATH
    query: str  # as on the wire
    headers: Message
    body: bytes
    connection: int


@dataclass
class Record:
    """What became of a request. `refused`: the reason, or empty."""

    method: str
    path: str
    query: str
    connection: int
    status: int = 0
    refused: str = ""
    query_form: str = ""  # "signed", "signed as on the wire", "left out", or "" without a query
    passed: list[str] = field(default_factory=list)


class RefusedError(Exception):
    def __init__(self, reason: str, answer: Answer, explanation: str = "") -> None:
        super().__init__(reason)
        self.reason, self.answer, self.explanation = reason, answer, explanation


@dataclass
class Session:
    """What a live session token has opened so far."""

    token: bytes
    token_without_sign_byte: bytes | None  # what a client gets that forgets it, if that differs
    expires: float
    called: set[str] = field(default_factory=set)  # routes that were answered with 200
    brokerage: str = "none"  # then "settling" and "ready", or "competing"
    brokerage_since: float = 0
    polls: int = 0
    subscribed: set[str] = field(default_factory=set)  # conids


def base_string(method: str, url: str, parameters: str, prepend: str = "") -> str:
    """`parameters`: joined raw, and encoded once. RFC 5849 would encode the values twice."""
    return prepend + "&".join((method, quote(url, safe="~"), quote(parameters, safe="~")))


def joined(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def query_forms(query: str) -> list[tuple[str, Pairs]]:
    """The ways to sign a query that IBKR accepts; its own documents disagree."""
    if not query:
        return [("", [])]
    items = (item.partition("=") for item in query.split("&") if item)
    wire = [(name, value) for name, _, value in items]
    decoded = [(unquote_plus(name), unquote_plus(value)) for name, value in wire]
    return [("signed", decoded), ("signed as on the wire", wire), ("left out", [])]


def parse_authorization(header: str) -> Pairs:
    """Section 3.5.1 of RFC 5849, strictly. Raises ValueError with what is wrong, and no value."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "oauth":
        raise ValueError("Authorization is not of the scheme OAuth")
    pairs: Pairs = []
    for item in rest.split(","):
        match = _PAIR.fullmatch(item.strip())
        if not match:
            raise ValueError('Authorization is not made of name="value" pairs')
        name, value = match.groups()
        if not _ENCODED.fullmatch(value):
            example = ": + / = go as %2B %2F %3D" if name == "oauth_signature" else ""
            what = "signature" if name == "oauth_signature" else name
            raise ValueError(f"{what} not percent-encoded{example}")
        if name in dict(pairs):
            raise ValueError(f"{name} stands twice in Authorization")
        pairs.append((name, unquote(value)))
    return pairs


class Attempt(NamedTuple):
    """The signed parts of a request: what is needed to compute its signature."""

    method: str
    url: str
    pairs: Pairs  # from the header, in its order, without realm and signature
    query: str
    prepend: str  # hex of the decrypted secret; "" outside the token request

    def expected(self, query_pairs: Pairs) -> str:
        return self.over(joined(sorted(self.pairs + query_pairs)))

    def over(self, parameters: str) -> str:
        return base_string(self.method, self.url, parameters, self.prepend)


def variants(attempt: Attempt, secret: str) -> Iterator[tuple[list[str], str]]:
    """Base strings as clients get them wrong, each with its mistakes by name."""
    origin, path = attempt.url.split(BASE_PATH, 1)
    hosts = ("api.ibkr.com", "127.0.0.1", "localhost", origin.split("/")[2])
    origins = [f"{scheme}://{host}" for scheme in ("https", "http") for host in hosts]
    urls = [("", attempt.url)]
    urls += [(f"wrong host in the URL ({o})", o + BASE_PATH + path) for o in origins]
    if attempt.query:
        for query in (attempt.query, unquote(attempt.query)):
            urls.append(("query left in the URL", f"{attempt.url}?{query}"))
    if attempt.prepend:
        prepends = [("", secret), ("prepend missing", ""), ("prepend in capitals", secret.upper())]
        prepends += [("prepend followed by &", secret + "&")]
    else:
        prepends = [("", ""), ("prepend outside the token request", secret)]
    lists = []
    for _, query_pairs in query_forms(attempt.query):
        pairs = attempt.pairs + query_pairs
        for realm, signed in (("", pairs), ("realm signed", [*pairs, ("realm", REALM)])):
            twice = [(quote(name, safe="~"), quote(value, safe="~")) for name, value in signed]
            lists.append((realm, "", joined(sorted(signed))))
            lists.append((realm, "values encoded twice", joined(sorted(twice))))
            lists.append((realm, "parameters unsorted", joined(signed)))
    for wrong in itertools.product(urls, prepends, lists):
        (url_mistake, url), (prepend_mistake, prepend), (realm, order, parameters) = wrong
        mistakes = [m for m in (url_mistake, prepend_mistake, realm, order) if m]
        yield mistakes, base_string(attempt.method, url, parameters, prepend)
    for _, query_pairs in query_forms(attempt.query):
        lower_case = attempt._replace(method=attempt.method.lower())
        yield ["HTTP method in lower case"], lower_case.expected(query_pairs)
    if len(attempt.pairs) <= 6:  # in any order, the query first or last
        for _, query_pairs in query_forms(attempt.query):
            for some_order in itertools.permutations(attempt.pairs):
                for pairs in ([*some_order, *query_pairs], [*query_pairs, *some_order]):
                    yield ["parameters unsorted"], attempt.over(joined(pairs))


def find_mistakes(
    attempt: Attempt, secret: str, fits: Callable[[bytes], list[str] | None]
) -> list[str]:
    """The fewest mistakes that explain a signature; `fits` adds those of key and digest."""
    best: list[str] = []
    for mistakes, variant in variants(attempt, secret):
        more = fits(variant.encode())
        if more is not None and (not best or len(mistakes + more) < len(best)):
            best = mistakes + more
        if len(best) == 1:
            break
    return best


def rsa_fits(signature: bytes, keys: Named) -> Callable[[bytes], list[str] | None]:
    number = int.from_bytes(signature, "big")
    opened = [(name, pow(number, key.e, key.n).to_bytes(256, "big")) for name, key in keys]

    def fits(message: bytes) -> list[str] | None:
        for (wrong_key, padded), (wrong_digest, digest) in itertools.product(opened, DIGESTS):
            if padded.endswith(hashlib.new(digest, message).digest()):
                return [mistake for mistake in (wrong_key, wrong_digest) if mistake]
        return None

    return fits


def hmac_fits(signature: bytes, keys: Named) -> Callable[[bytes], list[str] | None]:
    def fits(message: bytes) -> list[str] | None:
        for (wrong_key, key), (wrong_digest, digest) in itertools.product(keys, DIGESTS):
            if hmac.compare_digest(hmac.digest(key, message, digest), signature):
                return [mistake for mistake in (wrong_key, wrong_digest) if mistake]
        return None

    return fits


def decode_base64(text: str) -> bytes:
    """Empty unless it is the one proper spelling, so that no changed character goes unnoticed."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode() == text else b""


def method_problem(method: str, for_token: bool) -> str:
    expected = "RSA-SHA256" if for_token else "HMAC-SHA256"
    why = "SHA-1 instead of SHA-256: " if method == expected.replace("256", "1") else ""
    return "" if method == expected else f"{why}must be {expected} for this request"


def form_fields(request: Request) -> str:
    is_form = request.headers.get_content_type() == "application/x-www-form-urlencoded"
    return request.body.decode("latin-1") if is_form else ""


def parameters(request: Request) -> dict[str, Any]:
    """Clients send the same parameters as a query or as JSON."""
    found: dict[str, Any] = dict(query_forms(request.query)[0][1])
    if request.body and request.headers.get_content_type() == "application/json":
        with contextlib.suppress(ValueError):
            data = json.loads(request.body)
            found.update(data if isinstance(data, dict) else {})
    return found


def printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text[:300])


# The sandbox


class Sandbox:
    """The stand-in, as a context manager: listens while it is open, leaves nothing behind."""

    def __init__(
        self,
        fault: str = "",
        port: int = 0,
        answers: Mapping[str, Answer] | None = None,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.fault_name = fault
        self.fault = FAULTS[fault] if fault else Fault("no failure", "")
        self.answers = {**self.fault.answers, **(answers or {})}
        self.port = port
        self.requests: list[Record] = []
        self.complaints: list[str] = []  # the log lines of what went wrong
        self.connections = 0
        self.rate_warnings = 0
        self.logged_out = False
        self.secrets: list[bytes | str] = []
        self.stopping = threading.Event()
        self._log_line = log
        self._clock = clock
        self._lock = threading.RLock()
        self._count = 0
        self._recent: deque[float] = deque()
        self._too_fast = False
        self._sessions: list[Session] = []  # the newest first
        self._ended: deque[bytes] = deque(maxlen=20)  # their live session tokens
        self._nonces: set[str] = set()
        self._nonce_ends: list[tuple[float, str]] = []  # a heap
        self._signature_key = RSA.import_key((KEYS / "public_signature.pem").read_bytes())
        self._encryption_key = RSA.import_key((KEYS / "public_encryption.pem").read_bytes())
        self.access_token = secrets.token_hex(10)
        self._secret = secrets.token_bytes(32)
        encrypted = PKCS1_v1_5.new(self._encryption_key).encrypt(self._secret)
        self.access_token_secret = base64.b64encode(encrypted).decode()
        self.secrets += [self.access_token, self.access_token_secret, self._secret]

    def __enter__(self) -> Sandbox:
        self._server = Server(self, self.port)  # first: nothing to tidy up when the port is in use
        self.port = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}{BASE_PATH}"
        self.folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
        try:
            self._write_config()
        except BaseException:
            self._server.server_close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_config(self) -> None:
        key_files = {"encryption_key_fp": "private_encryption.pem"}
        key_files["signature_key_fp"] = "private_signature.pem"
        self.config: dict[str, Any] = {
            "realm": REALM,
            **key_files,
            "consumer_key": CONSUMER,
            "dh_prime": f"{DH_PRIME:x}",
            "access_token": self.access_token,
            "access_token_secret": self.access_token_secret,
            "base_url": self.base_url,
        }
        self.config_path = self.folder / "config.json"
        files = {name: (KEYS / name).read_bytes() for name in key_files.values()}
        files[self.config_path.name] = json.dumps(self.config, indent=2).encode() + b"\n"
        for name, content in files.items():
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)

    # A request, from its arrival to its answer

    def now(self) -> float:
        return self._clock() + self.fault.clock_ahead

    def log(self, line: str, complaint: bool = False) -> None:
        with self._lock:
            if complaint:
                self.complaints.append(line)
                del self.complaints[:-REMEMBERED]
            if self._log_line:
                self._log_line(line)

    def respond(self, request: Request) -> Answer:
        with self._lock:
            self._count += 1
            self._watch_rate()
            record = Record(request.method, request.path, request.query, request.connection)
            explanation = ""
            try:
                answer = self._answer(request, record)
            except RefusedError as refusal:
                answer, record.refused = refusal.answer, refusal.reason
                explanation = refusal.explanation
            record.status = answer.status
            self.requests.append(record)
            del self.requests[:-REMEMBERED]
            self._log_request(record, explanation)
            return answer

    def _log_request(self, record: Record, explanation: str) -> None:
        target = record.path + ("?" + record.query if record.query else "")
        line = f"{self._count} {record.method} {printable(target)} {record.status}"
        if record.passed:
            line += f" | ok: {', '.join(record.passed)}"
        if record.query_form:
            line += f" | query {record.query_form}"
        if record.refused:
            line += f" | refused: {record.refused}"
        self.log(line + explanation, complaint=bool(record.refused))

    def _watch_rate(self) -> None:
        now = time.monotonic()
        self._recent.append(now)
        while self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) > RATE_LIMIT and not self._too_fast:
            self.rate_warnings += 1
            warning = "requests in a second: IBKR would answer 429 and bar this address for a while"
            self.log(f"more than {RATE_LIMIT} {warning}", complaint=True)
        self._too_fast = len(self._recent) > RATE_LIMIT

    def _answer(self, request: Request, record: Record) -> Answer:
        """The checks in the order in which a server makes them, then the answer."""
        headers = request.headers
        if not headers.get("User-Agent"):
            raise RefusedError("no User-Agent", ACCESS_DENIED)
        if request.method == "POST" and headers.get("Content-Length") is None:
            raise RefusedError("POST without Content-Length", html_answer(411, "Length Required"))
        path = next((path for path in PATHS if PATHS[path].fullmatch(request.path)), None)
        if path is None:
            raise RefusedError("unknown path", NOT_FOUND)
        route = f"{request.method} {path}"
        name = ROUTES.get(route, "")
        sent, session = self._check(request, record, ROUTES.get(f"POST {path}") == "token")
        if not name:
            raise RefusedError(
                "wrong HTTP method for this path", error_answer(405, "Method Not Allowed")
            )
        canned = self.answers.get(route)
        if session is None:
            return canned or self._live_session_token(sent["diffie_hellman_challenge"])
        if canned and canned.status == 200 and name == "init":
            self._settle(session)
        handle: Callable[[Request, Session], Answer] = getattr(self, f"_{name}")
        answer = canned or handle(request, session)
        if answer.status == 200:
            session.called.add(name)
        return answer

    def _unauthorized(
        self, reason: str, explanation: str = "", error: str = "unauthorized"
    ) -> RefusedError:
        """IBKR's 401 does not say what was wrong; only the log does."""
        body = f"id: {self._count}, error: {error}"
        return RefusedError(reason, error_answer(401, body), explanation)

    def _check(
        self, request: Request, record: Record, for_token: bool
    ) -> tuple[dict[str, str], Session | None]:
        """Returns what Authorization says, and the session unless this asks for a token."""

        def check(name: str, reason: str, error: str = "unauthorized") -> None:
            if reason:
                raise self._unauthorized(f"{name}: {reason}", error=error)
            record.passed.append(name)

        pairs, problem = self._read_header(request, for_token)
        check("header", problem)
        sent = dict(pairs)
        wrong = "not the one in the config"
        consumer = "" if sent["oauth_consumer_key"] == CONSUMER else wrong
        check("consumer", consumer, "invalid consumer")
        check("token", "" if sent["oauth_token"] == self.access_token else wrong)
        check("realm", "" if sent["realm"] == REALM else wrong)
        check("method", method_problem(sent["oauth_signature_method"], for_token))
        check("timestamp", self._timestamp_problem(sent["oauth_timestamp"]))
        check("nonce", self._nonce_problem(sent["oauth_nonce"]))
        host = self._signed_host(request)
        check("host", "" if host else "the Host header is neither this server nor api.ibkr.com")

        signed = [(n, v) for n, v in pairs if n not in ("realm", "oauth_signature")]
        url = f"http://{host}{BASE_PATH}{request.path}"
        query = "&".join(filter(None, (request.query, form_fields(request))))
        prepend = self._secret.hex() if for_token else ""
        attempt = Attempt(request.method, url, signed, query, prepend)
        form, session = self._verify(attempt, sent["oauth_signature"], for_token)
        record.query_form = form
        record.passed.append("signature")
        self._remember_nonce(sent["oauth_nonce"], int(sent["oauth_timestamp"]))
        return sent, session

    def _read_header(self, request: Request, for_token: bool) -> tuple[Pairs, str]:
        headers = request.headers.get_all("Authorization") or []
        if len(headers) != 1:
            return [], f"{len(headers) or 'no'} Authorization headers"
        try:
            pairs = parse_authorization(headers[0])
        except ValueError as error:
            return [], str(error)
        needed = ["realm", "oauth_consumer_key", "oauth_nonce", "oauth_signature"]
        needed += ["oauth_signature_method", "oauth_timestamp", "oauth_token"]
        needed += ["diffie_hellman_challenge"] if for_token else []
        missing = [name for name in needed if not dict(pairs).get(name)]
        return pairs, f"missing {', '.join(missing)}" if missing else ""

    def _timestamp_problem(self, timestamp: str) -> str:
        if not re.fullmatch("[0-9]{1,15}", timestamp):
            return "not a number of seconds"
        off = int(timestamp) - self.now()
        if abs(int(timestamp) / 1000 - self.now()) <= TIMESTAMP_WINDOW:
            return "in milliseconds instead of seconds"
        if abs(off) > TIMESTAMP_WINDOW:
            return f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the server's clock"
        return ""

    def _nonce_problem(self, nonce: str) -> str:
        while self._nonce_ends and self._nonce_ends[0][0] < self.now():
            self._nonces.discard(heapq.heappop(self._nonce_ends)[1])
        return "seen before: a replay" if nonce in self._nonces else ""

    def _remember_nonce(self, nonce: str, timestamp: int) -> None:
        """Only as long as the timestamp could pass: after that a replay fails by its timestamp."""
        self._nonces.add(nonce)
        heapq.heappush(self._nonce_ends, (timestamp + TIMESTAMP_WINDOW, nonce))

    def _signed_host(self, request: Request) -> str:
        """Host and port that the URL in the base string must have."""
        own = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
        host = request.headers.get("Host", "").lower()
        # Some clients hard-code the Host header, even when they really call another server.
        return own[0] if host == "api.ibkr.com" else host if host in own else ""

    def _verify(self, attempt: Attempt, text: str, for_token: bool) -> tuple[str, Session | None]:
        """Returns the query's form and the session, or raises RefusedError with an explanation."""
        signature = decode_base64(text)
        for session in [session for session in self._sessions if session.expires <= self.now()]:
            self._end(session)
        for form, query_pairs in query_forms(attempt.query):
            message = attempt.expected(query_pairs).encode()
            if for_token and self._rsa_fits(signature, message):
                return form, None
            for session in () if for_token else self._sessions:
                if hmac.compare_digest(hmac.digest(session.token, message, "sha256"), signature):
                    return form, session
        reason = self._mistakes(attempt, text, signature, for_token)
        masked = [(n, "ACCESSTOKEN" if n == "oauth_token" else v) for n, v in attempt.pairs]
        shown = attempt._replace(pairs=masked, prepend="<prepend>" if for_token else "")
        explanation = ""
        for form, query_pairs in query_forms(attempt.query):
            expected = shown.expected(query_pairs).replace("ACCESSTOKEN", "<access token>")
            explanation += f"\n    expected base string{form and f', query {form}'}: {expected}"
        raise self._unauthorized(f"signature: {reason}", explanation)

    def _rsa_fits(self, signature: bytes, message: bytes) -> bool:
        try:
            pkcs1_15.new(self._signature_key).verify(SHA256.new(message), signature)
        except ValueError:
            return False
        return True

    def _mistakes(self, attempt: Attempt, text: str, signature: bytes, for_token: bool) -> str:
        """The mistake by name, when trying it gives the signature that was sent."""
        if not signature:
            twice = " (percent-encoded twice)" if "%" in text else ""
            return f"not canonical base64{twice}"
        if not for_token and not self._sessions and not self._ended:
            return "nobody has a live session token yet"
        if for_token:
            swapped = "signed with the encryption key instead of the signature key"
            fits = rsa_fits(signature, [("", self._signature_key), (swapped, self._encryption_key)])
        else:
            fits = hmac_fits(signature, self._likely_keys())
        best = find_mistakes(attempt, self._secret.hex(), fits)
        return " and ".join(best) if best else "does not match, and no known mistake explains it"

    def _likely_keys(self) -> Named:
        """What clients sign with, rightly or by mistake; the newest log-ins only."""
        keys: Named = []
        for session in self._sessions[:3]:
            as_text = base64.b64encode(session.token)
            keys += [("", session.token), ("token used as text instead of decoded", as_text)]
            keys += [("token used as text instead of decoded", session.token.hex().encode())]
            keys += [("& after the key", key + b"&") for key in (session.token, as_text)]
            if session.token_without_sign_byte:
                keys += [("sign byte of K missing", session.token_without_sign_byte)]
        return keys + [("live session token that has ended", token) for token in self._ended]

    # The endpoints

    def _live_session_token(self, challenge: str) -> Answer:
        if not _CHALLENGE.fullmatch(challenge) or not 2 <= int(challenge, 16) <= DH_PRIME - 2:
            raise self._unauthorized(
                "diffie_hellman_challenge: not lower-case hex without leading zeros, 2 to p - 2"
            )
        exponent, public = secrets.randbits(256) + 1, int(challenge, 16)
        response = pow(DH_GENERATOR, exponent, DH_PRIME)
        shared = pow(public, exponent, DH_PRIME)
        while not self.fault.wanted(shared):  # one more in the exponent, until K has the form
            response = response * DH_GENERATOR % DH_PRIME
            shared = shared * public % DH_PRIME
        answer = f"{response:x}" if self.fault.dh_response is None else self.fault.dh_response
        if self.fault_name in ("dh-zero", "dh-one", "dh-p-minus-1"):
            shared = int(answer, 16)  # so the proof fits, and only a check of the range helps
        session = self._open_session(shared)
        proof_of = b"SOMEONE01" if self.fault_name == "wrong-proof" else CONSUMER.encode()
        proof = hmac.digest(session.token, proof_of, "sha1").hex()
        cookie = secrets.token_hex(16)
        self._keep_secret(cookie)
        body = {
            "diffie_hellman_response": answer,
            "live_session_token_signature": proof,
            "live_session_token_expiration": int(session.expires * 1000),
        }
        headers = {"Set-Cookie": f"x-sess-uuid={cookie}; Path=/; HttpOnly"}
        return json_answer(body)._replace(headers=headers)

    def _open_session(self, shared: int) -> Session:
        """K as Java's BigInteger.toByteArray() gives it: a zero byte before a set top bit."""
        k = shared.to_bytes(shared.bit_length() // 8 + 1, "big")
        token = hmac.digest(k, self._secret, "sha1")
        bare = k.lstrip(b"\0")
        without = hmac.digest(bare, self._secret, "sha1") if bare != k else None
        self._keep_secret(k, bare or k, token)  # both forms: their base64 has nothing in common
        session = Session(token, without, self.now() + TOKEN_LIFE)
        self._sessions = [session, *self._sessions[: SESSIONS - 1]]
        return session

    def _keep_secret(self, *values: bytes | str) -> None:
        self.secrets += [value for value in values if value not in self.secrets]
        del self.secrets[3:-REMEMBERED]  # the first three belong to the access token

    def _accounts(self, _request: Request, _session: Session) -> Answer:
        return json_answer(ACCOUNTS)

    def _summary(self, request: Request, session: Session) -> Answer:
        return self._by_account(request, session, SUMMARIES)

    def _ledger(self, request: Request, session: Session) -> Answer:
        return self._by_account(request, session, LEDGERS)

    def _positions(self, request: Request, session: Session) -> Answer:
        answer = self._by_account(request, session, POSITIONS)
        return answer if request.path.endswith("/0") else json_answer([])

    def _by_account(self, request: Request, session: Session, table: Mapping[str, Any]) -> Answer:
        if "accounts" not in session.called:
            raise RefusedError("/portfolio/accounts first", error_answer(400, ACCOUNTS_FIRST))
        account = request.path.split("/")[2]
        if account not in table:
            raise RefusedError("unknown account", UNKNOWN_ACCOUNT)
        return json_answer(table[account])

    def _stocks(self, request: Request, _session: Session) -> Answer:
        symbols = str(parameters(request).get("symbols", "")).split(",")
        return json_answer({symbol: STOCKS[symbol] for symbol in symbols if symbol in STOCKS})

    def _search(self, request: Request, session: Session) -> Answer:
        self._need_brokerage(session)
        symbol = str(parameters(request).get("symbol", ""))
        found = []
        for company in STOCKS.get(symbol, []):
            for contract in company["contracts"]:
                names = {"companyName": company["name"], "description": contract["exchange"]}
                sections = [{"secType": "STK"}]
                conid = str(contract["conid"])
                found.append({"conid": conid, "symbol": symbol, **names, "sections": sections})
        return json_answer(found)

    def _init(self, request: Request, session: Session) -> Answer:
        compete = str(parameters(request).get("compete", False)).lower() == "true"
        if self.fault_name == "competing" and not compete:
            session.brokerage = "competing"
            return json_answer(COMPETING)
        self._settle(session)
        if compete:  # takes over at once
            session.brokerage = "ready"
        return json_answer(session_status(True, established=session.brokerage == "ready"))

    def _settle(self, session: Session) -> None:
        if session.brokerage != "ready":
            session.brokerage, session.brokerage_since, session.polls = "settling", self.now(), 0

    def _status(self, _request: Request, session: Session) -> Answer:
        if session.brokerage == "competing":
            return json_answer(session_status(False, fail=COMPETE_FLAG))
        session.polls += 1
        if session.brokerage == "settling" and session.polls >= 2:
            session.brokerage = "ready"
        ready = session.brokerage == "ready"
        return json_answer(session_status(ready, connected=session.brokerage != "none"))

    def _need_brokerage(self, session: Session) -> None:
        if session.brokerage == "competing":
            raise RefusedError("another session holds on", NOT_AUTHENTICATED)
        if session.brokerage == "settling" and self.now() - session.brokerage_since >= SETTLING:
            session.brokerage = "ready"
        if session.brokerage != "ready":
            why = "not settled yet" if session.brokerage == "settling" else "missing"
            raise RefusedError(f"ssodh/init {why}", NO_BRIDGE)

    def _iserver(self, _request: Request, session: Session) -> Answer:
        self._need_brokerage(session)
        more = {"isPaper": True, "isFT": False, "aliases": dict(zip(IDS, IDS))}
        return json_answer({"accounts": IDS, "selectedAccount": IDS[0], **more})

    def _snapshot(self, request: Request, session: Session) -> Answer:
        self._need_brokerage(session)
        if "iserver" not in session.called:
            raise RefusedError("/iserver/accounts first", error_answer(500, ACCOUNTS_FIRST))
        asked = parameters(request)
        conids = str(asked.get("conids", "")).split(",")
        if not all(re.fullmatch("[0-9]{1,12}", conid) for conid in conids):
            raise RefusedError("conids are not numbers", error_answer(400, "Bad Request: conids"))
        fields = str(asked.get("fields", "")).split(",")
        answer = []
        for conid in conids:
            known = {"6509": "N"} if self.fault_name == "no-subscription" else QUOTES.get(conid, {})
            if conid not in session.subscribed:  # the first call only subscribes
                known = {}
            found = {name: known[name] for name in fields if name in known}
            answer.append({"conid": int(conid), "conidEx": conid, **found})
        session.subscribed.update(conids)
        return json_answer(answer)

    def _tickle(self, _request: Request, session: Session) -> Answer:
        status = session_status(session.brokerage == "ready")
        more = {"ssoExpires": 0, "collission": False, "userId": 1, "hmds": {"error": "no bridge"}}
        return json_answer({"session": "simulated", **more, "iserver": {"authStatus": status}})

    def _logout(self, _request: Request, session: Session) -> Answer:
        self._end(session)
        self.logged_out = True
        return json_answer({"status": True})

    def _end(self, session: Session) -> None:
        self._sessions.remove(session)
        self._ended.append(session.token)


# HTTP


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.numbers[self.connection]

    def do_GET(self) -> None:
        sandbox = self.server.sandbox
        body = self._body()
        path, _, query = self.path.partition("?")
        inside = path.startswith(BASE_PATH + "/")
        path = path[len(BASE_PATH) :] if inside else f"(outside {BASE_PATH}) {path}"
        request = Request(self.command, path, query, self.headers, body, self.number)
        answer = sandbox.respond(request)
        if answer.delay:
            sandbox.stopping.wait(answer.delay)
        self._send(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,7}", length) and int(length) <= BODY_LIMIT:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                raise ConnectionError("the body ended half-way")
            return body
        if length or "Transfer-Encoding" in self.headers or self.command == "POST":
            self.close_connection = True  # where the next request begins is anyone's guess
        return b""

    def _send(self, answer: Answer) -> None:
        """In one write, so that nothing waits for an acknowledgement."""
        body, zipped = answer.body, "gzip" in self.headers.get("Accept-Encoding", "")
        headers = {"Date": email.utils.formatdate(self.server.sandbox.now(), usegmt=True)}
        if len(body) >= GZIP_FROM and zipped and "Content-Encoding" not in answer.headers:
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Type"] = "application/json;charset=utf-8"
        headers["Content-Length"] = str(len(body))
        headers.update(answer.headers)
        if answer.cut is not None:
            self.close_connection = True
        elif self.close_connection:
            headers["Connection"] = "close"
        phrase = http.client.responses.get(answer.status, "")
        lines = [f"HTTP/1.1 {answer.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        self.wfile.write(raw[: answer.cut])

    def send_error(
        self, code: int, message: str | None = None, _explain: str | None = None
    ) -> None:
        """The base class calls this for what is not even HTTP, or cut off in its first line."""
        line = f"connection {self.number}: refused: {code} {printable(message or '')}"
        self.server.sandbox.log(line, complaint=True)
        self.close_connection = True
        self.headers = http.client.HTTPMessage()
        self._send(html_answer(int(code), http.client.responses.get(code, "Error")))

    def log_message(self, *_: Any) -> None:
        """The sandbox keeps its own log."""


class Server(socketserver.ThreadingTCPServer):
    """Knows its connections, so that it can close them all and end at once."""

    allow_reuse_address = os.name != "nt"  # there, it would let two servers share a port
    request_queue_size = 64

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        self.numbers: dict[socket.socket, int] = {}
        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.sandbox.connections += 1
        self.numbers[connection] = self.sandbox.connections
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.numbers.pop(request, None)

    def close_connections(self) -> None:
        for connection in list(self.numbers):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, _address: Any) -> None:
        error = sys.exc_info()[1]
        if self.sandbox.stopping.is_set():
            return
        what = "client went away" if isinstance(error, OSError) else f"internal error: {error!r}"
        self.sandbox.log(f"connection {self.numbers.get(request, 0)}: {what}", complaint=True)


# Command line


def main(argv: list[str] | None = None) -> int:
    options, demo_options = _parse_arguments(argv)
    try:
        if options.serve:
            return _serve(options)
        return _run_demo(options, demo_options)
    except OSError as error:
        print(f"error: cannot listen on 127.0.0.1:{options.port}: {error}", file=sys.stderr)
        print("hint: --port 0 takes any free port", file=sys.stderr)
        return 1


def _parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    width = max(map(len, FAULTS))
    table = "\n".join(f"  {name:{width}}  {fault.help}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.sandbox",
        description="A stand-in for api.ibkr.com on this machine, with invented data. Runs demo.py "
        "against it; every other option goes to demo.py.",
        epilog=f"faults:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--fault", metavar="NAME", default="", help="show one failure, see below")
    parser.add_argument("--serve", action="store_true", help="stay up for other clients")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    options, rest = parser.parse_known_args(argv)
    if options.fault and options.fault not in FAULTS:
        near = difflib.get_close_matches(options.fault, FAULTS, 1, 0)
        parser.error(f"unknown fault {printable(options.fault)!r}: did you mean {near[0]!r}?")
    if not 0 <= options.port <= 65535:
        parser.error("--port must be 0 to 65535")
    if options.serve and rest:
        parser.error(f"--serve runs no demo, so it takes no {printable(rest[0])!r}")
    return options, rest


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError:  # nobody reads any more: go on without
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _serve(options: argparse.Namespace) -> int:
    asked_to_stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: asked_to_stop.append(received))
    with Sandbox(options.fault, options.port, log=_say) as sandbox:
        _say("simulated api.ibkr.com: invented data, throw-away keys; Ctrl-C ends it")
        _say(f"config: {sandbox.config_path}")
        _say(f"base_url: {sandbox.base_url}")
        while not asked_to_stop:
            time.sleep(0.05)
    _say("stopped")
    return 0


def _run_demo(options: argparse.Namespace, demo_options: list[str]) -> int:
    child: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: object) -> None:
        if child is None:
            sys.exit(128 + number)
        if number == signal.SIGTERM:  # a Ctrl-C reaches the demo anyway: wait for its logout
            child.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with Sandbox(options.fault, options.port) as sandbox:
        _say("simulated: no connection to IBKR, invented data, throw-away keys")
        arguments = [str(sandbox.config_path), *demo_options]
        _say(f"$ python demo.py {shlex.join(arguments)}")
        direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        local = f"{direct},127.0.0.1" if direct else "127.0.0.1"
        environment = {**os.environ, "NO_PROXY": local, "no_proxy": local}
        child = subprocess.Popen([sys.executable, str(DEMO), *arguments], env=environment)
        status = child.wait()
    for line in sandbox.complaints:
        print(f"sandbox: {line}", file=sys.stderr)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
