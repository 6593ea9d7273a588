"""What a person sees, word for word: tests/transcripts holds a whole run for each fault and option.

A change of the output shows as a difference there, to be read before it is accepted:

    UPDATE_TRANSCRIPTS=1 python -m pytest tests/test_transcripts.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import Result, Runner
from tests.sandbox import FAULTS, Sandbox

FOLDER = Path(__file__).parent / "transcripts"
WELL = {"competing", "init-waits", "k-odd-digits", "k-short", "k-top-bit", "no-positions"}
WELL |= {"logout-refused", "no-subscription", "one-sided-quote"}  # no error: exit status 0

RUNS = {  # name of the transcript: the fault, and the options
    **{f"fault-{name}": (name, []) for name in FAULTS},
    "all-well": ("", []),
    "check": ("", ["--check"]),
    "verbose": ("", ["--verbose"]),
    "symbol-ibm": ("", ["--symbol", "IBM"]),
    "symbol-in-small-letters": ("", ["--symbol", "msft"]),
    "symbol-elsewhere": ("", ["--symbol", "SAP"]),
    "symbol-unknown": ("", ["--symbol", "NOSUCH"]),
    "symbol-of-a-share-class": ("", ["--symbol", "BRK.B"]),
    "account": ("", ["--account", "DU0005678"]),
    "account-unknown": ("", ["--account", "DU0009999"]),
    "compete": ("", ["--compete"]),
    "compete-with-another-session": ("competing", ["--compete"]),
    "compete-in-vain": ("init-never-ready", ["--compete"]),
}


def without_chance(text: str, sandbox: Sandbox) -> str:
    """Replace what differs from run to run."""
    text = text.replace(str(sandbox.folder), "/tmp/sandbox").replace(str(sandbox.port), "PORT")
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "<tomorrow> UTC", text)
    text = re.sub(r"(?m)^(  (?:GET|POST) \S+ +\d{3}) +[\d,]+ ms$", r"\1       N ms", text)
    text = re.sub(r"(diffie_hellman_challenge(?:%3D|=))[0-9a-f]+", r"\1<hex>", text)
    text = re.sub(r'("diffie_hellman_response": ")[0-9a-f]+', r"\1<hex>", text)
    text = re.sub(r"(oauth_nonce(?:%3D|=))[0-9a-f]{32}", r"\1<nonce>", text)
    times = r'oauth_timestamp(?:%3D|=)|live_session_token_expiration": |_updated": '
    text = re.sub(rf"({times})\d+", r"\1<time>", text)
    return re.sub(r"\b(599|600|601) s behind", "600 s behind", text)


def transcript(result: Result, options: list[str], sandbox: Sandbox) -> str:
    command = " ".join(["$ python demo.py /tmp/sandbox/config.json", *options])
    text = f"{command}\n{result.out}--- stderr\n{result.err}--- exit status {result.status}\n"
    return without_chance(text, sandbox)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_prints_what_its_transcript_says(run: Runner, name: str) -> None:
    fault, options = RUNS[name]
    with Sandbox(fault) as sandbox:
        result = run(sandbox, *options)
        token_made = result.out.count("valid until")
        logged_out = [r for r in sandbox.requests if r.path == "/logout"]
    assert len(logged_out) == token_made
    assert sandbox.connections <= 1 + (
        fault in ("dropped-connection", "truncated-body", "redirect")
    )
    assert re.fullmatch("[ -~\n]*", result.out + result.err)
    assert "Simulated Holder" not in result.out + result.err
    if name.startswith("fault-"):
        assert result.status == (fault not in WELL)
        errors = re.findall("(?m)^error: .+\nhint: .+$", result.err)
        assert bool(errors) == (result.status == 1)
    path = FOLDER / f"{name}.txt"
    now = transcript(result, options, sandbox)
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.write_text(now, encoding="ascii")
    assert now == path.read_text(encoding="ascii")


def test_every_transcript_belongs_to_a_run() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*RUNS, "broken-configs"}  # test_config.py
