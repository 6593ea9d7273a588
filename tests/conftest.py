"""Runs the demo in this process or in one of its own, and searches all output for secrets."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import quote

import pytest
from Crypto.PublicKey import RSA
from requests.adapters import HTTPAdapter

import demo
import oauth
from tests.sandbox import Sandbox, endpoints

ROOT = Path(demo.__file__).parent
TRANSCRIPTS = ROOT / "tests" / "transcripts"
os.environ["TZ"] = "JST-9"  # where it is not UTC, a time without its zone shows
time.tzset()
RSA.import_key = functools.lru_cache(100)(RSA.import_key)  # half of the time that a run takes


class Result(NamedTuple):
    status: int
    out: str
    err: str


def assert_no_secret(text: str, secrets: list[Any]) -> None:
    """Search a text for secrets, in all ways in which one could come to be printed by mistake."""
    for secret in secrets:
        forms = {secret}
        if isinstance(secret, bytes):
            number = int.from_bytes(secret, "big")
            forms = {secret.hex(), base64.b64encode(secret).decode(), repr(secret), str(number)}
        for form in forms:
            if len(form) > 12:  # K may be 1
                assert form not in text, "a secret is in the output"
                assert quote(form, safe="") not in text, "a secret is in the output"


@pytest.fixture(autouse=True)
def _signals() -> None:
    """main() takes them for itself; nohup, and a shell's `&`, have signals ignored, here and by all
    that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def all_well() -> None:
    """Skip what builds on the runs that are tried here where one does not go as its transcript
    says: test_transcripts shows that once, and thirty others would only repeat it."""
    transcripts = "".join([path.read_text("ascii") for path in TRANSCRIPTS.glob("*.txt")])
    forms_of_k = ("k-top-bit", ""), ("k-odd-digits", ""), ("k-short", "")
    refused = ("invalid-consumer", "")  # of which the transcript has a part
    for fault, options in (*forms_of_k, ("", "--check"), refused):
        try:
            status, out, err = seen(fault, options)
            whole = "" if fault == refused[0] else f"\n\n{out}"
            assert f"{whole}--- stderr\n{err}--- exit status {status}\n" in transcripts
        except Exception:
            pytest.skip(f"a run does not go as its transcript says: {fault} {options}")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A brokerage session is up at once."""
    monkeypatch.setattr(endpoints, "SETTLING", 0)


class Clock:
    """A clock for the demo, which stands still but while the demo sleeps."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 100, "the demo would go on for ever"

    def monotonic(self) -> float:
        return self.now


def run(sandbox: Sandbox, *options: str, config: Any = None) -> Result:
    """Run the demo in this process, without its pauses. `config`: JSON or text, in place of the
    sandbox's own."""
    clock = Clock()
    path = sandbox.config_path
    if config is not None:
        path = sandbox.folder / "other.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
    out, err = io.StringIO(), io.StringIO()
    clocked = mock.patch.multiple(demo, sleep=clock.sleep, monotonic=clock.monotonic)
    with clocked, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = demo.main([str(path), *options])
    oauth.log.setLevel(logging.NOTSET)  # undoes what --verbose sets
    oauth.log.handlers = []
    result = Result(status, out.getvalue(), err.getvalue())
    assert_no_secret(result.out + result.err, sandbox.secrets)
    assert "Traceback" not in result.err
    return result


@contextlib.contextmanager
def in_haste() -> Iterator[None]:
    """A twentieth of each time-out that a request is sent with."""
    genuine = HTTPAdapter.send

    def send(adapter: Any, request: Any, timeout: Any = None, **options: Any) -> Any:
        parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        return genuine(adapter, request, timeout=tuple(part / 20 for part in parts), **options)

    with mock.patch.object(HTTPAdapter, "send", send):
        yield


def seen(fault: str = "", options: str = "") -> Result:
    """Run the demo against a fault of the sandbox; return what it printed, without what differs
    from run to run."""
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


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files; without a content, remove them."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
        if not content:
            (folder / name).unlink()


def start_demo(config: Path, *options: str, **settings: Any) -> subprocess.Popen[str]:
    """Start demo.py in a process of its own, where a warning is an error."""
    return start("-Werror", str(ROOT / "demo.py"), str(config), *options, **settings)


def start_sandbox(temporary: Path, *options: str) -> subprocess.Popen[str]:
    """Start the sandbox's command, with a temporary folder that a test can look into."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return start("-m", "tests.sandbox", *options, env=environment)


def start(*arguments: str, **settings: Any) -> subprocess.Popen[str]:
    """Start Python; it is killed after a minute, so that no test can wait for ever."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, **settings}
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, text=True, start_new_session=True, **settings)
    deadline = threading.Timer(60, process.kill)
    deadline.daemon = True
    deadline.start()
    return process
