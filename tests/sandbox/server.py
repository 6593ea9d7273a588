"""HTTP on loopback: reads requests, writes answers."""

from __future__ import annotations

import email.utils
import http.client
import http.server
import socketserver
import sys
from typing import TYPE_CHECKING, Any

from tests.sandbox.answers import BASE_PATH, Answer
from tests.sandbox.gate import Request

if TYPE_CHECKING:
    from tests.sandbox.stand_in import Sandbox


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Nothing is ever sent as gzip, which some clients do not ask for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.sandbox.connections += 1
        self.number = self.server.sandbox.connections

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path.startswith(BASE_PATH + "/"):
            path = path[len(BASE_PATH) :]
        else:
            path = f"(outside {BASE_PATH}) {path}"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, path, query, self.headers, body, self.number)
        answer = self.server.sandbox.respond(request)
        self.server.sandbox.stopping.wait(answer.delay)
        self.send(answer)

    do_POST = do_PUT = do_DELETE = do_GET

    def send(self, answer: Answer) -> None:
        """In one write, so that nothing waits for an acknowledgement."""
        headers = {
            "Date": email.utils.formatdate(self.server.sandbox.now(), usegmt=True),
            "Content-Type": "application/json;charset=utf-8",
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        for name, value in headers.items():
            lines.append(f"{name}: {value}")
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
        self.wfile.write(raw[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """The sandbox keeps its own log."""


class Server(socketserver.ThreadingTCPServer):
    """Not HTTPServer, which looks up this machine's name when it starts: that can take seconds."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        super().__init__(("127.0.0.1", sandbox.port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is no fault
            super().handle_error(request, client_address)
