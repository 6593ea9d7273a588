"""The README shows what really happens: its transcripts, its commands, its figures."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.sandbox import KEYS, Sandbox

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRANSCRIPTS = Path(__file__).parent / "transcripts"


def blocks() -> list[str]:
    """Return the README's blocks without a language: what programs print."""
    return [text for language, text in fenced() if not language]


def fenced() -> list[tuple[str, str]]:
    return re.findall(r"(?ms)^ *```(\w*)\n(.*?)^ *```$", README)


def test_the_first_transcript_shows_steps_of_the_first_command() -> None:
    """Its steps are a real run's, whole; some of them are left out."""
    label, command, *rest = blocks()[0].splitlines(keepends=True)
    assert label.startswith("simulated: ")
    text = re.sub(r"/tmp/sandbox-\w+", "/tmp/sandbox", command + "".join(rest))
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "<tomorrow> UTC", text)
    text = re.sub(r"(?m)^(  (?:GET|POST) \S+ +\d{3}) +[\d,]+ ms$", r"\1       N ms", text)
    genuine = (TRANSCRIPTS / "all-well.txt").read_text(encoding="ascii").partition("---")[0]
    steps = [step.strip("\n") for step in genuine.split("\n\n")]
    shown = [step.strip("\n") for step in text.split("\n\n")]
    assert [step for step in steps if step in shown] == shown
    headings = [step.splitlines()[0] for step in shown[1:]]
    assert headings == ["Live session token", "Accounts", "Quote of AAPL", "Logout"]


def test_every_message_of_the_troubleshooting_is_one_of_ours_or_of_ibkrs() -> None:
    table = README.partition("## Troubleshooting")[2].partition("## How")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    messages = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    files = ("demo.py", "oauth.py", "keys/check.py")
    ours = "".join((ROOT / name).read_text(encoding="utf-8") for name in files).lower()
    ibkrs = {"LST failed", "Please query /accounts first", "failed to generate sso dh token"}
    ibkrs |= {"Error 403 - Access Denied", "Too Many Requests", "certificate verify failed"}
    ibkrs |= {"401", "410", "429", "503", "No access secret key found"}
    assert len(messages) > 40
    for message in messages:
        parts = re.split(r"[0-9]+ s behind the server's|[0-9]+", message.lower())
        assert message in ibkrs or (any(parts) and all(part in ours for part in parts)), message


def test_windows_lines_work_in_cmd_and_in_powershell() -> None:
    lines = [text for language, text in fenced() if language == "bat"]
    assert lines
    assert not re.search("&&|;|/venv", "".join(lines))


def test_two_commands_do_all_the_setup() -> None:
    commands = re.findall(r"(?m)^python3 -m venv .*$", README)
    assert len(commands) == 2
    assert [command.split()[-1] for command in commands] == ["tests.sandbox", "tests"]
    for command in commands:
        assert f"```sh\n{command}\n```" in README


def test_the_fingerprints_are_what_the_shown_commands_print() -> None:
    shown = (TRANSCRIPTS / "check.txt").read_text(encoding="ascii")
    wanted = re.findall("SHA-256 ([0-9a-f]{8})$", shown, re.MULTILINE)
    lines = re.findall(r"(?m)^openssl .*dgst -sha256$", README)
    assert len(lines) == 2
    key_line, prime_line = lines
    commands = [key_line, key_line.replace("signature", "encryption"), prime_line]
    printed = [
        subprocess.run(["sh", "-c", line], cwd=KEYS, capture_output=True, text=True, check=True)
        for line in commands
    ]
    assert [result.stdout.split()[-1][:8] for result in printed] == wanted


def test_the_config_shown_is_the_template() -> None:
    shown = [text for language, text in fenced() if language == "json"]
    assert shown == [(ROOT / "config.json").read_text(encoding="utf-8")]


def test_the_code_for_ones_own_program_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"(?ms)^```python\n(.*?)^```$", README)
    assert code
    with Sandbox() as sandbox:
        names: dict[str, Any] = {
            name: sandbox.config[name]
            for name in ("consumer_key", "dh_prime", "access_token", "access_token_secret")
        }
        monkeypatch.chdir(sandbox.folder)
        program = code[1].replace("https://api.ibkr.com/v1/api", sandbox.base_url)
        exec(compile(program, "README.md", "exec"), names)
        assert [request.refused for request in sandbox.requests] == ["", "", ""]
        assert sandbox.requests[-1].path == "/logout"
    assert "'accountId': 'DU0001234'" in capsys.readouterr().out
