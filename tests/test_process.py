"""demo.py as a process over real sockets: signals, its output, the network, the command line."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import demo
from tests.conftest import ROOT, assert_no_secret, run, start, start_demo
from tests.sandbox import Answer, Sandbox, json_answer, recorded
from tests.sandbox import faults as at

pytestmark = pytest.mark.usefixtures("all_well", "settled")

DEMO = str(ROOT / "demo.py")
UP = {**recorded(f"POST {at.STATUS}"), "authenticated": True}
AT_ONCE = {  # nothing to wait for
    f"POST {at.INIT}": json_answer(UP),
    f"GET {at.SNAPSHOT}": json_answer(recorded(f"GET {at.SNAPSHOT}")),
}
FOREIGN = re.compile("(?i).*(_proxy|_ca_bundle)")  # variables of the person who runs the tests
ENVIRONMENT = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
LOGGED_OUT = "interrupted: logged out\n"
LATE = 0.5  # seconds until an answer comes


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(answers=AT_ONCE) as sandbox:
        yield sandbox


def finish(process: Any, sandbox: Sandbox) -> tuple[int, str]:
    """Wait for its end; return exit status and stderr."""
    with process:
        out, err = process.communicate()
    assert_no_secret(f"{out}{err}", sandbox.secrets)
    return process.returncode, err


def paths(sandbox: Sandbox) -> list[str]:
    return [request.path for request in sandbox.requests]


def wait_for(path: str, sandbox: Sandbox, process: Any) -> None:
    while path not in paths(sandbox) and process.poll() is None:
        time.sleep(0.002)


def delay(sandbox: Sandbox, *late: str) -> None:
    genuine = sandbox.respond

    def respond(request: Any) -> Answer:
        answer = genuine(request)
        return answer._replace(delay=LATE) if request.path in late else answer

    sandbox.respond = respond


# Signals


INTERRUPTIONS = [  # a request, seconds after it, signals, what is said
    (at.TOKEN, 0.0, [signal.SIGINT], LOGGED_OUT),
    ("/portfolio/DU0001234/ledger", 0.0, [signal.SIGTERM], LOGGED_OUT),
    (at.SNAPSHOT, 0.0, [signal.SIGHUP], LOGGED_OUT),
    (at.LOGOUT, 0.0, [signal.SIGINT], LOGGED_OUT),
    *((at.HISTORY, after, [signal.SIGINT], LOGGED_OUT) for after in (LATE - 0.01, LATE, LATE + 0.01)),
    (at.INIT, 0.0, [signal.SIGHUP, signal.SIGHUP], LOGGED_OUT),
    (at.INIT, 0.0, [signal.SIGHUP, signal.SIGINT], ""),
]  # fmt: skip


def interrupted(path: str, after: float, signals: list[int]) -> tuple[int, str, list[str]]:
    """Send the first signal while the answer of a path is late, or as it comes, the second while
    that of the logout is. Return exit status, stderr, and the paths that it asked for."""
    with Sandbox(answers=AT_ONCE) as sandbox:
        delay(sandbox, path, at.LOGOUT)
        process = start_demo(sandbox.config_path)
        wait_for(path, sandbox, process)
        time.sleep(after)
        for number in signals:
            process.send_signal(number)
            wait_for(at.LOGOUT, sandbox, process)
        status, err = finish(process, sandbox)
    return status, err, paths(sandbox)


def test_a_signal_logs_out_and_a_second_ctrl_c_does_not_wait_for_that() -> None:
    wrong = []
    with ThreadPoolExecutor(4) as pool:
        ends = pool.map(lambda row: interrupted(*row[:3]), INTERRUPTIONS)
        for row, (status, err, asked) in zip(INTERRUPTIONS, ends):
            logged_out = asked[-1] == at.LOGOUT and asked.count(at.LOGOUT) == 1
            if (status, err, logged_out) != (130, row[3], True):
                wrong.append((row, status, err, asked))
    assert wrong == []


LONG_PACE = "import demo, os, sys; demo.PACE = 0.6; os._exit(demo.main(sys.argv[1:]))"


def test_after_a_signal_between_two_requests_only_the_logout_is_sent(sandbox: Sandbox) -> None:
    process = start("-c", LONG_PACE, str(sandbox.config_path))
    wait_for(at.INIT, sandbox, process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert finish(process, sandbox) == (130, LOGGED_OUT)
    assert paths(sandbox) == [at.TOKEN, at.INIT, at.LOGOUT]


def test_without_a_token_there_is_nothing_to_log_out(sandbox: Sandbox) -> None:
    sandbox.answers[f"POST {at.TOKEN}"] = Answer(503, delay=LATE)
    process = start_demo(sandbox.config_path)
    wait_for(at.TOKEN, sandbox, process)
    process.send_signal(signal.SIGINT)
    assert finish(process, sandbox) == (130, "interrupted: not logged in\n")
    assert paths(sandbox) == [at.TOKEN]


def test_ctrl_c_while_the_config_is_checked_is_told(sandbox: Sandbox) -> None:
    with mock.patch.object(demo.check, "check_config", side_effect=KeyboardInterrupt):
        result = run(sandbox)
    assert (result.status, result.err) == (130, "interrupted: not logged in\n")


def test_a_fault_of_the_demo_itself_is_one_line_too(sandbox: Sandbox) -> None:
    with mock.patch.object(demo.Demo, "steps", side_effect=NameError("oops")):
        result = run(sandbox)
    hint = "hint: this is a fault of the demo: report it\n"
    assert (result.status, result.err) == (1, f"error: NameError('oops')\n{hint}")
    assert "all well" not in result.out


LOCK_TAKEN = """
import queue, runpy, signal, sys
genuine = queue.Queue.put
def put(pool, item, *values, **options):
    genuine(pool, item, *values, **options)
    if item:  # the connection comes back, after the first answer
        queue.Queue.put = genuine
        pool.mutex.acquire()
        signal.raise_signal(signal.SIGTERM)
queue.Queue.put = put
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_signal_while_a_lock_is_taken_logs_out(sandbox: Sandbox) -> None:
    process = start("-c", LOCK_TAKEN, DEMO, str(sandbox.config_path))
    assert finish(process, sandbox) == (130, LOGGED_OUT)
    assert paths(sandbox)[-1] == at.LOGOUT


def test_nohup_stays_in_force(sandbox: Sandbox) -> None:
    process = start_demo(
        sandbox.config_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    wait_for(at.INIT, sandbox, process)
    process.send_signal(signal.SIGHUP)
    assert finish(process, sandbox) == (0, "")


# The command line, and who reads the output


def shell(command: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = command.replace("python", shlex.quote(sys.executable))
    command = command.replace("DEMO", shlex.quote(DEMO)).replace("ROOT", shlex.quote(str(ROOT)))
    line = ["bash", "-o", "pipefail", "-c", command]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, **settings)


def test_it_says_why_it_does_not_start(sandbox: Sandbox) -> None:
    for command, status, error in (
        ("python -I DEMO config.json --check", 0, ""),  # without the script's folder on the path
        ("python -S DEMO config.json", 2, "error: No module .+: .+ -m pip install -r .+\n"),
        ("cd ROOT && python -S -m tests.sandbox", 2, "error: No module .+ -m pip install -r .+\n"),
        ("python DEMO --unknown", 2, "usage: (?s:.+)error: .+\n"),
        ("python DEMO ROOT/config-test.json", 2, "error: .+\nhint: .+/test-config.json\\?\n"),
    ):
        done = shell(command, cwd=sandbox.folder)
        assert done.returncode == status, command
        assert re.fullmatch(error, done.stderr), command


def test_when_nobody_reads_on_it_logs_out() -> None:
    for end, error in (
        ("| head -n 13", ""),
        (">/dev/full", "error: cannot write: .+\nhint: .+\n"),
        ("--check >/dev/full", "error: cannot write: .+\nhint: .+\n"),
        ("--account U1 2>/dev/full", ""),
    ):
        with Sandbox(answers=AT_ONCE) as sandbox:
            done = shell(f"python DEMO config.json {end}", cwd=sandbox.folder)
        assert done.returncode == 1, end
        assert re.fullmatch(error, done.stderr), end
        assert paths(sandbox)[-1:] in ([], [at.LOGOUT]), end
        assert at.HISTORY not in paths(sandbox), end


def test_without_an_argument_it_takes_the_config_beside_it(tmp_path: Path) -> None:
    done = shell("python DEMO --check", cwd=tmp_path)
    assert done.stdout.startswith(f"config {ROOT}/test-config.json\n")


def test_help_needs_no_more_than_ascii(tmp_path: Path) -> None:
    (tmp_path / "K\xe4stchen").symlink_to(ROOT)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = shell("python K*/demo.py -h", cwd=tmp_path, env=environment)
    assert "--check" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_run_whose_output_nobody_reads() -> None:
    # It awaits an answer; or it is in the middle of a write, be it the first one after the log-in
    for path, seconds in ((at.INIT, 0), (at.INIT, 1), (at.TOKEN, 1)):
        with Sandbox(answers=AT_ONCE) as sandbox:
            delay(sandbox, path)
            _, output = os.pipe()
            process = start_demo(sandbox.config_path, "-v", stdout=output)
            wait_for(path, sandbox, process)
            os.set_blocking(output, False)
            with contextlib.suppress(BlockingIOError):
                while os.write(output, b" "):
                    pass
            os.set_blocking(output, True)
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            assert finish(process, sandbox) == (130, LOGGED_OUT)
            assert paths(sandbox)[-1] == at.LOGOUT


# The network


class Refuse(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client that does not trust the certificate goes
            line = self.rfile.readline().decode()
            self.server.seen += line.split()[1:2]
            status = 407 if line.startswith("CONNECT") else 503
            self.wfile.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())


@contextlib.contextmanager
def refusing_server(certificate: Path | None = None) -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        server.seen = []
        server.name = f"127.0.0.1:{server.server_address[1]}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_name("key.pem"))
            server.socket = context.wrap_socket(server.socket, True, False)
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield server
        finally:
            server.shutdown()


BUNDLE = "hint: .*PEM.*REQUESTS_CA_BUNDLE"


NETWORKS = [  # the host, a variable, words of error and hint, what arrives
    ("api.ibkr.invalid", "", "api.ibkr.invalid: .+\nhint: is base_url right", []),
    ("SERVER", "", f"certificate verify failed.+\n{BUNDLE}", []),
    ("SERVER", "REQUESTS_CA_BUNDLE=own.pem", "HTTP 503: .+\nhint: IBKR is slow", ["/v1/api/oauth/live_session_token"]),
    ("SERVER", "REQUESTS_CA_BUNDLE=missing.pem", f"missing.pem.*\n{BUNDLE}", []),
    ("api.ibkr.invalid", "HTTPS_PROXY=http://PROXY", "407 .+\nhint: check the proxy", ["api.ibkr.invalid:443"]),
    ("api.ibkr.invalid", "HTTPS_PROXY=http://127.0.0.1:1", "refused\nhint: check the proxy", []),
]  # fmt: skip


def test_https_verifies_and_takes_a_proxy(sandbox: Sandbox, tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=simulated"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out own.pem"
    subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True)
    wrong = []
    for host, variable, message, arrives in NETWORKS:
        with refusing_server(tmp_path / "own.pem") as server, refusing_server() as proxy:
            base_url = f"https://{host.replace('SERVER', server.name)}/v1/api"
            sandbox.write_config({**sandbox.config, "base_url": base_url})
            name, _, value = variable.partition("=")
            environment = {**ENVIRONMENT, name or "NONE": value.replace("PROXY", proxy.name)}
            process = start_demo(sandbox.config_path, cwd=tmp_path, env=environment)
            _, err = finish(process, sandbox)
        told = re.fullmatch("error: POST /oauth/live_session_token: .+\nhint: .+\n", err)
        if not (told and re.search(message, err)) or server.seen + proxy.seen != arrives:
            wrong.append((host, variable, err, server.seen, proxy.seen))
    assert wrong == []


def test_a_run_on_this_computer_uses_one_connection_and_no_proxy(sandbox: Sandbox) -> None:
    with refusing_server() as proxy:
        proxies = dict.fromkeys(["HTTP_PROXY", "ALL_PROXY"], f"http://{proxy.name}")
        process = start_demo(sandbox.config_path, env={**ENVIRONMENT, **proxies})
        assert finish(process, sandbox) == (0, "")
        assert proxy.seen == []
    assert len({request.connection for request in sandbox.requests}) == 1
    agents = {request.headers["User-Agent"] for request in sandbox.requests}
    assert agents == {"ibkr-oauth-demo"}
