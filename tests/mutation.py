"""Measures which wrong lines in oauth.py and demo.py the tests would let through.

    venv/bin/pip install mutmut && venv/bin/python -m tests.mutation [mutant ...]

mutmut makes thousands of small changes, one at a time, and runs the tests against each. It reads
its settings from the folder that it works in, so this works on a copy, in build/mutation. The
tests that start processes or measure time are left out: they would not see a mutant.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "mutation"
TESTS = ("vectors", "oauth", "config", "transcripts", "answers", "network", "interruption")
SETTINGS = f"""[mutmut]
source_paths =
    demo.py
    oauth.py
also_copy =
    config.json
    test-config.json
pytest_add_cli_args =
    --numprocesses=0
    -p
    no:randomly
pytest_add_cli_args_test_selection =
{"".join(f"    tests/test_{name}.py{chr(10)}" for name in TESTS)}"""


def main() -> int:
    if not sys.argv[1:]:
        shutil.rmtree(COPY, ignore_errors=True)
        COPY.mkdir(parents=True)
        for name in ("demo.py", "oauth.py", "config.json", "test-config.json"):
            shutil.copy(ROOT / name, COPY)
        shutil.copytree(ROOT / "tests", COPY / "tests")
        (COPY / "setup.cfg").write_text(SETTINGS, encoding="utf-8")
    mutmut = [sys.executable, "-m", "mutmut"]
    status = subprocess.run([*mutmut, "run", *sys.argv[1:]], cwd=COPY, check=False).returncode
    subprocess.run([*mutmut, "results"], cwd=COPY, check=False)
    return status


if __name__ == "__main__":
    sys.exit(main())
