"""The command line: runs the demo against the sandbox, or serves other clients."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from tests.sandbox.answers import printable
from tests.sandbox.faults import FAULTS
from tests.sandbox.rehearsal import Rehearsal, RehearsalError, read_ingredients
from tests.sandbox.stand_in import FolderError, Sandbox

DEMO = Path(__file__).resolve().parent.parent.parent / "demo.py"
SIMULATED = "simulated: no connection to IBKR, invented data, throw-away keys"
REHEARSAL = "rehearsal: no connection to IBKR, invented data, your own keys"


class Stopped(BaseException):
    """A signal asks the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Notes a signal, or raises it where nothing has to be waited for."""

    def __init__(self) -> None:
        self.raising = True
        self.received = 0
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.handle)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received and number != signal.SIGINT:
            return  # the first one does it
        self.received = number
        if self.raising:
            self.raising = False
            raise Stopped(number)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: the demo's, or 1 when the sandbox cannot start, 2 for bad usage."""
    options, demo_options = parse_arguments(arguments)
    try:
        signals = Signals()
        return start(options, demo_options, signals)
    except Stopped as stopped:
        return 128 + stopped.number
    except RehearsalError as error:
        complain(f"error: {error}")
        return 2
    except FolderError as error:
        complain(f"error: no temporary folder: {error}")
        complain("hint: TMPDIR names one that can be written to")
        return 1
    except OSError as error:
        complain(f"error: cannot listen on 127.0.0.1:{options.port}: {error}")
        complain("hint: --port 0 takes any free port")
        return 1


def start(options: argparse.Namespace, demo_options: list[str], signals: Signals) -> int:
    rehearsal = None
    if options.config is not None:
        ingredients = read_ingredients(options.config)
        if ingredients is None:
            return 2
        rehearsal = Rehearsal(options.config, ingredients)
    if options.serve:
        return serve(options, rehearsal, signals)
    return run_demo(options, demo_options, rehearsal, signals)


def parse_arguments(arguments: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    width = max(map(len, FAULTS))
    table = "\n".join(f"  {name:{width}}  {fault.help}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.sandbox",
        description="A stand-in for api.ibkr.com on this machine, with invented data. Runs demo.py "
        "against it; every other option goes to demo.py.",
        epilog=f"faults:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--fault", metavar="NAME", default="", help="show one failure, see below")
    parser.add_argument("--config", metavar="FILE", help="rehearse with your own config and keys")
    parser.add_argument("--serve", action="store_true", help="stay up for other clients")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    options, rest = parser.parse_known_args(arguments)
    if options.fault and options.fault not in FAULTS:
        near = difflib.get_close_matches(options.fault, FAULTS, 1)
        hint = f"did you mean {near[0]!r}?" if near else "--help lists them"
        parser.error(f"unknown fault {printable(options.fault)!r}: {hint}")
    if not 0 <= options.port <= 65535:
        parser.error("--port must be 0 to 65535")
    if options.serve and rest:
        parser.error(f"--serve runs no demo, so it takes no {printable(rest[0])!r}")
    return options, rest


def say(line: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"  # none if it was closed
    try:
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError:  # nobody reads any more: go on without
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str) -> None:
    print(line, file=sys.stderr)


def open_sandbox(options: argparse.Namespace, rehearsal: Rehearsal | None, logged: bool) -> Sandbox:
    return Sandbox(
        options.fault,
        options.port,
        log=say if logged else None,
        identity=rehearsal.identity if rehearsal else None,
    )


def serve(options: argparse.Namespace, rehearsal: Rehearsal | None, signals: Signals) -> int:
    with open_sandbox(options, rehearsal, logged=True) as sandbox:
        signals.raising = False
        if rehearsal:
            rehearsal.write_config(sandbox)
            say(f"{REHEARSAL}; Ctrl-C ends it")
            say_all(rehearsal.remarks)
        else:
            say("simulated api.ibkr.com: invented data, throw-away keys; Ctrl-C ends it")
        say(f"config: {sandbox.config_path}")
        say(f"base_url: {sandbox.base_url}")
        while not signals.received:
            time.sleep(0.05)
        sandbox.stopping.set()
        if rehearsal:
            say_all(rehearsal.verdict(sandbox))
    say("stopped")
    return 0


def say_all(lines: list[str]) -> None:
    for line in lines:
        say(line)


def run_demo(
    options: argparse.Namespace,
    demo_options: list[str],
    rehearsal: Rehearsal | None,
    signals: Signals,
) -> int:
    with open_sandbox(options, rehearsal, logged=False) as sandbox:
        if rehearsal:
            rehearsal.write_config(sandbox)
            say(REHEARSAL)
            say_all(rehearsal.remarks)
        else:
            say(SIMULATED)
        arguments = [str(sandbox.config_path), *demo_options]
        say(f"$ python demo.py {pasteable(arguments)}")
        signals.raising = False
        status = wait_for_demo(arguments, signals)
    for line in sandbox.complaints:
        complain(f"sandbox: {line}")
    if rehearsal and not signals.received:
        say_all(rehearsal.verdict(sandbox))
    return status if status >= 0 else 128 - status


def pasteable(arguments: list[str]) -> str:
    if os.name == "nt":
        return subprocess.list2cmdline(arguments)
    return shlex.join(arguments)


def wait_for_demo(arguments: list[str], signals: Signals) -> int:
    """A Ctrl-C reaches the demo by itself; any other signal is passed on. Waits for its logout."""
    if signals.received:
        return 128 + signals.received
    with subprocess.Popen([sys.executable, str(DEMO), *arguments]) as child:
        passed_on = False
        while True:
            try:
                return child.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                pass
            if signals.received and signals.received != signal.SIGINT and not passed_on:
                child.terminate()
                passed_on = True
