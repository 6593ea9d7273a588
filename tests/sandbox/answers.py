"""HTTP answers: how one is made, what recorded.json has, and what IBKR says in many places."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

BASE_PATH = "/v1/api"


class Answer(NamedTuple):
    """An HTTP answer. `cut`: send only so many bytes of it, then close. `delay`: in seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut: int | None = None
    delay: float = 0


def json_answer(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data).encode())


def error_answer(status: int, error: str) -> Answer:
    return json_answer({"error": error, "statusCode": status}, status)


def html_answer(status: int, title: str) -> Answer:
    text = f"<html><head><title>{status} {title}</title></head><body>{title}</body></html>\n"
    return Answer(status, text.encode(), {"Content-Type": "text/html;charset=utf-8"})


ACCESS_DENIED = Answer(403, b"Error 403 - Access Denied", {"Content-Type": "text/plain"})
NOT_FOUND = html_answer(404, "Not Found")
NOT_AUTHENTICATED = error_answer(401, "not authenticated")
NO_BRIDGE = error_answer(400, "Bad Request: no bridge")
BAD_REQUEST = error_answer(400, "Bad Request")
ACCOUNTS_FIRST = "Please query /accounts first"
REFUSED = error_answer(401, "id: 1, error: unauthorized")


class RefusedError(Exception):
    """`reason`: for the log, in short on its first line. IBKR's answer does not say it."""

    def __init__(self, reason: str, answer: Answer = REFUSED) -> None:
        self.reason = reason
        self.answer = answer


_FILE = Path(__file__).with_name("recorded.json")
ENTRIES: dict[str, Any] = {}
for _routes, _entry in json.loads(_FILE.read_text("ascii")).items():
    for _route in _routes.split(", "):
        ENTRIES[_route] = _entry


def recorded(route: str, which: str = "answer") -> Any:
    return copy.deepcopy(ENTRIES[route].get(which))
