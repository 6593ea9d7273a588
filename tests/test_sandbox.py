"""What a client sees of the sandbox: the order of things, the files, the faults, the command.

The client here is made of the standard library and `cryptography`, so that no line of the code
under test, or of oauth.py, stands on both sides. What is refused is in test_refusals.py.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.sandbox import FAULTS, KEYS, ROUTES, Sandbox

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "DU0001234"
TOKEN = "/oauth/live_session_token"
INIT = "/iserver/auth/ssodh/init"
STATUS = "/iserver/auth/status"
SNAPSHOT = "/iserver/marketdata/snapshot"
HISTORY = "/iserver/marketdata/history"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@functools.lru_cache
def read_key(path: Path) -> Any:
    return load_pem_private_key(path.read_bytes(), None)


class Client:
    """A small correct client. `json` and `status` are those of the last answer."""

    def __init__(self, config_path: Path) -> None:
        self.config = json.loads(config_path.read_text("ascii"))
        self.url = urlsplit(self.config["base_url"])
        self.connection = http.client.HTTPConnection(self.url.netloc, timeout=10)
        self.signature_key = read_key(config_path.parent / self.config["signature_key_fp"])
        encryption_key = read_key(config_path.parent / self.config["encryption_key_fp"])
        encrypted = base64.b64decode(self.config["access_token_secret"])
        self.secret = encryption_key.decrypt(encrypted, padding.PKCS1v15())
        self.token = b""

    def log_in(self) -> None:
        prime, a = int(self.config["dh_prime"], 16), secrets.randbits(256)
        challenge = f"{pow(2, a, prime):x}"
        self.send("POST", TOKEN, extra={"diffie_hellman_challenge": challenge})
        if self.status == 200 and "error" not in self.json:
            self.k = pow(int(self.json["diffie_hellman_response"], 16), a, prime)
            k = self.k.to_bytes(self.k.bit_length() // 8 + 1, "big")
            self.token = hmac.new(k, self.secret, hashlib.sha1).digest()

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        content: str = JSON,
        extra: dict[str, str] | None = None,
    ) -> Any:
        """Returns the answer's JSON. The query is sent as it stands, and signed with %2C decoded."""
        params = {
            "oauth_consumer_key": self.config["consumer_key"],
            "oauth_nonce": secrets.token_hex(8),
            "oauth_signature_method": "RSA-SHA256" if path == TOKEN else "HMAC-SHA256",
            "oauth_timestamp": str(int(time.time())),
            "oauth_token": self.config["access_token"],
            **(extra or {}),
        }
        form = body.decode() if content == FORM else ""
        pairs = [f"{name}={value}" for name, value in params.items()]
        pairs += [item.replace("%2C", ",") for item in f"{query}&{form}".split("&") if item]
        url = f"{self.config['base_url']}{path}"
        text = f"{method}&{quote(url, safe='')}&{quote('&'.join(sorted(pairs)), safe='')}"
        if path == TOKEN:
            message = (self.secret.hex() + text).encode()
            raw = self.signature_key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        else:
            raw = hmac.new(self.token, text.encode(), hashlib.sha256).digest()
        params["oauth_signature"] = base64.b64encode(raw).decode()
        params["realm"] = self.config["realm"]
        items = ", ".join(f'{name}="{quote(value, safe="")}"' for name, value in params.items())
        headers = {"Authorization": f"OAuth {items}", "User-Agent": "own", "Content-Type": content}
        if method == "POST":
            headers["Content-Length"] = str(len(body))
        target = f"{self.url.path}{path}" + (f"?{query}" if query else "")
        self.connection.request(method, target, body, headers)
        answer = self.connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        is_json = "json" in self.headers["Content-Type"] and self.body
        self.json = json.loads(self.body) if is_json else None
        return self.json


class Setup:
    """A sandbox, its log, and a client that has logged in, if it could."""

    def __init__(self, sandbox: Sandbox, log: list[str]) -> None:
        self.sandbox, self.log = sandbox, log
        self.client = Client(sandbox.config_path)
        self.send = self.client.send

    def open_all(self) -> None:
        """What has to come before the rest of the API."""
        self.send("POST", INIT, "compete=true")
        self.send("GET", "/iserver/accounts")
        self.send("GET", "/portfolio/accounts")


@contextlib.contextmanager
def opened(fault: str = "", **options: Any) -> Iterator[Setup]:
    log: list[str] = []
    with Sandbox(fault, log=log.append, **options) as sandbox:
        setup = Setup(sandbox, log)
        setup.client.log_in()
        yield setup
        setup.client.connection.close()


@pytest.fixture
def setup() -> Iterator[Setup]:
    with opened() as setup:
        yield setup


# The order of things


def test_a_whole_session_over_one_connection(setup: Setup) -> None:
    client, send = setup.client, setup.send
    proof = hmac.new(client.token, b"SIMULATED", hashlib.sha1).hexdigest()
    assert client.json["live_session_token_signature"] == proof
    ahead = client.json["live_session_token_expiration"] / 1000 - time.time()
    assert 86000 < ahead <= 86400
    assert send("POST", INIT, body=b'{"publish":true,"compete":false}')["established"] is False
    assert send("GET", "/portfolio/accounts")[0]["id"] == ACCOUNT
    assert send("GET", f"/portfolio/{ACCOUNT}/summary")["netliquidation"]["amount"] > 1e6
    assert {"BASE", "EUR", "USD"} <= send("GET", f"/portfolio/{ACCOUNT}/ledger").keys()
    assert send("GET", f"/portfolio/{ACCOUNT}/positions/0")[0]["contractDesc"] == "AAPL"
    assert send("GET", f"/portfolio/{ACCOUNT}/positions/1") == []
    assert send("GET", "/trsrv/stocks", "symbols=AAPL")["AAPL"]
    assert send("POST", STATUS)["authenticated"] is False
    assert send("GET", STATUS)["authenticated"] is True
    assert send("GET", "/iserver/accounts")["selectedAccount"] == ACCOUNT
    quotes = [send("GET", SNAPSHOT, "conids=265598@SMART&fields=31,85")[0] for _ in range(3)]
    assert [quote.get("31") for quote in quotes] == [None, "C231.50", "C231.50"]
    assert [quote.get("85") for quote in quotes] == [None, None, "1,300"]
    assert quotes[2]["conid"] == 265598
    assert send("POST", "/logout") == {"status": True}
    assert setup.sandbox.logged_out
    assert not [record for record in setup.sandbox.requests if record.refused]
    assert setup.sandbox.connections == 1
    assert send("GET", "/portfolio/accounts")["statusCode"] == 401


ORDER: dict[str, tuple[list[str], str, int, str]] = {
    "portfolio before accounts": ([], f"GET /portfolio/{ACCOUNT}/ledger", 400, "query /accounts"),
    "after accounts": (["GET /portfolio/accounts"], f"GET /portfolio/{ACCOUNT}/ledger", 200, ""),
    "after subaccounts": (["GET /portfolio/subaccounts"], f"GET /portfolio/{ACCOUNT}/meta", 200, ""),
    "unknown account": (["GET /portfolio/accounts"], "GET /portfolio/DU1/meta", 401, "unauthorized"),
    "iserver before init": ([], "GET /iserver/accounts", 400, "no bridge"),
    "init has not settled": ([f"POST {INIT}"], "GET /iserver/accounts", 400, "no bridge"),
    "it has": ([f"POST {INIT}", f"POST {STATUS}", f"POST {STATUS}"], "GET /iserver/accounts", 200, ""),
    "snapshot before accounts": ([f"GET {INIT}?compete=true"], f"GET {SNAPSHOT}?conids=8314", 500, "query /accounts"),
    "no such path": ([], "GET /nowhere", 404, ""),
    "no page": (["GET /portfolio/accounts"], f"GET /portfolio/{ACCOUNT}/positions/invalidate", 404, ""),
    "no websocket": ([], "GET /ws", 404, ""),
    "known for GET only": ([], "POST /trsrv/stocks", 405, "Not Allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDER)
def test_the_order_of_things(setup: Setup, name: str) -> None:
    before, last, status, error = ORDER[name]
    for request in [*before, last]:
        method, target = request.split()
        setup.send(method, *target.split("?"))
    assert setup.client.status == status
    assert error in setup.client.body.decode()
    reason = setup.sandbox.requests[-1].refused
    assert setup.client.headers["X-Sandbox-Refused"] == (reason or None)


def test_a_client_that_never_asks_for_the_status_is_let_in_a_moment_later() -> None:
    offset = [0.0]
    with opened(clock=lambda: time.time() + offset[0]) as setup:
        setup.send("POST", INIT)
        offset[0] = 1
        assert setup.send("GET", "/iserver/accounts")["accounts"][0] == "All"


@pytest.mark.parametrize(
    "wish",
    [
        {"query": "compete=True&publish=True"},
        {"body": b"compete=true", "content": FORM},
        {"body": b'{"compete":true}', "content": JSON},
    ],
)
def test_compete_takes_over_however_it_is_sent(wish: dict[str, Any]) -> None:
    with opened("competing") as setup:
        assert setup.send("POST", INIT, "compete=false")["passed"] is False
        assert "Force compete" in setup.send("POST", STATUS)["fail"]
        assert setup.send("GET", "/iserver/accounts")["error"] == "not authenticated"
        assert setup.send("POST", INIT, **wish)["established"] is True
        assert setup.send("GET", "/iserver/accounts")["accounts"]


def test_a_second_token_competes_only_when_it_says_so(setup: Setup) -> None:
    setup.open_all()
    first = setup.client.token
    setup.client.log_in()
    second, setup.client.token = setup.client.token, first
    assert setup.send("GET", "/iserver/accounts")["accounts"]
    setup.client.token = second
    setup.send("POST", INIT, "compete=true")
    setup.client.token = first
    assert setup.send("GET", "/iserver/accounts")["error"] == "not authenticated"
    assert setup.send("GET", STATUS)["competing"] is True
    assert setup.send("GET", "/portfolio/accounts")


# The answers


def test_every_endpoint_answers_without_a_remark_but_for_init_by_get(setup: Setup) -> None:
    setup.open_all()
    parts = {"{id}": ACCOUNT, "{page}": "0", "{conid}": "265598", "{order}": "1000000001"}
    query = f"conid=265598&conids=265598&symbol=AAPL&symbols=AAPL&acctId={ACCOUNT}"
    last = {"POST /logout", "GET /logout"}
    for route in [*(ROUTES.keys() - last - {f"POST {TOKEN}"}), "POST /logout"]:
        method, path = route.split()
        for part, value in parts.items():
            path = path.replace(part, value)
        assert setup.send(method, path, query), route
        assert setup.client.status == 200, route
        assert setup.client.headers["Content-Encoding"] is None
    remarks = [record.remarks for record in setup.sandbox.requests if record.remarks]
    assert remarks == [["init by GET is documented as POST"]]


@pytest.mark.parametrize(
    ("period", "bar", "count", "apart"),
    [("1m", "1d", 21, 86400), ("1d", "5min", 78, 300), ("2h", "1h", 2, 3600), ("1y", "1w", 50, 7 * 86400)],
)  # fmt: skip
def test_period_and_bar_decide_how_many_bars_come_and_how_far_apart(
    setup: Setup, period: str, bar: str, count: int, apart: int
) -> None:
    setup.open_all()
    answer = setup.send("GET", HISTORY, f"conid=8314&period={period}&bar={bar}")
    bars = answer["data"]
    times = [bar["t"] // 1000 for bar in bars]
    distances = [later - earlier for earlier, later in zip(times, times[1:])]
    assert len(bars) == count
    assert max(set(distances), key=distances.count) == apart
    assert min(distances) > 0
    assert bars[-1]["c"] == 262.4
    if bar == "1d":
        assert {when % 86400 for when in times} == {14 * 3600 + 1800}


@pytest.mark.parametrize("query", ["period=zzz", "bar=zzz", "period=0d"])
def test_a_period_that_is_none_is_refused(setup: Setup, query: str) -> None:
    setup.open_all()
    assert setup.send("GET", HISTORY, f"conid=8314&{query}")["statusCode"] == 400


# Faults, and answers that a test replaces


@pytest.mark.parametrize(
    ("fault", "fits"),
    [
        ("k-top-bit", lambda bits: bits % 8 == 0),
        ("k-odd-digits", lambda bits: 0 < bits % 8 < 5),
        ("k-short", lambda bits: bits <= 2040),
    ],
)
def test_k_has_the_wanted_form_and_the_token_works(fault: str, fits: Any) -> None:
    with opened(fault) as setup:
        assert fits(setup.client.k.bit_length())
        assert setup.send("GET", "/tickle")


FAULT_ROWS: list[tuple[str, str, Any]] = [
    ("token-200-error", f"POST {TOKEN}", lambda answer: "error" in answer),
    ("dh-one", f"POST {TOKEN}", lambda answer: answer["diffie_hellman_response"] == "1"),
    ("message-ok", f"POST {STATUS}", lambda answer: answer["message"] == "ok" and answer["established"]),
    ("many-positions", f"GET /portfolio/{ACCOUNT}/positions/0", lambda answer: len(answer) == 100),
    ("other-address", f"GET {SNAPSHOT}", lambda answer: "different IP address" in answer["error"]),
    ("no-subscription", f"GET {SNAPSHOT}?conids=8314&fields=31", lambda answer: answer[0]["6509"] == "N"),
    ("history-no-permissions", f"GET {HISTORY}", lambda answer: "permissions" in answer["error"]),
    ("history-sydney", f"GET {HISTORY}?conid=8314", lambda answer: answer["data"][0]["t"] // 3600_000 % 24 == 23),
    ("expired", "GET /portfolio/accounts", lambda answer: answer["statusCode"] == 401),
    ("expired", "POST /logout", lambda answer: answer["statusCode"] == 401),
    ("logout-refused", "POST /logout", lambda answer: answer == {"status": False}),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "request_line", "shows"), FAULT_ROWS)
def test_a_fault_shows_in_its_place(fault: str, request_line: str, shows: Any) -> None:
    method, target = request_line.split()
    with opened(fault) as setup:
        if target != TOKEN:  # which was asked for before
            setup.open_all()
            setup.send(method, *target.split("?"))
        assert shows(setup.client.json)
        assert not setup.sandbox.logged_out


def test_the_proof_and_the_clock_can_be_wrong() -> None:
    with opened("wrong-proof") as setup:
        proof = hmac.new(setup.client.token, b"SIMULATED", hashlib.sha1).hexdigest()
        assert setup.client.json["live_session_token_signature"] != proof
    with opened("clock-off") as setup:
        date = email.utils.parsedate_to_datetime(setup.client.headers["Date"]).timestamp()
        assert setup.client.status == 401
        assert 590 < date - time.time() < 610


def test_more_than_ten_requests_in_a_second_are_answered_and_noted(setup: Setup) -> None:
    for _ in range(15):
        assert setup.send("GET", "/tickle")
    assert sum("would answer 429" in line for line in setup.log) == 1


# The folder, and the command


def test_the_folder_holds_what_a_client_reads_and_goes_away() -> None:
    with Sandbox() as sandbox:
        files = {path.name: path for path in sandbox.folder.iterdir()}
        assert json.loads(files.pop("config.json").read_text("ascii")) == sandbox.config
        assert len(files) == 5
        for name, path in files.items():
            assert path.read_bytes() == (KEYS / name).read_bytes()
            assert os.name != "posix" or path.stat().st_mode & 0o777 == 0o600
    assert not sandbox.folder.exists()


def start(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """Start the command with a temporary folder that a test can look into."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sandbox", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


posix = pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_logs_requests_and_ends_without_traces(
    tmp_path: Path, number: signal.Signals
) -> None:
    with start(tmp_path, "--serve") as process:
        assert process.stdout
        lines = [process.stdout.readline().strip() for _ in range(4)]
        told = dict(line.split(": ", 1) for line in lines[:3])
        client = Client(Path(told["config"]))
        assert told["base_url"] == client.config["base_url"]
        with start(tmp_path, "--serve", "--port", str(client.url.port)) as second:
            assert "does not start" in second.communicate(timeout=10)[1]
        assert second.returncode == 1
        client.log_in()
        client.token = b"another"
        client.send("GET", "/tickle")
        client.connection.close()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"1 POST {TOKEN} 200 | ok: header, consumer, token, realm")
    assert "\n2 GET /tickle 401 | ok: header" in out
    assert "\n    " in out
    assert out.endswith("\nstopped\n")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_runs_with_its_options_and_the_command_ends_as_it_does(tmp_path: Path) -> None:
    with start(tmp_path, "--fault", "html-503", "--symbol", "IBM") as process:
        out, _ = process.communicate(timeout=60)
    label, command = out.splitlines()[:2]
    assert label.startswith("simulated: ")
    assert command.startswith("$ python demo.py ")
    assert command.endswith("config.json --symbol IBM")
    assert "Quote of IBM" in out
    assert process.returncode == 1


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_waits_for_the_demos_logout(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path) as process:
        assert process.stdout
        while not process.stdout.readline().startswith("Accounts"):
            pass
        if number == signal.SIGINT:  # as a terminal does: to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.startswith("interrupted: logged out\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--fault", "dhone"], 2, "invalid choice: 'dhone'"),
        (["--serve", "--symbol", "IBM"], 2, "--serve runs no demo"),
        (["--help"], 0, "\n".join(f"  {name}: {FAULTS[name].what}" for name in ["no-accounts"])),
    ],
)
def test_usage(tmp_path: Path, options: list[str], status: int, said: str) -> None:
    with start(tmp_path, *options) as process:
        out, err = process.communicate(timeout=30)
    assert said in out + err
    assert process.returncode == status
