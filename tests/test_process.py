"""The demo as a process: folders, pipes, consoles, and Ctrl-C at any moment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.conftest import ROOT, assert_no_secret, start_demo
from tests.sandbox import Answer, Sandbox

posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
# A Ctrl-C may leave a socket to the garbage collector; Python says so only if all warnings are on.
CUT_OFF = ("error", "ignore:unclosed:ResourceWarning")
INTERRUPTIONS = [(after, signal.SIGINT) for after in (1, 2, 8, 12)] + [(6, signal.SIGTERM)]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def finish(process: subprocess.Popen[str], sandbox: Sandbox) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert_no_secret((out or "") + (err or ""), sandbox.secrets)
    assert "Traceback" not in (err or "")
    assert "Exception ignored" not in (err or "")
    return process.returncode, out, err


def paths(sandbox: Sandbox) -> list[str]:
    return [request.path for request in sandbox.requests]


def test_a_run_uses_one_connection_is_refused_nothing_keeps_the_rate_and_logs_out(
    server: Sandbox,
) -> None:
    began = time.monotonic()
    status, out, err = finish(start_demo(server.config_path), server)
    took = time.monotonic() - began
    assert (status, err) == (0, "")
    assert out.endswith(" ms\n")
    assert server.connections == 1
    assert [request.refused for request in server.requests] == [""] * 15
    assert {request.query_form for request in server.requests} == {"", "signed"}
    assert server.rate_warnings == 0
    assert server.logged_out
    assert paths(server)[-1] == "/logout"
    assert took > 14 * 0.11


@pytest.mark.parametrize("place", ["root", "config's folder", "elsewhere"])
@pytest.mark.parametrize("relative", [True, False])
def test_the_working_folder_does_not_matter(
    server: Sandbox, tmp_path: Path, place: str, relative: bool
) -> None:
    folder = {"root": ROOT, "config's folder": server.folder, "elsewhere": tmp_path}[place]
    path = os.path.relpath(server.config_path, folder) if relative else server.config_path
    status, _, err = finish(start_demo(path, "--check", cwd=folder), server)
    assert (status, err) == (0, "")


def test_a_python_that_leaves_the_scripts_folder_out_finds_its_parts() -> None:
    command = [sys.executable, "-I", str(ROOT / "demo.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_in_a_pipe_and_on_an_ascii_console_it_prints_the_same(server: Sandbox) -> None:
    folder = server.folder / "K\u00e4stchen \u20ac"
    folder.mkdir()
    for name in ("config.json", "private_signature.pem", "private_encryption.pem"):
        shutil.copy(server.folder / name, folder)
    environments = [{"PYTHONIOENCODING": name} for name in ("ascii", "cp1252", "utf-8")]
    processes = [start_demo(folder / "config.json", env=env) for env in environments]
    outputs = []
    for process in processes:
        status, out, err = finish(process, server)
        assert (status, err) == (0, "")
        assert "K\\xe4stchen \\u20ac" in out
        outputs.append(re.sub(r" +[\d,]+ ms|\d\d:\d\d:\d\d", "", out))
    assert len(set(outputs)) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-h"], 0, ""),
        (["--unknown"], 2, "error: unrecognized arguments: --unknown"),
        (["one.json", "two.json"], 2, "error: unrecognized arguments: two.json"),
        (["--symbol"], 2, "error: argument --symbol: expected one argument"),
    ],
)
def test_the_command_line_is_checked(arguments: list[str], status: int, message: str) -> None:
    process = start_demo(*arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert message in err
    assert "Traceback" not in err
    if status == 0:
        assert "logs out a TWS or IBKR Mobile" in " ".join(out.split())


# Ctrl-C


@posix
@pytest.mark.parametrize(("after", "number"), INTERRUPTIONS)
def test_an_interruption_between_requests_logs_out(
    server: Sandbox, after: int, number: signal.Signals
) -> None:
    process = start_demo(server.config_path, warnings=CUT_OFF)
    wait_until(lambda: len(server.requests) >= after)
    process.send_signal(number)
    status, _, err = finish(process, server)
    assert (status, err) in {(130, "interrupted\n"), (0, "")}  # 0: it came during the logout
    assert status == 130 or after >= 14
    tokens_in_use = paths(server) != ["/oauth/live_session_token"]  # else cut off while it came
    assert server.logged_out == tokens_in_use
    assert paths(server).count("/logout") == tokens_in_use


@posix
@pytest.mark.parametrize(
    "route",
    [
        "POST /iserver/auth/ssodh/init",
        "GET /portfolio/accounts",
        "GET /portfolio/{id}/positions/{page}",
        "GET /iserver/marketdata/snapshot",
    ],
)
def test_an_interruption_while_an_answer_is_awaited_logs_out(route: str) -> None:
    with Sandbox(answers={route: Answer(200, b"{}", delay=60)}) as sandbox:
        process = start_demo(sandbox.config_path, warnings=CUT_OFF)
        pattern = re.sub(r"\{\w+\}", r"\\w+", route.split()[1])
        wait_until(lambda: any(re.fullmatch(pattern, path) for path in paths(sandbox)))
        process.send_signal(signal.SIGINT)
        assert finish(process, sandbox)[::2] == (130, "interrupted\n")
        assert sandbox.logged_out


@posix
def test_an_interruption_while_the_token_is_awaited_ends_at_once() -> None:
    answers = {"POST /oauth/live_session_token": Answer(200, b"{}", delay=60)}
    with Sandbox(answers=answers) as sandbox:
        process = start_demo(sandbox.config_path, warnings=CUT_OFF)
        wait_until(lambda: len(sandbox.requests) == 1)
        process.send_signal(signal.SIGINT)
        assert finish(process, sandbox)[::2] == (130, "interrupted\n")
        assert len(sandbox.requests) == 1


@posix
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_but_ctrl_c_lets_the_logout_go_on(second: signal.Signals) -> None:
    with Sandbox(answers={"POST /logout": Answer(200, b"{}", delay=0.5)}) as sandbox:
        process = start_demo(sandbox.config_path, warnings=CUT_OFF)
        wait_until(lambda: len(sandbox.requests) >= 3)
        process.send_signal(second)
        process.send_signal(second)
        wait_until(lambda: "/logout" in paths(sandbox))
        process.send_signal(second)
        assert finish(process, sandbox)[::2] == (130, "interrupted\n")
        assert paths(sandbox).count("/logout") == 1


@posix
def test_a_second_ctrl_c_ends_at_once() -> None:
    with Sandbox(answers={"POST /logout": Answer(200, b"{}", delay=60)}) as sandbox:
        process = start_demo(sandbox.config_path, warnings=CUT_OFF)
        wait_until(lambda: len(sandbox.requests) >= 3)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "/logout" in paths(sandbox))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert finish(process, sandbox)[0] == 130
        assert time.monotonic() - began < 1


@posix
@pytest.mark.parametrize(
    "pair",
    [
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGHUP),
    ],
)
@pytest.mark.parametrize("after", [2, 5, 9])
def test_two_signals_close_together_leave_no_traceback(
    server: Sandbox, pair: tuple[signal.Signals, signal.Signals], after: int
) -> None:
    process = start_demo(server.config_path, warnings=CUT_OFF)
    wait_until(lambda: len(server.requests) >= after)
    for number in pair:
        process.send_signal(number)
    assert finish(process, server)[::2] == (130, "interrupted\n")
    assert server.logged_out


@posix
def test_a_signal_that_was_inherited_as_ignored_stays_ignored(server: Sandbox) -> None:
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start_demo(server.config_path, preexec_fn=nohup)
    wait_until(lambda: len(server.requests) >= 3)
    process.send_signal(signal.SIGHUP)
    assert finish(process, server)[::2] == (0, "")
    assert server.logged_out


@posix
def test_output_that_nobody_reads_does_not_keep_a_signal_from_ending_it(server: Sandbox) -> None:
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ: the smallest pipe there is
    process = start_demo(server.config_path, "-v", stdout=writer, warnings=CUT_OFF)
    wait_until(lambda: len(server.requests) >= 3)
    time.sleep(0.3)  # by now it is in the middle of a write that nobody reads
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    os.close(reader)
    os.close(writer)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert server.logged_out


@posix
def test_a_terminal_that_closes_logs_out(server: Sandbox) -> None:
    import pty

    leader, follower = pty.openpty()

    def own_terminal() -> None:
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = start_demo(
        server.config_path,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=own_terminal,
    )
    os.close(follower)
    wait_until(lambda: len(server.requests) >= 3)
    os.close(leader)
    assert process.wait(timeout=20) in (1, 130)  # the write fails, or the signal comes first
    assert server.logged_out


LOCKED = """
import queue, runpy, signal, sys
puts = []
genuine = queue.Queue.put
def put(self, item, *arguments, **options):
    genuine(self, item, *arguments, **options)
    puts.append(item)
    if len(puts) == 12:  # ten are urllib3's own, at the beginning
        self.mutex.acquire()
        signal.raise_signal(signal.SIGTERM)
queue.Queue.put = put
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@posix
def test_a_lock_that_a_signal_left_taken_keeps_it_from_nothing(server: Sandbox) -> None:
    command = [sys.executable, "-c", LOCKED, str(ROOT / "demo.py"), str(server.config_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (run.returncode, run.stderr) == (130, "interrupted\n")
    assert server.logged_out


# Readers that go away


@posix
@pytest.mark.parametrize("lines", [0, 1, 6, 12, 30])
@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_a_reader_that_closes_the_pipe_ends_the_run_with_a_logout(
    server: Sandbox, lines: int, verbose: list[str]
) -> None:
    process = start_demo(server.config_path, *verbose)
    assert process.stdout
    assert process.stderr
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == ""
    made = "/oauth/live_session_token" in paths(server)
    assert server.logged_out == made
    assert made or lines < 6
    assert len(server.requests) < 15


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_run(server: Sandbox) -> None:
    with open("/dev/full", "w") as full:
        for options in ([], ["--check"], ["--help"]):
            process = start_demo(server.config_path, *options, stdout=full)
            status, _, err = finish(process, server)
            assert status == 1
            assert err == ("error: cannot write: No space left on device\nhint: make room for it\n")
        assert finish(start_demo("--unknown", stderr=full), server)[0] == 1
    assert server.requests == []


@posix
def test_errors_that_nobody_reads_do_not_hurt() -> None:
    with Sandbox("invalid-consumer") as sandbox:
        process = start_demo(sandbox.config_path)
        assert process.stderr
        process.stderr.close()
        assert process.stdout
        process.stdout.read()
        process.stdout.close()
        assert process.wait(timeout=60) == 1


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_do_not_hurt(server: Sandbox, closed: str) -> None:
    command = f'exec "{sys.executable}" "{ROOT / "demo.py"}" "{server.config_path}" {closed}'
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert run.stderr == ""
    assert server.logged_out


# The sandbox's own command


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_do_not_hurt_the_sandbox(closed: str) -> None:
    command = f'exec "{sys.executable}" -m tests.sandbox --check {closed}'
    run = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_a_folder_that_the_outputs_encoding_lacks_is_shown_with_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "\u738b"
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "tests.sandbox", "--check"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert r"\u738b" in run.stdout


@pytest.mark.parametrize("folder", ["root", "elsewhere"])
def test_the_first_command_runs_the_demo_and_has_its_status(tmp_path: Path, folder: str) -> None:
    command: list[Any] = [sys.executable, "-m", "tests.sandbox"]
    run = subprocess.run(
        [*command, "--check"],
        cwd=ROOT if folder == "root" else tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("simulated: ")
    assert run.stdout.endswith("no errors; nothing was sent\n")
