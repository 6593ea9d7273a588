"""Other people's clients, and other languages, run against the sandbox to their end.

The public clients run unchanged but for URL and credentials.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import INIT, opened
from tests.sandbox import Sandbox

# IBKR's Python demo of 2023: a slash at the end, capitals, and %2C where `,` was signed
IBKR_2023 = [
    ("POST", f"{INIT}/", "publish=True&compete=True"),
    ("GET", "/one/user", ""),
    ("GET", "/ibcust/marketdata/subscriptions", ""),
    ("GET", "/trsrv/secdef", "conids=265598%2C8314"),
    ("GET", "/trsrv/stocks", "symbols=AAPL%2CIBM"),
    ("GET", "/iserver/accounts", ""),
    ("GET", "/iserver/marketdata/snapshot", "conids=8314&fields=31%2C84%2C86"),
    ("GET", "/iserver/marketdata/history", "conid=8314&period=1m&bar=1d"),
    ("POST", "/logout/", ""),
]
SERVED = """
import json, sys
path = sys.argv[1]
c = json.load(open(path))
folder = path.rsplit("/", 1)[0]
"""
PYBKR = """
from pybkr.account import Account
from pybkr.api import APIClient
from pybkr.quote import Quote
from pybkr.user_session import UserSession
session = UserSession({
    "base_url": c["base_url"][: -len("v1/api")],
    "consumer_key": c["consumer_key"],
    "access_token": c["access_token"],
    "token_secret": c["access_token_secret"],
    "realm": c["realm"],
    "dhparam_path": f"{folder}/dhparam.pem",
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
assert client.get_account_pnl().json()["upnl"]
quote = Quote(client, "AAPL")
assert quote.conid == "265598"
assert client.get_symbol_details(["AAPL"]).json()["AAPL"]
assert quote.get_history("1m", "1d")["data"][-1]["c"] == 231.5
"""
IBIND = """
from ibind import IbkrClient
from ibind.oauth.oauth1a import OAuth1aConfig
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
NODE = """
const crypto = require("crypto"), fs = require("fs"), path = require("path"), http = require("http");
const c = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
const pem = (name) => fs.readFileSync(path.join(path.dirname(process.argv[1]), c[name]));
const raw = { key: pem("encryption_key_fp"), padding: crypto.constants.RSA_NO_PADDING };
const padded = crypto.privateDecrypt(raw, Buffer.from(c.access_token_secret, "base64"));
const secret = padded.subarray(padded.indexOf(0, 2) + 1);
const enc = encodeURIComponent;
let token;

function send(method, where, query = "", more = {}) {
  const p = {
    oauth_consumer_key: c.consumer_key, oauth_nonce: crypto.randomUUID(), oauth_token: c.access_token,
    oauth_signature_method: token ? "HMAC-SHA256" : "RSA-SHA256",
    oauth_timestamp: String(Math.floor(Date.now() / 1000)), ...more,
  };
  const pairs = Object.entries(p).map(([name, value]) => `${name}=${value}`);
  if (query) pairs.push(...query.split("&"));
  const url = c.base_url + where;
  const text = [method, enc(url), enc(pairs.sort().join("&"))].join("&");
  p.oauth_signature = token
    ? crypto.createHmac("sha256", token).update(text).digest("base64")
    : crypto.sign("sha256", Buffer.from(secret.toString("hex") + text), pem("signature_key_fp")).toString("base64");
  const items = Object.entries(p).map(([name, value]) => `${name}="${enc(value)}"`);
  const headers = { Authorization: `OAuth realm="${c.realm}", ${items.join(", ")}`, "User-Agent": "node" };
  return new Promise((done, fail) => {
    const request = http.request(url + (query && `?${query}`), { method, headers }, (answer) => {
      let body = "";
      answer.on("data", (data) => (body += data));
      answer.on("end", () => answer.statusCode === 200 ? done(JSON.parse(body)) : fail(new Error(where + body)));
    });
    request.on("error", fail).end();
  });
}

(async () => {
  const dh = crypto.createDiffieHellman(c.dh_prime, "hex", 2);
  const challenge = dh.generateKeys("hex");
  const made = await send("POST", "/oauth/live_session_token", "", { diffie_hellman_challenge: challenge });
  const shared = dh.computeSecret(made.diffie_hellman_response.padStart(512, "0"), "hex", "hex");
  let k = BigInt("0x" + shared).toString(16);  // without the zeros in front
  k = Buffer.from(k.length % 2 ? "0" + k : k, "hex");
  if (k[0] & 128) k = Buffer.concat([Buffer.alloc(1), k]);
  token = crypto.createHmac("sha1", k).update(secret).digest();
  await send("POST", "/iserver/auth/ssodh/init", "compete=true&publish=true");
  const [account] = await send("GET", "/portfolio/accounts");
  await send("GET", `/portfolio/${account.id}/positions/0`);
  await send("GET", "/iserver/accounts");
  await send("GET", "/iserver/marketdata/snapshot", "conids=265598@SMART&fields=31,84,86");
  await send("POST", "/logout");
})().catch((error) => { console.error(error); process.exit(1); });
"""


def test_ibkrs_python_demo_of_2023_gets_through_to_its_last_call() -> None:
    with opened() as client:
        client.log_in()
        for method, path, query in IBKR_2023:
            assert client.send(method, path, query), path
        assert not [request for request in client.sandbox.requests if request.refused]
        assert client.sandbox.logged_out


CLIENTS = {
    "pybkr": [sys.executable, "-c", SERVED + PYBKR],
    "ibind": [sys.executable, "-c", SERVED + IBIND],
    "node": ["node", "-e", NODE],
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_gets_through_from_token_to_its_last_call(name: str, tmp_path: Path) -> None:
    if name == "node":
        if shutil.which("node") is None:
            pytest.skip("Node is not installed")
    else:
        pytest.importorskip(name, reason=f"{name} is not there for this Python")
    with Sandbox() as sandbox:
        done = subprocess.run(
            [*CLIENTS[name], str(sandbox.config_path)],
            env={**os.environ, "NO_PROXY": "127.0.0.1", "IBIND_LOGS_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [record for record in sandbox.requests if record.refused]
    assert len(sandbox.requests) >= 7
