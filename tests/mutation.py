"""Measures which wrong lines in the four files the tests would let through.

    venv/bin/pip install mutmut && venv/bin/python -m tests.mutation [FILE...]

mutmut makes thousands of small changes, one at a time, and runs the tests against each. It reads
its settings from the folder that it works in, so this works on a copy, in build/mutation. The
tests that start processes or measure time are left out: they would not see a mutant. So is that of
the docstrings' examples, which mutmut takes from their functions.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "mutation"
TESTS = {
    "oauth.py": ("vectors", "oauthlib", "oauth"),
    "keys/check.py": ("check", "diagnosis", "transcripts"),
    "keys/mask.py": ("mask", "attack"),
    "demo.py": ("console", "attack", "transcripts", "answers", "check", "network"),
}
SETTINGS = """[mutmut]
source_paths =
    {file}
also_copy =
    demo.py
    oauth.py
    config.json
    test-config.json
    README.md
    keys
pytest_add_cli_args =
    --numprocesses=0
    -p
    no:randomly
    --deselect=tests/test_oauth.py::test_the_examples_of_the_docstrings_are_right
pytest_add_cli_args_test_selection =
    {tests}
"""


def measure(file: str) -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in ("demo.py", "oauth.py", "config.json", "test-config.json", "README.md"):
        shutil.copy(ROOT / name, COPY)
    for name in ("tests", "keys"):
        shutil.copytree(ROOT / name, COPY / name)
    tests = "\n    ".join(f"tests/test_{name}.py" for name in TESTS[file])
    (COPY / "setup.cfg").write_text(SETTINGS.format(file=file, tests=tests), encoding="utf-8")
    for command in ("run", "results"):
        subprocess.run([sys.executable, "-m", "mutmut", command], cwd=COPY, check=False)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # for pow() without its modulus
    for file in sys.argv[1:] or TESTS:
        measure(file)
