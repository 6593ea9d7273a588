"""The demo at the terminal: arguments, masking, layout, outputs that nobody reads, Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import demo
from tests.conftest import ROOT
from tests.sandbox import Sandbox

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "sleep", lambda _: None)


# The command line

HELP = """\
usage: demo.py [-h] [--symbol SYMBOL] [--compete] [--check] [-v] [config]

Try IBKR's Client Portal API with OAuth 1.0a.

positional arguments:
  config           path of the JSON config (default: test-config.json)

options:
  -h, --help       show this help message and exit
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


def test_without_arguments_it_reads_the_config_beside_it() -> None:
    assert vars(demo.command_line([])) == {
        "config": str(ROOT / "test-config.json"),
        "symbol": "AAPL",
        "compete": False,
        "check": False,
        "verbose": False,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.json"], ("x.json", "AAPL", False, False, False)),
        (["--symbol", "brk b", "x"], ("x", "BRK B", False, False, False)),
        (["x", "--symbol", "A-1.Z" * 4], ("x", "A-1.Z" * 4, False, False, False)),
        (["--compete", "x"], ("x", "AAPL", True, False, False)),
        (["--check", "x"], ("x", "AAPL", False, True, False)),
        (["-v", "x"], ("x", "AAPL", False, False, True)),
        (["--verbose", "x"], ("x", "AAPL", False, False, True)),
    ],
)
def test_the_arguments_are_taken(arguments: list[str], expected: tuple[object, ...]) -> None:
    options = demo.command_line(arguments)
    taken = (options.config, options.symbol, options.compete, options.check, options.verbose)
    assert taken == expected


# Masking


def test_what_is_hidden_is_replaced_by_three_asterisks_in_every_form() -> None:
    console = demo.Console()
    console.hide("abc/def+", b"\xff\xfe\xfd\x00\x01\x02")
    for text in (
        "abc/def+",
        "abc%2Fdef%2B",
        "fffefd000102",
        "//79AAEC",
        "%2F%2F79AAEC",
        r"\/\/79AAEC",
    ):
        assert console.mask(f"<{text}>") == "<***>"
    assert console.mask("abc/def") == "abc/def"


def test_a_text_of_eight_characters_can_be_a_secret_and_a_shorter_one_is_none() -> None:
    console = demo.Console()
    console.hide("1234567", "abcdefgh")
    assert console.mask("1234567 abcdefgh") == "1234567 ***"


def test_a_secret_that_contains_another_is_hidden_whole() -> None:
    secrets = ["abcdefgh" + "x" * more for more in range(20)] + ["0abcdefgh", "zabcdefgh"]
    console = demo.Console()
    console.hide(*secrets)
    for secret in secrets:
        assert console.mask(f"<{secret}>") == "<***>"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"accountTitle":"A B"}', '{"accountTitle":"***"}'),
        (r'{"displayName" : "A \" B", "x": "y"}', '{"displayName" : "***", "x": "y"}'),
        ('{"MAC":"","x":1}', '{"MAC":"***","x":1}'),
        ('OAuth oauth_signature="a%2B", x="y"', 'OAuth oauth_signature="***", x="y"'),
        (
            r'{"error": "oauth_signature=\"a%2B\", x", "b": 1}',
            r'{"error": "oauth_signature=\"***", "b": 1}',
        ),
    ],
)
def test_a_personal_value_is_replaced_and_nothing_else(text: str, masked: str) -> None:
    assert demo.Console().mask(text) == masked


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
        (1234567, "1,234,567.00"),
        (-1234.5, "-1,234.50"),
        (0.125, "0.1250"),
        (0.1234, "0.1234"),
        (1 / 3, "0.3333"),
        (999_999_999_999_999, "999,999,999,999,999.00"),
        (1e15, "-"),
        (-1e15, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        (10**400, "-"),
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


def test_a_table_is_aligned_and_its_cells_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"a": "bbb", "b": "c" * 41, "d": 1000.5}, {"b": "long", "d": 1, "e": "unasked"}]
    demo.Console().table(("a", "b", "d"), items)
    assert capsys.readouterr().out.splitlines() == [
        f"    2 of 2  {'b':>40}         d",
        f"    bbb     {'c' * 40}  1,000.50",
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
def test_when_the_reader_of_the_errors_has_gone_it_ends_with_the_same_status(
    server: Sandbox, closed_pipe: io.TextIOWrapper
) -> None:
    with contextlib.redirect_stderr(closed_pipe):
        assert demo.main([str(server.config_path) + "x"]) == 2


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


# Ctrl-C; more of it in test_process.py


@pytest.mark.parametrize("pause", range(1, 12))
def test_an_interruption_in_any_pause_logs_out(
    server: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pause: int,
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == pause:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(demo, "sleep", sleep)
    assert demo.main([str(server.config_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert server.logged_out
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
    assert capsys.readouterr().err == ""
    assert len(server.requests) == 5  # that pause's, and the logout
    assert server.logged_out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_logout_is_not_interrupted(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    sent = []

    def sleep(_: float) -> None:
        if len(server.requests) == 12:  # all but the logout
            sent.append(number)
            signal.raise_signal(number)

    monkeypatch.setattr(demo, "sleep", sleep)
    assert demo.main([str(server.config_path)]) == 0
    assert sent == [number]
    assert server.logged_out


def test_every_call_is_preceded_by_a_pause_and_a_question_asked_again_by_a_longer_one(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(demo, "sleep", pauses.append)
    assert demo.main([str(server.config_path)]) == 0
    asked_again = [pause for pause in pauses if pause == 1]
    assert len(pauses) == len(server.requests) - 1  # the token request is the first
    assert len(asked_again) == 2  # the status, the snapshot
    assert set(pauses) == {0.11, 1}
