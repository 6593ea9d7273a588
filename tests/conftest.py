"""Runs the demo in this process or in one of its own, and searches all output for secrets."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import logging
import os
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
import requests
from Crypto.PublicKey import RSA

import demo
import oauth
from keys import check
from tests.sandbox import Sandbox

ROOT = Path(demo.__file__).parent
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
def _signals_and_log() -> None:
    """main() takes them for itself; nohup, and a shell's `&`, have signals ignored, here and by all
    that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    oauth.log.setLevel(logging.NOTSET)
    oauth.log.filters = []


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def log_in() -> None:
    """Skip what needs a log-in where oauth.py cannot do it: test_oauth, test_vectors and the
    transcript all-well show that once, and a hundred others would only repeat it."""
    for form_of_k in ("k-top-bit", "k-odd-digits", "k-short"):
        with Sandbox(form_of_k) as sandbox, requests.Session() as session:
            session.trust_env = False
            used: Any = check.check_config(sandbox.config, str(sandbox.config_path)).credentials
            try:
                token = oauth.request_live_session_token(session, sandbox.base_url, used)
                session.auth = oauth.HmacSha256Auth(used, token.token)
                session.get(f"{sandbox.base_url}/portfolio/accounts").raise_for_status()
            except Exception as error:
                pytest.skip(f"oauth.py cannot log in: {error}")


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
    result = Result(status, out.getvalue(), err.getvalue())
    assert_no_secret(result.out + result.err, sandbox.secrets)
    assert "Traceback" not in result.err
    return result


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
