"""The command line: runs the demo against the sandbox, or serves other clients."""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.sandbox.faults import FAULTS
from tests.sandbox.rehearsal import read_rehearsal
from tests.sandbox.stand_in import Sandbox

say = functools.partial(print, flush=True)
DEMO = [sys.executable, str(Path(__file__).resolve().parent.parent.parent / "demo.py")]


def main() -> int:
    options, demo_options = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rehearsal = identity = None
    if options.config:
        rehearsal = read_rehearsal(options.config)
        if rehearsal is None:  # which the demo explains
            return subprocess.call([*DEMO, "--check", options.config])
        identity = rehearsal.identity
    try:
        sandbox = Sandbox(options.fault, options.port, identity=identity)
    except OSError as error:
        sys.exit(f"error: the sandbox does not start: {error}")
    with sandbox:
        if rehearsal:
            rehearsal.write_config(sandbox)
        say("simulated: no connection to IBKR, invented data")
        status = serve(sandbox) if options.serve else run_demo(sandbox, demo_options)
    if rehearsal:
        say(rehearsal.verdict(sandbox))
    return status


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    faults = "faults:"
    for name, fault in FAULTS.items():
        faults += f"\n  {name}: {fault.what} ({fault.where})"
    parser = argparse.ArgumentParser(
        prog="python -m tests.sandbox",
        description="A stand-in for api.ibkr.com on this machine, with invented data. Runs demo.py "
        "against it; every other option goes to demo.py.",
        epilog=faults,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--fault", metavar="NAME", default="", choices=FAULTS, help="show one failure, see below")
    add("--config", metavar="FILE", help="rehearse with your own config and keys")
    add("--serve", action="store_true", help="stay up for other clients")
    add("--port", type=int, default=0, help="default: any free one")
    options, rest = parser.parse_known_args()
    if options.serve and rest:
        parser.error(f"--serve runs no demo, so it takes no {rest[0]!r}")
    return options, rest


def serve(sandbox: Sandbox) -> int:
    sandbox.log = say
    say(f"config: {sandbox.config_path}")
    say(f"base_url: {sandbox.base_url}")
    say("Ctrl-C ends it")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        say("stopped")
    return 0


def run_demo(sandbox: Sandbox, demo_options: list[str]) -> int:
    """Returns the demo's exit status. Whatever ends the demo, its logout is waited for."""
    arguments = [str(sandbox.config_path), *demo_options]
    say(f"$ python demo.py {subprocess.list2cmdline(arguments)}")
    with subprocess.Popen([*DEMO, *arguments]) as child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # which reaches the demo by itself
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        status = child.wait()
    for request in sandbox.requests:
        if request.refused:
            print(f"sandbox: {request.log}", file=sys.stderr)
    return status if status >= 0 else 128 - status  # it died of a signal


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:  # stdout is full; or closed, as by head
        if not isinstance(error, BrokenPipeError):
            print(f"error: {error}", file=sys.stderr)
        os._exit(1)  # sys.exit would try to write once more
