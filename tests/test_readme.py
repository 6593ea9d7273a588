"""The README shows what really happens: its commands, its code, its messages."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from tests.conftest import ROOT, run
from tests.sandbox import KEYS, Sandbox

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_steps_shown_are_those_of_a_real_run() -> None:
    def steps(text: str) -> list[str]:
        without_chance = re.sub(r" +(\d+|N) ms|valid until .*", "", text.partition("\n---")[0])
        return without_chance.strip().split("\n\n")

    shown = steps(README.partition("Among other steps:\n\n```\n")[2].partition("```")[0])
    assert len(shown) > 2
    real = (ROOT / "tests/transcripts/all-well.txt").read_text(encoding="ascii")
    assert set(shown) <= set(steps(real))


def test_every_message_of_the_troubleshooting_is_one_of_ours_or_of_ibkrs() -> None:
    table = README.partition("## Troubleshooting")[2].partition("## ")[0]
    messages = re.findall("`([^`]+)`", "".join(re.findall(r"(?m)^\|([^|]+)\|", table)))
    sandbox = "tests/sandbox/answers.py", "tests/sandbox/faults.json"
    sources = "demo.py", "oauth.py", "keys/check.py", *sandbox
    known = "".join((ROOT / name).read_text(encoding="utf-8") for name in sources).lower()
    assert len(messages) > 10
    assert {m for m in messages if m.lower() not in known} == {"certificate verify failed"}


@pytest.mark.usefixtures("all_well")
def test_the_digests_are_what_the_shown_commands_print(server: Sandbox) -> None:
    checked = run(server, "--check").out
    assert "does not fit" not in checked
    key_line, prime_line = re.findall(r"(?m)^openssl .*dgst -sha256$", README)
    for line in (key_line, key_line.replace("signature", "encryption"), prime_line):
        command = ["sh", "-c", line]
        result = subprocess.run(command, cwd=KEYS, capture_output=True, text=True, check=True)
        assert f"SHA-256 {result.stdout.split()[-1][:8]}" in checked


def test_every_field_of_the_templates_is_in_the_table() -> None:
    for name in ("config.json", "test-config.json"):
        for field in json.loads((ROOT / name).read_text(encoding="utf-8")):
            assert f"`{field}`" in README.partition("## The config")[2]


@pytest.mark.usefixtures("all_well")
def test_the_code_for_ones_own_program_runs(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = README.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = dict(server.config)
    monkeypatch.chdir(server.folder)
    program = code.replace("https://api.ibkr.com/v1/api", server.base_url)
    exec(compile(program, "README.md", "exec"), names)
    assert [request.path for request in server.requests if not request.refused] == [
        "/oauth/live_session_token",
        "/portfolio/accounts",
        "/logout",
    ]
    assert "'accountId': 'DU0001234'" in capsys.readouterr().out
