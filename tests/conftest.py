"""Runs the demo in this process or in one of its own, and searches all output for secrets."""

from __future__ import annotations

import base64
import functools
import gc
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from Crypto.PublicKey import RSA

import demo
import oauth
from tests.sandbox import Sandbox

ROOT = Path(demo.__file__).parent
os.environ.pop("PYTHONSAFEPATH", None)  # with it, no `python -m` finds a project's packages


class Result(NamedTuple):
    status: int
    out: str
    err: str


def forms(secret: bytes | str) -> set[str]:
    """All the ways in which a secret could be printed."""
    raw = secret.encode() if isinstance(secret, str) else secret
    texts = {raw.decode("latin-1"), raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode()}
    texts |= {repr(raw), base64.urlsafe_b64encode(raw).decode(), str(int.from_bytes(raw, "big"))}
    return texts | {quote(text, safe="") for text in texts}


def assert_no_secret(text: str, secrets: list[Any]) -> None:
    for secret in (secret for secret in secrets if len(secret) > 8):  # K may be 0 or 1
        for form in forms(secret):
            assert form not in text, "a secret is in the output"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a case without a backslash: pytest doubles each when a process collects again, as
    mutmut does, and then knows no such test."""
    name = ascii(val)[:40]
    return name.replace("\\", "%") if isinstance(val, (str, bytes)) and "\\" in name else None


@pytest.fixture(scope="session", autouse=True)
def _heed_signals() -> None:
    """Undo what nohup, or a shell's `&`, hands down: signals that are ignored here, and then by
    every process that a test starts."""
    defaults = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    for name, handler in defaults.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _remember() -> Iterator[None]:
    """Keep the keys that were read: that takes longer than all the rest of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RSA, "import_key", functools.lru_cache(100)(RSA.import_key))
        yield


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """main() takes signals, the timer, the log and a hook for itself; the next test wants them."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGALRM")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    hook = sys.unraisablehook
    gc.callbacks.clear()  # hypothesis's: where an answer has filled the stack, Python 3.9 aborts
    yield
    interruption = getattr(sys.unraisablehook, "__self__", None)
    if getattr(interruption, "seen", False) or getattr(interruption, "cut_off", False):
        interruption.cut_off = True
        gc.collect()  # what a signal left behind: now, while the demo's hook passes over it
    sys.unraisablehook = hook
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    oauth.log.handlers = []
    oauth.log.setLevel(logging.NOTSET)


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


class Runner:
    """Runs the demo against a sandbox, in this process, without its pauses."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, sandbox: Sandbox, *options: str, config: Any = None) -> Result:
        path = sandbox.config_path if config is None else Path(sandbox.folder) / "other.json"
        if config is not None:
            path.write_text(config if isinstance(config, str) else json.dumps(config))
        self.capsys.readouterr()
        status = demo.main([str(path), *options])
        result = Result(status, *self.capsys.readouterr())
        assert_no_secret(result.out + result.err, sandbox.secrets)
        assert "Traceback" not in result.err
        return result


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(demo, "sleep", lambda _: None)
    return Runner(capsys)


def start_demo(
    *arguments: object, warnings: Sequence[str] = ("error",), **options: Any
) -> subprocess.Popen[str]:
    """Start demo.py as a person would, in a process of its own."""
    filters = [f"-W{warning}" for warning in warnings]
    command = [sys.executable, *filters, str(ROOT / "demo.py"), *map(str, arguments)]
    pipe = subprocess.PIPE
    settings = {"stdout": pipe, "stderr": pipe, "encoding": "utf-8", "start_new_session": True}
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", **options.pop("env", {})}
    return subprocess.Popen(command, env=environment, **{**settings, **options})
