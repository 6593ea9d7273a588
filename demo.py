"""Demo of Interactive Brokers' (IBKR) Client Portal API with first-party OAuth 1.0a.

Checks a config, logs in, calls a handful of read-only endpoints, prints what they answer, and
logs out. How the signing works is in oauth.py.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":  # for a Ctrl-C while the imports below run
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import base64
import contextlib
import difflib
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from time import sleep, time
from typing import Any, Callable
from urllib.parse import quote, urlsplit

import requests
from Crypto.PublicKey import RSA
from requests.adapters import HTTPAdapter

import oauth
from oauth import AnswerError
from oauth import CredentialsError as Wrong

CONFIG = "test-config.json"  # path to your app config, seen from the folder of this file
PAUSE = 0.11  # seconds before each call: IBKR bars an address for more than ten in a second
POLL = 1.0  # seconds before asking again for what is not ready yet

OPTIONAL = {"base_url": "https://api.ibkr.com/v1/api", "dh_generator": 2}
HELP = {  # what helps with "STATUS PATH TEXT" of an answer, or with a failure; the first match
    "^401 /oauth/.*invalid consumer": "compare the nine characters and their case; a new key"
    " works after a day or a weekend; paper and live have keys of their own",
    "^401 /oauth/.*LST failed": "generate the token again and copy token and secret:"
    " each new secret ends the one before",
    "^401 /oauth/": "access token, realm, signature key or this computer's clock may be wrong",
    "^401 /iserver/": "another session took over: close TWS and IBKR Mobile, or use --compete",
    "^401 /portfolio/.*/": "this session does not know the account; nothing is wrong with the keys",
    "^401 ": "the live session token is not accepted any more: run the demo again",
    "no bridge": "the brokerage session is not ready: run the demo again in a minute",
    "query /accounts first": "the brokerage session was renewed on the way: run the demo again",
    "sso dh token": "a fault of IBKR's, mostly with new paper users: ask its API support",
    "^403 ": "this address is blocked: try without a VPN, or from another network",
    "^404 ": "check base_url in the config",
    "^30. ": "a proxy or a log-in page may answer in IBKR's place: check the network and base_url",
    "^410 ": "run the demo again, or set base_url to https://1.api.ibkr.com/v1/api",
    "^429 ": "too many requests: wait 15 minutes, each try before prolongs the ban",
    "^503 ": "IBKR is slow or in maintenance (midnight, Saturday evening, New York): try later",
    "^SSLError": "check base_url; your own proxy's certificate belongs into REQUESTS_CA_BUNDLE",
    "^407 |^ProxyError": "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    "^Connect": "check the network, and base_url in the config",
    "": "try later; with -v the demo shows every answer whole",
}
SUMMARY = ["netliquidation", "totalcashvalue", "grosspositionvalue", "availablefunds"]
SUMMARY += ["excessliquidity", "buyingpower", "initmarginreq", "maintmarginreq"]
ACCOUNT = ("accountId", "type", "currency")
LEDGER = ("currency", "cashbalance", "settledcash", "stockmarketvalue", "netliquidationvalue")
POSITION = ("contractDesc", "position", "mktPrice", "mktValue", "unrealizedPnl", "currency")
QUALITY = {"R": "real time", "D": "delayed", "Z": "frozen", "Y": "frozen, delayed"}
QUALITY.update(N="not subscribed", O="market-data agreement incomplete")
PERSONAL = re.compile(  # in answers: signatures, the machine, the holder's name
    r'((?:oauth_signature=\\?|"(?:live_session_token_signature|MAC|hardware_info|accountTitle|'
    r'displayName|accountAlias)"\s*:\s*)")(?:[^"\\]|\\.)*'
)


class Console(logging.Handler):
    """Prints plain ASCII, and `***` in place of all that it was told to hide.

    It knows whether an error was printed, and whether all has to stop.
    """

    hidden: frozenset[str] = frozenset()
    failed = stopped = interrupted = False

    def hide(self, *secrets: str | bytes) -> None:
        for secret in secrets:
            if isinstance(secret, bytes):
                self.hide(secret.hex(), base64.b64encode(secret).decode())
            elif len(secret) > 7:  # a shorter one is nobody's, and would mask the half of it all
                self.hidden |= {secret, quote(secret, safe="")}

    def mask(self, text: str) -> str:
        for secret in sorted(self.hidden, key=len, reverse=True):  # some contain others
            text = text.replace(secret, "***")
        return PERSONAL.sub(r"\1***", text)

    def clean(self, text: str) -> str:
        return re.sub("[^ -~]", lambda match: ascii(match[0])[1:-1], self.mask(text))

    def say(self, text: str = "", error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        try:
            print(self.clean(text), file=stream, flush=True)
        except OSError as problem:  # the reader has gone: write nothing more, at exit neither
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            self.failed = self.stopped = True
            if not isinstance(problem, BrokenPipeError):
                self.error(f"cannot write: {problem.strerror}", "make room for the output")

    def error(self, message: str, hint: str) -> None:
        self.failed = True
        self.warn(message, hint, "error")

    def warn(self, message: str, hint: str, kind: str = "warning") -> None:
        self.say(f"{kind}: {message}", error=True)
        self.say(f"hint: {hint}", error=True)

    def emit(self, record: logging.LogRecord) -> None:
        self.say(f"    > {record.getMessage()}")

    def rows(self, *rows: Sequence[object]) -> None:
        """Print aligned rows: the first column to the left, the others to the right."""
        cells = [[self.clean(cell(value))[:40] for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells)]
        for first, *others in cells:
            right = [text.rjust(width) for text, width in zip(others, widths[1:])]
            self.say("    " + "  ".join([first.ljust(widths[0]), *right]))

    def table(self, keys: Sequence[str], items: list[dict[str, Any]]) -> None:
        """Print the values that stand under the keys, a row for each of the first ten items."""
        shown = items[:10]
        head = [f"{len(shown)} of {len(items)}", *keys[1:]]
        self.rows(head, *([item.get(key) for key in keys] for item in shown))


def cell(value: Any) -> str:
    """Return a JSON text or number for people, "-" for all else that a server may send instead."""
    if type(value) in (int, float) and abs(value) < 1e15:
        return f"{value:,.2f}" if round(value, 2) == value else f"{value:,.4f}"
    return value if isinstance(value, str) and value else "-"


def read_file(path: str) -> str:
    """Return a text file's content, without the byte-order mark that Windows puts in front."""
    try:
        with open(path, "rb") as file:
            return file.read(1_000_000).decode("utf-8-sig", "replace")
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}", "check the path and its rights") from None


# The checks of the fields. Each gets the text, the config's folder and the values of the fields
# before; it returns the value and a remark on it, or raises what is wrong, and a special hint.


def plain_text(text: str, *_: Any) -> tuple[str, str]:
    if re.search("[^!-~]", text):
        raise Wrong("has a space or a character beyond ASCII")
    return text, f"{len(text)} characters"


def server_url(text: str, *_: Any) -> tuple[str, str]:
    """Accept https everywhere, http on this computer only."""
    host = r"https://[\w.-]+|http://(localhost|127(\.\d+){3}|\[::1\])"
    if not re.fullmatch(rf"({host})(:\d{{1,5}})?(/[\w.~-]+)*/?", text, re.ASCII):
        raise Wrong("not a URL like https://host/path")
    return text.removesuffix("/"), text


def private_key(text: str, folder: str, _: Any) -> tuple[RSA.RsaKey, str]:
    """Read a PEM file; a relative path begins at the config's folder."""
    if re.search("[\0-\x1f\ud800-\udfff]|-----BEGIN", text) or len(text) > 250:
        raise Wrong("not a path", "give the path of the PEM file, each backslash in it twice")
    path = os.path.join(folder, os.path.expanduser(text))
    pem = read_file(path)
    if "ENCRYPTED" in pem:
        raise Wrong(f"{path} has a passphrase", f"remove it: openssl rsa -in {path} -out NEW.pem")
    try:
        key = RSA.import_key(pem[pem.find("-----BEGIN ") :].strip())
    except (ValueError, IndexError, TypeError, ArithmeticError):
        raise Wrong(f"{path} is not an RSA key in PEM form", "give openssl's own file") from None
    if not key.has_private():
        raise Wrong(f"{path} is not a private key")
    if key.size_in_bits() < 2048:
        raise Wrong(f"{path} has {key.size_in_bits()} bits, not 2048", "run keys/generate.sh")
    return key, f"RSA private key, {key.size_in_bits()} bits"


def decrypted_secret(text: str, _: str, found: dict[str, Any]) -> tuple[bytes, str]:
    if not re.fullmatch("[A-Za-z0-9+/]+={0,2}", text):
        raise Wrong("not base64")
    if "encryption_key_fp" not in found:
        return b"", f"{len(text)} characters, not tried for want of its key"
    try:
        secret = oauth.decrypt_access_token_secret(text, found["encryption_key_fp"])
    except Wrong as error:
        problem = error
        with contextlib.suppress(Wrong, KeyError):
            oauth.decrypt_access_token_secret(text, found["signature_key_fp"])
            problem = Wrong("decrypts with signature_key_fp", "swap the two keys' paths")
        raise problem from None
    return secret, f"{len(text)} characters, decrypts to {len(secret)} bytes"


def prime_number(text: str, *_: Any) -> tuple[int, str]:
    """Read hex as openssl prints it: with colons, spaces, line breaks, 0x, leading zeros."""
    digits = re.sub(r"^0[xX]|[\s:]", "", text)
    if not re.fullmatch("[0-9a-fA-F]+", digits):
        raise Wrong("not a number in hex")
    prime = int(digits, 16)
    bits = prime.bit_length()
    if not 2040 <= bits <= 8192:
        raise Wrong(f"has {bits} bits, about 2048 are right")
    fingerprint = hashlib.sha256(f"{prime:X}".encode()).hexdigest()[:8]
    # Fermat's test catches every slip of the pen. The number in IBKR-2018 is no prime, yet used.
    if pow(2, prime - 1, prime) != 1 and fingerprint != "c039f329":
        raise Wrong("not a prime: a digit is wrong or missing")
    return prime, f"{bits} bits, SHA-256 {fingerprint}..."


def generator_number(text: str, *_: Any) -> tuple[int, str]:
    if not re.fullmatch(r"[2-9]|[1-9]\d+", text):
        raise Wrong("not a whole number from 2 on")
    return int(text), "a whole number"


FIELDS: dict[str, tuple[Callable[[str, str, dict[str, Any]], tuple[Any, str]], str]] = {
    "base_url": (server_url, "leave it out for https://api.ibkr.com/v1/api"),
    "realm": (plain_text, "limited_poa, or test_realm for the consumer TESTCONS"),
    "consumer_key": (plain_text, "copy the nine characters saved in the self-service portal"),
    "signature_key_fp": (private_key, "give the path of private_signature.pem"),
    "encryption_key_fp": (private_key, "give the path of private_encryption.pem"),
    "access_token": (plain_text, "copy it from the page that generated it"),
    "access_token_secret": (decrypted_secret, "copy all of it from the page that generated it"),
    "dh_prime": (prime_number, "copy what this prints: openssl asn1parse -in dhparam.pem"),
    "dh_generator": (generator_number, "leave it out: openssl's is 2"),
}


def field_text(values: dict[str, Any], name: str) -> str:
    value, kind = values.get(name, ""), type(OPTIONAL.get(name, ""))
    if type(value) is not kind:
        raise Wrong("not a text in quotes" if kind is str else "not a whole number")
    if re.match(r"(your|path-to|generated)-|\s*$", str(value)):
        raise Wrong("not filled in")
    return str(value).strip()


def warnings(
    values: dict[str, Any], folder: str, found: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Point out what can be right, but seldom is: field, message and hint."""
    consumer, key = found.get("consumer_key", "TESTCONS"), found.get("signature_key_fp")
    realm = "test_realm" if consumer == "TESTCONS" else "limited_poa"
    if "consumer_key" in found and found.get("realm", realm) != realm:
        yield "realm", "does not fit the consumer key", FIELDS["realm"][1]
    if not re.fullmatch("[A-Z0-9]{9}|TESTCONS", consumer):
        hint = "the portal stores it in capitals; its case matters"
        yield "consumer_key", "not nine capitals or digits", hint
    if key is not None and key == found.get("encryption_key_fp"):
        yield "signature_key_fp", "also the encryption key", "make two keys"
    for name in sorted({"signature_key_fp", "encryption_key_fp"} & found.keys()):
        path = os.path.join(folder, os.path.expanduser(values[name].strip()))
        if os.name == "posix" and os.stat(path).st_mode & 0o077:
            yield name, "others may read the file", f"chmod 600 {path}"
    for name in sorted(values.keys() - FIELDS.keys()):
        close = difflib.get_close_matches(name, FIELDS)
        yield name, "unknown field", f"did you mean {close[0]}?" if close else "it is ignored"


def load_config(path: str, console: Console, show: bool) -> dict[str, Any] | None:
    """Read forgivingly, judge strictly: complain of all that is wrong, or return the values."""
    try:
        values = {**OPTIONAL, **json.loads(read_file(path), strict=False)}
    except Wrong as problem:
        console.error(str(problem), problem.hint)
        return None
    except (ValueError, TypeError, RecursionError) as error:
        where = f": {error}" if isinstance(error, ValueError) else ""
        hint = "look there, and at the line before; in a path, write a backslash twice"
        console.error(f"{path}: not a JSON object{where}", hint)
        return None
    console.hide(*(str(values.get(name)) for name in ("access_token", "access_token_secret")))
    folder = os.path.dirname(path)
    found: dict[str, Any] = {}
    for name, (check, hint) in FIELDS.items():
        try:
            found[name], remark = check(field_text(values, name), folder, found)
        except Wrong as problem:
            console.error(f"{path}: {name}: {problem}", problem.hint or hint)
        else:
            if show:
                console.say(f"  ok  {name:<20} {remark}")
    for name, message, hint in warnings(values, folder, found):
        console.warn(f"{path}: {name}: {message}", hint)
    if len(found) < len(FIELDS):
        return None
    console.hide(found["access_token"], found["access_token_secret"])
    return found


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of what should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def body(response: requests.Response) -> str:
    return response.content.decode("utf-8", "replace")


def words(response: requests.Response, console: Console) -> str:
    """Return what the server says is wrong: its `error` field, or the beginning of its text."""
    if response.is_redirect:
        return console.mask(f"to {response.headers['Location']}")[:200]
    try:
        said = console.mask(str(oauth.read_json(response)["error"]))
    except (AnswerError, LookupError, TypeError):
        said = re.sub("<[^<>]*>", " ", console.mask(body(response))[:2000])
    return " ".join(said.split())[:200]


def clock_offset(response: requests.Response) -> float:
    """Return the seconds by which the server's clock is ahead of this one, 0 if it shows none."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() - time()
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0


def ready(session: dict[str, Any]) -> bool:
    """Tell whether an answer about the brokerage session says that it can be used."""
    up = session.get("authenticated") is True and session.get("connected") is True
    return up and session.get("established") is not False


class Demo:
    """The steps: each prints what it got, and one that fails does not stop the others."""

    doing = ""  # method and path of the last request

    def __init__(self, base_url: str, options: argparse.Namespace, console: Console) -> None:
        self.base_url, self.options, self.console = base_url, options, console
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "ibkr-oauth-demo"  # without one, IBKR answers 403
        self.session.hooks["response"].append(self.show)

    def show(self, response: requests.Response, **_: object) -> None:
        """Print a line about an answer, all of it with --verbose, and a clock that is off."""
        self.console.hide(*(cookie.value or "" for cookie in response.cookies))
        path = urlsplit(response.url).path.removeprefix(urlsplit(self.base_url).path)
        title, seconds = f"{response.request.method} {path}", response.elapsed.total_seconds()
        self.console.say(f"  {title:<50} {response.status_code} {seconds * 1000:>7,.0f} ms")
        if self.options.verbose:
            for line in self.console.mask(body(response)).splitlines():
                self.console.say(f"    < {line}")
        offset = clock_offset(response)
        if abs(offset) > 30 and self.session.auth is None:
            side = "behind" if offset > 0 else "ahead of"
            message = f"this computer's clock is {abs(offset):,.0f} s {side} the server's"
            self.console.warn(message, "set the clock: signatures carry the time")

    def send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        if self.console.interrupted:  # and somebody has swallowed the exception
            raise KeyboardInterrupt
        sleep(PAUSE)
        self.doing = f"{method} {path}"
        arguments = {"timeout": oauth.TIMEOUT, **arguments}
        response = self.session.request(method, self.base_url + path, **arguments)
        if response.status_code // 100 != 2:
            raise AnswerError(f"HTTP {response.status_code}", response=response)
        return response

    def call(self, method: str, path: str, kind: type, **arguments: Any) -> Any:
        """Return the JSON answer: a dict or a list, as `kind` says."""
        response = self.send(method, path, **arguments)
        answer = oauth.read_json(response)
        if isinstance(answer, dict) and answer.get("error"):
            raise AnswerError(f"HTTP {response.status_code}", response=response)
        if not isinstance(answer, kind):
            raise AnswerError("an answer of another form than expected", response=response)
        return answer

    def step(self, title: str, action: Callable[..., Any], *arguments: Any) -> Any:
        """Run one step and return its result; None if it failed, or if all has to stop."""
        if self.console.stopped:
            return None
        self.console.say()
        self.console.say(title)
        try:
            return action(*arguments)
        except oauth.OAuthError as error:
            message, hint, failure = str(error), error.hint, ""
            if error.response is not None:
                if error.response.is_redirect:
                    self.show(error.response)  # oauth.py refused it before anybody else saw it
                said = words(error.response, self.console)
                message += f": {said}" if said else ""
                failure = f"{error.response.status_code} {self.doing.split()[1]} {said}"
                if error.response.status_code == requests.codes.too_many_requests:
                    self.console.stopped = True
        except (OSError, ValueError) as error:  # of requests, and what it lets through
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            message, hint, failure = f"no complete answer: {cause}", "", type(error).__name__
        if failure:
            hint = next(HELP[pattern] for pattern in HELP if re.search(pattern, failure))
        self.console.error(f"{self.doing}: {message}", hint)
        return None

    def log_in(self, credentials: oauth.Credentials) -> None:
        self.doing = "POST /oauth/live_session_token"
        token = oauth.request_live_session_token(self.session, self.base_url, credentials)
        self.console.hide(token.token)
        self.session.auth = oauth.OAuth1(credentials, token.token)
        self.console.rows(["valid until", f"{token.expires:%Y-%m-%d %H:%M:%S} UTC"])

    def open_brokerage_session(self) -> bool:
        """Return whether it was refused, which may change."""
        wish = {"publish": True, "compete": self.options.compete}
        answer = self.call("POST", "/iserver/auth/ssodh/init", dict, json=wish)
        refused = answer.get("passed") is False
        waiting = "refused for now" if refused else "settling, asked again for the quote"
        self.console.rows(["state", "ready" if ready(answer) else waiting])
        return refused

    def listing(self, path: str, kind: type, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Print what the keys hold of each object in the answer, a list or a dict of them."""
        answer = self.call("GET", path, kind)
        items = objects(answer if kind is list else list(answer.values()))
        self.console.table(keys, items)
        return items

    def accounts(self) -> str:
        """Return the id of the first account."""
        accounts = self.listing("/portfolio/accounts", list, ACCOUNT)
        for name in (account.get("accountId") for account in accounts):
            if isinstance(name, str) and name.strip("."):  # ".." leads elsewhere, however encoded
                return name
        raise AnswerError("no account in the answer", "ask IBKR for access to one")

    def summary(self, path: str) -> None:
        answer = self.call("GET", f"{path}/summary", dict)
        rows = []
        for key in SUMMARY:
            item = answer.get(key)
            item = item if isinstance(item, dict) and not item.get("isNull") else {}
            rows.append([key, item.get("amount"), item.get("currency")])
        self.console.rows(*rows)

    def stock(self) -> int:
        """Return the contract id of the symbol's first listing, in the US if there is one."""
        symbol = self.options.symbol
        answer = self.call("GET", "/trsrv/stocks", dict, params={"symbols": symbol})
        listings = [
            (contract.get("isUS") is not True, company.get("name"), contract.get("exchange"), conid)
            for company in objects(answer.get(symbol))
            for contract in objects(company.get("contracts"))
            if type(conid := contract.get("conid")) is int and conid > 0
        ]
        if not listings:
            raise AnswerError(f"no stock has the symbol {symbol}", "try another --symbol")
        _, name, exchange, conid = min(listings, key=lambda listing: listing[0])
        self.console.rows([name, exchange, f"conid {conid}"])
        return conid

    def brokerage_ready(self, refused: bool) -> bool:
        """Wait for the brokerage session; False if another one is in its place."""
        for attempt in range(10):
            sleep(POLL if attempt else 0)
            status = self.call("POST", "/iserver/auth/status", dict)
            if ready(status) or status.get("fail"):
                return ready(status)
        if refused or status.get("competing"):
            return False
        raise AnswerError("the brokerage session is not ready", "run the demo again in a minute")

    def quote(self, conid: int, refused: bool | None) -> None:
        if refused is None:
            self.console.say("    left out: it needs the brokerage session")
        elif self.brokerage_ready(refused) and self.call("GET", "/iserver/accounts", dict):
            data = self.snapshot(conid)
            last = data.get("31", "-")
            remark = {"C": " (previous close)", "H": " (halted)"}.get(last[0], "")
            self.console.say(f"    last  {last.lstrip('CH')}{remark}")
            for name, price, size in (("bid", "84", "88"), ("ask", "86", "85")):
                self.console.say(f"    {name}   {data.get(price, '-')} x {data.get(size, '-')}")
            self.console.say(f"    data  {QUALITY.get(data.get('6509', '-')[0], 'unknown')}")
        elif self.options.compete:
            raise AnswerError("the brokerage session is refused", "log out elsewhere, then wait")
        else:
            self.console.say("    left out: another session of this username has the market data;")
            self.console.say("    --compete takes it over, and logs out its TWS or IBKR Mobile")

    def snapshot(self, conid: int) -> dict[str, str]:
        """Poll for a quote: the first answer only subscribes."""
        params = {"conids": str(conid), "fields": "31,84,85,86,88,6509"}
        for attempt in range(8):
            sleep(POLL if attempt else 0)
            answer = self.call("GET", "/iserver/marketdata/snapshot", list, params=params)
            for item in objects(answer):
                data = {k: v for k, v in item.items() if isinstance(v, str) and v not in ("", "-1")}
                priced = "31" in data or {"84", "86"} <= data.keys()
                if item.get("conid") == conid and (priced or data.get("6509", "")[:1] == "N"):
                    return data
        raise AnswerError("no price after 8 questions", "try while the market is open")

    def run(self, credentials: oauth.Credentials) -> None:
        """All steps but the logout."""
        self.step("Live session token", self.log_in, credentials)
        if self.session.auth is None:
            return
        refused = self.step("Brokerage session", self.open_brokerage_session)
        account = self.step("Accounts", self.accounts)
        if account is not None:
            path = "/portfolio/" + quote(account, safe="", errors="replace")
            self.step(f"Summary of {cell(account)}", self.summary, path)
            self.step(f"Ledger of {cell(account)}", self.listing, f"{path}/ledger", dict, LEDGER)
            title = f"Positions of {cell(account)}"
            self.step(title, self.listing, f"{path}/positions/0", list, POSITION)
        conid = self.step(f"Stock {self.options.symbol}", self.stock)
        if conid is not None:
            self.step(f"Quote of {self.options.symbol}", self.quote, conid, refused)

    def log_out(self) -> None:
        """Log out if there is a token, whatever happened."""
        if self.session.auth is not None:
            self.console.stopped = self.console.interrupted = False
            self.step("Logout", lambda: self.send("POST", "/logout", timeout=10))
        self.session.close()


def on_interruption(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def command_line(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try IBKR's Client Portal API with OAuth 1.0a.")
    add = parser.add_argument
    default = os.path.join(os.path.dirname(__file__), CONFIG)
    add("config", nargs="?", default=default, help=f"path of the JSON config (default: {CONFIG})")
    add("--symbol", type=str.upper, default="AAPL", help="stock to quote (default: AAPL)")
    take_over = "take the brokerage session over: logs out a TWS or IBKR Mobile of the username"
    add("--compete", action="store_true", help=take_over)
    add("--check", action="store_true", help="check config and keys offline, then stop")
    add("-v", "--verbose", action="store_true", help="show every request and answer whole")
    options = parser.parse_args(arguments)
    if not re.fullmatch("[A-Z0-9. -]{1,20}", options.symbol):
        parser.error("--symbol: not the symbol of a stock")
    return options


def credentials_from(config: dict[str, Any]) -> oauth.Credentials:
    return oauth.Credentials(
        realm=config["realm"],
        consumer_key=config["consumer_key"],
        access_token=config["access_token"],
        access_token_secret=config["access_token_secret"],
        signature_key=config["signature_key_fp"],
        dh_prime=config["dh_prime"],
        dh_generator=config["dh_generator"],
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Return the exit status: 0 all well, 1 something failed, 2 nothing was sent."""
    config = load_config(options.config, console, options.check)
    if config is None:
        return 2
    if options.check:
        console.say("no errors; nothing was sent")
        return int(console.failed)
    console.say(f"config    {options.config}")
    console.say(f"realm     {config['realm']}")
    console.say(f"consumer  {config['consumer_key']}")
    console.say(f"host      {urlsplit(config['base_url']).netloc}")
    oauth.log.handlers = [console]
    oauth.log.setLevel(logging.DEBUG if options.verbose else logging.WARNING)
    demo = Demo(config["base_url"], options, console)
    try:
        demo.run(credentials_from(config))
        on_interruption(signal.SIG_IGN)  # here and not later: the logout must not be cut off
    except KeyboardInterrupt:  # which may have left a lock in the connection pool locked for good
        demo.session.mount(config["base_url"], HTTPAdapter())
        raise
    finally:
        demo.log_out()
    return int(console.failed)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo with the command line's arguments; return its exit status."""
    console = Console()

    def interrupt(*_: object) -> None:
        on_interruption(signal.SIG_IGN)  # once is enough
        console.interrupted = True
        raise KeyboardInterrupt

    on_interruption(interrupt)
    try:
        return run(command_line(arguments), console)
    except KeyboardInterrupt:
        console.say("interrupted", error=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
