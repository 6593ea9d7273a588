"""HTTP on loopback: reads requests, writes answers, knows its connections."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import http.client
import http.server
import os
import re
import socket
import socketserver
import sys
from typing import TYPE_CHECKING, Any

from tests.sandbox.answers import BASE_PATH, Answer, html_answer, printable
from tests.sandbox.gate import Request

if TYPE_CHECKING:
    from tests.sandbox.stand_in import Sandbox

BODY_LIMIT = 1 << 20  # bytes
GZIP_FROM = 600  # bytes: longer bodies are compressed for clients that accept it
IDLE = 300  # seconds until a silent connection is closed


def accepts_gzip(header: str) -> bool:
    """Not without the header, not for `identity`, not for `gzip;q=0`."""
    for item in header.lower().split(","):
        coding, _, quality = item.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality)
    return False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        self.request.settimeout(self.server.idle)
        super().setup()
        self.number = self.server.numbers.get(self.connection, 0)

    def do_GET(self) -> None:
        sandbox = self.server.sandbox
        body = self._body()
        path, _, query = self.path.partition("?")
        if path.startswith(BASE_PATH + "/"):
            path = path[len(BASE_PATH) :]
        else:
            path = f"(outside {BASE_PATH}) {path}"
        request = Request(self.command, path, query, self.headers, body, self.number)
        answer = sandbox.respond(request)
        if answer.delay:
            sandbox.stopping.wait(answer.delay)
        self._send(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,7}", length) and int(length) <= BODY_LIMIT:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                raise ConnectionError("the body ended half-way")
            return body
        if length or "Transfer-Encoding" in self.headers or self.command == "POST":
            self.close_connection = True  # where the next request begins is anyone's guess
        return b""

    def _send(self, answer: Answer) -> None:
        """In one write, so that nothing waits for an acknowledgement."""
        body = answer.body
        headers = {"Date": email.utils.formatdate(self.server.sandbox.now(), usegmt=True)}
        zipped = accepts_gzip(self.headers.get("Accept-Encoding", ""))
        if zipped and len(body) >= GZIP_FROM and "Content-Encoding" not in answer.headers:
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Type"] = "application/json;charset=utf-8"
        headers["Content-Length"] = str(len(body))
        headers.update(answer.headers)
        if answer.cut is not None:
            self.close_connection = True
        elif self.close_connection:
            headers["Connection"] = "close"
        phrase = http.client.responses.get(answer.status, "")
        lines = [f"HTTP/1.1 {answer.status} {phrase}"]
        for name, value in headers.items():
            lines.append(f"{name}: {value}")
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        self.wfile.write(raw[: answer.cut])

    def send_error(
        self, code: int, message: str | None = None, _explain: str | None = None
    ) -> None:
        """The base class calls this for what is not even HTTP, or cut off in its first line."""
        line = f"connection {self.number}: refused: {code} {printable(message or '')}"
        self.server.sandbox.log(line, complaint=True)
        self.close_connection = True
        self.headers = http.client.HTTPMessage()
        self._send(html_answer(int(code), http.client.responses.get(code, "Error")))

    def log_message(self, *_: Any) -> None:
        """The sandbox keeps its own log."""


class Server(socketserver.ThreadingTCPServer):
    """Knows its connections, so that it can close them all and end at once."""

    allow_reuse_address = os.name != "nt"  # there, it would let two servers share a port
    request_queue_size = 64

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        self.idle: float = IDLE
        self.numbers: dict[socket.socket, int] = {}
        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.sandbox.connections += 1
        self.numbers[connection] = self.sandbox.connections
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.numbers.pop(request, None)

    def close_connections(self) -> None:
        for connection in list(self.numbers):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, _address: Any) -> None:
        error = sys.exc_info()[1]
        if self.sandbox.stopping.is_set():
            return
        what = f"internal error: {error!r}"
        if isinstance(error, OSError):
            what = "client went away"
        self.sandbox.log(f"connection {self.numbers.get(request, 0)}: {what}", complaint=True)
