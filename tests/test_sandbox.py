"""What a client sees of the sandbox: the order of things, the files, the faults, the command.

What is refused for its signature is in test_refusals.py.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import INIT, TOKEN, Client, opened
from tests.conftest import start, start_sandbox
from tests.sandbox.answers import ENTRIES
from tests.sandbox.faults import FAULTS

ACCOUNT = "DU0001234"


@pytest.fixture
def client() -> Iterator[Client]:
    with opened() as client:
        client.log_in()
        yield client


ORDER: dict[str, tuple[list[str], str, int, str]] = {
    "portfolio before accounts": ([], f"GET /portfolio/{ACCOUNT}/ledger", 400, "query /accounts"),
    "after subaccounts": (["GET /portfolio/subaccounts"], f"GET /portfolio/{ACCOUNT}/meta", 200, ""),
    "unknown account": (["GET /portfolio/accounts"], "GET /portfolio/DU1/meta", 401, "unauthorized"),
    "iserver before init": ([], "GET /iserver/accounts", 400, "no bridge"),
    "init has not settled": ([f"POST {INIT}"], "GET /iserver/accounts", 400, "no bridge"),
    "snapshot before accounts": ([f"GET {INIT}?compete=true"], "GET /iserver/marketdata/snapshot?conids=8314", 500, "query /accounts"),
    "no such path": ([], "GET /nowhere", 404, ""),
    "known for GET only": ([], "POST /trsrv/stocks", 405, "Not Allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDER)
def test_the_order_of_things(client: Client, name: str) -> None:
    before, last, status, error = ORDER[name]
    for request in [*before, last]:
        method, target = request.split()
        client.send(method, *target.split("?"))
    assert client.status == status
    assert error in client.body.decode()
    assert client.headers["X-Sandbox-Refused"] == (client.reason or None)


def test_bad_manners_are_refused_as_at_the_edge(client: Client) -> None:
    client.send(headers={"User-Agent": ""})
    assert (client.status, client.reason) == (403, "no User-Agent")
    client.connection.putrequest("POST", "/v1/api/tickle")
    client.connection.putheader("User-Agent", "own")
    client.connection.endheaders()
    client.read()
    assert (client.status, client.reason) == (411, "POST without Content-Length")


def test_a_second_token_competes_only_when_it_says_so(client: Client) -> None:
    client.send("POST", INIT, "compete=true")
    first = client.token
    client.log_in()
    by_first = {"key": lambda _: first}
    assert client.send("GET", "/iserver/accounts", **by_first)["accounts"]
    client.send("POST", INIT, "compete=true")
    assert client.send("GET", "/iserver/accounts", **by_first)["error"] == "not authenticated"
    assert client.send("GET", "/iserver/auth/status", **by_first)["competing"] is True
    assert client.send("GET", "/portfolio/accounts", **by_first)


def test_every_endpoint_answers(client: Client) -> None:
    client.send("POST", INIT, "compete=true")
    client.send("GET", "/iserver/accounts")
    client.send("GET", "/portfolio/accounts")
    query = f"conid=265598&conids=265598@SMART&symbol=AAPL&symbols=AAPL&acctId={ACCOUNT}"
    routes = {route for route in ENTRIES if " /" in route}
    for route in [*(routes - {"GET /logout", "POST /logout", f"POST {TOKEN}"}), "POST /logout"]:
        method, path = route.split()
        path = path.replace("{id}", ACCOUNT).replace("{page}", "0")
        client.send(method, re.sub(r"\{\w+\}", "265598", path), query)
        assert client.status == 200, route


def test_more_than_ten_requests_in_a_second_are_answered_and_noted(client: Client) -> None:
    for _ in range(11):
        assert client.send()
    noted = ["would answer 429" in line for line in client.log]
    assert noted == [False] * 10 + [True] * 2


# The command


def test_serve_says_where_logs_requests_and_ends_without_traces(tmp_path: Path) -> None:
    with start_sandbox(tmp_path, "--serve") as process:
        lines = [process.stdout.readline().strip() for _ in range(4)]
        told = dict(line.split(": ", 1) for line in lines[:3])
        client = Client(Path(told["config"]))
        assert told["base_url"] == client.config["base_url"]
        client.log_in()
        client.send(key=lambda _: b"another")
        client.connection.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"POST {TOKEN} 200\n    only if you find the proof wrong: ")
    assert "\nGET /tickle 401 | refused: signature: the token has never signed rightly" in out
    assert out.endswith("\nstopped\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("all_well")
def test_interrupted_it_waits_for_the_demos_logout(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with start_sandbox(tmp_path) as process:
            for line in process.stdout:
                if line.startswith("Accounts"):
                    break
            send = os.killpg if number == signal.SIGINT else os.kill  # Ctrl-C goes to all of them
            send(process.pid, number)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 130, number
        assert err.startswith("interrupted: logged out\n"), number
        assert list(tmp_path.iterdir()) == [], number


def test_options() -> None:
    for options, status, said in (
        (["--fault", "invalid-consumer", "-v"], 1, "> signature base string: POST&"),
        (["--fault", "invalid-consumer"], 1, " ms\nerror: POST /oauth/live_session_token: "),
        (["--fault", "dhone"], 2, "invalid choice: 'dhone'"),
        (["--serve", "--symbol", "IBM"], 2, "--serve runs no demo"),
        (["--help"], 0, f"  no-accounts: {FAULTS['no-accounts'].what}"),
    ):
        with start("-m", "tests.sandbox", *options, stderr=subprocess.STDOUT) as process:
            out, _ = process.communicate(timeout=60)
        assert said in out
        assert process.returncode == status, options
