"""demo.py as a process over real sockets: signals, what becomes of its output, the network, and the
command line."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import re
import shutil
import signal
import socketserver
import ssl
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.conftest import ROOT, assert_no_secret, start_demo
from tests.sandbox import Answer, Sandbox, json_answer, recorded

TOKEN = "POST /oauth/live_session_token"
INIT = "POST /iserver/auth/ssodh/init"
LEDGER = "GET /portfolio/{id}/ledger"
SNAPSHOT = "GET /iserver/marketdata/snapshot"
HISTORY = "GET /iserver/marketdata/history"
LOGOUT = "POST /logout"
AT_ONCE = {  # the brokerage session is up, the quote complete: no second of a run is spent waiting
    INIT: json_answer({**recorded("POST /iserver/auth/status"), "authenticated": True}),
    "GET /iserver/accounts": json_answer(recorded("GET /iserver/accounts")),
    SNAPSHOT: json_answer(recorded(SNAPSHOT)),
    HISTORY: json_answer(recorded(HISTORY)),
}


class Once(dict[str, Answer]):
    """Gives each answer once; then the genuine one follows."""

    def get(self, route: str, default: Any = None) -> Any:
        return self.pop(route, default)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(answers=AT_ONCE) as sandbox:
        yield sandbox


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def finish(process: subprocess.Popen[str], sandbox: Sandbox) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert_no_secret(f"{out}{err}", sandbox.secrets)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    return process.returncode, out, err


def paths(sandbox: Sandbox) -> list[str]:
    return [request.path for request in sandbox.requests]


# Signals


@pytest.mark.parametrize(
    ("route", "number", "outcome"),
    [
        (TOKEN, signal.SIGINT, "before the log-in"),
        (INIT, signal.SIGINT, "logged out"),
        (LEDGER, signal.SIGTERM, "logged out"),
        (SNAPSHOT, signal.SIGHUP, "logged out"),
        (LOGOUT, signal.SIGINT, "logged out"),
    ],
)
def test_a_signal_while_an_answer_is_awaited_logs_out(
    sandbox: Sandbox, route: str, number: signal.Signals, outcome: str
) -> None:
    sandbox.answers[route] = Answer(200, b"{}", delay=1.5)
    process = start_demo(sandbox.config_path)
    last_part = route.split("/")[-1]
    wait_until(lambda: any(path.endswith(last_part) for path in paths(sandbox)))
    process.send_signal(number)
    assert finish(process, sandbox)[::2] == (130, f"interrupted: {outcome}\n")
    assert paths(sandbox).count("/logout") == (outcome == "logged out")


@pytest.mark.parametrize("milliseconds", range(0, 150, 10))
def test_ctrl_c_at_any_moment_from_the_last_answer_to_the_end_logs_out(
    sandbox: Sandbox, milliseconds: int
) -> None:
    process = start_demo(sandbox.config_path)
    wait_until(lambda: "/iserver/marketdata/history" in paths(sandbox))
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process, sandbox)
    assert (status, err) == (130, "interrupted: logged out\n") or out.endswith("all well\n")
    assert paths(sandbox).count("/logout") == 1


def start_changed(sandbox: Sandbox, change: str) -> subprocess.Popen[str]:
    """Start demo.py after a few lines that change what it imports."""
    code = f"import oauth, requests, runpy, signal, sys\ndel sys.argv[0]\n{change}\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(ROOT / "demo.py"), str(sandbox.config_path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


CTRL_C_IN = """
genuine = oauth.{0}
oauth.{0} = lambda *values: signal.raise_signal(signal.SIGINT) or genuine(*values)
"""
LOCKED = """
genuine = requests.Session.request
def request(session, method, url, **options):
    if url.endswith("/ledger"):
        session.get_adapter(url).poolmanager.connection_from_url(url).pool.mutex.acquire()
        signal.raise_signal(signal.SIGINT)
    return genuine(session, method, url, **options)
requests.Session.request = request
"""


@pytest.mark.parametrize(
    "change",
    [CTRL_C_IN.format("derive_live_session_token"), CTRL_C_IN.format("HmacSha256Auth"), LOCKED],
    ids=["as the token's answer is read", "as the token is kept", "as a lock of the pool is taken"],
)
def test_ctrl_c_at_an_awkward_moment_logs_out(sandbox: Sandbox, change: str) -> None:
    process = start_changed(sandbox, change)
    assert finish(process, sandbox)[::2] == (130, "interrupted: logged out\n")
    assert paths(sandbox)[-1] == "/logout"


@pytest.mark.parametrize(("second", "logged_out"), [(signal.SIGINT, False), (signal.SIGHUP, True)])
def test_only_a_second_ctrl_c_ends_it_before_it_is_logged_out(
    sandbox: Sandbox, second: signal.Signals, logged_out: bool
) -> None:
    sandbox.answers[LOGOUT] = Answer(200, b"{}", delay=1)
    process = start_demo(sandbox.config_path)
    wait_until(lambda: len(sandbox.requests) >= 3)
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "/logout" in paths(sandbox))
    process.send_signal(second)
    message = "interrupted: logged out\n" if logged_out else ""
    assert finish(process, sandbox)[::2] == (130, message)


def test_a_terminal_that_closes_logs_out(sandbox: Sandbox) -> None:
    leader, follower = pty.openpty()
    streams = dict.fromkeys(["stdin", "stdout", "stderr"], follower)
    attach = functools.partial(fcntl.ioctl, follower, termios.TIOCSCTTY, 0)
    process = start_demo(sandbox.config_path, preexec_fn=attach, start_new_session=True, **streams)
    os.close(follower)
    wait_until(lambda: len(sandbox.requests) >= 3)
    os.close(leader)
    assert process.wait(timeout=20) in (1, 130)  # the output fails, or the signal comes first
    assert paths(sandbox)[-1] == "/logout"


def test_nohup_stays_in_force(sandbox: Sandbox) -> None:
    ignore = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    process = start_demo(sandbox.config_path, preexec_fn=ignore)
    wait_until(lambda: len(sandbox.requests) >= 3)
    process.send_signal(signal.SIGHUP)
    assert finish(process, sandbox)[::2] == (0, "")


# Output


@pytest.mark.parametrize(
    ("redirection", "status", "error"),
    [
        ("| head -n 1", 1, ""),
        ("| head -n 8", 1, ""),
        ("| head -n 13", 1, ""),
        (">/dev/full", 1, "error: cannot write: No space left on device\nhint: .+\n"),
        (">&-", 0, ""),
        ("--account NONE 2>&-", 1, ""),
    ],
)
def test_output_that_nobody_takes_ends_the_run_with_a_logout(
    sandbox: Sandbox, redirection: str, status: int, error: str
) -> None:
    command = f"{sys.executable} {ROOT}/demo.py {sandbox.config_path} {redirection}"
    bash = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(bash, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert re.fullmatch(error, done.stderr)
    assert paths(sandbox)[-1:] in ([], ["/logout"])
    assert "head" not in redirection or len(sandbox.requests) < 8


@pytest.mark.skipif(sys.platform != "linux", reason="a pipe's size is set as Linux does it")
def test_ctrl_c_ends_a_run_whose_output_nobody_reads(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
    process = start_demo(sandbox.config_path, "-v", stdout=writer)
    wait_until(lambda: len(sandbox.requests) >= 2)
    time.sleep(0.5)  # by now it is in the middle of a write
    assert len(sandbox.requests) < 5
    process.send_signal(signal.SIGINT)
    assert finish(process, sandbox)[::2] == (130, "interrupted: logged out\n")
    assert paths(sandbox)[-1] == "/logout"
    os.close(reader)
    os.close(writer)


# The network


@pytest.mark.parametrize(
    ("answer", "error"), [(Answer(cut=0), "127.0.0.1:.+closed.+"), (Answer(103), "HTTP 103")]
)
def test_a_dropped_connection_or_an_answer_below_200_costs_its_step_and_the_connection(
    sandbox: Sandbox, answer: Answer, error: str
) -> None:
    sandbox.answers[LEDGER] = answer
    status, _, err = finish(start_demo(sandbox.config_path), sandbox)
    assert status == 1
    assert re.fullmatch(f"error: GET .+/ledger: {error}\nhint: .+\n", err)
    assert sandbox.connections == 2


def test_a_logout_whose_connection_was_dropped_is_sent_again(sandbox: Sandbox) -> None:
    sandbox.answers = Once({**AT_ONCE, LOGOUT: Answer(cut=0)})
    assert finish(start_demo(sandbox.config_path), sandbox)[::2] == (0, "")
    assert paths(sandbox)[-2:] == ["/logout", "/logout"]
    assert sandbox.logged_out


def test_a_time_out_stops_all_but_the_logout(sandbox: Sandbox) -> None:
    sandbox.answers[LEDGER] = Answer(200, b"{}", delay=10)
    status, _, err = finish(start_changed(sandbox, "oauth.TIMEOUT = (5, 1)"), sandbox)
    assert status == 1
    assert re.fullmatch("error: GET .*/ledger: .+ timed out.*\nhint: .+\n", err)
    assert [path.split("/")[-1] for path in paths(sandbox)[-2:]] == ["ledger", "logout"]


class Refuse(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client that does not trust the certificate goes
            line = self.rfile.readline().decode()
            self.server.seen += line.split()[1:2]
            self.wfile.write(b"HTTP/1.1 407 Log in\r\nContent-Length: 0\r\n\r\n")


@contextlib.contextmanager
def refusing_server(certificate: Path | None = None) -> Iterator[Any]:
    """A proxy that wants a password, or a server with this certificate; `seen`: what it was asked
    for."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        server.seen = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_name("key.pem"))
            server.socket = context.wrap_socket(server.socket, True, False)
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield server
        server.shutdown()


def failed_log_in(sandbox: Sandbox, base_url: str, **environment: str) -> str:
    """Return stderr of a run whose first request fails: one error, one hint."""
    environment = {"NO_PROXY": "", "no_proxy": "", "HTTPS_PROXY": "", **environment}
    sandbox.write_config({**sandbox.config, "base_url": base_url})
    status, _, err = finish(start_demo(sandbox.config_path, env=environment), sandbox)
    assert status == 1
    assert re.fullmatch("error: POST /oauth/live_session_token: .+\nhint: .+\n", err)
    return err


ELSEWHERE = "https://api.ibkr.invalid/v1/api"


def test_a_host_that_does_not_exist_and_one_that_refuses_are_named(sandbox: Sandbox) -> None:
    err = failed_log_in(sandbox, ELSEWHERE)
    assert "api.ibkr.invalid" in err
    assert "is base_url right" in err
    err = failed_log_in(sandbox, "https://127.0.0.1:1/v1/api")
    assert "127.0.0.1:1: " in err
    assert "refused" in err


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one, for this computer; beside it key.pem, and the same in DER."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=simulated"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
    subprocess.run(command.split(), cwd=folder, capture_output=True, check=True)
    path = folder / "certificate.pem"
    path.with_suffix(".der").write_bytes(ssl.PEM_cert_to_DER_cert(path.read_text()))
    return path


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ("", "certificate verify failed.*\nhint: .*REQUESTS_CA_BUNDLE"),
        ("certificate.pem", "HTTP 407\n"),
        ("missing.pem", "missing.pem.*\nhint: .*PEM file named by REQUESTS_CA_BUNDLE"),
        ("certificate.der", ".*\nhint: .*PEM file named by REQUESTS_CA_BUNDLE"),
    ],
)
def test_a_certificate_is_verified_against_the_bundle(
    sandbox: Sandbox, certificate: Path, bundle: str, message: str
) -> None:
    path = str(certificate.with_name(bundle)) if bundle else ""
    with refusing_server(certificate) as server:
        url = f"https://127.0.0.1:{server.server_address[1]}/v1/api"
        err = failed_log_in(sandbox, url, REQUESTS_CA_BUNDLE=path)
        assert len(server.seen) == (bundle == "certificate.pem")
    assert re.search(message, err)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("http://127.0.0.1:PORT", "407 .*\nhint: the proxy in HTTPS_PROXY asks for a user"),
        ("127.0.0.1:PORT", "407 "),
        ("http://127.0.0.1:1", "refused.*\nhint: .*HTTPS_PROXY"),
        ("http://127.0.0.1:65536", "hint: .*HTTPS_PROXY"),
    ],
)
def test_https_goes_through_the_proxy_of_the_environment(
    sandbox: Sandbox, proxy: str, message: str
) -> None:
    with refusing_server() as server:
        address = proxy.replace("PORT", str(server.server_address[1]))
        assert re.search(message, failed_log_in(sandbox, ELSEWHERE, HTTPS_PROXY=address))
        assert server.seen == ["CONNECT api.ibkr.invalid:443"] * proxy.count("PORT")


def test_no_proxy_sees_what_goes_to_this_computer(sandbox: Sandbox) -> None:
    with refusing_server() as proxy:
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY")
        environment = {"NO_PROXY": "", "no_proxy": "", **dict.fromkeys(names, address)}
        status, _, err = finish(start_demo(sandbox.config_path, env=environment), sandbox)
        assert (status, err, proxy.seen) == (0, "", [])


# The command line


def run_python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    ("flag", "arguments", "status", "error"),
    [
        ("-I", ["config.json", "--check"], 0, ""),  # without the script's folder on the path
        ("-S", [], 2, "error: No module named '.+': .+ -m pip install -r .+\n"),
        ("-E", ["--unknown"], 2, "usage: (?s:.+)error: .+\n"),
        ("-E", ["none.json"], 2, "error: none.json: no such file\nhint: .+\n"),
    ],
)
def test_it_starts_or_says_why_not(
    sandbox: Sandbox, flag: str, arguments: list[str], status: int, error: str
) -> None:
    done = run_python(flag, ROOT / "demo.py", *arguments, cwd=sandbox.folder)
    assert done.returncode == status
    assert re.fullmatch(error, done.stderr)


def test_without_an_argument_it_takes_the_config_beside_it_on_an_ascii_console_too(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "K\u00e4stchen"
    folder.mkdir()
    for path in (ROOT / "oauth.py", ROOT / "keys", *sandbox.folder.glob("private_*.pem")):
        os.symlink(path, folder / path.name)
    shutil.copy(sandbox.config_path, folder / "K\u00e4stchen.json")
    source = (ROOT / "demo.py").read_text("utf-8")
    changed = re.sub("(?m)^CONFIG = .*", 'CONFIG = r"K\u00e4stchen.json"', source)
    (folder / "demo.py").write_text(changed, "utf-8")
    console = {**os.environ, "PYTHONIOENCODING": "ascii"}
    locale = {**console, "LC_ALL": "C", "PYTHONUTF8": "0"}  # in which no such file can be opened
    for argument, environment in (("--check", console), ("--help", locale)):
        done = run_python(folder / "demo.py", argument, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert r"K\xe4stchen.json" in done.stdout
