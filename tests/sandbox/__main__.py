"""The command line: see `python -m tests.sandbox --help`."""

from __future__ import annotations

import sys

try:
    from tests.sandbox.command import main
except KeyboardInterrupt:  # a Ctrl-C while the imports run
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
