"""What other clients send: the sandbox takes it, or says what is wrong.

The client here is the one of test_sandbox.py, of the standard library and `cryptography`; the
public clients run unchanged but for URL and credentials.
"""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import KEYS, Sandbox
from tests.test_sandbox import ACCOUNT, Client, Setup, fresh, logged_in, open_setup

__all__ = ["fresh", "logged_in"]  # fixtures

INIT = "/iserver/auth/ssodh/init"
FORM: dict[str, str | None] = {"Content-Type": "application/x-www-form-urlencoded"}
JSON: dict[str, str | None] = {"Content-Type": "application/json"}

# IBKR's Python demo of 2023: a slash at the end, capitals, and %2C where `,` was signed
COMMAS = "31%2C84%2C86"
PROGRAM = [
    ("POST", f"{INIT}/", "publish=True&compete=True"),
    ("GET", "/one/user", ""),
    ("GET", "/ibcust/marketdata/subscriptions", ""),
    ("GET", "/trsrv/secdef", "conids=265598%2C8314"),
    ("GET", "/trsrv/stocks", "symbols=AAPL%2CIBM"),
    ("GET", "/iserver/accounts", ""),
    ("GET", "/iserver/marketdata/snapshot", f"conids=8314&fields={COMMAS}"),
    ("GET", "/iserver/marketdata/snapshot", f"conids=8314&fields={COMMAS}"),
    ("GET", "/iserver/marketdata/snapshot", f"conids=8314&fields={COMMAS}"),
    ("GET", "/iserver/marketdata/history", "conid=8314&period=1m&bar=1d"),
]


def decoded(query: str) -> list[tuple[str, str]]:
    pairs = []
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if item:
            pairs.append((name, value.replace("%2C", ",")))
    return pairs


def test_ibkrs_python_demo_of_2023_gets_through_to_its_last_call(logged_in: Setup) -> None:
    for method, path, query in PROGRAM:
        reply = logged_in.client.send(method, path, query, signed_query=decoded(query))
        assert (reply.status, path) == (200, path)
        assert reply.json
    bars = reply.json["data"]
    assert len(bars) >= 5
    assert bars == sorted(bars, key=lambda bar: bar["t"])
    assert not [record for record in logged_in.sandbox.requests if record.refused]


def challenge(spelled: str) -> dict[str, Any]:
    extra = {"diffie_hellman_challenge": spelled}
    return {"method": "POST", "path": "/oauth/live_session_token", "extra": extra}


SPELLINGS: dict[str, tuple[dict[str, Any], str]] = {
    "zeros in front": (challenge("004"), "diffie_hellman_challenge with zeros in front"),
    "capitals": (challenge("ABC"), "diffie_hellman_challenge in capitals"),
    "init by GET": ({"method": "GET", "path": INIT, "query": "publish=true&compete=true"}, "init by GET is documented as POST"),
    "slash": ({"method": "POST", "path": "/tickle/"}, "a slash at the end of the path"),
    "GET tickle": ({"method": "GET", "path": "/tickle"}, ""),
    "GET status": ({"method": "GET", "path": "/iserver/auth/status"}, ""),
    "POST status": ({"method": "POST", "path": "/iserver/auth/status"}, ""),
    "GET logout": ({"method": "GET", "path": "/logout"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_that_working_clients_send_is_accepted(logged_in: Setup, name: str) -> None:
    options, remark = SPELLINGS[name]
    assert logged_in.client.send(**options).status == 200
    assert logged_in.sandbox.requests[-1].remarks == ([remark] if remark else [])
    assert f"accepted: {remark}" in logged_in.log[-1] or not remark


def test_a_realm_without_quotes_is_accepted(
    logged_in: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = logged_in.client
    change = {"oauth_nonce": "unquoted", "oauth_timestamp": str(int(time.time()))}
    client.send("GET", "/tickle", origin="http://elsewhere", change=change)  # for the header
    signed = client.send("GET", "/tickle", change={**change, "oauth_nonce": "other"})
    assert signed.status == 200
    change["oauth_nonce"] = "third"
    header: list[str] = []
    genuine = client.raw

    def unquoted(method: str, path: str, query: str, headers: Any, body: Any) -> Any:
        header.append(headers["Authorization"].replace('realm="limited_poa"', "realm=limited_poa"))
        return genuine(method, path, query, {**headers, "Authorization": header[0]}, body)

    monkeypatch.setattr(client, "raw", unquoted)
    assert client.send("GET", "/tickle", change=change).status == 200
    assert "accepted: the realm stands without quotes" in logged_in.log[-1]


COMPETE: dict[str, dict[str, Any]] = {
    "query": {"query": "compete=True&publish=True"},
    "form": {"body": b"compete=true", "headers": FORM, "signed_query": [("compete", "true")]},
    "JSON": {"body": b'{"compete":true}', "headers": JSON},
}


@pytest.mark.parametrize("form", COMPETE)
def test_compete_takes_over_at_once_in_a_query_a_form_or_json(form: str) -> None:
    with open_setup(fault="competing") as setup:
        send = setup.client.send
        setup.client.log_in()
        assert send("POST", INIT, "compete=false").json["passed"] is False
        assert "Force compete" in send("POST", "/iserver/auth/status").json["fail"]
        assert send("GET", "/iserver/accounts").json["error"] == "not authenticated"
        assert send("POST", INIT, **COMPETE[form]).json["established"] is True
        assert send("GET", "/iserver/accounts").status == 200


def test_a_token_used_after_its_logout_can_begin_again(logged_in: Setup) -> None:
    send = logged_in.client.send
    send("POST", INIT, "compete=true")
    assert send("POST", "/logout").status == 200
    assert send("POST", "/tickle").status == 200
    assert "accepted: the live session token is used again after its logout" in logged_in.log[-1]
    assert send("GET", "/iserver/accounts").status == 401
    assert send("POST", INIT, "compete=true").status == 200
    assert send("GET", "/iserver/accounts").status == 200


def test_a_second_token_competes_only_when_it_says_so(logged_in: Setup) -> None:
    send, first = logged_in.client.send, logged_in.client.token
    send("POST", INIT, "compete=true")
    logged_in.client.log_in()
    assert send("GET", "/iserver/accounts", key=first).status == 200
    send("POST", INIT, "compete=true")
    assert send("GET", "/iserver/accounts", key=first).json["error"] == "not authenticated"
    assert send("GET", "/iserver/auth/status", key=first).json["competing"] is True
    assert send("GET", "/portfolio/accounts", key=first).status == 200


def test_subaccounts_open_the_portfolio_too_and_all_comes_first(logged_in: Setup) -> None:
    send = logged_in.client.send
    assert send("GET", f"/portfolio/{ACCOUNT}/meta").status == 400
    assert "/portfolio/subaccounts first" in logged_in.refusal()
    assert send("GET", "/portfolio/subaccounts").status == 200
    assert send("GET", f"/portfolio/{ACCOUNT}/meta").json["id"] == ACCOUNT
    send("POST", INIT, "compete=true")
    assert send("GET", "/iserver/accounts").json["accounts"][0] == "All"
    assert send("GET", "/iserver/secdef/search", "symbol=AAPL").json[0]["conid"] == "265598"


TICKLE: dict[str, Any] = {"method": "GET", "path": "/tickle"}
STOCKS: dict[str, Any] = {"method": "GET", "path": "/trsrv/stocks", "query": "symbols=IBM&x=1"}
MISTAKES: dict[str, dict[str, Any]] = {
    "page signed but not sent": {**TICKLE, "signed_query": [("page", "None")]},
    "x sent but not signed": {**STOCKS, "signed_query": [("symbols", "IBM")]},
    "fields of a JSON body in the base string": {
        "method": "POST",
        "path": INIT,
        "body": b'{"compete":false}',
        "headers": JSON,
        "signed_query": [("compete", "false")],
    },
    "(percent-encoded twice)": {
        **TICKLE,
        "spoil": {"oauth_signature": lambda text: text.replace("+", "%2B").replace("=", "%3D")},
    },
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(logged_in: Setup, mistake: str) -> None:
    assert logged_in.client.send(**MISTAKES[mistake]).status == 401
    assert mistake in logged_in.refusal()


def test_a_base_string_used_again_for_every_call_is_named(logged_in: Setup) -> None:
    first = logged_in.sandbox.sessions.live[0].base_strings[0]
    signature = hmac.digest(logged_in.client.token, first.encode(), "sha256")
    spoil = {"oauth_signature": lambda _: base64.b64encode(signature).decode()}
    assert logged_in.client.send("GET", "/tickle", spoil=spoil).status == 401
    assert "base string of another request" in logged_in.refusal()


def test_a_digit_dropped_from_k_or_perhaps_from_the_response_is_named() -> None:
    with open_setup(fault="k-odd-digits") as setup:
        setup.client.log_in()
        session = setup.sandbox.sessions.live[0]
        dropped = next(signer for signer in session.wrong_tokens if "last digit" in signer.mistake)
        assert setup.client.send("GET", "/tickle", key=dropped.key).status == 401
        assert "last digit of K dropped" in setup.refusal()
        session.odd_response = True
        assert setup.client.send("GET", "/tickle", key=b"something else").status == 401
        assert "has an odd number of digits: was the last one dropped?" in setup.refusal()


def test_a_silent_connection_is_closed() -> None:
    with Sandbox() as sandbox:
        sandbox._server.idle = 0.05
        with socket.create_connection(("127.0.0.1", sandbox.port), 5) as connection:
            assert connection.recv(1) == b""
    assert sandbox.complaints == []


@pytest.mark.parametrize("path", ["/nowhere", "/portfolio/X/positions/invalidate"])
def test_the_signature_is_looked_at_before_the_path(logged_in: Setup, path: str) -> None:
    reply = logged_in.client.send("GET", path)
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "signature right; the sandbox has no such endpoint" in logged_in.refusal()
    assert logged_in.client.send("GET", path, realm_signed=True).status == 401
    assert "realm signed" in logged_in.refusal()
    assert logged_in.client.send("POST", "/trsrv/stocks").status == 405
    assert "known for GET only" in logged_in.refusal()
    assert logged_in.client.send("GET", "/ws").status == 404
    assert "no websocket" in logged_in.refusal()


def test_ten_thousand_signed_requests_leave_memory_flat(logged_in: Setup) -> None:
    """About ten seconds, of which most is spent on signing."""
    send = logged_in.client.send
    for _ in range(2500):
        send("GET", "/tickle")
    tracemalloc.start()
    for _ in range(7500):
        assert send("GET", "/tickle").status == 200
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert logged_in.sandbox.connections == 1
    assert not [record for record in logged_in.sandbox.requests if record.refused]
    assert len(logged_in.sandbox.requests) == 2000  # the last
    assert grown < 6_000_000  # 7,500 nonces, and 2,000 records in place of older ones


def test_a_long_path_is_cut_in_the_record(logged_in: Setup) -> None:
    assert logged_in.client.send("GET", "/" + "x" * 60_000).status == 404
    record = logged_in.sandbox.requests[-1]
    assert len(record.path) + len(logged_in.log[-1]) < 2000


def test_a_wrong_signature_over_a_megabyte_does_not_hold_up_others(logged_in: Setup) -> None:
    body = b"&".join(b"name%d=value" % number for number in range(60_000))
    other = Client(logged_in.sandbox.config_path)
    other.token = logged_in.client.token
    took: list[float] = []

    def send_it() -> None:
        started = time.monotonic()
        reply = logged_in.client.send(
            "POST", "/tickle", body=body, headers=FORM, signed_query=[("a", "b")]
        )
        took.append(time.monotonic() - started)
        assert reply.status == 401

    thread = threading.Thread(target=send_it)
    thread.start()
    longest = 0.0
    while thread.is_alive():
        started = time.monotonic()
        assert other.send("GET", "/tickle").status == 200
        longest = max(longest, time.monotonic() - started)
    other.close()
    assert took[0] < 10  # a third of a second on an idle machine, several on a busy one
    assert longest < took[0]
    assert "refused: signature" in next(line for line in logged_in.log if " 401 " in line)


PYBKR = """
import json, sys
from pybkr.account import Account
from pybkr.api import APIClient
from pybkr.quote import Quote
from pybkr.user_session import UserSession

path, dhparam = sys.argv[1:]
c = json.load(open(path))
folder = path.rsplit("/", 1)[0]
session = UserSession({
    "base_url": c["base_url"][: -len("v1/api")],
    "consumer_key": c["consumer_key"],
    "access_token": c["access_token"],
    "token_secret": c["access_token_secret"],
    "realm": c["realm"],
    "dhparam_path": dhparam,
    "private_encryption_path": f"{folder}/private_encryption.pem",
    "private_signature_path": f"{folder}/private_signature.pem",
})
session.session_token.validate_lst()
client = APIClient(session)
assert client.post_brokerage_session().json()["authenticated"]
account = Account(client)
assert account.account_key == "DU0001234"
account.switch_accounts("DU0005678")
assert account.account_key == "DU0005678"
assert client.get_account_pnl().json() == {"upnl": {}}
quote = Quote(client, "AAPL")
assert quote.conid == "265598"
assert client.get_symbol_details(["AAPL"]).json()["AAPL"]
assert quote.get_history("1m", "1d")["data"][-1]["c"] == 231.5
"""
NODE = """
const fs = require("fs");
const { IbkrClient } = require("ibkr-client");
const path = process.argv[1];
const c = JSON.parse(fs.readFileSync(path, "utf8"));
const folder = path.slice(0, path.lastIndexOf("/"));
const client = new IbkrClient({
  realm: c.realm, consumerKey: c.consumer_key, accessToken: c.access_token,
  accessTokenSecret: c.access_token_secret, dhPrime: c.dh_prime,
  encryption: fs.readFileSync(`${folder}/private_encryption.pem`, "utf8"),
  signature: fs.readFileSync(`${folder}/private_signature.pem`, "utf8"),
});
client.url.api = c.base_url + "/";
(async () => {
  if (!(await client.init()).authenticated) throw new Error("init");
  const accounts = await client.request({ path: "portfolio/accounts" });
  await client.request({ path: `portfolio/${accounts[0].id}/summary` });
  await client.request({ path: `portfolio/${accounts[0].id}/positions/0` });
  await client.request({ path: "iserver/accounts" });
  const params = { conids: 265598, fields: "31,84,86" };
  await client.request({ path: "iserver/marketdata/snapshot", params });
  await client.request({ path: "tickle", method: "POST" });
  await client.request({ path: "logout", method: "POST" });
})().catch((error) => { console.error(error); process.exit(1); });
"""


IBIND = """
import json, sys
from ibind import IbkrClient
from ibind.oauth.oauth1a import OAuth1aConfig

path = sys.argv[1]
c = json.load(open(path))
folder = path.rsplit("/", 1)[0]
client = IbkrClient(
    account_id="DU0001234",
    use_oauth=True,
    oauth_config=OAuth1aConfig(
        oauth_rest_url=c["base_url"],
        access_token=c["access_token"],
        access_token_secret=c["access_token_secret"],
        consumer_key=c["consumer_key"],
        dh_prime=c["dh_prime"],
        encryption_key_fp=f"{folder}/{c['encryption_key_fp']}",
        signature_key_fp=f"{folder}/{c['signature_key_fp']}",
        realm=c["realm"],
        init_brokerage_session=False,
        maintain_oauth=False,
        shutdown_oauth=False,
    ),
)
assert client.portfolio_accounts().data[0]["id"] == "DU0001234"
assert client.portfolio_summary().data["netliquidation"]["amount"] == 1339037.2
assert "BASE" in client.get_ledger().data
assert client.positions().data[0]["contractDesc"] == "AAPL"
assert client.stock_conid_by_symbol("AAPL").data == {"AAPL": 265598}
assert client.initialize_brokerage_session().data["authenticated"]
assert client.check_auth_status()
assert client.receive_brokerage_accounts().data["selectedAccount"] == "DU0001234"
quote = client.live_marketdata_snapshot_by_symbol("AAPL", fields=["31", "84", "86"])
assert quote["AAPL"]["last_price"] == "C231.50", quote
assert client.logout().data == {"status": True}
"""


def run_client(command: list[str], sandbox: Sandbox, **environment: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [record for record in sandbox.requests if record.refused]


def test_the_public_client_pybkr_runs_its_nine_steps() -> None:
    pytest.importorskip("pybkr", reason="pybkr is not installed")
    with Sandbox() as sandbox:
        command = [sys.executable, "-c", PYBKR, str(sandbox.config_path)]
        run_client([*command, str(KEYS / "dhparam.pem")], sandbox)
    assert len(sandbox.requests) == 8  # the proof is checked without one


def node_modules(tmp_path: Path) -> Path:
    """The folder that has ibkr-client: NODE_PATH's, or in CI a new one; else the test is skipped."""
    for folder in os.environ.get("NODE_PATH", "").split(os.pathsep):
        if folder and (Path(folder) / "ibkr-client").is_dir():
            return Path(folder)
    if not (os.environ.get("CI") and shutil.which("node") and shutil.which("npm")):
        pytest.skip("ibkr-client is fetched with npm in CI only, or found in NODE_PATH")
    command = ["npm", "install", "--ignore-scripts", "--prefix", str(tmp_path), "ibkr-client@1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip("npm does not reach a registry that has ibkr-client")
    return tmp_path / "node_modules"


def test_the_public_client_ibkr_client_for_node_runs_its_nine_steps(tmp_path: Path) -> None:
    modules = node_modules(tmp_path)
    with Sandbox() as sandbox:
        command = ["node", "-e", NODE, str(sandbox.config_path)]
        run_client(command, sandbox, NODE_PATH=str(modules))
    assert len(sandbox.requests) == 9
    assert sandbox.logged_out


def test_the_public_client_ibind_gets_through_from_token_to_logout(tmp_path: Path) -> None:
    pytest.importorskip("ibind", reason="ibind needs Python 3.10 or newer")
    with Sandbox() as sandbox:
        command = [sys.executable, "-c", IBIND, str(sandbox.config_path)]
        run_client(command, sandbox, IBIND_LOGS_DIR=str(tmp_path))
        assert sandbox.logged_out
