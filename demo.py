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
from oauth import AnswerError, CredentialsError

CONFIG = "test-config.json"  # path to your app config, seen from the folder of this file
PAUSE = 0.11  # seconds before each call: IBKR bars an address for more than ten in a second
POLL = 1.0  # seconds before asking again for what is not ready yet

LATER = "try later; with -v the demo shows every answer whole"
HELP = {  # what helps with an error better than the hint that it has; the first match counts
    "/oauth/.*HTTP 401.*invalid consumer": "check its nine characters and their case; a new key"
    " takes a day or a weekend; paper and live have keys of their own",
    "/oauth/.*HTTP 401.*LST failed": "generate the token again and copy both values",
    "/oauth/.*HTTP 401": "access token, realm, signature key or this computer's clock may be wrong",
    " /iserver/.*HTTP 401": "another session took over: close TWS and Mobile, or use --compete",
    "/portfolio/.*/.*HTTP 401": "the account is not this session's; nothing is wrong with the keys",
    "HTTP 401": "the live session token is not accepted any more: run the demo again",
    "no bridge|query /accounts": "the brokerage session is not ready: try again in a minute",
    "sso dh token": "a fault of IBKR's, mostly with new paper users: ask its API support",
    "HTTP 403": "this address is blocked: try without a VPN, or from another network",
    "HTTP 410": "run the demo again, or set base_url to https://1.api.ibkr.com/v1/api",
    "HTTP 429": "too many requests: wait 15 minutes, each try before prolongs the ban",
    "HTTP 503": "IBKR is slow or in maintenance (midnight, Saturday evening, New York): try later",
    " SSLError": "check base_url; your own proxy's certificate belongs into REQUESTS_CA_BUNDLE",
    "HTTP 407| ProxyError": "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    "HTTP 404| Connect": "check the network, and base_url in the config",
}
SUMMARY = ["netliquidation", "totalcashvalue", "grosspositionvalue", "availablefunds"]
SUMMARY += ["excessliquidity", "buyingpower", "initmarginreq", "maintmarginreq"]
LEDGER = ("currency", "cashbalance", "settledcash", "stockmarketvalue", "netliquidationvalue")
POSITION = ("contractDesc", "position", "mktPrice", "mktValue", "unrealizedPnl", "currency")
QUALITY = {"R": "real time", "D": "delayed", "Z": "frozen", "Y": "frozen, delayed"}
QUALITY.update(N="not subscribed", O="market-data agreement incomplete")
PERSONAL = re.compile(  # in answers: signatures, the machine, the holder's name
    r'((?:oauth_signature=\\?|"(?:live_session_token_signature|MAC|hardware_info|accountTitle|'
    r'displayName|accountAlias)"\s*:\s*)")(?:[^"\\]|\\.)*'
)


class Console(logging.Handler):
    """Prints plain ASCII, and `***` in place of all that it was told to hide."""

    hidden: frozenset[str] = frozenset()
    status = 0  # to exit with
    stopped = False  # whether no other step is to begin

    def hide(self, *secrets: str | bytes) -> None:
        for secret in secrets:
            if isinstance(secret, bytes):
                self.hide(secret.hex(), base64.b64encode(secret).decode())
            elif len(secret) > 7:  # a shorter one is nobody's, and would mask the half of it all
                self.hidden |= {secret, quote(secret, safe=""), secret.replace("/", r"\/")}

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
            self.status, self.stopped = self.status or 1, True
            if not isinstance(problem, BrokenPipeError):
                self.complain("error", f"cannot write: {problem.strerror}", "make room for it")

    def complain(self, kind: str, message: str, hint: str) -> None:
        """Print an "error" or a "warning", and what to do about it."""
        self.status = self.status or int(kind == "error")
        self.say(f"{kind}: {message}", error=True)
        self.say(f"hint: {hint}", error=True)

    def emit(self, record: logging.LogRecord) -> None:
        self.say(f"    > {record.getMessage()}")

    def table(self, keys: Sequence[str], items: list[dict[str, Any]]) -> None:
        """Print what the keys hold in the first ten items: texts to the left, then numbers."""
        rows = [[cell(item.get(key)) for key in keys] for item in items[:10]]
        rows.insert(0, [f"{len(rows)} of {len(items)}", *keys[1:]])
        cells = [[self.clean(text)[:40] for text in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells)]
        for first, *others in cells:
            right = [f"  {text:>{width}}" for text, width in zip(others, widths[1:])]
            self.say(f"    {first:<{widths[0]}}{''.join(right)}")


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
        raise CredentialsError(f"{path}: {error.strerror}", "check the path") from None


# What is done with the text of a config's field, and the values found in the fields before: return
# the value and what to print of it, or raise what is wrong, and a hint if there is a better one.


def private_key(path: str, _: object) -> tuple[RSA.RsaKey, str]:
    pem = read_file(path)
    if "ENCRYPTED" in pem:
        hint = f"remove it: openssl rsa -in {path} -out NEW.pem"
        raise CredentialsError(f"{path} has a passphrase", hint)
    try:
        key = RSA.import_key(pem[pem.find("-----BEGIN ") :].strip())
    except (ValueError, IndexError, TypeError, ArithmeticError):
        raise CredentialsError(f"{path} is not an RSA key in PEM form") from None
    if not key.has_private() or key.size_in_bits() < 2048:
        raise CredentialsError(f"{path} is not a private key of 2048 bits or more")
    return key, f"RSA private key, {key.size_in_bits()} bits"


def decrypted_secret(text: str, found: dict[str, Any]) -> tuple[bytes, str]:
    if "encryption_key_fp" not in found:
        return b"", "not tried for want of its key"
    try:
        secret = oauth.decrypt_access_token_secret(text, found["encryption_key_fp"])
    except CredentialsError as error:
        problem = error
        with contextlib.suppress(CredentialsError, KeyError):
            oauth.decrypt_access_token_secret(text, found["signature_key_fp"])
            problem = CredentialsError("decrypts with signature_key_fp", "swap the keys' paths")
        raise problem from None
    return secret, f"decrypts to {len(secret)} bytes"


def prime_number(text: str, _: object) -> tuple[int, str]:
    """Read hex as openssl prints it: with colons, spaces, line breaks, 0x, leading zeros."""
    prime = int(re.sub(r"[\s:]", "", text), 16)
    bits = prime.bit_length()
    if not 2040 <= bits <= 8192:
        raise CredentialsError(f"has {bits} bits, about 2048 are right")
    fingerprint = hashlib.sha256(f"{prime:X}".encode()).hexdigest()[:8]
    # Fermat's test catches every slip of the pen. The number in IBKR-2018 is no prime, yet used.
    if pow(2, prime - 1, prime) != 1 and fingerprint != "c039f329":
        raise CredentialsError("not a prime: a digit is wrong or missing")
    return prime, f"{bits} bits, SHA-256 {fingerprint}..."


LOCAL = r"http://(localhost|127(\.\d+){3}|\[::1\])"  # without TLS on this computer only
URL = rf"(?a)(https://[\w.-]+|{LOCAL})(:\d{{1,5}})?(/[\w.~-]+)*/?"
WORD = "[!-~]+"
PATH = r"(?!.*-----BEGIN)[^\0-\x1f\ud800-\udfff]{1,250}"
HEX = r"(0[xX])?[\s:]*[0-9a-fA-F][0-9a-fA-F\s:]*"
NUMBER = r"[2-9]|[1-9]\d+"
PEM_FILE = "give the path of private_{}.pem; a \\ in it is written twice"
OPTIONAL = {"base_url": "https://api.ibkr.com/v1/api", "dh_generator": 2}
# What the text of each field has to look like, what is made of it, and what helps if that fails.
FIELDS: dict[str, tuple[str, Callable[[str, Any], tuple[Any, str]] | None, str]] = {
    "base_url": (URL, None, 'give a URL like "https://host/path", or leave it out for IBKR\'s own'),
    "realm": (WORD, None, 'give "limited_poa", or "test_realm" for the consumer TESTCONS'),
    "consumer_key": (WORD, None, "copy its nine characters from the self-service portal"),
    "signature_key_fp": (PATH, private_key, PEM_FILE.format("signature")),
    "encryption_key_fp": (PATH, private_key, PEM_FILE.format("encryption")),
    "access_token": (WORD, None, "copy all of it from where it was generated"),
    "access_token_secret": (WORD, decrypted_secret, "copy all of it from where it was generated"),
    "dh_prime": (HEX, prime_number, "copy what this prints: openssl asn1parse -in dhparam.pem"),
    "dh_generator": (NUMBER, lambda text, _: (int(text), text), "leave it out: openssl's is 2"),
}


def field_text(values: dict[str, Any], name: str, pattern: str) -> str:
    value, kind = values.get(name, ""), type(OPTIONAL.get(name, ""))
    text = str(value).strip()
    if re.match("(your|path-to|generated)-|$", text):
        raise CredentialsError("not filled in")
    if type(value) is not kind:
        raise CredentialsError("not a text in quotes" if kind is str else "not a whole number")
    if not re.fullmatch(pattern, text):
        raise CredentialsError("not in the right form")
    return text


def warnings(values: dict[str, Any], found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Point out what can be right, but seldom is: field, message and hint."""
    for name in sorted(values.keys() - FIELDS.keys()):
        close = difflib.get_close_matches(name, FIELDS)
        yield name, "unknown field", f"did you mean {close[0]}?" if close else "it is ignored"
    if len(found) < len(FIELDS):
        return
    testing = found["consumer_key"] == "TESTCONS"
    if found["realm"] != ("test_realm" if testing else "limited_poa"):
        yield "realm", "does not fit the consumer key", FIELDS["realm"][2]
    if not testing and not re.fullmatch("[A-Z0-9]{9}", found["consumer_key"]):
        yield "consumer_key", "not nine capitals or digits", "its case matters; copy it again"
    if found["signature_key_fp"] == found["encryption_key_fp"]:
        yield "signature_key_fp", "also the encryption key", "make two keys"
    for name in ("signature_key_fp", "encryption_key_fp"):
        if os.name == "posix" and os.stat(values[name]).st_mode & 0o077:
            yield name, "others may read the file", f"chmod 600 {values[name]}"


def load_config(path: str, console: Console, show: bool) -> dict[str, Any]:
    """Read forgivingly, judge strictly: return what is right, complain of all the rest."""
    try:
        values = {**OPTIONAL, **json.loads(read_file(path), strict=False)}
    except (ValueError, TypeError, RecursionError) as error:
        hint = "look there, and at the line before; in a path, write a backslash twice"
        raise CredentialsError(f"{path}: not a JSON object: {error}", hint) from None
    for name in ("access_token", "access_token_secret"):
        console.hide(str(values.get(name)).strip())
    found: dict[str, Any] = {}
    for name, (pattern, check, hint) in FIELDS.items():
        try:
            text = field_text(values, name, pattern)
            if check is private_key:
                text = values[name] = os.path.join(os.path.dirname(path), os.path.expanduser(text))
            found[name], remark = check(text, found) if check else (text, f"{len(text)} characters")
            if show:
                console.say(f"  ok  {name:<20} {remark}")
        except CredentialsError as problem:
            console.complain("error", f"{path}: {name}: {problem}", problem.hint or hint)
    for name, message, hint in warnings(values, found):
        console.complain("warning", f"{path}: {name}: {message}", hint)
    console.hide(found.get("access_token_secret", b""))
    return found


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of what should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class Demo:
    """The steps: each prints what it got, and one that fails does not stop the others."""

    doing = ""  # method and path of the last request

    def __init__(self, base_url: str, options: argparse.Namespace, console: Console) -> None:
        self.base_url, self.options, self.console = base_url.rstrip("/"), options, console
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "ibkr-oauth-demo"  # without one, IBKR answers 403
        self.session.hooks["response"].append(self.show)

    def show(self, response: requests.Response, **_: object) -> None:
        """Print a line about an answer, all of it with --verbose, and a clock that is off."""
        self.console.hide(*(cookie.value or "" for cookie in response.cookies))
        response.encoding = "utf-8"
        milliseconds = response.elapsed.total_seconds() * 1000
        self.console.say(f"  {self.doing:<50} {response.status_code} {milliseconds:>7,.0f} ms")
        if self.options.verbose:
            for line in self.console.mask(response.text).splitlines():
                self.console.say(f"    < {line}")
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):  # no date in it
            offset = abs(parsedate_to_datetime(response.headers["Date"]).timestamp() - time())
            if offset > 30 and self.session.auth is None:
                message = f"this computer's clock is {offset:,.0f} s off the server's"
                self.console.complain("warning", message, "set it: signatures carry the time")

    def call(self, method: str, path: str, kind: type | None = None, **arguments: Any) -> Any:
        """Return the JSON answer, a dict or a list as `kind` says; without one, leave it unread."""
        doing = f"{method} {path}"
        sleep(POLL if doing == self.doing else PAUSE)
        self.doing = doing
        arguments = {"timeout": oauth.TIMEOUT, **arguments}
        response = self.session.request(method, self.base_url + path, **arguments)
        success = response.status_code // 100 == 2
        answer = oauth.read_json(response) if success and kind else None
        if not success or (isinstance(answer, dict) and answer.get("error")):
            raise AnswerError(f"HTTP {response.status_code}", LATER, response)
        if kind and not isinstance(answer, kind):
            raise AnswerError("an answer of another form than expected", LATER, response)
        return answer

    def words(self, response: requests.Response) -> str:
        """Return what the server says is wrong: its `error` field, or the beginning of its text."""
        said = response.headers.get("Location") or re.sub("<[^<>]*>", " ", response.text)
        with contextlib.suppress(AnswerError, LookupError, TypeError):
            said = str(oauth.read_json(response)["error"])
        return " ".join(self.console.mask(said).split())[:200]

    def step(self, title: str, action: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Run one step and return its result; None if it failed, or if all has to stop."""
        if self.console.stopped:
            return None
        self.console.say()
        self.console.say(title)
        try:
            return action(*values, **options)
        except oauth.OAuthError as error:
            message, hint = f"{self.doing}: {error}", error.hint
            if error.response is not None:
                if error.response.is_redirect:  # which was refused before `show` saw it
                    self.show(error.response)
                message += f": {self.words(error.response) or 'nothing more said'}"
                self.console.stopped |= error.response.status_code == 429
        except (OSError, ValueError) as error:  # of requests, and what it lets through
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            message, hint = f"{self.doing}: {type(error).__name__}: {cause}", LATER
        known = (HELP[pattern] for pattern in HELP if re.search(pattern, message))
        self.console.complain("error", message, next(known, hint))
        return None

    def log_in(self, credentials: oauth.Credentials) -> None:
        self.doing = "POST /oauth/live_session_token"
        token = oauth.request_live_session_token(self.session, self.base_url, credentials)
        self.console.hide(token.token)
        self.session.auth = oauth.OAuth1(credentials, token.token)
        self.console.say(f"    valid until  {token.expires:%Y-%m-%d %H:%M:%S} UTC")

    def listing(self, path: str, kind: type, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Print what the keys hold of each object in the answer, a list or a dict of them."""
        answer = self.call("GET", path, kind)
        items = objects(answer if kind is list else list(answer.values()))
        self.console.table(keys, items)
        return items

    def accounts(self) -> str:
        """Return the id of the first account."""
        for account in self.listing("/portfolio/accounts", list, ("accountId", "type", "currency")):
            name = account.get("accountId")
            if isinstance(name, str) and name.strip("."):  # ".." leads elsewhere, however encoded
                return name
        raise AnswerError("no account in the answer", "ask IBKR for access to one")

    def summary(self, path: str) -> None:
        answer = self.call("GET", path, dict)
        items = [{"name": name, **item} for name in SUMMARY for item in objects([answer.get(name)])]
        known = [item for item in items if not item.get("isNull")]
        self.console.table(("name", "amount", "currency"), known)

    def stock(self) -> str:
        """Return the contract id of the symbol's first listing, in the US if there is one."""
        symbol = self.options.symbol
        answer = self.call("GET", "/trsrv/stocks", dict, params={"symbols": symbol})
        listings = [
            {**company, **contract, "conid": str(conid)}
            for company in objects(answer.get(symbol))
            for contract in objects(company.get("contracts"))
            if type(conid := contract.get("conid")) is int and conid > 0
        ]
        if not listings:
            raise AnswerError(f"no stock has the symbol {symbol}", "try another --symbol")
        listings.sort(key=lambda listing: listing.get("isUS") is not True)
        self.console.table(("name", "exchange", "conid"), listings)
        return str(listings[0]["conid"])

    def quote(self, conid: str, session: dict[str, Any]) -> None:
        """Wait for the brokerage session, and print a quote unless another one is in its place."""
        for _ in range(10):
            status = self.call("POST", "/iserver/auth/status", dict)
            up = status.get("authenticated") is True and status.get("connected") is True
            ready = up and status.get("established") is not False
            if ready or status.get("fail"):
                break
        taken = session.get("passed") is False or status.get("fail") or status.get("competing")
        if not ready and not taken:
            raise AnswerError("the brokerage session is not ready", "try again in a minute")
        if ready and self.call("GET", "/iserver/accounts", dict):
            self.snapshot(conid)
        elif self.options.compete:
            raise AnswerError("the brokerage session is refused", "log out elsewhere, then wait")
        else:
            self.console.say("    left out: another session has the market data; see --compete")

    def snapshot(self, conid: str) -> None:
        """Poll for a quote, as the first answer only subscribes, and print it."""
        params = {"conids": conid, "fields": "31,84,85,86,88,6509"}
        for _ in range(8):
            answer = self.call("GET", "/iserver/marketdata/snapshot", list, params=params)
            for item in (item for item in objects(answer) if str(item.get("conid")) == conid):
                data = {k: v for k, v in item.items() if isinstance(v, str) and v not in ("", "-1")}
                quality = QUALITY.get(data.get("6509", "-")[0], "unknown")
                if "31" in data or {"84", "86"} <= data.keys() or quality == "not subscribed":
                    last = data.get("31", "-").replace("C", "previous close ")
                    self.console.say(f"    last  {last.replace('H', 'halted ')}")
                    self.console.say(f"    bid   {data.get('84', '-')} x {data.get('88', '-')}")
                    self.console.say(f"    ask   {data.get('86', '-')} x {data.get('85', '-')}")
                    self.console.say(f"    data  {quality}")
                    return
        raise AnswerError("no price after 8 questions", "try while the market is open")

    def run(self, credentials: oauth.Credentials) -> None:
        """All steps but the logout."""
        self.step("Live session token", self.log_in, credentials)
        if self.session.auth is None:
            return
        init, wish = "/iserver/auth/ssodh/init", {"publish": True, "compete": self.options.compete}
        session = self.step("Brokerage session", self.call, "POST", init, dict, json=wish)
        account = self.step("Accounts", self.accounts)
        if account is not None:
            path, whose = "/portfolio/" + quote(account, safe="", errors="replace"), f"of {account}"
            self.step(f"Summary {whose}", self.summary, f"{path}/summary")
            self.step(f"Ledger {whose}", self.listing, f"{path}/ledger", dict, LEDGER)
            self.step(f"Positions {whose}", self.listing, f"{path}/positions/0", list, POSITION)
        conid = self.step(f"Stock {self.options.symbol}", self.stock)
        if conid is not None and session is not None:
            self.step(f"Quote of {self.options.symbol}", self.quote, conid, session)

    def log_out(self) -> None:
        """Log out if there is a token, whatever happened."""
        if self.console.status == 130:  # it may have left a lock in the connection pool locked
            self.session.mount(self.base_url, HTTPAdapter())
        self.console.stopped = False
        if self.session.auth is not None:
            self.step("Logout", self.call, "POST", "/logout", timeout=10)
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
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, console: Console) -> int:
    """Return the exit status: 0 all well, 1 something failed, 2 nothing was sent."""
    config = load_config(options.config, console, options.check)
    if len(config) < len(FIELDS):
        return 2
    if options.check:
        console.say("no errors; nothing was sent")
        return console.status
    console.say(f"config    {options.config}")
    console.say(f"realm     {config['realm']}")
    console.say(f"consumer  {config['consumer_key']}")
    console.say(f"host      {urlsplit(config['base_url']).netloc}")
    oauth.log.handlers = [console]
    oauth.log.setLevel(logging.DEBUG if options.verbose else logging.WARNING)
    demo = Demo(config.pop("base_url"), options, console)
    config["signature_key"] = config.pop("signature_key_fp")
    del config["encryption_key_fp"]  # it decrypted the secret, and is done
    try:
        demo.run(oauth.Credentials(**config))
        on_interruption(signal.SIG_IGN)  # here and not later: the logout must not be cut off
    finally:
        demo.log_out()
    return console.status


def main(arguments: list[str] | None = None) -> int:
    """Run the demo with the command line's arguments; return its exit status."""
    console = Console()

    def interrupt(*_: object) -> None:
        on_interruption(signal.SIG_IGN)  # once is enough
        console.status, console.stopped = 130, True
        raise KeyboardInterrupt

    on_interruption(interrupt)
    try:
        return run(command_line(arguments), console)
    except CredentialsError as problem:
        console.complain("error", str(problem), problem.hint)
        return 2
    except KeyboardInterrupt:
        console.say("interrupted", error=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
