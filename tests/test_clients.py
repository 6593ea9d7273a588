"""Other people's clients run against the sandbox to their end: unchanged, but for URL and
credentials."""

from __future__ import annotations

import os
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
CONFIG = """
import json
c = json.load(open("config.json"))
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
    "dhparam_path": "dhparam.pem",
    "private_encryption_path": "private_encryption.pem",
    "private_signature_path": "private_signature.pem",
})
session.session_token.validate_lst()
client = APIClient(session)
assert client.post_brokerage_session().json()["authenticated"]
account = Account(client)
assert account.account_key == "DU0001234"
quote = Quote(client, "AAPL")
assert quote.conid == "265598"
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
        encryption_key_fp=c["encryption_key_fp"],
        signature_key_fp=c["signature_key_fp"],
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
assert client.initialize_brokerage_session().data["authenticated"]
assert client.receive_brokerage_accounts().data["selectedAccount"] == "DU0001234"
quote = client.live_marketdata_snapshot_by_symbol("AAPL", fields=["31", "84", "86"])
assert quote["AAPL"]["last_price"] == "C231.50", quote
assert client.logout().data == {"status": True}
"""


def test_ibkrs_python_demo_of_2023_gets_through_to_its_last_call() -> None:
    with opened() as client:
        client.log_in()
        for method, path, query in IBKR_2023:
            assert client.send(method, path, query), path
        assert not [request for request in client.sandbox.requests if request.refused]
        assert client.sandbox.sessions[0].ended


@pytest.mark.parametrize(("name", "program"), [("pybkr", PYBKR), ("ibind", IBIND)])
def test_a_client_gets_through_from_token_to_its_last_call(
    name: str, program: str, tmp_path: Path
) -> None:
    pytest.importorskip(name, reason=f"{name} is not there for this Python")
    with Sandbox() as sandbox:
        done = subprocess.run(
            [sys.executable, "-c", CONFIG + program],
            cwd=sandbox.folder,
            env={**os.environ, "NO_PROXY": "127.0.0.1", "IBIND_LOGS_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [record for record in sandbox.requests if record.refused]
