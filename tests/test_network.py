"""Everything that can go wrong below the answers: one clear error, and nothing sent elsewhere."""

from __future__ import annotations

import base64
import contextlib
import datetime
import gc
import gzip
import ipaddress
import re
import resource
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import demo
import oauth
from tests.conftest import Result, Runner
from tests.sandbox import Answer, Request, Sandbox, json_answer
from tests.wire import Talk, Wire, drip, say, say_and_wait, url_of

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Seeing(Sandbox):
    """A sandbox that keeps the headers of what it is sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[Request] = []

    def respond(self, request: Request) -> Answer:
        self.seen.append(request)
        return super().respond(request)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, certificate or password file but those of the test."""
    for name in (*PROXIES, *map(str.upper, PROXIES), *BUNDLES, "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sandbox() -> Iterator[Seeing]:
    sandbox = Seeing()
    with sandbox:
        yield sandbox


def run_against(run: Runner, sandbox: Sandbox, base_url: str, *options: str) -> Result:
    result = run(sandbox, *options, config={**sandbox.config, "base_url": base_url})
    text = result.out + result.err
    assert re.fullmatch("[ -~\n]*", text), ascii(text)
    return result


NETWORK = "check the network, and base_url in the config"
CLOCK = "set this computer's clock; if it is right, the certificate is out of date"
CERTIFICATE = "check base_url; your own proxy's certificate belongs into REQUESTS_CA_BUNDLE"
PROXY = "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
LATER = "try( again)? later(; with -v the demo shows every answer whole)?"


def check_one_error(result: Result, error: str, hint: str = ".*") -> None:
    """The log-in failed: one error with its hint, and no step after it."""
    assert result.status == 1
    first, second = result.err.splitlines()
    assert first.startswith("error: POST /oauth/live_session_token: ")
    assert re.search(error, first), first
    assert re.fullmatch(f"hint: ({hint})", second), second
    assert "Brokerage" not in result.out
    assert "Logout" not in result.out


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


# No connection


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection_is_said(sandbox: Seeing, run: Runner, scheme: str) -> None:
    result = run_against(run, sandbox, f"{scheme}://127.0.0.1:{closed_port()}/v1/api")
    check_one_error(result, "refused", NETWORK)


@pytest.mark.parametrize(
    "host", ["api.ibkr.invalid", "a_b.invalid", "256.256.256.256", "1.2.3.4.5.invalid"]
)
def test_an_unknown_host_is_one_error(sandbox: Seeing, run: Runner, host: str) -> None:
    check_one_error(run_against(run, sandbox, f"https://{host}/v1/api"), "", NETWORK)


# Certificates


def certificate(
    folder: Path, name: str = "127.0.0.1", days: int = 1
) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed one, and the server's side of TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated")])
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = sorted((now - datetime.timedelta(2), now + datetime.timedelta(days)))
    alternative: x509.GeneralName = x509.DNSName(name)
    with contextlib.suppress(ValueError):
        alternative = x509.IPAddress(ipaddress.ip_address(name))
    builder = x509.CertificateBuilder(subject, subject, key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(end)
    builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key_pem = key.private_bytes(*form, serialization.NoEncryption())
    path, both = folder / "certificate.pem", folder / "both.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(key_pem + path.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return path, context


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SWITCHED_OFF = re.compile(
    "verify ?= ?False|insecure|disable|switch|turn|ignore|skip", re.IGNORECASE
)


@pytest.mark.parametrize(
    ("trusted", "host", "name", "days"),
    [
        (False, "127.0.0.1", "127.0.0.1", 1),
        (False, "localhost", "localhost", 1),
        (True, "127.0.0.1", "other.invalid", 1),
        (True, "127.0.0.1", "127.0.0.1", -1),
    ],
)
def test_a_certificate_that_does_not_fit_is_called_that_and_never_accepted(
    sandbox: Seeing, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    trusted: bool, host: str, name: str, days: int,
) -> None:  # fmt: skip
    path, tls = certificate(tmp_path, name, days)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with Wire(say(UNAVAILABLE), tls) as server:
        result = run_against(run, sandbox, url_of(server, "https", host))
        assert server.connections
        assert server.heads == []
    check_one_error(result, "certificate", CERTIFICATE if days > 0 else CLOCK)
    assert not SWITCHED_OFF.search(result.err)


def test_the_hint_about_a_proxys_certificate_helps(
    sandbox: Seeing, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with Wire(say(UNAVAILABLE), tls) as server:
        result = run_against(run, sandbox, url_of(server, "https"))
    check_one_error(result, "HTTP 503", "IBKR is slow or in maintenance .*")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["none", "empty", "words"])
def test_a_bundle_that_is_not_one_is_one_error(
    sandbox: Seeing,
    run: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    _, tls = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with Wire(say(UNAVAILABLE), tls) as server:
        result = run_against(run, sandbox, url_of(server, "https"))
        assert server.heads == []
    check_one_error(result, "", CERTIFICATE)


def test_https_to_a_server_without_it_is_one_error(sandbox: Seeing, run: Runner) -> None:
    result = run_against(run, sandbox, sandbox.base_url.replace("http:", "https:"))
    check_one_error(result, "SSL|TLS|record", CERTIFICATE)
    assert sandbox.seen == []


def test_http_to_a_server_of_https_is_one_error(
    sandbox: Seeing, run: Runner, tmp_path: Path
) -> None:
    _, tls = certificate(tmp_path)
    with Wire(say(UNAVAILABLE), tls) as server:
        result = run_against(run, sandbox, url_of(server))
    check_one_error(result, "")


# Time-outs, dropped connections, no HTTP

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HALF = OK + b'Content-Length: 500\r\n\r\n{"diffie_hellman_response":'
SILENT: list[tuple[str, bytes]] = [
    ("at once", b""),
    ("in the status", b"HTTP/1.1 2"),
    ("in the headers", OK),
    ("before the body", OK + b"Content-Length: 500\r\n\r\n"),
    ("in the middle of the body", HALF),
    ("in the middle of a chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{"),
    ("between two chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    ("after 100", b"HTTP/1.1 100 Continue\r\n\r\n"),
]


@pytest.mark.parametrize("data", [row[1] for row in SILENT], ids=[row[0] for row in SILENT])
def test_a_server_that_falls_silent_is_a_time_out(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(oauth, "TIMEOUT", (5, 1))
    with Wire(say_and_wait(data)) as server:
        result = run_against(run, sandbox, url_of(server))
        assert len(server.heads) == 1
    check_one_error(result, "timed out", f"{NETWORK}|{LATER}")


def test_a_server_that_accepts_nobody_is_a_time_out(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "TIMEOUT", (0.3, 0.3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = run_against(run, sandbox, f"http://127.0.0.1:{server.getsockname()[1]}/v1/api")
    check_one_error(result, "timed out", f"{NETWORK}|{LATER}")


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["", "-v"])
def test_a_time_out_in_one_step_lets_the_others_print(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(oauth, "TIMEOUT", (5, 1))
    sandbox.answers = {"GET /portfolio/{id}/ledger": json_answer({})._replace(delay=20)}
    result = run(sandbox, *options)
    assert result.status == 1
    assert re.match("error: GET /portfolio/DU0001234/ledger: .*timed out\nhint: ", result.err)
    assert result.err.count("\n") == 2
    for figure in ("1,339,037.20", "SPY DEC2026 600 C", "NASDAQ     265598", "231.48 x 400"):
        assert figure in result.out
    assert sandbox.logged_out


DROPPED: list[tuple[str, bytes, str]] = [
    ("at once", b"", "closed connection"),
    ("in the status", b"HTTP/1.1 2", "HTTP/1.1 2"),
    ("in the middle of the body", HALF, "IncompleteRead"),
    ("in the middle of a chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{", "IncompleteRead|ended"),
    ("in a chunk that is none", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{", ""),
]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["", "-v"])
@pytest.mark.parametrize(
    ("data", "error"), [row[1:] for row in DROPPED], ids=[row[0] for row in DROPPED]
)
def test_a_dropped_connection_is_said(
    sandbox: Seeing, run: Runner, data: bytes, error: str, options: list[str]
) -> None:
    with Wire(say(data)) as server:
        result = run_against(run, sandbox, url_of(server), *options)
        assert len(server.heads) == 1  # nonce and signature are not sent twice
    check_one_error(result, error)


NO_HTTP: list[tuple[str, bytes]] = [
    ("noise", bytes(range(256)) * 4),
    ("a greeting", b"220 smtp.example ESMTP\r\n"),
    ("words without a line", b"x" * 200_000),
    ("HTTP/0.9", b"<html><body>hello</body></html>\r\n"),
    ("HTTP/9.9", b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ("a status of words", b"HTTP/1.1 OK OK\r\n\r\n"),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ("a negative status", b"HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ("a header line without end", OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n"),
    ("a thousand headers", OK + b"X: x\r\n" * 1000 + b"\r\n"),
    ("headers without a colon", OK + b"no colon\r\nContent-Length: 2\r\n\r\n{}"),
    ("headers of noise", OK + b"\xff\xfe\x1b[31m: \x9b\x00\r\nContent-Length: 2\r\n\r\n{}"),
    ("a length of words", OK + b"Content-Length: two\r\n\r\n{}"),
    ("a negative length", OK + b"Content-Length: -5\r\n\r\n{}"),
    ("no length", OK + b"\r\n{}"),
    ("a chunk size beyond all numbers", OK + b"Transfer-Encoding: chunked\r\n\r\n-ffffffffffffffffffff\r\n[]"),
    ("an escape sequence for a reason", b"HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n"),
    ("an upgrade", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ("a charset of nonsense", b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=\x00\xff\r\nContent-Length: 2\r\n\r\n{}"),
    ("a charset that is no text", b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=base64\r\nContent-Length: 2\r\n\r\n{}"),
    ("a charset that refuses", b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=undefined\r\nContent-Length: 2\r\n\r\n{}"),
    ("an encoding of nonsense", OK + b"Content-Encoding: x, gzip, x, gzip\r\nContent-Length: 2\r\n\r\n{}"),
    ("a cookie of noise", OK + b"Set-Cookie: \xff=\x1b; expires=never; max-age=x; domain=..\r\nContent-Length: 2\r\n\r\n{}"),
]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["", "-v"])
@pytest.mark.parametrize("data", [row[1] for row in NO_HTTP], ids=[row[0] for row in NO_HTTP])
def test_what_is_hardly_http_is_one_error(
    sandbox: Seeing, run: Runner, data: bytes, options: list[str]
) -> None:
    with Wire(say(data)) as server:
        result = run_against(run, sandbox, url_of(server), *options)
        assert len(server.heads) == 1
    check_one_error(result, "")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2, 3",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2\r\nContent-Encoding: " + b"gzip," * 100 + b"gzip",
    ],
)
def test_headers_that_urllib3_gives_up_on_are_one_error(
    sandbox: Seeing, run: Runner, headers: bytes
) -> None:
    with Wire(say(OK + headers + b"\r\n\r\n{}")) as server:
        check_one_error(run_against(run, sandbox, url_of(server)), "")
    gc.collect()  # urllib3 drops this answer's socket: now, not in some other test


def test_headers_without_end_are_one_error(sandbox: Seeing, run: Runner) -> None:
    with Wire(drip) as server:
        check_one_error(run_against(run, sandbox, url_of(server)), "headers")


# Redirects

REDIRECTS = [301, 302, 303, 307, 308]
ROUTES = ["POST /oauth/live_session_token", "GET /portfolio/accounts", "POST /logout"]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_redirect_to_another_host_is_not_followed(
    sandbox: Seeing, run: Runner, route: str, status: int
) -> None:
    with Wire(say(UNAVAILABLE)) as target:
        sandbox.answers = {route: Answer(status, headers={"Location": url_of(target)})}
        result = run(sandbox)
        assert target.connections == 0
    assert result.status == 1
    assert re.match(f"error: {route}: .*HTTP {status}, a redirect", result.err)
    assert result.err.count("\n") == 2


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    "location", ["/v1/api/tickle", "?again", "//127.0.0.1", "\xff\xfe", "http://["]
)
def test_a_redirect_on_the_same_host_is_not_followed(
    sandbox: Seeing, run: Runner, status: int, location: str
) -> None:
    sandbox.answers = {ROUTES[0]: Answer(status, headers={"Location": location})}
    result = run(sandbox)
    check_one_error(
        result, f"HTTP {status}, a redirect", "check base_url; a proxy or log-in page may answer"
    )
    assert len(sandbox.seen) == 1


# Proxies


HTTPS = "https://api.ibkr.invalid/v1/api"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_sees_what_goes_to_this_computer(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with Wire(say(UNAVAILABLE)) as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert run(sandbox).status == 0
        assert proxy.connections == 0


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_for_https_is_used(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with Wire(say(UNAVAILABLE)) as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        result = run_against(run, sandbox, HTTPS)
        assert [head.split()[:2] for head in proxy.heads] == [[b"CONNECT", b"api.ibkr.invalid:443"]]
    check_one_error(result, "503", PROXY)


def test_a_password_that_the_proxy_repeats_is_masked(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Wire(say(b"HTTP/1.1 407 No hun7 here\r\nContent-Length: 0\r\n\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hun7@127.0.0.1:{proxy.port}")
        check_one_error(run_against(run, sandbox, HTTPS), r"407 No \*\*\* here", PROXY)


NOT_LIKE = "the proxy's URL is not like http://user:password@host:port, percent-encoded$"
BAD_PROXIES = [
    *((url, f": {NOT_LIKE}") for url in (
        "foo:bar", "http://", "http://127.0.0.1:65536", "::::", "ftp://127.0.0.1:1", "http://[::1", "http://proxy..invalid:3128",
        "http://user:hunter2@[::", "hunter2@x:y:1", "http://user:hunter2@", "http://user:80/hunter2@x", "http://user:[hunter2]@x:1",
        "http://user:un[hunter2]99@x", r"http://user:hunter2\x@127.0.0.1:1", "http://user:hunter2://x@127.0.0.1:1",
        "http://user:\u20achunter2@x:1", "http://user:hunter2 @x", "http://user:hunter2@x/@y",
    )),
    ("socks5://127.0.0.1:1", "SOCKS"),
    ("http://user:hunter2@127.0.0.1:{}", "refused"),
    ("http://user:hunter2@x.invalid:65535", "ProxyError"),
]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["", "-v"])
@pytest.mark.parametrize(("url", "error"), BAD_PROXIES)
def test_a_proxy_that_is_none_is_one_error_without_its_password(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch,
    url: str, error: str, options: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HTTPS_PROXY", url.replace("{}", str(closed_port())))
    result = run_against(run, sandbox, HTTPS, *options)
    check_one_error(result, error, PROXY)
    assert "hunter" not in result.out + result.err
    assert "20ac" not in result.err


GOOD_PROXIES = ["127.0.0.1:{}", "http://127.0.0.1:{}/", "http://me:p@w@127.0.0.1:{}", "http://me:p%2F~$&'()*+,;=@127.0.0.1:{}", "HTTP://localhost:{}/x", "http://m\xfcller:p\xe4ss@127.0.0.1:{}"]  # fmt: skip


@pytest.mark.parametrize("url", GOOD_PROXIES)
def test_a_proxys_url_may_have_any_right_form(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with Wire(say(UNAVAILABLE)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("{}", str(proxy.port)))
        check_one_error(run_against(run, sandbox, HTTPS), "503", PROXY)


# The password file, and cookies


def test_the_password_file_does_not_replace_the_authorization(
    sandbox: Seeing, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "netrc"
    entry = "login user password hunter2"
    path.write_text(f"machine 127.0.0.1 {entry}\nmachine localhost {entry}\ndefault {entry}\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    result = run(sandbox, "-v")
    assert (result.status, result.err) == (0, "")
    assert len(sandbox.seen) > 10
    for request in sandbox.seen:
        (header,) = request.headers.get_all("Authorization", [])
        assert header.startswith("OAuth ")
    for password in ("hunter2", base64.b64encode(b"user:hunter2").decode()):
        assert password not in result.out


@pytest.mark.parametrize("content", [b"machine", b"\xff\xfe", b"machine a login b password"])
def test_a_broken_password_file_does_not_matter(
    sandbox: Seeing, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = tmp_path / "netrc"
    path.write_bytes(content)
    monkeypatch.setenv("NETRC", str(path))
    assert run(sandbox).status == 0


def test_a_cookie_is_sent_back(sandbox: Seeing, run: Runner) -> None:
    assert run(sandbox).status == 0
    cookies = [request.headers.get("Cookie") for request in sandbox.seen]
    assert cookies[0] is None
    assert len(set(cookies[1:])) == 1
    assert str(cookies[1]).startswith("x-sess-uuid=")


def test_many_cookies_do_no_harm(sandbox: Seeing, run: Runner) -> None:
    lines = "".join(f"\r\nSet-Cookie: c{n}={'v' * 500}{n}; Path=/" for n in range(80))
    answer = json_answer({"wait": 1000})._replace(headers={"X": f"x{lines}"})
    sandbox.answers = {"POST /iserver/auth/ssodh/init": answer}
    result = run(sandbox)
    assert (result.status, result.err) == (0, "")
    assert "c79=" in str(sandbox.seen[-1].headers.get("Cookie"))


@pytest.mark.parametrize(
    "cookie", ["a=b; Max-Age", "a=b; Max-Age=" + "9" * 400, "a=b; Max-Age=" + "9" * 4400, "a=b; expires=" + "9" * 400]
)  # fmt: skip
def test_a_cookie_that_python_stumbles_over_leaves_no_traceback(
    sandbox: Seeing, run: Runner, cookie: str
) -> None:
    answer = json_answer({"wait": 1000})._replace(headers={"Set-Cookie": cookie})
    sandbox.answers = {"POST /iserver/auth/ssodh/init": answer}
    result = run(sandbox)
    assert (result.status, result.err) == (0, "")


# Too long, too much, not the answer to this request

JSON = b"Content-Type: application/json\r\n"
ENDLESS = 10**18


def slowly(first: bytes, drop: bytes) -> Talk:
    """Say the first, then a drop every tenth of a second, without end."""

    def talk(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(first)
        while not closing.wait(0.1):
            connection.sendall(drop)

    return talk


DRIPPING: dict[str, tuple[bytes, bytes]] = {
    "status line": (b"HTTP/1.1 ", b"2"),
    "header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
    "body": (OK + b"Content-Length: 500\r\n\r\n", b" "),
    "body of no length": (OK + b"\r\n", b" "),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "trailer": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", b"X: x\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", DRIPPING)
def test_an_answer_that_drips_for_ever_ends(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(demo, "ANSWER_SECONDS", 0.5)
    began = time.monotonic()
    with Wire(slowly(*DRIPPING[name])) as server:
        result = run_against(run, sandbox, url_of(server))
        assert time.monotonic() - began < 3
    check_one_error(result, "the answer took too long", LATER)


@pytest.mark.parametrize("name", DRIPPING)
def test_a_logout_that_drips_ends_and_is_said(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(demo, "LOGOUT_SECONDS", 0.5)
    with Wire(slowly(*DRIPPING[name])) as server:
        log_out = demo.Client.log_out

        def elsewhere(client: demo.Client) -> None:
            client.base_url = url_of(server)
            log_out(client)

        monkeypatch.setattr(demo.Client, "log_out", elsewhere)
        began = time.monotonic()
        result = run(sandbox)
        assert time.monotonic() - began < 8
    assert result.status == 1
    assert result.err.startswith("error: POST /logout: the answer took too long\nhint: ")


def bomb(packed: Callable[[bytes], bytes]) -> bytes:
    return packed(bytes(100_000_000))


TOO_MUCH: dict[str, Talk] = {
    "gzip": say(OK + b"Content-Encoding: gzip\r\n\r\n" + bomb(gzip.compress)),
    "deflate": say(OK + b"Content-Encoding: deflate\r\n\r\n" + bomb(zlib.compress)),
    "endless": slowly(OK + b"\r\n", b" " * 1_000_000),
    "endless chunks": slowly(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"f4240\r\n" + b" " * 1_000_000 + b"\r\n"),
    "a negative chunk": slowly(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b" " * 1_000_000),
    "a length of 10^18": slowly(OK + b"Content-Length: %d\r\n\r\n" % ENDLESS, b" " * 1_000_000),
    "an error": slowly(b"HTTP/1.1 500 No\r\n\r\n", b"<" * 1_000_000),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("name", TOO_MUCH)
def test_an_answer_of_too_many_bytes_ends(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(oauth, "MAX_ANSWER", 50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Wire(TOO_MUCH[name]) as server:
        result = run_against(run, sandbox, url_of(server))
    check_one_error(result, "an answer of more than 50,000 bytes", LATER)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    gc.collect()


def test_an_answer_of_too_many_bytes_ends_after_the_log_in_too(
    sandbox: Seeing, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "MAX_ANSWER", 50_000)
    unfolding = Answer(200, bomb(gzip.compress), {"Content-Encoding": "gzip"})
    sandbox.answers = {"GET /portfolio/accounts": unfolding}
    result = run(sandbox)
    message = "error: GET /portfolio/accounts: an answer of more than 50,000 bytes"
    assert (result.status, result.err.splitlines()[0]) == (1, message)
    assert sandbox.logged_out


@pytest.mark.parametrize("text", [b"<", b"<a", b"&", b" ", b"error: id: ", b"=", b"&#"])
def test_a_long_error_text_does_not_take_long(sandbox: Seeing, run: Runner, text: bytes) -> None:
    began = time.monotonic()
    sandbox.answers = {"GET /portfolio/accounts": Answer(500, text * (500_000 // len(text)))}
    assert run(sandbox).status == 1
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("code", [101, 103, 199])
def test_the_answer_behind_an_interim_one_is_not_taken_for_the_next(
    sandbox: Seeing, run: Runner, code: int
) -> None:
    sandbox.answers = {"GET /portfolio/accounts": Answer(code)}
    result = run(sandbox)
    assert result.status == 1
    first = result.err.splitlines()[0]
    assert first.startswith(f"error: GET /portfolio/accounts: HTTP {code}, an interim answer")
    assert "NASDAQ     265598" in result.out
    assert sandbox.connections == 2


@pytest.mark.parametrize("path", ["/logout", "/trsrv/stocks"])
def test_only_the_logout_is_tried_again_when_the_server_had_closed_the_connection(
    sandbox: Seeing, run: Runner, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond = sandbox.respond
    dropped: list[Request] = []

    def drop_once(request: Request) -> Answer:
        if request.path == path and not dropped:
            dropped.append(request)
            return Answer(cut=0)
        return respond(request)

    monkeypatch.setattr(sandbox, "respond", drop_once)
    result = run(sandbox)
    again = [request for request in sandbox.seen if request.path == path]
    if path == "/logout":
        assert (result.status, result.err, len(again)) == (0, "", 1)
        nonces = [
            re.findall('oauth_nonce="([^"]+)', r.headers["Authorization"])
            for r in (dropped[0], again[0])
        ]
        assert nonces[0] != nonces[1]
    else:
        assert (result.status, len(again)) == (1, 0)
    assert sandbox.logged_out
