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

HELP = {  # what helps with "STATUS PATH TEXT" of an answer, or with a failure; the first match
    "^401 /oauth/.*invalid consumer": "compare the nine characters and their case; a new key"
    " works after a day or a weekend; paper and live have keys of their own",
    "^401 /oauth.*LST failed": "generate the token again, copy both values: that ends the old ones",
    "^401 /oauth/": "access token, realm, signature key or this computer's clock may be wrong",
    "^401 /iserver/": "another session took over: close TWS and IBKR Mobile, or use --compete",
    "^401 /portfolio/.*/": "this session does not know the account; nothing is wrong with the keys",
    "^401": "the live session token is not accepted any more: run the demo again",
    "no bridge": "the brokerage session is not ready: run the demo again in a minute",
    "query /accounts first": "the brokerage session was renewed on the way: run the demo again",
    "sso dh token": "a fault of IBKR's, mostly with new paper users: ask its API support",
    "^403": "this address is blocked: try without a VPN, or from another network",
    "^404": "check base_url in the config",
    "^30": "a proxy or a log-in page may answer in IBKR's place: check the network and base_url",
    "^410": "run the demo again, or set base_url to https://1.api.ibkr.com/v1/api",
    "^429": "too many requests: wait 15 minutes, each try before prolongs the ban",
    "^503": "IBKR is slow or in maintenance (midnight, Saturday evening, New York): try later",
    "^SSLError": "check base_url; your own proxy's certificate belongs into REQUESTS_CA_BUNDLE",
    "^407|^ProxyError": "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    "^Connect": "check the network, and base_url in the config",
    "": "try later; with -v the demo shows every answer whole",
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
                self.complain("error", f"cannot write: {problem.strerror}", "make room for it")

    def complain(self, kind: str, message: str, hint: str) -> None:
        """Print an "error" or a "warning", and what to do about it."""
        self.failed |= kind == "error"
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
        raise Wrong(f"{path}: {error.strerror}", "check the path and its rights") from None


# The checks of the config's fields. Each gets the text and the values of the fields before; it
# returns the value and a remark on it, or raises what is wrong, and a hint if it has its own.


def plain_text(text: str, _: object) -> tuple[str, str]:
    return text, f"{len(text)} characters"


def private_key(path: str, _: object) -> tuple[RSA.RsaKey, str]:
    pem = read_file(path)
    if "ENCRYPTED" in pem:
        raise Wrong(f"{path} has a passphrase", f"remove it: openssl rsa -in {path} -out NEW.pem")
    try:
        key = RSA.import_key(pem[pem.find("-----BEGIN ") :].strip())
    except (ValueError, IndexError, TypeError, ArithmeticError):
        raise Wrong(f"{path} is not an RSA key in PEM form") from None
    if not key.has_private() or key.size_in_bits() < 2048:
        raise Wrong(f"{path} is not a private key of 2048 bits or more")
    return key, f"RSA private key, {key.size_in_bits()} bits"


def decrypted_secret(text: str, found: dict[str, Any]) -> tuple[bytes, str]:
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


def prime_number(text: str, _: object) -> tuple[int, str]:
    """Read hex as openssl prints it: with colons, spaces, line breaks, 0x, leading zeros."""
    prime = int(re.sub(r"[\s:]", "", text), 16)
    bits = prime.bit_length()
    if not 2040 <= bits <= 8192:
        raise Wrong(f"has {bits} bits, about 2048 are right")
    fingerprint = hashlib.sha256(f"{prime:X}".encode()).hexdigest()[:8]
    # Fermat's test catches every slip of the pen. The number in IBKR-2018 is no prime, yet used.
    if pow(2, prime - 1, prime) != 1 and fingerprint != "c039f329":
        raise Wrong("not a prime: a digit is wrong or missing")
    return prime, f"{bits} bits, SHA-256 {fingerprint}..."


URL = (  # http on this computer only
    r"(?a)(https://[\w.-]+|http://(localhost|127(\.\d+){3}|\[::1\]))(:\d{1,5})?(/[\w.~-]+)*/?",
    "a URL like https://host/path",
)
WORD = ("[!-~]+", "plain ASCII without spaces")
PATH = (r"(?!.*-----BEGIN)[^\0-\x1f\ud800-\udfff]{1,250}", "a path; a backslash is written twice")
HEX = (r"(0[xX])?[\s:]*[0-9a-fA-F][0-9a-fA-F\s:]*", "a number in hex")
NUMBER = (r"[2-9]|[1-9]\d+", "a whole number from 2 on")
OPTIONAL = {"base_url": "https://api.ibkr.com/v1/api", "dh_generator": 2}
FIELDS: dict[str, tuple[tuple[str, str], Callable[[str, Any], tuple[Any, str]], str]] = {
    "base_url": (URL, lambda url, _: (url.removesuffix("/"), url), "leave it out for IBKR's own"),
    "realm": (WORD, plain_text, "limited_poa, or test_realm for the consumer TESTCONS"),
    "consumer_key": (WORD, plain_text, "copy the nine characters saved in the self-service portal"),
    "signature_key_fp": (PATH, private_key, "give the path of private_signature.pem"),
    "encryption_key_fp": (PATH, private_key, "give the path of private_encryption.pem"),
    "access_token": (WORD, plain_text, "copy it from the page that generated it"),
    "access_token_secret": (WORD, decrypted_secret, "copy all of it from where it was generated"),
    "dh_prime": (HEX, prime_number, "copy what this prints: openssl asn1parse -in dhparam.pem"),
    "dh_generator": (NUMBER, lambda text, _: (int(text), text), "leave it out: openssl's is 2"),
}


def field_text(values: dict[str, Any], name: str, pattern: str, form: str) -> str:
    value, kind = values.get(name, ""), type(OPTIONAL.get(name, ""))
    if type(value) is not kind:
        raise Wrong("not a text in quotes" if kind is str else "not a whole number")
    text = str(value).strip()
    if re.match("(your|path-to|generated)-|$", text):
        raise Wrong("not filled in")
    if not re.fullmatch(pattern, text):
        raise Wrong(f"not {form}")
    return text


def warnings(values: dict[str, Any], found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Point out what can be right, but seldom is: field, message and hint."""
    consumer, key = found.get("consumer_key"), found.get("signature_key_fp")
    realm = "test_realm" if consumer == "TESTCONS" else "limited_poa"
    if consumer and found.get("realm", realm) != realm:
        yield "realm", "does not fit the consumer key", FIELDS["realm"][2]
    if consumer and not re.fullmatch("[A-Z0-9]{9}|TESTCONS", consumer):
        hint = "the portal stores it in capitals; its case matters"
        yield "consumer_key", "not nine capitals or digits", hint
    if key is not None and key == found.get("encryption_key_fp"):
        yield "signature_key_fp", "also the encryption key", "make two keys"
    for name in ("signature_key_fp", "encryption_key_fp"):
        if name in found and os.name == "posix" and os.stat(values[name]).st_mode & 0o077:
            yield name, "others may read the file", f"chmod 600 {values[name]}"
    for name in sorted(values.keys() - FIELDS.keys()):
        close = difflib.get_close_matches(name, FIELDS)
        yield name, "unknown field", f"did you mean {close[0]}?" if close else "it is ignored"


def load_config(path: str, console: Console, show: bool) -> dict[str, Any]:
    """Read forgivingly, judge strictly: return what is right, and complain of all that is not."""
    try:
        values = {**OPTIONAL, **json.loads(read_file(path), strict=False)}
    except (ValueError, TypeError, RecursionError) as error:
        hint = "look there, and at the line before; in a path, write a backslash twice"
        raise Wrong(f"{path}: not a JSON object: {error}", hint) from None
    for name in ("access_token", "access_token_secret"):
        console.hide(str(values.get(name)).strip())
    found: dict[str, Any] = {}
    for name, (form, check, hint) in FIELDS.items():
        try:
            text = field_text(values, name, *form)
            if form is PATH:
                text = values[name] = os.path.join(os.path.dirname(path), os.path.expanduser(text))
            found[name], remark = check(text, found)
        except Wrong as problem:
            console.complain("error", f"{path}: {name}: {problem}", problem.hint or hint)
        else:
            if show:
                console.say(f"  ok  {name:<20} {remark}")
    for name, message, hint in warnings(values, found):
        console.complain("warning", f"{path}: {name}: {message}", hint)
    console.hide(found.get("access_token_secret", b""))
    return found


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of what should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


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
        response.encoding = "utf-8"
        milliseconds = response.elapsed.total_seconds() * 1000
        self.console.say(f"  {self.doing:<50} {response.status_code} {milliseconds:>7,.0f} ms")
        if self.options.verbose:
            for line in self.console.mask(response.text).splitlines():
                self.console.say(f"    < {line}")
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):  # no date in it
            offset = parsedate_to_datetime(response.headers["Date"]).timestamp() - time()
            if abs(offset) > 30 and self.session.auth is None:
                side = "behind" if offset > 0 else "ahead of"
                message = f"this computer's clock is {abs(offset):,.0f} s {side} the server's"
                hint = "set the clock: signatures carry the time"
                self.console.complain("warning", message, hint)

    def words(self, response: requests.Response) -> str:
        """Return what the server says is wrong: its `error` field, or the beginning of its text."""
        try:
            said = str(oauth.read_json(response)["error"])
        except (AnswerError, LookupError, TypeError):
            said = re.sub("<[^<>]*>", " ", response.text)
        if response.is_redirect:
            said = f"to {response.headers['Location']}"
        return " ".join(self.console.mask(said).split())[:200]

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
                said = self.words(error.response)
                message += f": {said}" if said else ""
                failure = f"{error.response.status_code} {self.doing.split()[1]} {said}"
                self.console.stopped |= error.response.status_code == 429
        except (OSError, ValueError) as error:  # of requests, and what it lets through
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            message, hint, failure = f"no complete answer: {cause}", "", type(error).__name__
        if failure:
            hint = next(HELP[pattern] for pattern in HELP if re.search(pattern, failure))
        self.console.complain("error", f"{self.doing}: {message}", hint)
        return None

    def log_in(self, credentials: oauth.Credentials) -> None:
        self.doing = "POST /oauth/live_session_token"
        token = oauth.request_live_session_token(self.session, self.base_url, credentials)
        self.console.hide(token.token)
        self.session.auth = oauth.OAuth1(credentials, token.token)
        self.console.say(f"    valid until  {token.expires:%Y-%m-%d %H:%M:%S} UTC")

    def open_brokerage_session(self) -> bool:
        """Return whether it was refused, which may change."""
        wish = {"publish": True, "compete": self.options.compete}
        answer = self.call("POST", "/iserver/auth/ssodh/init", dict, json=wish)
        refused = answer.get("passed") is False
        waiting = "refused for now" if refused else "settling, asked again for the quote"
        self.console.say(f"    state  {'ready' if ready(answer) else waiting}")
        return refused

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
        answer = self.call("GET", f"{path}/summary", dict)
        items = [{"name": key, **item} for key in SUMMARY for item in objects([answer.get(key)])]
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

    def quote(self, conid: str, refused: bool) -> None:
        if self.brokerage_ready(refused) and self.call("GET", "/iserver/accounts", dict):
            data = self.snapshot(conid)
            last = data.get("31", "-")
            remark = {"C": " (previous close)", "H": " (halted)"}.get(last[0], "")
            self.console.say(f"    last  {last.lstrip('CH')}{remark}")
            self.console.say(f"    bid   {data.get('84', '-')} x {data.get('88', '-')}")
            self.console.say(f"    ask   {data.get('86', '-')} x {data.get('85', '-')}")
            self.console.say(f"    data  {QUALITY.get(data.get('6509', '-')[0], 'unknown')}")
        elif self.options.compete:
            raise AnswerError("the brokerage session is refused", "log out elsewhere, then wait")
        else:
            self.console.say("    left out: another session of this username has the market data;")
            self.console.say("    --compete takes it over, and logs out its TWS or IBKR Mobile")

    def snapshot(self, conid: str) -> dict[str, str]:
        """Poll for a quote: the first answer only subscribes."""
        params = {"conids": conid, "fields": "31,84,85,86,88,6509"}
        for attempt in range(8):
            sleep(POLL if attempt else 0)
            answer = self.call("GET", "/iserver/marketdata/snapshot", list, params=params)
            for item in objects(answer):
                data = {k: v for k, v in item.items() if isinstance(v, str) and v not in ("", "-1")}
                priced = "31" in data or {"84", "86"} <= data.keys()
                if str(item.get("conid")) == conid and (priced or data.get("6509", "")[:1] == "N"):
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
            self.step(f"Summary of {account}", self.summary, path)
            self.step(f"Ledger of {account}", self.listing, f"{path}/ledger", dict, LEDGER)
            self.step(
                f"Positions of {account}", self.listing, f"{path}/positions/0", list, POSITION
            )
        conid = self.step(f"Stock {self.options.symbol}", self.stock)
        if conid is not None and refused is not None:
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


def run(options: argparse.Namespace, console: Console) -> int:
    """Return the exit status: 0 all well, 1 something failed, 2 nothing was sent."""
    config = load_config(options.config, console, options.check)
    if len(config) < len(FIELDS):
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
    demo = Demo(config.pop("base_url"), options, console)
    config["signature_key"] = config.pop("signature_key_fp")
    del config["encryption_key_fp"]  # it decrypted the secret, and is done
    try:
        demo.run(oauth.Credentials(**config))
        on_interruption(signal.SIG_IGN)  # here and not later: the logout must not be cut off
    except KeyboardInterrupt:  # which may have left a lock in the connection pool locked for good
        demo.session.mount(demo.base_url, HTTPAdapter())
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
    except Wrong as problem:
        console.complain("error", str(problem), problem.hint)
        return 2
    except KeyboardInterrupt:
        console.say("interrupted", error=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
