"""What a person sees, word for word, with its exit status: all of it where a run goes well; of a
fault or an option the steps that print something else then.
tests/README.md says how they are renewed."""

from __future__ import annotations

import os
from difflib import unified_diff

from tests.conftest import TRANSCRIPTS, seen
from tests.sandbox.faults import FAULTS

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
    usual = seen()
    assert usual.status == 0, usual.err
    changed: list[str] = []
    for transcript in RUNS:
        now = runs_of(transcript, usual.out)
        path = TRANSCRIPTS / f"{transcript}.txt"
        if os.environ.get("UPDATE_TRANSCRIPTS"):
            path.write_text(now, encoding="ascii")
        before = path.read_text(encoding="ascii").splitlines()
        changed += unified_diff(before, now.splitlines(), path.name, "now", lineterm="")
    assert not changed, "\n".join([*changed, "if this is right, see tests/README.md: renew them"])
