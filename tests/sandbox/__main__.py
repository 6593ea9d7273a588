"""The command line: see `python -m tests.sandbox --help`."""

import sys

from tests.sandbox.command import main

if __name__ == "__main__":
    sys.exit(main())
