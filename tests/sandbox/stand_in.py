"""The stand-in itself: takes a request through the gate to its endpoint, and keeps the log."""

from __future__ import annotations

import hmac
import json
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.sandbox.answers import (
    BASE_PATH,
    NOT_FOUND,
    Answer,
    RefusedError,
    error_answer,
    json_answer,
    printable,
)
from tests.sandbox.endpoints import ROUTES, Endpoints, known_path
from tests.sandbox.faults import FAULTS, Fault
from tests.sandbox.gate import Gate, Record, Request, SignatureError
from tests.sandbox.identity import KEYS, Identity, encrypted_secret, throwaway_identity
from tests.sandbox.server import Server
from tests.sandbox.sessions import Exchange, Session, Sessions, check_challenge, exchange

RATE_LIMIT = 10  # requests in any second: above it IBKR answers 429
REMEMBERED = 2000  # requests that the sandbox keeps a record of, so that its memory stays flat


class FolderError(Exception):
    """There is no folder for the temporary files."""


class Sandbox:
    """The stand-in, as a context manager: listens while it is open, leaves nothing behind.

    `answers`: by route, in place of the genuine ones. `delay`: seconds added to every answer.
    """

    def __init__(
        self,
        fault: str = "",
        port: int = 0,
        answers: Mapping[str, Answer] | None = None,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
        delay: float = 0,
        identity: Identity | None = None,
    ) -> None:
        self.fault = FAULTS[fault] if fault else Fault("no failure", "")
        self.answers = {**canned_answers(self.fault), **(answers or {})}
        self.port = port
        self.delay = delay
        self.requests: list[Record] = []
        self.complaints: list[str] = []  # the log lines of what went wrong
        self.connections = 0
        self.rate_warnings = 0
        self.logged_out = False
        self.stopping = threading.Event()
        self._fault_name = fault
        self._log_line = log
        self._clock = clock
        self._lock = threading.RLock()
        self._count = 0
        self._recent: deque[float] = deque()
        self._too_fast = False
        self._throwaway = identity is None
        self._know(identity or throwaway_identity())

    def _know(self, identity: Identity) -> None:
        """Who the client is, and what follows from it."""
        self.identity = identity
        self.sessions = Sessions()
        self.gate = Gate(identity, self.sessions, self.now)
        self.endpoints = Endpoints(self._fault_name, self.sessions, self.now)
        self.access_token = identity.access_token
        self.access_token_secret = encrypted_secret(identity)
        self.gate.throwaway = self._throwaway
        self.gate.encrypted_secret = self.access_token_secret
        self.secrets: list[bytes | str] = [self.access_token, self.access_token_secret]
        self.secrets.append(identity.secret)

    def __enter__(self) -> Sandbox:
        self._server = Server(self, self.port)  # first: nothing to tidy up when the port is in use
        self.port = self._server.server_address[1]
        self.gate.port = self.port
        self.base_url = f"http://127.0.0.1:{self.port}{BASE_PATH}"
        try:
            self.folder = temporary_folder()
        except BaseException:
            self._server.server_close()
            raise
        try:
            if self._throwaway:
                self._write_config()
        except BaseException:
            self._server.server_close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_config(self) -> None:
        self.config: dict[str, Any] = {
            "realm": self.identity.realm,
            "encryption_key_fp": "private_encryption.pem",
            "signature_key_fp": "private_signature.pem",
            "consumer_key": self.identity.consumer_key,
            "dh_prime": f"{self.identity.prime:x}",
            "access_token": self.access_token,
            "access_token_secret": self.access_token_secret,
            "base_url": self.base_url,
        }
        for name in (self.config["encryption_key_fp"], self.config["signature_key_fp"]):
            write_private(self.folder / name, (KEYS / name).read_bytes())
        self.write_config(self.config)

    def write_config(self, config: Mapping[str, object]) -> None:
        """A config for a client, in the temporary folder, that nobody else can read."""
        self.config_path = self.folder / "config.json"
        write_private(self.config_path, json.dumps(config, indent=2).encode() + b"\n")

    # The log

    def now(self) -> float:
        return self._clock() + self.fault.clock_ahead

    def log(self, line: str, complaint: bool = False) -> None:
        with self._lock:
            if complaint:
                self.complaints.append(line)
                del self.complaints[:-REMEMBERED]
            if self._log_line:
                self._log_line(line)

    def _log_request(self, record: Record, explanation: str) -> None:
        target = record.path + (f"?{record.query}" if record.query else "")
        line = f"{record.number} {record.method} {printable(target)} {record.status}"
        if record.passed:
            line += f" | ok: {', '.join(record.passed)}"
        if record.query_form:
            line += f" | query {record.query_form}"
        for remark in record.remarks:
            line += f" | accepted: {remark}"
        if record.refused:
            line += f" | refused: {record.refused}"
        self.log(line + explanation, complaint=bool(record.refused))

    def _watch_rate(self, now: float) -> None:
        self._recent.append(now)
        while self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) > RATE_LIMIT and not self._too_fast:
            self.rate_warnings += 1
            warning = "requests in a second: IBKR would answer 429 and bar this address for a while"
            self.log(f"more than {RATE_LIMIT} {warning}", complaint=True)
        self._too_fast = len(self._recent) > RATE_LIMIT

    # A request, from its arrival to its answer

    def respond(self, request: Request) -> Answer:
        record = self._begin(request)
        explanation = ""
        try:
            answer = self._answer(request, record)
        except SignatureError as refusal:
            answer = refusal.answer
            record.refused = f"signature: {refusal.explain()}"
            explanation = refusal.expected
        except RefusedError as refusal:
            answer = refusal.answer
            record.refused = refusal.reason
        record.status = answer.status
        with self._lock:
            self.requests.append(record)
            del self.requests[:-REMEMBERED]
            self._log_request(record, explanation)
        return answer._replace(delay=answer.delay + self.delay)

    def _begin(self, request: Request) -> Record:
        arrived = time.monotonic()
        record = Record(request.method, request.path, request.query, request.connection, arrived)
        with self._lock:
            self._count += 1
            record.number = self._count
            self._watch_rate(arrived)
        return record

    def _answer(self, request: Request, record: Record) -> Answer:
        """The signature first, whatever the path; then the endpoint."""
        passed = self.gate.check(request, record)
        path = known_path(request.path)
        route = f"{request.method} {path}"
        if not path:
            raise RefusedError("signature right; the sandbox has no such endpoint", NOT_FOUND)
        if route not in ROUTES:
            raise self._wrong_method(path)
        canned = self.answers.get(route)
        if passed.session is None:
            challenge = passed.sent["diffie_hellman_challenge"]
            return canned or self._live_session_token(challenge, record, passed.sent)
        with self._lock:
            return canned_or_genuine(self, canned, ROUTES[route], request, passed.session, record)

    def _wrong_method(self, path: str) -> RefusedError:
        methods = [route.split()[0] for route in ROUTES if route.split()[1] == path]
        reason = f"wrong HTTP method: this path is known for {' and '.join(methods)} only"
        return RefusedError(reason, error_answer(405, "Method Not Allowed"))

    def _live_session_token(
        self, challenge: str, record: Record, sent: Mapping[str, str]
    ) -> Answer:
        public = check_challenge(challenge, self.identity.prime)
        if challenge != challenge.lower():
            record.remarks.append("diffie_hellman_challenge in capitals")
        if challenge.startswith("0"):
            record.remarks.append("diffie_hellman_challenge with zeros in front")
        made = exchange(public, self.identity, self.fault)
        session = self._open_session(made)
        proof_of = sent["oauth_consumer_key"].encode()
        if self._fault_name == "wrong-proof":
            proof_of = b"SOMEONE01"
        cookie = secrets.token_hex(16)
        self._keep_secret(cookie)
        body = {
            "diffie_hellman_response": made.response,
            "live_session_token_signature": hmac.digest(session.token, proof_of, "sha1").hex(),
            "live_session_token_expiration": int(session.expires * 1000),
        }
        headers = {"Set-Cookie": f"x-sess-uuid={cookie}; Path=/; HttpOnly"}
        return json_answer(body)._replace(headers=headers)

    def _open_session(self, made: Exchange) -> Session:
        with self._lock:
            session = self.sessions.open(made, self.identity.secret, self.now())
        k = made.k
        self._keep_secret(k, k.lstrip(b"\0") or k, session.token)  # base64 of both differs
        return session

    def _keep_secret(self, *values: bytes | str) -> None:
        """Tests search all output for these."""
        with self._lock:
            self.secrets += [value for value in values if value not in self.secrets]
            del self.secrets[3:-REMEMBERED]  # the first three belong to the access token


def canned_or_genuine(
    sandbox: Sandbox,
    canned: Answer | None,
    name: str,
    request: Request,
    session: Session,
    record: Record,
) -> Answer:
    endpoints = sandbox.endpoints
    answer = canned or endpoints.answer(name, request, session, record)
    if answer.status == 200:
        session.called.add(name)
        if canned and name == "init":
            endpoints.settle(session)
        if name == "logout":
            sandbox.logged_out = sandbox.logged_out or canned is None
    return answer


def canned_answers(fault: Fault) -> dict[str, Answer]:
    if fault.answer is None:
        return {}
    names = fault.where.split(", ")
    answers = {}
    for route, name in ROUTES.items():
        if name in names or names == ["all"]:
            answers[route] = fault.answer
    return answers


def temporary_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="sandbox-"))
    except OSError as error:
        raise FolderError(str(error)) from error


def write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
