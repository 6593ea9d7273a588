"""What a person sees, word for word, with its exit status: all of it where a run goes well; of a
fault or an option the steps that print something else then.
How they are renewed stands in README.md."""

from __future__ import annotations

import os
import re
from difflib import unified_diff
from pathlib import Path

from tests.conftest import Result, run
from tests.sandbox import FAULTS, Sandbox

FOLDER = Path(__file__).parent / "transcripts"
RUNS = {  # name of the transcript: the runs in it, each a fault and options
    "all-well": [("", "")],
    "verbose": [("", "--verbose")],
    "check": [("", "--check")],
    "faults": [(fault, "") for fault in FAULTS],
    "options": [
        *[("", f"--symbol {symbol}") for symbol in ("IBM", "msft", "SAP", "NOSUCH", "BRK.B")],
        ("", "--account DU0005678"),
        ("", "--account DU0009999"),
        ("", "--compete"),
        ("competing", "--compete"),
        ("init-never-ready", "--compete"),
    ],
}


def seen(fault: str, options: str) -> Result:
    """Run the demo; return what it printed, without what differs from run to run."""
    with Sandbox(fault) as sandbox:
        status, out, err = run(sandbox, *options.split())
        paths = [request.path for request in sandbox.requests]
    assert ("/logout" in paths) == ("valid until" in out), f"{fault}: logout"
    assert "Simulated Holder" not in out + err, f"{fault}: a name"
    folder = str(sandbox.folder)
    return Result(status, without_chance(out, folder), without_chance(err, folder))


def without_chance(text: str, folder: str) -> str:
    """Leave out what differs from run to run, and all but the beginning of long JSON."""
    replacements = {
        re.escape(folder): "/tmp/sandbox",
        r"(127\.0\.0\.1(:|%3A))\d+": r"\1PORT",
        r"(?m) +[\d,]+ ms$": "       N ms",
        r"valid until  .* UTC": "valid until  <time> UTC",
        r"((hellman_\w+|token_signature)(%3D|\": \"))[0-9a-f]+": r"\1<hex>",
        r"(oauth_nonce%3D)[0-9a-f]{32}": r"\1<nonce>",
        r"(oauth_timestamp%3D|_expiration\": |_updated\": )\d+": r"\1<time>",
        r"\b(599|601) s behind": "600 s behind",
        r"((    < .*\n){9})(    < .*\n){2,}": r"\1    < ...\n",
    }
    for pattern, replacement in replacements.items():
        text = re.sub(pattern, replacement, text)
    return text


def difference(out: str, usual_out: str) -> str:
    """The steps that print something else than usual."""
    usual_steps = usual_out.strip().split("\n\n")
    steps = [step for step in out.strip().split("\n\n") if step not in usual_steps]
    return "\n\n".join(steps or ["(as in all-well.txt)"]) + "\n"


def runs_of(transcript: str, usual_out: str) -> str:
    """What a transcript would say now."""
    parts = []
    for fault, options in RUNS[transcript]:
        status, out, err = seen(fault, options)
        if len(RUNS[transcript]) > 1:
            out = difference(out, usual_out)
        option = f"--fault {fault}" if fault else ""
        command = " ".join(["python -m tests.sandbox", *filter(None, [option, options])])
        parts.append(f"$ {command}\n\n{out}--- stderr\n{err}--- exit status {status}\n")
    return "\n\n".join(parts)


def test_runs_print_what_their_transcripts_say() -> None:
    usual = seen("", "")
    changed: list[str] = []
    for transcript in RUNS:
        now = runs_of(transcript, usual.out)
        path = FOLDER / f"{transcript}.txt"
        if os.environ.get("UPDATE_TRANSCRIPTS"):
            path.write_text(now, encoding="ascii")
        before = path.read_text(encoding="ascii").splitlines()
        changed += unified_diff(before, now.splitlines(), path.name, "now", lineterm="")
    assert not changed, "\n".join(changed)
