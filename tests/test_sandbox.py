"""What a client sees of the sandbox: the order of things, the files, the faults, the command.

What is refused for its signature is in test_refusals.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import INIT, JSON, TOKEN, Client, opened
from tests.conftest import start_sandbox
from tests.sandbox import FAULTS, Sandbox
from tests.sandbox.answers import ENTRIES

ACCOUNT = "DU0001234"
STATUS = "/iserver/auth/status"
SNAPSHOT = "/iserver/marketdata/snapshot"
HISTORY = "/iserver/marketdata/history"


@pytest.fixture
def client() -> Iterator[Client]:
    with opened() as client:
        client.log_in()
        yield client


def open_all(client: Client) -> None:
    """What has to come before the rest of the API."""
    client.send("POST", INIT, "compete=true")
    client.send("GET", "/iserver/accounts")
    client.send("GET", "/portfolio/accounts")


# The order of things


def test_a_whole_session_over_one_connection(client: Client) -> None:
    ahead = client.json["live_session_token_expiration"] / 1000 - time.time()
    assert 86000 < ahead <= 86400
    send = client.send
    assert send("POST", INIT, body=b'{"compete":false}', headers=JSON)["established"] is False
    assert send("POST", STATUS)["authenticated"] is False
    assert send("GET", STATUS)["authenticated"] is True
    assert send("GET", "/iserver/accounts")["selectedAccount"] == ACCOUNT
    quotes = [send("GET", SNAPSHOT, "conids=265598@SMART&fields=31,85")[0] for _ in range(3)]
    assert [quote.get("31") for quote in quotes] == [None, "C231.50", "C231.50"]
    assert [quote.get("85") for quote in quotes] == [None, None, "1,300"]
    assert send("POST", "/logout") == {"status": True}
    assert not [request for request in client.sandbox.requests if request.refused]
    assert client.sandbox.connections == 1


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
    open_all(client)
    first = client.token
    client.log_in()
    by_first = {"key": lambda _: first}
    assert client.send("GET", "/iserver/accounts", **by_first)["accounts"]
    client.send("POST", INIT, "compete=true")
    assert client.send("GET", "/iserver/accounts", **by_first)["error"] == "not authenticated"
    assert client.send("GET", STATUS, **by_first)["competing"] is True
    assert client.send("GET", "/portfolio/accounts", **by_first)


# The answers


def test_every_endpoint_answers_without_a_remark_but_for_init_by_get(client: Client) -> None:
    open_all(client)
    parts = {
        "{id}": ACCOUNT,
        "{page}": "0",
        "{next}": "1",
        "{conid}": "265598",
        "{order}": "1000000001",
    }
    query = f"conid=265598&conids=265598&symbol=AAPL&symbols=AAPL&acctId={ACCOUNT}"
    routes = {route for route in ENTRIES if " /" in route}
    for route in [*(routes - {"GET /logout", "POST /logout", f"POST {TOKEN}"}), "POST /logout"]:
        method, path = route.split()
        for part, value in parts.items():
            path = path.replace(part, value)
        client.send(method, path, query)
        assert client.status == 200, route
        assert client.headers["Content-Encoding"] is None
    remarks = {remark for request in client.sandbox.requests for remark in request.remarks}
    assert {remark for remark in remarks if "429" not in remark} == {
        "init by GET is documented as POST"
    }


def test_period_and_bar_decide_how_many_bars_come_and_how_far_apart(client: Client) -> None:
    open_all(client)
    bars = client.send("GET", HISTORY, "conid=8314&period=2h&bar=5min")["data"]
    assert len(bars) == 24
    assert bars[1]["t"] - bars[0]["t"] == 300_000
    client.send("GET", HISTORY, "conid=8314&period=zzz")
    assert client.status == 400


def test_more_than_ten_requests_in_a_second_are_answered_and_noted(client: Client) -> None:
    for _ in range(11):
        assert client.send()
    noted = ["would answer 429" in line for line in client.log]
    assert noted == [False] * 10 + [True] * 2


# The command


def test_serve_says_where_logs_requests_and_ends_without_traces(tmp_path: Path) -> None:
    with start_sandbox(tmp_path, "--serve") as process:
        assert process.stdout
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
    assert out.startswith(f"POST {TOKEN} 200\n    if you find the proof wrong, print")
    assert "\nGET /tickle 401 | refused: signature: the token has never signed rightly" in out
    assert out.endswith("\nstopped\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("log_in")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_waits_for_the_demos_logout(tmp_path: Path, number: signal.Signals) -> None:
    with start_sandbox(tmp_path) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Accounts"):
                break
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
        (["--fault", "invalid-consumer", "-v"], 1, "> signature base string: POST&"),
        (["--fault", "dhone"], 2, "invalid choice: 'dhone'"),
        (["--serve", "--symbol", "IBM"], 2, "--serve runs no demo"),
        (["--serve", "--port", "PORT"], 1, "the sandbox does not start"),
        (["--help"], 0, f"  no-accounts: {FAULTS['no-accounts'].what}"),
    ],
)
def test_options(tmp_path: Path, options: list[str], status: int, said: str) -> None:
    with Sandbox() as other:
        port = other.base_url.split(":")[2].partition("/")[0]
        options = [option.replace("PORT", port) for option in options]
        with start_sandbox(tmp_path, *options) as process:
            out, err = process.communicate(timeout=30)
    assert said in out + err
    assert process.returncode == status
