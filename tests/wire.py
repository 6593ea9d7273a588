"""A server on loopback that says what a test tells it to, to the byte."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import threading
from typing import Any, Callable

Talk = Callable[[socket.socket, threading.Event], None]


class Wire(socketserver.ThreadingTCPServer):
    """A server on loopback that talks as it is told, and keeps the heads of what it is sent."""

    allow_reuse_address = True
    daemon_threads = False

    def __init__(self, talk: Talk, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.talk, self.tls = talk, tls
        self.heads: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self.port = self.server_address[1]

    def __enter__(self) -> Wire:
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def finish_request(self, request: Any, _address: Any) -> None:
        self.connections += 1
        request.settimeout(5)
        with contextlib.suppress(OSError):  # the client may go at any time
            if self.tls:
                request = self.tls.wrap_socket(request, server_side=True)
            with request:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = request.recv(65536)
                    if not data:
                        return
                    head += data
                head, _, body = head.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                while length and len(body) < int(length[1]):
                    body += request.recv(65536)
                self.heads.append(head + b"\r\n\r\n" + body)
                self.talk(request, self.closing)


def say(data: bytes) -> Talk:
    return lambda connection, _: connection.sendall(data)


def say_and_wait(data: bytes) -> Talk:
    def talk(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(data)
        closing.wait(10)

    return talk


def drip(connection: socket.socket, closing: threading.Event) -> None:
    """Header lines without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not closing.is_set():
        connection.sendall(b"X-More: and more\r\n" * 1000)


def url_of(server: Wire, scheme: str = "http", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{server.port}/v1/api"
