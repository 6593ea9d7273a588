"""HTTP on loopback: reads requests, writes answers."""

from __future__ import annotations

import http.client
import http.server
import json
import socketserver
import sys
import time
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from tests.sandbox.answers import BASE_PATH, Answer


@dataclass
class Request:
    """A request as it came over the wire, and below that what became of it."""

    method: str
    path: str  # without BASE_PATH
    query: str
    headers: Message
    body: bytes
    connection: int
    arrived: float = field(default_factory=time.monotonic)
    status: int = 0
    sent: dict[str, str] = field(default_factory=dict)  # the parameters of the header
    refused: str = ""  # the reason, in short
    remarks: list[str] = field(default_factory=list)  # accepted, but not as documented
    below: list[str] = field(default_factory=list)  # further lines for the log

    @property
    def plain_path(self) -> str:
        """Without the slash at the end that some clients send, and sign."""
        return self.path.rstrip("/") or self.path

    @property
    def signed_query(self) -> str:
        """A form body is signed as a query is."""
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            return self.query
        return f"{self.query}&{self.body.decode('latin-1')}".strip("&")

    @property
    def json_fields(self) -> dict[str, Any]:
        try:
            data = json.loads(self.body)
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    def asked(self, name: str, default: str = "") -> str:
        """A parameter: clients send the same ones as a query, as a form or as JSON."""
        parameters = {**dict(parse_qsl(self.signed_query)), **self.json_fields}
        return str(parameters.get(name, default))

    @property
    def log(self) -> str:
        """One line, and below it the rest of why it was refused."""
        target = f"{self.path}?{self.query}".rstrip("?")
        line = f"{self.method} {target} {self.status}"
        for remark in self.remarks:
            line += f" | accepted: {remark}"
        if self.refused:
            line += f" | refused: {self.refused}"
        text = "\n    ".join([line, *self.below])
        return text.encode("ascii", "backslashreplace").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Nothing is ever sent as gzip, which some clients do not ask for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        target, _, query = self.path.partition("?")
        path = target.removeprefix(BASE_PATH)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        port = self.client_address[1]
        request = Request(self.command, path, query, self.headers, body, port)
        answer = self.server.sandbox.respond(request)
        time.sleep(answer.delay)
        self.send(answer)

    do_POST = do_PUT = do_DELETE = do_GET

    def send(self, answer: Answer) -> None:
        """In one write, so that nothing waits for an acknowledgement."""
        headers = {
            "Date": self.date_time_string(self.server.sandbox.now()),
            "Content-Type": "application/json;charset=utf-8",
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        for name, value in headers.items():
            lines.append(f"{name}: {value}")
        raw = "\r\n".join([*lines, "", ""]).encode("ascii", "backslashreplace")
        raw += answer.body
        self.wfile.write(raw[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True


class Server(socketserver.ThreadingTCPServer):
    """Not HTTPServer, which looks up this machine's name when it starts: that can take seconds."""

    allow_reuse_address = True
    daemon_threads = True
    sandbox: Any  # the Sandbox

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is no fault
            super().handle_error(request, client_address)
