"""Demo of Interactive Brokers' (IBKR) Client Portal API with first-party OAuth 1.0a.

Checks a config, logs in, calls a handful of read-only endpoints, prints what they answer, and
logs out. How the signing works is in oauth.py, what is checked beforehand in keys/check.py, and
what is never shown in keys/mask.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from time import monotonic, sleep, time
from typing import Any, Callable, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit

import requests

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # for Pythons told to leave it out

import oauth
from keys import check, mask

# In place of this, put the path of your own config: r"path-to-your-app-config". A relative one
# begins at the folder of this file; "~" is your home; keep the r, and a \ needs no doubling.
CONFIG = r"test-config.json"

PACE = 0.11  # seconds from the start of a request to the next: IBKR bars whoever sends 11 in one
ANSWER_SECONDS = 30.0  # for one answer, to its last byte, however long each wait in it may be
LOGOUT_SECONDS = 10.0  # for the logout, with its second try
STATUS_SECONDS = 10  # to ask, once a second, whether the brokerage session is up
QUOTE_SECONDS = 8  # to ask, twice a second, for a quote that is complete
MAX_LINES = 2000  # of an answer, with --verbose
MAX_LINE = 4000  # characters of one
MAX_READABLE = 500_000  # bytes of an answer that is worth to be taken apart, and letters shown
TOKEN_PATH = "/oauth/live_session_token"
TOO_DEEP = "an answer that is nested too deep"

T = TypeVar("T")


class Problem(Exception):
    """What a step has to say when an answer is of no use, and what helps."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class Stop(Exception):
    """Nothing but the logout may follow."""


class OutOfTime(BaseException):
    """An answer took too long. No Exception, which libraries take for one of their own."""


class OutputClosed(Exception):
    """Nobody reads the output any more."""


SENDING_ERRORS = (oauth.OAuthError, requests.RequestException, OSError, ValueError)
"""What a request raises: ours, those of `requests`, and those that leak through it."""


# The steps


class Demo:
    """The story: one method for each endpoint, with its request and what is shown of the answer."""

    def __init__(
        self, client: Client, console: Console, report: check.Report, options: argparse.Namespace
    ) -> None:
        self.client = client
        self.console = console
        self.report = report
        self.compete: bool = options.compete
        self.symbol: str = options.symbol
        self.wanted_account: str | None = options.account
        self.brokerage = "none"  # then "settling", "ready", or "refused"

    def run(self, credentials: oauth.Credentials) -> None:
        """Go through all steps but the logout. Where one fails, those that need its result are left
        out; only HTTP 429 and an answer that took too long end them all, by Stop."""
        logged_in = self.step("Live session token", self.log_in, credentials)
        if not logged_in:
            return
        self.step("Brokerage session", self.brokerage_session)
        account = self.step("Accounts", self.accounts)
        if account:
            self.step(f"Summary of {account}", self.summary, account)
            self.step(f"Ledger of {account}", self.ledger, account)
            self.step(f"Positions of {account}", self.positions, account)
        conid = self.step(f"Stock {self.symbol}", self.stock)
        if conid:
            self.step(f"Quote of {self.symbol}", self.quote, conid)
            self.step(f"Daily bars of {self.symbol}", self.history, conid)

    def step(self, title: str, action: Callable[..., T], *values: object) -> T | None:
        """Run one step under its heading, and return its result, None if it failed. Raises Stop if
        nothing more may be sent."""
        self.console.say()
        self.console.say(title)
        try:
            return action(*values)
        except (*SENDING_ERRORS, Problem, OutOfTime) as error:
            message, hints = explain(error, self.client, self.report)
            self.console.error(message, *hints)
            if isinstance(error, OutOfTime) or self.client.status == 429:
                raise Stop from None
            return None

    def log_in(self, credentials: oauth.Credentials) -> bool:
        token = self.client.log_in(credentials)
        self.console.say(f"    valid until  {token.expires:%Y-%m-%d %H:%M:%S} UTC")
        return True

    def brokerage_session(self) -> None:
        """Ask for the brokerage session, which opens /iserver. It may come up a little later."""
        wish = {"publish": True, "compete": self.compete}
        answer = self.client.post("/iserver/auth/ssodh/init", dict, wish)
        self.judge_session(answer)

    def judge_session(self, answer: dict[str, Any]) -> None:
        """Keep what init or status says of the brokerage session; say it if it is refused."""
        self.brokerage = session_state(answer)
        reason = answer.get("fail") or answer.get("message")
        if self.brokerage == "taken":
            self.brokerage = "refused"
            close = "close TWS, IBKR Mobile and Client Portal of this username, and run again"
            if self.compete:
                raise Problem("refused, in spite of --compete", close)
            taken = "another session of this username holds the brokerage session"
            instead = "or run with --compete, which logs them out"
            self.console.warning(taken, close, instead)
        elif isinstance(reason, str) and reason:
            if self.brokerage != "ready":
                self.brokerage = "refused"
            raise Problem(f"IBKR says: {self.console.secrets.excerpt(reason)}", LATER)

    def accounts(self) -> str:
        """Return the id of the account to show: the one asked for, or the first, but no group."""
        answer = self.client.get("/portfolio/accounts", list)
        self.console.table(("accountId", "type", "currency"), objects(answer))
        ids = [account.get("accountId") for account in objects(answer)]
        names = [name for name in ids if isinstance(name, str) and is_account_id(name)]
        if self.wanted_account in names:
            return self.wanted_account
        if self.wanted_account is not None and names:
            listed = shortened(", ".join(names), 200)
            raise Problem(f"no account {self.wanted_account}", f"IBKR lists {listed}")
        for name in names:
            if name.strip().lower() != "all":
                return name
        raise Problem("no account in the answer", "ask IBKR for access to one")

    def summary(self, account: str) -> None:
        answer = self.client.get(f"/portfolio/{in_path(account)}/summary", dict)
        items = []
        for name in SUMMARY:
            item = answer.get(name)
            if isinstance(item, dict) and not item.get("isNull"):
                items.append({"name": name, **item})
        self.console.table(("name", "amount", "currency"), items)

    def ledger(self, account: str) -> None:
        answer = self.client.get(f"/portfolio/{in_path(account)}/ledger", dict)
        columns = ("currency", "cashbalance", "settledcash", "stockmarketvalue")
        self.console.table((*columns, "netliquidationvalue"), objects(list(answer.values())))

    def positions(self, account: str) -> None:
        """Print the first ten of the first page, which has up to 100; the next is /positions/1."""
        answer = self.client.get(f"/portfolio/{in_path(account)}/positions/0", list)
        columns = ("contractDesc", "position", "mktPrice", "mktValue", "unrealizedPnl", "currency")
        self.console.table(columns, objects(answer))

    def stock(self) -> str:
        """Return the contract id of the symbol's first listing, in the US if there is one."""
        answer = self.client.get("/trsrv/stocks", dict, {"symbols": self.symbol})
        listings = []
        for company in objects(answer.get(self.symbol)):
            for contract in objects(company.get("contracts")):
                if is_conid(contract.get("conid")):
                    listing = {
                        "name": company.get("name"),
                        "exchange": contract.get("exchange"),
                        "conid": str(contract["conid"]),
                        "isUS": contract.get("isUS"),
                    }
                    listings.append(listing)
        if not listings:
            raise Problem(f"no stock has the symbol {self.symbol}", symbol_hint(self.symbol))
        listings.sort(key=lambda listing: listing.get("isUS") is not True)
        self.console.table(("name", "exchange", "conid"), listings)
        return str(listings[0]["conid"])

    def quote(self, conid: str) -> None:
        """Print last, bid and ask, and how old they may be."""
        if not self.session_is_up():
            return
        answer = self.client.get("/iserver/accounts", dict)
        if not answer.get("accounts"):
            why = "the username has none, or its brokerage session is not up"
            raise Problem("no account in the answer", why)
        data = self.snapshot(conid)
        if not data:
            raise Problem(f"no price in {QUOTE_SECONDS} s", "try while the market is open")
        self.console.say(f"    last  {last_price(data)}")
        self.console.say(f"    bid   {data.get(BID, '-')} x {data.get(BID_SIZE, '-')}")
        self.console.say(f"    ask   {data.get(ASK, '-')} x {data.get(ASK_SIZE, '-')}")
        self.console.say(f"    data  {availability(data)}")

    def session_is_up(self) -> bool:
        """Wait for the brokerage session, which every step under /iserver needs, or say that the
        step is left out."""
        if self.brokerage == "settling":
            self.wait_for_session()
        if self.brokerage != "ready":
            self.console.say("    left out: there is no brokerage session")
        return self.brokerage == "ready"

    def wait_for_session(self) -> None:
        """Ask once a second until the brokerage session is up or refused."""
        ends = monotonic() + STATUS_SECONDS
        for _ in range(STATUS_SECONDS):
            self.brokerage = "refused"  # unless the answer says otherwise
            self.judge_session(self.client.post("/iserver/auth/status", dict))
            if self.brokerage != "settling":
                return
            if monotonic() > ends:
                break
            sleep(1)
        self.brokerage = "refused"
        raise Problem("the brokerage session is not ready", "try again in a minute")

    def snapshot(self, conid: str) -> dict[str, str]:
        """Return what there is of a quote: the first answer only subscribes, then it fills up."""
        fields = (LAST, BID, ASK_SIZE, ASK, BID_SIZE, AVAILABILITY)
        params = {"conids": conid, "fields": ",".join(fields)}
        ends = monotonic() + QUOTE_SECONDS
        data: dict[str, str] = {}
        for _ in range(2 * QUOTE_SECONDS):
            answer = self.client.get("/iserver/marketdata/snapshot", list, params)
            for item in objects(answer):
                if str(item.get("conid")) == conid:
                    data.update(present(item, fields))
            complete = {LAST, BID, ASK, AVAILABILITY} <= data.keys()
            if complete or monotonic() > ends:
                break
            sleep(0.5)
        return data

    def history(self, conid: str) -> None:
        """Print the last five daily bars."""
        if not self.session_is_up():
            return
        params = {"conid": conid, "period": "1m", "bar": "1d"}
        answer = self.client.get("/iserver/marketdata/history", dict, params)
        bars = objects(answer.get("data"))
        if not bars:
            raise Problem("no bars in the answer", LATER)
        names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
        rows = []
        for bar in bars[-5:]:
            row = {name: bar.get(letter) for name, letter in names.items()}
            rows.append({"date": date_of(bar.get("t")), **row})
        self.console.table(("date", *names), rows)

    def logged_out(self) -> None:
        """Say what became of the logout, which is over."""
        if not self.client.logout_sent:
            return
        self.console.say()
        self.console.say("Logout")
        self.client.show()
        if self.client.logout_error is not None:
            message, hints = explain(self.client.logout_error, self.client, self.report)
            self.console.error(message, *hints)
        elif self.client.still_logged_in():
            hint = "the session ends by itself some minutes after the last request"
            self.console.warning("POST /logout: IBKR says that it did not log out", hint)


# What the steps pick from an answer

SUMMARY = ["netliquidation", "totalcashvalue", "grosspositionvalue", "availablefunds"]
SUMMARY += ["excessliquidity", "buyingpower", "initmarginreq", "maintmarginreq"]
LAST, BID, BID_SIZE, ASK, ASK_SIZE, AVAILABILITY = "31", "84", "88", "86", "85", "6509"
QUALITY = {"R": "real time", "D": "delayed", "Z": "frozen", "Y": "frozen, delayed"}
QUALITY.update(N="not subscribed", O="market-data agreement incomplete")


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of what should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def in_path(text: str) -> str:
    return quote(text, safe="", errors="replace")


def is_account_id(text: str) -> bool:
    """Tell whether a text can be an account's id, which goes into headings and paths."""
    return 0 < len(text.strip(".")) <= len(text) <= 40


def is_conid(value: object) -> bool:
    return type(value) is int and 0 < value < 2**63


def session_state(answer: dict[str, Any]) -> str:
    """Return what init or status says: "ready", "taken" by another session, or "settling".

    `competing` alone is not reliable, so a session that is up counts as up.
    """
    up = answer.get("authenticated") is True and answer.get("connected") is True
    if up and answer.get("established") is not False:
        return "ready"
    forced = str(answer.get("fail", "")).startswith("Force compete capability")
    if forced or answer.get("passed") is False or answer.get("competing") is True:
        return "taken"
    return "settling"


def symbol_hint(symbol: str) -> str:
    if re.search("[./-]", symbol):
        return f'IBKR writes a share class with a space: --symbol "{re.sub("[./-]", " ", symbol)}"'
    return "try another --symbol"


def present(item: dict[str, Any], fields: Sequence[str]) -> dict[str, str]:
    """Return those fields of a snapshot that hold data, as text."""
    found = {}
    for name in fields:
        text = cell(item.get(name)).strip()
        if text not in ("", "-1", "-1.00", "-", "N/A") and len(text) < 40:
            found[name] = text
    return found


def last_price(data: dict[str, str]) -> str:
    last = data.get(LAST, "-")
    marked = re.fullmatch("([CH])([0-9.,]*)", last)
    if not marked:
        return last
    return f"{'previous close' if marked[1] == 'C' else 'halted'} {marked[2] or '-'}"


def availability(data: dict[str, str]) -> str:
    code = data.get(AVAILABILITY)
    if code is None:
        return "-"
    return QUALITY.get(code[0], f"{code}, which this demo does not know")


def date_of(milliseconds: object) -> str:
    """Return the date (UTC) of a time in milliseconds since 1970."""
    if type(milliseconds) is int and 0 < milliseconds < 4e12:
        return f"{datetime.fromtimestamp(milliseconds / 1000, timezone.utc):%Y-%m-%d}"
    return "-"


# The client: one signed call


class Client:
    """Sends one request at a time, no faster than IBKR allows, each bounded in time and size."""

    def __init__(self, base_url: str, console: Console, interruption: Interruption) -> None:
        self.base_url = base_url
        self.console = console
        self.interruption = interruption
        self.timeout: float | tuple[float, float] = oauth.TIMEOUT  # of each wait
        self.session = self.new_session()
        self.request_line = ""  # method and path of the last request
        self.response: requests.Response | None = None  # to the last request
        self.next_start = 0.0
        self.answered: set[str] = set()  # paths, up to the account, that have worked
        self.logout_sent = False
        self.logout_error: Exception | OutOfTime | None = None

    def new_session(self) -> requests.Session:
        session = requests.Session()
        self.interruption.kept.append(session)
        session.headers["User-Agent"] = "ibkr-oauth-demo"  # without one, IBKR answers 403
        session.hooks["response"].append(self.keep)
        session.trust_env = self.base_url.startswith("https:")  # no proxy sees loopback's http
        return session

    def keep(self, response: requests.Response, **_: object) -> None:
        response.encoding = "utf-8"
        self.console.secrets.hide(signature_of(response.request), *cookies_of(response))
        self.response = response

    def get(self, path: str, kind: type[T], params: dict[str, str] | None = None) -> T:
        return self.call("GET", path, kind, params, None)

    def post(self, path: str, kind: type[T], body: dict[str, Any] | None = None) -> T:
        return self.call("POST", path, kind, None, body)

    def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        params: dict[str, str] | None,
        body: dict[str, Any] | None,
    ) -> T:
        """Return the JSON answer, a dict or a list as `kind` says. Raises SENDING_ERRORS and
        OutOfTime."""
        self.exchange(method, path, lambda: self.send(method, path, params, body))
        response = self.received()
        if response.status_code // 100 != 2:
            raise oauth.AnswerError(f"HTTP {response.status_code}", LATER, response)
        answer = oauth.read_json(response)
        if isinstance(answer, dict) and answer.get("error"):
            raise oauth.AnswerError(f"HTTP {response.status_code}", LATER, response)
        if not isinstance(answer, kind):
            message = "an answer of another form than expected"
            raise oauth.AnswerError(message, LATER, response)
        self.answered.add(account_part(path))
        return answer

    def log_in(self, credentials: oauth.Credentials) -> oauth.LiveSessionToken:
        """Request the live session token, and sign all that follows with it."""

        def request_token() -> oauth.LiveSessionToken:
            if self.session.trust_env:
                check_proxy(self.base_url)
            token = oauth.request_live_session_token(
                self.session,
                self.base_url,
                credentials,
                timeout=self.timeout,
                seconds=ANSWER_SECONDS,
            )
            self.session.auth = oauth.HmacSha256Auth(credentials, token.token)
            self.console.secrets.hide(token.token)
            return token

        return self.exchange("POST", TOKEN_PATH, request_token)

    def send(
        self,
        method: str,
        path: str,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        """Send a request, the body as JSON, and read its answer, which `keep` has noted."""
        url = self.base_url + path
        response = self.session.request(
            method, url, params=params, json=body, timeout=self.timeout, stream=True
        )
        oauth.read_answer(response, ANSWER_SECONDS)

    def exchange(self, method: str, path: str, action: Callable[[], T]) -> T:
        """Do what sends one request, in its turn and its time, and show the answer's first line."""
        self.interruption.check()
        self.begin(method, path)
        try:
            result = self.bounded(ANSWER_SECONDS, action)
        except (*SENDING_ERRORS, OutOfTime):
            self.show()
            raise
        self.show()
        return result

    def bounded(self, seconds: float, action: Callable[[], T]) -> T:
        try:
            return self.interruption.limit(seconds, action)
        except OutOfTime:
            self.response = None  # whatever of it has come
            raise
        except oauth.AnswerError as error:
            if error.response not in (None, self.response):  # a redirect, or an interim answer
                self.keep(error.response)
            raise

    def begin(self, method: str, path: str) -> None:
        cookies = self.session.cookies
        if sum(len(cookie.value or "") for cookie in cookies) > 50_000:
            cookies.clear()  # servers refuse longer headers, and IBKR needs none
        sleep(max(0.0, self.next_start - monotonic()))
        self.next_start = monotonic() + PACE
        self.request_line = f"{method} {path}"
        self.response = None

    def received(self) -> requests.Response:
        assert self.response is not None
        return self.response

    @property
    def status(self) -> int:
        """The HTTP status of the last request, 0 if there was no answer."""
        return 0 if self.response is None else self.response.status_code

    def show(self) -> None:
        """Print a line about the last request, with --verbose both sides in full, and a warning if
        the answer to the log-in shows that the clock is off."""
        self.console.signed_requests()
        if self.response is None:
            return
        milliseconds = self.response.elapsed.total_seconds() * 1000
        self.console.say(f"  {self.request_line:<50} {self.status} {milliseconds:>7,.0f} ms")
        self.console.show_answer(self.response)
        offset = self.clock_offset()
        if self.request_line.endswith(TOKEN_PATH) and abs(offset) > check.CLOCK_SECONDS:
            message = f"this computer's clock is {check.clock_words(offset)} the server's"
            self.console.warning(message, "set it: signatures carry the time")

    def clock_offset(self) -> float:
        """Return the seconds that this computer's clock is ahead of the answer's date, if any."""
        with contextlib.suppress(LookupError, TypeError, ValueError, OverflowError):
            date = parsedate_to_datetime(self.received().headers["Date"])
            return time() - date.timestamp()
        return 0.0

    def log_out(self) -> None:
        """Send the logout if there is a token, and print nothing. It alone may be sent twice, since
        the server may have closed the connection meanwhile."""
        if self.session.auth is None:
            return
        self.logout_sent = True
        self.timeout = LOGOUT_SECONDS  # of each wait; the alarm bounds them all, but on Windows
        ends = monotonic() + LOGOUT_SECONDS
        try:
            if self.interruption.cut_off:
                self.renew_session()  # which may have a lock that is taken for ever
            try:
                self.try_logout(ends)
            except requests.ConnectionError:
                self.renew_session()
                self.try_logout(ends)
        except (*SENDING_ERRORS, OutOfTime) as error:
            self.logout_error = error

    def renew_session(self) -> None:
        auth = self.session.auth
        self.session = self.new_session()
        self.session.auth = auth

    def try_logout(self, ends: float) -> None:
        self.begin("POST", "/logout")
        seconds = ends - monotonic()
        self.bounded(seconds, lambda: self.send("POST", "/logout"))
        if self.status // 100 != 2:
            raise oauth.AnswerError(f"HTTP {self.status}", LATER, self.response)

    def still_logged_in(self) -> bool:
        """Tell whether the logout's answer says that it did not happen: what IBKR confirms there is
        that the user is still logged in."""
        try:
            answer = oauth.read_json(self.received())
        except oauth.AnswerError:
            return False
        if not isinstance(answer, dict):
            return False
        return bool(answer.get("error") or answer.get("confirmed")) or answer.get("status") is False


def check_proxy(base_url: str) -> None:
    """Raise Problem if the environment's proxy has a URL that `requests` could not use: it would
    say so by repeating it, perhaps with half of a password."""
    proxies = requests.utils.get_environ_proxies(base_url)
    proxy = requests.utils.select_proxy(base_url, proxies)
    if proxy is None:
        return
    user = r"[^]\[\\/?#]*@"
    label = r"\w([\w-]{0,61}\w)?"
    host = rf"{label}(\.{label})*\.?|\[[0-9a-f:.]+\]"
    form = rf"(?ai)((https?|socks\w+)://)?({user})?({host})(:(?P<port>\d{{1,5}}))?(/[^@]*)?"
    match = re.fullmatch(form, proxy) if re.fullmatch(r"[!-~\xa1-\xff]+", proxy) else None
    if match is None or int(match["port"] or 0) > 65535:
        message = "the proxy's URL is not like http://user:password@host:port, percent-encoded"
        raise Problem(message, KNOWN_STATUS[407])


def signature_of(request: requests.PreparedRequest) -> str:
    """Return the signature that went out, which a server may repeat when it refuses it."""
    header = request.headers.get("Authorization", "")
    return unquote(header.partition('oauth_signature="')[2].partition('"')[0])


def cookies_of(response: requests.Response) -> Iterator[str]:
    """Yield what the answer sets, also those cookies that are none of this server's business."""
    for line in response.raw.headers.getlist("Set-Cookie"):
        yield line.partition("=")[2].partition(";")[0].strip(' "')


class Interruption:
    """Ctrl-C and its like, and the alarm that ends what takes too long.

    The first signal raises KeyboardInterrupt, so that the session is logged out; another Ctrl-C
    ends at once; others do nothing, since the logout is bounded.
    """

    SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last two not everywhere

    def __init__(self) -> None:
        self.seen = False
        self.held = False  # then the first one is noted, and raises nothing
        self.limited = False
        self.cut_off = False  # somewhere in a library, perhaps
        self.kept: list[object] = []  # whose destructors may wait for a lock that was cut off

    def watch(self) -> None:
        for name in self.SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.handle)
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, self.out_of_time)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])  # if a parent blocks it
        sys.unraisablehook = self.unraisable

    def unraisable(self, event: Any) -> None:
        """Pass over what destructors say of objects that were left half made."""
        if not self.cut_off:
            sys.__unraisablehook__(event)

    def handle(self, number: int, _frame: object) -> None:
        if self.seen:
            if number == signal.SIGINT:
                os._exit(130)
            return
        self.seen = True
        if not self.held:
            self.cut_off = True
            raise KeyboardInterrupt

    def limit(self, seconds: float, action: Callable[[], T]) -> T:
        """Return what `action` returns, and raise OutOfTime in it after so many seconds. Time-outs
        of a socket begin anew with each byte; on Windows, which has no alarm, only they hold."""
        try:
            self.limited = True
            set_alarm(max(seconds, 0.001))
            return action()
        finally:
            self.limited = False  # before any call, in which the alarm could raise
            set_alarm(0)

    def out_of_time(self, _number: int, _frame: object) -> None:
        if self.limited:
            self.cut_off = True
            raise OutOfTime

    def check(self) -> None:
        """Raise again what was swallowed: Python does so in destructors."""
        if self.seen:
            raise KeyboardInterrupt


def set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again, if a destructor swallows it


# What errors mean, and what helps

LATER = "try later; with -v the demo shows every answer whole"
KNOWN_WORDS = {
    "no bridge": "the brokerage session is not ready: try again in a minute",
    "query /accounts": "the brokerage session is not ready: try again in a minute",
    "sso dh token": "a fault of IBKR's, mostly with new paper users: ask its API support",
    "invalid signature": "run python -m tests.sandbox --serve: it names what a signature got wrong",
}
KNOWN_STATUS = {
    401: "the live session token is not accepted any more: run the demo again",
    403: "this address is blocked: try without a VPN, or from another network",
    407: "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    410: "run the demo again, or set base_url to https://1.api.ibkr.com/v1/api",
    429: "too many requests: wait 15 minutes, each try before prolongs the ban",
    503: "IBKR is slow or in maintenance (midnight, Saturday, New York): try later",
}


def explain(
    error: Exception | OutOfTime, client: Client, report: check.Report
) -> tuple[str, Sequence[str]]:
    """Return the message for an error of a step, and hints."""
    message = f"{client.request_line}: {error}"
    if isinstance(error, Problem):
        return message, error.hints
    if isinstance(error, OutOfTime):
        return f"{client.request_line}: the answer took too long", [LATER]
    if not isinstance(error, oauth.OAuthError):
        cause = cause_of(error, client.console.secrets)
        return f"{client.request_line}: {cause}", [network_hint(error, client)]
    words = ""
    if error.response is not None:
        words = server_words(error.response, client.console.secrets)
        if words:
            message += f": {words}"
        elif client.status != requests.codes.ok:
            message += ": nothing more said"
    if client.request_line.endswith(TOKEN_PATH):
        ranked = token_hints(error, words, client, report)
        return message, ranked or [answer_hint(error, words, client)]
    return message, [answer_hint(error, words, client)]


def cause_of(error: BaseException, secrets: mask.Secrets) -> str:
    """Return the kind of an error, and the words of what caused it, which say more."""
    cause = error
    while cause.__context__ is not None:
        cause = cause.__context__
    return f"{type(error).__name__}: {secrets.excerpt(str(cause))}"


def network_hint(error: Exception, client: Client) -> str:
    if re.search("certificate (has expired|is not yet valid)", str(error)):
        return "set this computer's clock; if it is right, the certificate is out of date"
    if isinstance(error, requests.exceptions.SSLError) or type(error) is OSError:  # no such bundle
        return "check base_url; your own proxy's certificate belongs into REQUESTS_CA_BUNDLE"
    if isinstance(error, (requests.exceptions.ProxyError, requests.exceptions.InvalidSchema)):
        return KNOWN_STATUS[407]  # the schema is a proxy's: base_url was looked at
    if isinstance(error, requests.ConnectionError):
        first = client.session.auth is None
        return "check the network, and base_url in the config" if first else "check the network"
    return LATER


def token_hints(
    error: oauth.OAuthError, words: str, client: Client, report: check.Report
) -> list[str]:
    """Return the suspects if the token request was refused, or its answer is wrong."""
    if isinstance(error, oauth.ProofError):
        kind = "proof"
    elif isinstance(error, oauth.ResponseRangeError):
        kind = "range"
    elif client.status == 401:
        kind = "refused"
    else:
        return []
    assert report.ingredients is not None
    refusal = check.Refusal(kind, words, client.clock_offset())
    return check.suspects(refusal, report.ingredients, report.findings)


def answer_hint(error: oauth.OAuthError, words: str, client: Client) -> str:
    """Return what helps with an answer that users of IBKR know: by its words, then its status."""
    path = client.request_line.split(" ", 1)[1]
    said = words.lower()
    for known, hint in KNOWN_WORDS.items():
        if known in said:
            return hint
    if client.status == 404:
        first = client.session.auth is None
        return "check base_url in the config" if first else LATER
    if client.status == 401 and path.startswith("/iserver/") and "not authenticated" in said:
        return "another session took over: close TWS and Mobile, or use --compete"
    if client.status == 401 and path.startswith("/portfolio/") and path != "/portfolio/accounts":
        if account_part(path) in client.answered:
            return "this account has answered before: try later"
        return "the account is not this session's; nothing is wrong with the keys"
    if client.status >= 400:
        return KNOWN_STATUS.get(client.status, LATER)
    return error.hint


def account_part(path: str) -> str:
    """Return a path up to the account: /portfolio/DU1/ledger gives /portfolio/DU1."""
    return "/".join(path.split("/")[:3])


def server_words(response: requests.Response, secrets: mask.Secrets) -> str:
    """Return what the server says is wrong: its `error` field, or the beginning of its text."""
    said = response.headers.get("Location") or body_words(response, secrets)
    return secrets.excerpt(said)


def body_words(response: requests.Response, secrets: mask.Secrets) -> str:
    if len(response.content) > MAX_READABLE:
        return response.text
    try:
        answer = oauth.read_json(response)
        if isinstance(answer, dict) and "error" in answer:
            error = answer["error"]
            return error if isinstance(error, str) else json.dumps(secrets.redact(error))
        return json.dumps(secrets.redact(answer))
    except oauth.AnswerError:
        return re.sub("<[^<>]*>", " ", without_entities(response.text))
    except RecursionError:
        return TOO_DEEP


def without_entities(text: str) -> str:
    """Return the text with every &#65; and &amp; decoded."""
    if "&" not in text:
        return text
    import html  # only here: it is slow to load, and few answers need it

    try:
        return html.unescape(text)
    except ValueError:  # a number of more digits than Python reads
        return text


# The console, and what it must not show


class Console:
    """Prints plain ASCII: what was found on stdout, errors, warnings and hints on stderr."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self.secrets = mask.Secrets()
        self.failed = False
        self.requests = RequestLog()

    def clean(self, text: str) -> str:
        """Return the text without secrets, and with escapes for all that is not plain ASCII."""
        return plain(self.secrets.mask(text))

    def say(self, text: str = "") -> None:
        self.write(text, sys.stdout)

    def write(self, text: str, stream: Any, end: str = "\n") -> None:
        """Raise OutputClosed if that fails, and let nothing be written at exit either."""
        if stream is None:  # was closed before the start
            return
        try:
            print(self.clean(text), file=stream, end=end, flush=True)
        except OSError as error:
            silence(stream)
            if stream is sys.stderr:
                raise OutputClosed from None
            self.cannot_write(error)
            raise OutputClosed from None

    def cannot_write(self, error: OSError) -> None:
        """Print why, unless it is that nobody reads any more."""
        if not is_closed_pipe(error):
            self.error(f"cannot write: {error.strerror}", "make room for it")

    def error(self, message: str, *hints: str) -> None:
        self.failed = True
        self.complain("error", message, hints)

    def warning(self, message: str, *hints: str) -> None:
        self.complain("warning", message, hints)

    def complain(self, kind: str, message: str, hints: Sequence[str]) -> None:
        self.write(f"{kind}: {message}", sys.stderr)
        for hint in hints:
            self.write(f"hint: {hint}", sys.stderr)

    def signed_requests(self) -> None:
        """Print what oauth.py has logged since the last time."""
        for line in self.requests.taken():
            self.say(f"    > {line}")

    def show_answer(self, response: requests.Response) -> None:
        """Print an answer whole if --verbose was given: JSON indented, for reading."""
        if not self.verbose:
            return
        with contextlib.suppress(*SENDING_ERRORS):  # which were seen when the answer was read
            text = readable(response, self.secrets)
            lines = self.secrets.mask(text, MAX_READABLE).splitlines()
            for line in lines[:MAX_LINES]:
                self.say(f"    < {shortened(line, MAX_LINE)}")
            if len(lines) > MAX_LINES or len(text) > MAX_READABLE:
                self.say("    < (and more, not shown)")

    def table(self, keys: Sequence[str], items: list[dict[str, Any]]) -> None:
        """Print what the keys hold in the first ten items: the first key's to the left, under their
        count, the others' to the right, under its name."""
        rows = [[cell(item.get(key)) for key in keys] for item in items[:10]]
        cells = [[self.cut(text) for text in row] for row in rows]
        cells.insert(0, [f"{len(rows)} of {len(items)}", *keys[1:]])
        widths = [max(map(len, column)) for column in zip(*cells)]
        for first, *others in cells:
            right = [f"  {text:>{width}}" for text, width in zip(others, widths[1:])]
            self.say(f"    {first:<{widths[0]}}{''.join(right)}")

    def cut(self, text: str) -> str:
        """Return what a table shows of a text: masked first, half a secret is not recognized."""
        return shortened(plain(shortened(self.secrets.mask(text, 1000), 40)), 40)


def readable(response: requests.Response, secrets: mask.Secrets) -> str:
    """Return an answer's text, JSON indented for reading."""
    if len(response.content) > MAX_READABLE:
        return response.text
    try:
        return json.dumps(secrets.redact(oauth.read_json(response)), indent=2)
    except oauth.AnswerError:
        return response.text
    except RecursionError:
        return TOO_DEEP


def shortened(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 3]}..."


def plain(text: str) -> str:
    """Return the text with escapes for all that is not printable ASCII."""
    return re.sub("[^ -~]", lambda match: ascii(match[0])[1:-1], text)


class RequestLog(logging.Handler):
    """Keeps what oauth.py logs of a request until it is over: to print it could take for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def taken(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def silence(stream: Any) -> None:
    """Send what is still in a stream's buffer nowhere, so that Python does not fail at exit."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_closed_pipe(error: OSError) -> bool:
    """Tell whether the reader has gone; Windows says EINVAL then."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == 22)


def cell(value: Any) -> str:
    """Return a JSON text or number for people, "-" for all else that a server may send instead."""
    if is_number(value):
        return number(value)
    return value if isinstance(value, str) and value else "-"


def is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def number(value: int | float) -> str:
    """Return a number with two decimals at least, and as many more as make eight digits in all.

    >>> number(1339037.2), number(0.0066895), number(1.1287749)
    ('1,339,037.20', '0.0066895', '1.1287749')
    """
    exact = Decimal(repr(value))
    if exact and not -9 <= exact.adjusted() <= 17:
        return f"{exact:.8g}"
    decimals = max(2, 7 - exact.adjusted())
    whole, _, fraction = f"{exact:,.{decimals}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"


# The command line


class Parser(argparse.ArgumentParser):
    """Writes plain ASCII only, whatever stands in CONFIG or among the arguments."""

    def format_help(self) -> str:
        return "".join(f"{plain(line)}\n" for line in super().format_help().splitlines())

    def error(self, message: str) -> NoReturn:
        super().error(plain(message))


def command_line(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description="Try IBKR's Client Portal API with OAuth 1.0a.")
    add = parser.add_argument
    add("config", nargs="?", help=f"path of the JSON config (default: {CONFIG})".replace("%", "%%"))
    add("--account", metavar="ID", help="account to show (default: the first)")
    add("--symbol", type=stock_symbol, default="AAPL", help="stock to quote (default: AAPL)")
    take_over = "take the brokerage session over: logs out a TWS or IBKR Mobile of the username"
    add("--compete", action="store_true", help=take_over)
    add("--check", action="store_true", help="check config and keys offline, then stop")
    add("-v", "--verbose", action="store_true", help="show every request and answer whole")
    options = parser.parse_args(arguments)
    if options.config is None:
        options.config = default_config()
    return options


def stock_symbol(text: str) -> str:
    """Return the symbol in capitals, with ? for what is no text."""
    return text.upper().encode(errors="replace").decode()


def default_config() -> str:
    """Return the path in CONFIG, seen from the folder of this file, as short as it can be."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.path.expanduser(CONFIG))
    try:
        short = os.path.relpath(path)
    except (OSError, ValueError):  # the current folder is deleted, or on another drive
        return path
    return min(short, path, key=len)


def load_config(path: str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises Problem."""
    shown = check.shown_path(path)
    try:
        text = check.read_file(os.path.expanduser(path)).decode("utf-8-sig")
        values = json.loads(text, strict=False, object_pairs_hook=each_once)
    except FileNotFoundError:
        raise Problem(f"{shown}: no such file", missing_config(path)) from None
    except OSError as error:
        raise Problem(f"{shown}: {error.strerror}", "check the path") from None
    except json.JSONDecodeError as error:
        hint = "look there, and at the line before; in a path, write a backslash twice"
        raise Problem(f"{shown}: not a JSON object: {error}", hint) from None
    except UnicodeError:
        raise Problem(f"{shown}: not a UTF-8 text", "save it as UTF-8") from None
    except KeyError as twice:
        raise Problem(f"{shown}: {twice.args[0]} is there twice", "leave one of them out") from None
    except (ValueError, RecursionError):
        raise Problem(f"{shown}: not a JSON object", "begin with a template again") from None
    if not isinstance(values, dict):
        raise Problem(f"{shown}: not a JSON object", "begin with a template again")
    return values


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict. Raises KeyError for a name that is there twice."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise KeyError(check.shown_name(name))
        values[name] = value
    return values


def missing_config(path: str) -> str:
    folder, name = os.path.split(os.path.expanduser(path))
    with contextlib.suppress(OSError):
        close = check.closest(name, os.listdir(folder or "."))
        if close:
            return f"did you mean {check.shown_path(os.path.join(folder, close))}?"
    return "check the path"


def hide_text(value: object, secrets: mask.Secrets) -> None:
    """Hide what a config has for a secret, right or not, and the bytes that it may stand for."""
    if isinstance(value, str) and len(value) < 10_000:  # none is longer
        text = value.strip()
        secrets.hide(text, text.encode(errors="replace"), *mask.decoded_bytes(text))


def check_and_report(path: str, console: Console, show: bool) -> check.Report:
    """Check the config, and print what was found: errors and warnings, with `show` all of it."""
    values = load_config(path)
    for name in ("access_token", "access_token_secret"):
        hide_text(values.get(name), console.secrets)
    report = check.check_config(values, os.path.expanduser(path))
    if report.ingredients is not None:
        console.secrets.hide(report.ingredients.access_token_secret)
    name = check.shown_path(path)
    for finding in report.findings:
        message = f"{name}: {finding.name}: {finding.message}"
        if finding.kind == "error":
            console.error(message, *finding.hints)
        elif finding.kind == "warning":
            console.warning(message, *finding.hints)
        elif show:
            console.say(f"  {finding.kind:<4} {finding.name:<21} {finding.message}")
            for hint in finding.hints:
                console.say(f"       {hint}")
    return report


def verdict(report: check.Report) -> str:
    kinds = [finding.kind for finding in report.findings]
    errors, warnings = kinds.count("error"), kinds.count("warning")
    counted = f"{errors} error{'' if errors == 1 else 's'}" if errors else "no errors"
    if warnings:
        counted += f", {warnings} warning{'' if warnings == 1 else 's'}"
    return f"{counted}; nothing was sent"


def run(options: argparse.Namespace, console: Console, interruption: Interruption) -> int:
    """Return the exit status: 0 all well, 1 something failed, 2 nothing was sent."""
    try:
        report = check_and_report(options.config, console, options.check)
    except Problem as problem:
        console.error(str(problem), *problem.hints)
        return 2
    found = report.ingredients
    if options.check:
        console.say(verdict(report))
    if found is None:
        return 2
    if options.check:
        return 0
    say_which(options.config, found, console)
    for password in mask.proxy_passwords():
        console.secrets.hide(password, least=4)
    oauth.log.handlers = [console.requests]
    oauth.log.setLevel(logging.DEBUG if console.verbose else logging.WARNING)
    client = Client(found.base_url, console, interruption)
    run_steps(Demo(client, console, report, options), credentials_of(found), interruption)
    return int(console.failed)


def run_steps(demo: Demo, credentials: oauth.Credentials, interruption: Interruption) -> None:
    """Run all steps, and log out whatever happens; say what became of that only afterwards."""
    try:
        demo.run(credentials)
    except Stop:
        pass
    finally:
        interruption.held = True
        demo.client.log_out()
    interruption.held = False
    interruption.check()
    demo.logged_out()


def say_which(path: str, found: check.Ingredients, console: Console) -> None:
    """Print with what the run is made: paper or live shows here."""
    console.say(f"config    {check.shown_path(path)}")
    console.say(f"realm     {check.shown_realm(found.realm)}")
    console.say(f"consumer  {check.shown_consumer_key(found.consumer_key)}")
    console.say(f"host      {urlsplit(found.base_url).netloc}")


def credentials_of(found: check.Ingredients) -> oauth.Credentials:
    return oauth.Credentials(
        realm=found.realm,
        consumer_key=found.consumer_key,
        access_token=found.access_token,
        access_token_secret=found.access_token_secret,
        signature_key=found.signature_key,
        dh_prime=found.dh_prime,
        dh_generator=found.dh_generator,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the demo with the command line's arguments; return its exit status."""
    console = Console()
    interruption = Interruption()
    try:
        interruption.watch()
        return start(arguments, console, interruption)
    except OutputClosed:
        return 1
    except KeyboardInterrupt:
        say_interrupted(console, interruption)
        return 130
    finally:
        interruption.held = True


def start(arguments: list[str] | None, console: Console, interruption: Interruption) -> int:
    """Read the command line, and run."""
    warnings.filterwarnings("ignore", "http.cookiejar bug")  # a traceback, for a bad Set-Cookie
    try:
        options = command_line(arguments)
    except SystemExit:  # argparse has written, and from Python 3.11 on passed over what failed
        console.write("", sys.stdout, end="")
        console.write("", sys.stderr, end="")
        raise
    except OSError as error:  # before, it did not
        silence(sys.stdout)
        console.cannot_write(error)
        silence(sys.stderr)
        raise OutputClosed from None
    console.verbose = options.verbose
    return run(options, console, interruption)


def say_interrupted(console: Console, interruption: Interruption) -> None:
    """Print that on stderr. Nobody may read either stream any more, so it must not block."""
    silence(sys.stdout)
    try:
        interruption.limit(1, lambda: console.write("interrupted", sys.stderr))
    except OutOfTime:
        silence(sys.stderr)
    except OutputClosed:
        pass


if __name__ == "__main__":
    exit_status = main()
    if exit_status:
        os._exit(exit_status)  # all is written; what was cut off may have left a lock for ever
