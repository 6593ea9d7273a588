"""The README shows what really happens: its transcripts, its commands, its figures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.conftest import ROOT, start_demo
from tests.sandbox import KEYS, Sandbox

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRANSCRIPTS = Path(__file__).parent / "transcripts"


def blocks() -> list[str]:
    """Return the README's blocks without a language: what programs print."""
    fenced = re.findall(r"(?ms)^ *```(\w*)\n(.*?)^ *```$", README)
    return [text for language, text in fenced if not language]


def test_the_first_transcript_is_that_of_the_first_command() -> None:
    label, command, *rest = blocks()[0].splitlines(keepends=True)
    assert label.startswith("simulated: ")
    text = re.sub(r"/tmp/sandbox-\w+", "/tmp/sandbox", command + "".join(rest))
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "<tomorrow> UTC", text)
    text = re.sub(r"(?m)^(  (?:GET|POST) \S+ +\d{3}) +[\d,]+ ms$", r"\1       N ms", text)
    wanted = (TRANSCRIPTS / "all-well.txt").read_text(encoding="ascii")
    assert text == wanted.partition("--- stderr")[0]


def swapped(config: dict[str, Any], _: Path) -> None:
    one, two = config["signature_key_fp"], config["encryption_key_fp"]
    config.update(signature_key_fp=two, encryption_key_fp=one)


def earlier_prime(config: dict[str, Any], _: Path) -> None:
    config["dh_prime"] = config["dh_prime"][:-1]


def public_key(config: dict[str, Any], folder: Path) -> None:
    shutil.copy(KEYS / "public_signature.pem", folder)
    (folder / "public_signature.pem").chmod(0o600)
    config["signature_key_fp"] = "public_signature.pem"


def template(config: dict[str, Any], _: Path) -> None:
    config.clear()
    config.update(json.loads((ROOT / "config.json").read_text()))


@pytest.mark.parametrize("number", range(1, 5))
def test_the_transcripts_of_the_troubleshooting_are_real(number: int) -> None:
    change: Callable[[dict[str, Any], Path], None]
    change = [swapped, earlier_prime, public_key, template][number - 1]
    with Sandbox() as sandbox:
        config = {name: value for name, value in sandbox.config.items() if name != "base_url"}
        change(config, sandbox.folder)
        (sandbox.folder / "my-config.json").write_text(json.dumps(config))
        run = start_demo("my-config.json", cwd=sandbox.folder, stderr=subprocess.STDOUT)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 2
    assert blocks()[number] == f"$ python demo.py my-config.json\n{output}"


def test_the_sizes_are_the_true_ones() -> None:
    for name in ("demo.py", "oauth.py"):
        lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
        assert f"`{name}` ({lines} lines)" in README


def test_two_commands_do_all_the_setup() -> None:
    commands = re.findall(r"(?m)^python3 -m venv .*$", README)
    assert len(commands) == 2
    assert [command.split()[-1] for command in commands] == ["tests.sandbox", "tests"]
    for command in commands:
        assert f"```sh\n{command}\n```" in README


def test_the_fingerprint_of_the_prime_is_what_the_shown_command_prints(tmp_path: Path) -> None:
    line = re.search(r"(?m)^openssl asn1parse .*sha256$", README)
    assert line
    shutil.copy(KEYS / "dhparam.pem", tmp_path)
    digest = subprocess.run(
        ["sh", "-c", line[0]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = (TRANSCRIPTS / "check.txt").read_text(encoding="ascii")
    fingerprint = re.search(r"SHA-256 ([0-9a-f]{8})\.\.\.", shown)
    assert fingerprint
    assert digest.stdout.split()[-1].startswith(fingerprint[1])


def test_the_code_for_ones_own_program_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"(?ms)^```python\n(.*?)^```$", README)
    assert code
    with Sandbox() as sandbox:
        names: dict[str, Any] = {
            "encrypted_secret": sandbox.config["access_token_secret"],
            "consumer_key": sandbox.config["consumer_key"],
            "access_token": sandbox.config["access_token"],
            "dh_prime": int(sandbox.config["dh_prime"], 16),
        }
        monkeypatch.chdir(sandbox.folder)
        program = code[1].replace("https://api.ibkr.com/v1/api", sandbox.base_url)
        with pytest.warns(ResourceWarning, match="unclosed file"):
            exec(compile(program, "README.md", "exec"), names)
        assert [request.refused for request in sandbox.requests] == ["", ""]
    assert "'accountId': 'DU0001234'" in capsys.readouterr().out
