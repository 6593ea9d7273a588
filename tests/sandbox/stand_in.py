"""The stand-in itself: takes a request through the gate to its endpoint."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.sandbox.answers import BASE_PATH, Answer, RefusedError, json_answer
from tests.sandbox.endpoints import Call, answer_of, find_route
from tests.sandbox.faults import FAULTS, INIT, TOKEN, Fault
from tests.sandbox.gate import CHALLENGE, Gate
from tests.sandbox.identity import KEYS, Identity, Session, exchange, throwaway_identity
from tests.sandbox.mistakes import derivation_lines, hmac_sha1
from tests.sandbox.server import Handler, Request, Server

RATE_LIMIT = 10  # requests in any second
TOO_FAST = "the eleventh within a second: IBKR would answer 429 and bar this address for a while"
TOKEN_LIFE = 24 * 3600 * 1000  # milliseconds


class Sandbox:
    """The stand-in, as a context manager that leaves nothing behind. `answers`: by route, in place
    of the genuine ones. `identity`: of a client that has a config and keys of its own; else the
    folder gets a config with throw-away keys."""

    def __init__(
        self,
        fault: str = "",
        port: int = 0,
        answers: Mapping[str, Answer] | None = None,
        log: Callable[[str], None] | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.fault = FAULTS[fault] if fault else Fault("", "")
        self.answers = dict(answers or {})
        self.log = log
        self.identity = identity or throwaway_identity()
        self.sessions: list[Session] = []  # the newest first
        self.requests: list[Request] = []
        self._explained: dict[str, str] = {}  # reason and request, since the last token request
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.sandbox = self
        origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.base_url = f"{origin}{BASE_PATH}"
        self.gate = Gate(self.identity, self.sessions, origin, self.now)
        self.secrets: list[bytes | str] = [  # what no output may show
            self.identity.access_token,
            self.identity.encrypted_secret,
            self.identity.secret,
        ]
        self._lock = threading.Lock()  # one request at a time

    def __enter__(self) -> Sandbox:
        self.folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
        self.config_path = self.folder / "config.json"
        self.config = {
            "realm": self.identity.realm,
            "encryption_key_fp": "private_encryption.pem",
            "signature_key_fp": "private_signature.pem",
            "consumer_key": self.identity.consumer_key,
            "dh_prime": f"{self.identity.prime:x}",
            "access_token": self.identity.access_token,
            "access_token_secret": self.identity.encrypted_secret,
            "base_url": self.base_url,
        }
        if self.identity.throwaway:
            self.write_config(self.config)
            for path in KEYS.glob("*.pem"):
                shutil.copy(path, self.folder)
                (self.folder / path.name).chmod(0o600)
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_config(self, config: Mapping[str, object]) -> None:
        """In the temporary folder, which nobody else can read."""
        self.config_path.write_text(json.dumps(config, indent=2))

    def now(self) -> float:
        return time.time() + self.fault.clock_ahead

    def respond(self, request: Request) -> Answer:
        with self._lock:
            if request.plain_path == TOKEN:
                self._explained.clear()
            try:
                answer = self._answer(request)
            except RefusedError as refusal:
                request.refused, *request.below = refusal.reason.split("\n")
                if request.refused in self._explained:
                    request.below = [f"as explained above, at {self._explained[request.refused]}"]
                elif request.below:
                    self._explained[request.refused] = f"{request.method} {request.path}"
                headers = {**refusal.answer.headers, "X-Sandbox-Refused": request.refused}
                answer = refusal.answer._replace(headers=headers)
            request.status = answer.status
            before = self.requests[-RATE_LIMIT:]
            if len(before) == RATE_LIMIT and request.arrived - before[0].arrived < 1:
                request.remarks.append(TOO_FAST)
            self.requests.append(request)
            if self.log:
                self.log(request.log)
        return answer

    def _answer(self, request: Request) -> Answer:
        """The signature first, whatever the path; then the endpoint."""
        session = self.gate.check(request)
        route = find_route(request)
        path = route.split()[1]
        answer = self.answers.get(route)
        if answer is None and self.fault.concerns(path):
            answer = self.fault.answer
        if answer is None and path == TOKEN:
            answer = self._live_session_token(request)
        if answer is None:
            data = answer_of(route, Call(request, session, self.sessions))
            if self.fault.concerns(path):
                data = self.fault.changed(data)
            answer = json_answer(data)
        if answer.status == 200:
            session.called.add(path)
            if path == INIT and session.brokerage == "none":
                session.brokerage = "settling"
                session.brokerage_since = request.arrived
        return answer

    def _live_session_token(self, request: Request) -> Answer:
        challenge = request.sent[CHALLENGE]
        consumer_key = request.sent["oauth_consumer_key"]
        session = exchange(challenge, self.identity, self.fault)
        if challenge != challenge.lower():
            request.remarks.append(f"{CHALLENGE} in capitals")
        if challenge.startswith("0"):
            request.remarks.append(f"{CHALLENGE} with zeros in front")
        self.sessions.insert(0, session)
        if self.fault.held:
            session.brokerage = "held"
        self.secrets += [session.k, session.k.lstrip(b"\0"), session.token]
        proof_of = self.fault.proof_of or consumer_key
        if self.identity.throwaway:
            request.below = derivation_lines(session, consumer_key, self.identity)
        body = {
            "diffie_hellman_response": session.response,
            "live_session_token_signature": hmac_sha1(session.token, proof_of.encode()).hex(),
            "live_session_token_expiration": int(self.now() * 1000) + TOKEN_LIFE,
        }
        return json_answer(body)
