"""The demo at the terminal: arguments, masking, layout, outputs that nobody reads, Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import demo
from tests.conftest import ROOT
from tests.sandbox import Answer, Request, Sandbox

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "sleep", lambda _: None)


# The command line

HELP = """\
usage: demo.py [-h] [--account ID] [--symbol SYMBOL] [--compete] [--check] [-v] [config]

Try IBKR's Client Portal API with OAuth 1.0a.

positional arguments:
  config           path of the JSON config (default: test-config.json)

options:
  -h, --help       show this help message and exit
  --account ID     account to show (default: the first)
  --symbol SYMBOL  stock to quote (default: AAPL)
  --compete        take the brokerage session over: logs out a TWS or IBKR Mobile of the username
  --check          check config and keys offline, then stop
  -v, --verbose    show every request and answer whole
"""


def test_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["demo.py", "--help"])
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as caught:
        demo.main()
    assert caught.value.code == 0
    assert capsys.readouterr().out.replace("optional arguments:", "options:") == HELP


def test_the_help_takes_any_path_for_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CONFIG", "C:\\100%\\\u738b.json")
    with pytest.raises(SystemExit):
        demo.main(["--help"])
    assert r"C:\100%\\u738b.json" in capsys.readouterr().out


def taken(*arguments: str) -> tuple[Any, ...]:
    options = demo.command_line(list(arguments))
    flags = (options.compete, options.check, options.verbose)
    return (options.config, options.account, options.symbol, *flags)


def test_without_arguments_it_reads_the_config_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert taken() == ("test-config.json", None, "AAPL", False, False, False)
    monkeypatch.chdir("/")
    assert taken()[0] == str(ROOT / "test-config.json")[1:]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.json"], ("x.json", None, "AAPL", False, False, False)),
        (["--symbol", "brk b", "x"], ("x", None, "BRK B", False, False, False)),
        (["--symbol", "a\udcff", "x"], ("x", None, "A?", False, False, False)),
        (["x", "--account", "du1"], ("x", "du1", "AAPL", False, False, False)),
        (["--compete", "x"], ("x", None, "AAPL", True, False, False)),
        (["--check", "x"], ("x", None, "AAPL", False, True, False)),
        (["-v", "x"], ("x", None, "AAPL", False, False, True)),
        (["--verbose", "x"], ("x", None, "AAPL", False, False, True)),
    ],
)
def test_the_arguments_are_taken(arguments: list[str], expected: tuple[object, ...]) -> None:
    assert taken(*arguments) == expected


# What is printed


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain ~ text", "plain ~ text"),
        ("a\tb\nc", r"a\tb\nc"),
        ("\x1b[2J\x7f", r"\x1b[2J\x7f"),
        ("\u00e9\u202e\U0001f600\ud800", r"\xe9\u202e\U0001f600\ud800"),
    ],
)
def test_all_but_printable_ascii_is_written_as_an_escape(text: str, clean: str) -> None:
    assert demo.Console().clean(text) == clean


# Layout


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (0.0, "0.00"),
        (-0.0, "-0.00"),
        (1234567, "1,234,567.00"),
        (-1234.5, "-1,234.50"),
        (0.125, "0.125"),
        (0.1234, "0.1234"),
        (1 / 3, "0.33333333"),
        (2 / 3, "0.66666667"),
        (1339037.2, "1,339,037.20"),
        (1234567.891, "1,234,567.89"),
        (22575.498, "22,575.498"),
        (0.00001234, "0.00001234"),
        (4e-05, "0.00004"),
        (0.0066895, "0.0066895"),
        (1.1287749, "1.1287749"),
        (9.99999999, "10.00"),
        (-0.00000001, "-0.00000001"),
        (1e-9, "0.000000001"),
        (1e-10, "1e-10"),
        (-1e-300, "-1e-300"),
        (999_999_999_999_999, "999,999,999,999,999.00"),
        (10**17, "100,000,000,000,000,000.00"),
        (1e18, "1e+18"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        ("USD", "USD"),
        ("", "-"),
        (None, "-"),
        (True, "-"),
        ([1], "-"),
        ({"a": 1}, "-"),
    ],
)
def test_a_cell_shows_texts_and_numbers_for_people(value: Any, text: str) -> None:
    assert demo.cell(value) == text


def test_an_availability_that_is_not_there_is_no_code() -> None:
    assert demo.availability({}) == "-"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("C231.50", "previous close 231.50"), ("H231.50", "halted 231.50"), ("CHalk", "CHalk")],
)
def test_only_a_price_is_read_as_one_with_a_mark(sent: str, shown: str) -> None:
    assert demo.last_price({demo.LAST: sent}) == shown


def test_a_table_is_aligned_and_its_cells_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"a": "bbb", "b": "c" * 41, "d": 1000.5}, {"b": "long", "d": 1, "e": "unasked"}]
    demo.Console().table(("a", "b", "d"), items)
    assert capsys.readouterr().out.splitlines() == [
        f"    2 of 2  {'b':>40}         d",
        f"    bbb     {'c' * 37}...  1,000.50",
        f"    -       {'long':>40}      1.00",
    ]


@pytest.mark.parametrize(("count", "title"), [(0, "0 of 0"), (10, "10 of 10"), (11, "10 of 11")])
def test_a_table_shows_the_first_ten(
    capsys: pytest.CaptureFixture[str], count: int, title: str
) -> None:
    demo.Console().table(("name", "size"), [{"name": f"n{i}", "size": i} for i in range(count)])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == [*title.split(), "size"]
    assert [row.split() for row in rows] == [[f"n{i}", f"{i}.00"] for i in range(min(count, 10))]


# Outputs that nobody reads


@pytest.fixture
def closed_pipe() -> Iterator[io.TextIOWrapper]:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="ascii") as file:
        yield file


@posix
def test_when_nobody_reads_the_first_line_nothing_is_sent(
    server: Sandbox, closed_pipe: io.TextIOWrapper, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.redirect_stdout(closed_pipe):
        assert demo.main([str(server.config_path)]) == 1
    assert capsys.readouterr().err == ""
    assert server.requests == []  # with a token, it logs out: see test_process.py


@posix
def test_when_the_reader_of_the_errors_has_gone_it_ends_quietly(
    server: Sandbox, closed_pipe: io.TextIOWrapper
) -> None:
    with contextlib.redirect_stderr(closed_pipe):
        assert demo.main([str(server.config_path) + "x"]) == 1


@posix
def test_the_check_fails_when_nobody_reads_it(
    server: Sandbox, closed_pipe: io.TextIOWrapper
) -> None:
    with contextlib.redirect_stdout(closed_pipe):
        assert demo.main([str(server.config_path), "--check"]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_error(server: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "w", encoding="ascii") as full, contextlib.redirect_stdout(full):
        assert demo.main([str(server.config_path)]) == 1
    expected = f"error: cannot write: {os.strerror(errno.ENOSPC)}\nhint: make room for it\n"
    assert capsys.readouterr().err == expected


# Ctrl-C, and the pace; more of both in test_process.py


@pytest.mark.parametrize("pause", range(1, 15))
def test_an_interruption_in_any_pause_logs_out(
    server: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pause: int
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == pause:
            signal.raise_signal(signal.SIGTERM if pause % 2 else signal.SIGINT)

    monkeypatch.setattr(demo, "sleep", sleep)
    assert demo.main([str(server.config_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert server.logged_out == (pause > 1)
    if server.logged_out:
        *requests, logout = server.requests
        assert logout.path == "/logout"
        assert logout.connection not in {request.connection for request in requests}


def test_an_interruption_that_somebody_swallowed_ends_the_run_before_the_next_request(
    server: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        if len(server.requests) == 3:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(demo, "sleep", sleep)
    assert demo.main([str(server.config_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert len(server.requests) == 5  # that pause's, and the logout
    assert server.logged_out


@pytest.mark.parametrize(
    ("answer_takes", "pause"), [(0.0, 0.11), (0.05, 0.06), (0.11, 0.0), (5.0, 0.0)]
)
def test_a_request_starts_no_sooner_than_0_11_s_after_the_one_before(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch, answer_takes: float, pause: float
) -> None:
    pauses: list[float] = []
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    def send(*arguments: Any, **options: Any) -> None:
        nonlocal now
        now += answer_takes
        genuine(*arguments, **options)

    genuine = demo.Client.send
    monkeypatch.setattr(demo, "monotonic", lambda: now)
    monkeypatch.setattr(demo, "sleep", sleep)
    monkeypatch.setattr(demo.Client, "send", send)
    demo.main([str(server.config_path), "--symbol", "NOSUCH"])
    expected = [0, 0.11, *[pause] * (len(server.requests) - 2)]  # the token request is no `send`
    assert pauses == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("size", "shown"), [(9, "abcdef..."), (10, "abcdefghij")])
def test_a_text_is_shortened_only_where_it_is_too_long(size: int, shown: str) -> None:
    assert demo.shortened("abcdefghij", size) == shown


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "error: cannot write: No space left on device\nhint: make room for it\n"),
        (errno.EPIPE, ""),
    ],
)
def test_what_argparse_cannot_write_ends_it_in_older_pythons_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, said: str
) -> None:
    def fail(_: object) -> None:
        raise OSError(number, os.strerror(number))

    silenced: list[Any] = []
    monkeypatch.setattr(demo, "command_line", fail)
    monkeypatch.setattr(demo, "silence", silenced.append)
    assert demo.main([]) == 1
    assert capsys.readouterr() == ("", said)
    assert silenced == [sys.stdout, sys.stderr]


# Signals and alarms, one object


class Interrupting(Sandbox):
    """Interrupts the client while it waits for the logout's answer."""

    answered = False

    def respond(self, request: Request) -> Answer:
        answer = super().respond(request)
        if request.path == "/logout":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
            self.answered = True
        return answer


@posix
def test_the_logout_is_waited_for_when_it_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Interrupting() as sandbox:
        assert demo.main([str(sandbox.config_path)]) == 130
        assert sandbox.answered
    assert capsys.readouterr().err == "interrupted\n"


def test_what_is_said_of_the_logout_can_be_interrupted(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: demo.Client) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return False

    monkeypatch.setattr(demo.Client, "still_logged_in", interrupt)
    assert demo.main([str(server.config_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_signal_after_the_end_changes_nothing(server: Sandbox) -> None:
    assert demo.main([str(server.config_path), "--check"]) == 0
    signal.raise_signal(signal.SIGINT)


def test_the_first_signal_during_the_logout_is_noted_and_a_late_alarm_does_nothing() -> None:
    interruption = demo.Interruption()
    interruption.held = True
    interruption.handle(signal.SIGTERM, None)
    assert interruption.seen
    interruption.out_of_time(signal.SIGALRM, None)
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


def test_what_the_alarm_cut_off_may_have_left_a_lock_in_the_session() -> None:
    interruption = demo.Interruption()
    interruption.watch()
    with pytest.raises(demo.OutOfTime):
        interruption.limit(0.01, lambda: time.sleep(0.8))
    assert interruption.cut_off is True
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    interruption.out_of_time(signal.SIGALRM, None)  # one that comes late


class HalfMade:
    def __del__(self) -> None:
        raise AttributeError("no attribute 'fp'")


@pytest.mark.parametrize("cut_off", [True, False])
def test_destructors_of_what_a_signal_left_half_made_say_nothing(
    capsys: pytest.CaptureFixture[str], cut_off: bool
) -> None:
    interruption = demo.Interruption()
    interruption.watch()
    interruption.cut_off = cut_off
    HalfMade()
    assert ("no attribute 'fp'" in capsys.readouterr().err) != cut_off


@posix
def test_the_alarm_comes_again_each_second_until_it_is_off() -> None:
    demo.set_alarm(50)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    demo.set_alarm(0)
    assert (49 < left <= 50, interval) == (True, 1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_without_an_alarm_as_on_windows_nothing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(demo.signal, "setitimer")
    monkeypatch.delattr(demo.signal, "SIGALRM")
    interruption = demo.Interruption()
    interruption.watch()
    assert interruption.limit(0.0, lambda: 5) == 5


def test_the_last_word_of_an_interrupted_run_does_not_wait_for_a_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silenced: list[object] = []
    monkeypatch.setattr(demo, "silence", silenced.append)
    interruption = demo.Interruption()

    def too_long(_seconds: float, _action: object) -> None:
        raise demo.OutOfTime

    monkeypatch.setattr(interruption, "limit", too_long)
    demo.say_interrupted(demo.Console(), interruption)
    assert silenced == [sys.stdout, sys.stderr]


class Numbered(io.StringIO):
    """A stream with a file's number, which need not be one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def fileno(self) -> int:
        if self.number < 0:
            raise ValueError("I/O operation on closed file")
        return self.number


@pytest.mark.parametrize("stream", [None, Numbered(-1), Numbered(10**6), io.StringIO()])
def test_a_stream_that_cannot_be_silenced_is_silent(stream: Any) -> None:
    demo.silence(stream)


@pytest.mark.parametrize(
    ("system", "error", "closed"),
    [
        ("posix", BrokenPipeError(32, "Broken pipe"), True),
        ("nt", BrokenPipeError(22, "Invalid argument"), True),
        ("nt", OSError(22, "Invalid argument"), True),
        ("posix", OSError(22, "Invalid argument"), False),
        ("nt", OSError(28, "No space left on device"), False),
        ("nt", OSError(23, "Too many open files"), False),
    ],
)
def test_a_reader_that_has_gone_is_told_from_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, system: str, error: OSError, closed: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demo.os, "name", system)
        told = demo.is_closed_pipe(error)
    assert told == closed
