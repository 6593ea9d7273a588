"""HTTP answers, and those that IBKR gives again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

BASE_PATH = "/v1/api"


class Answer(NamedTuple):
    """An HTTP answer. `cut`: send only so many bytes of it, then close. `delay`: in seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut: int | None = None
    delay: float = 0


class RefusedError(Exception):
    """A request is refused: the reason for the log, and the answer for the client."""

    def __init__(self, reason: str, answer: Answer) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


def json_answer(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data, separators=(",", ":")).encode())


def error_answer(status: int, error: str) -> Answer:
    return json_answer({"error": error, "statusCode": status}, status)


def text_answer(status: int, text: str, subtype: str) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": f"text/{subtype};charset=utf-8"})


def html_answer(status: int, title: str) -> Answer:
    text = f"<html><head><title>{status} {title}</title></head><body>{title}</body></html>\n"
    return text_answer(status, text, "html")


def session_status(ready: bool, **more: Any) -> dict[str, Any]:
    """What init and status say about the brokerage session."""
    status: dict[str, Any] = {
        "authenticated": ready,
        "established": ready,
        "competing": False,
        "connected": True,
        "message": "",
        "MAC": "00:00:00:00:00:00",
        "serverInfo": {"serverName": "SIMULATED", "serverVersion": "Build 0.0.0, simulated"},
        "hardware_info": "simulated|00:00:00:00:00:00",
    }
    status.update(more)
    return status


def printable(text: str) -> str:
    """One short line of plain ASCII, whatever a client sent."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:300])


ACCESS_DENIED = text_answer(403, "Error 403 - Access Denied", "plain")
NOT_FOUND = html_answer(404, "Not Found")
NOT_AUTHENTICATED = error_answer(401, "not authenticated")
NO_BRIDGE = error_answer(400, "Bad Request: no bridge")
UNKNOWN_ACCOUNT = error_answer(401, "unauthorized")
ACCOUNTS_FIRST = "Please query /accounts first"
COMPETING = {
    "passed": False,
    "authenticated": False,
    "connected": True,
    "competing": False,
    "hardware_info": "simulated|00:00:00:00:00:00",
}
COMPETE_FLAG = "Force compete capability must be used together with compete flag"
