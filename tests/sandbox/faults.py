"""What goes wrong, by name: `--fault NAME` shows one of them, and the tests use the same table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.sandbox.answers import Answer, error_answer, html_answer

TOKEN = "/oauth/live_session_token"
INIT = "/iserver/auth/ssodh/init"
STATUS = "/iserver/auth/status"
ACCOUNTS = "/portfolio/accounts"
SUMMARY = "/portfolio/{id}/summary"
LEDGER = "/portfolio/{id}/ledger"
POSITIONS = "/portfolio/{id}/positions/{page}"
SNAPSHOT = "/iserver/marketdata/snapshot"
HISTORY = "/iserver/marketdata/history"
LOGOUT = "/logout"


class Fault(NamedTuple):
    """One thing that goes wrong. `where`: how the paths begin, with blanks between them."""

    where: str
    what: str
    answer: Answer | None = None  # in place of the genuine one
    fields: Mapping[str, Any] = {}  # of the genuine answer, with other values
    rows: int = 0  # as many of the genuine ones, over and over
    dh_response: str | None = None  # sent in place of the genuine one
    k: str = ".*"  # a pattern for K in hex; else the server draws again
    clock_ahead: float = 0  # seconds
    held: bool = False  # another session holds the brokerage session
    proof_of: str | None = None  # consumer key that the proof is made of

    def concerns(self, path: str) -> bool:
        return path.startswith(tuple(self.where.split()))

    def changed(self, data: Any) -> Any:
        if self.rows:
            return (data * self.rows)[: self.rows]
        return {**data, **self.fields}


def make_answer(entry: dict[str, Any]) -> Answer:
    status = entry.get("status", 200)
    if "error" in entry:
        return error_answer(status, entry["error"])
    if "html" in entry:
        return html_answer(status, entry["html"])
    body = entry.get("text", "").encode()
    if "json" in entry:
        body = json.dumps(entry["json"]).encode()
    return Answer(status, body, entry.get("headers", {}), entry.get("cut"), entry.get("delay", 0))


def read_faults() -> dict[str, Fault]:
    entries = json.loads(Path(__file__).with_name("faults.json").read_text("ascii"))
    del entries["about"]
    for entry in entries.values():
        if "answer" in entry:
            entry["answer"] = make_answer(entry["answer"])
    return {name: Fault(**entry) for name, entry in entries.items()}


FAULTS = read_faults()
