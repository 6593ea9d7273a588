"""Demo of Interactive Brokers' (IBKR) Client Portal API with first-party OAuth 1.0a.

Reads a config, logs in, calls a handful of read-only endpoints, prints what they answer, and logs
out. oauth.py shows how requests are signed, keys/check.py what is checked beforehand.

In this order: the steps; the client, which sends all requests; errors and hints; the console, which
prints; the run, which ends with the logout whatever happens; the command line. To learn the API
only, read the classes Demo and Client, and log_out.
"""

from __future__ import annotations

import argparse
import base64
import errno
import json
import logging
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timezone
from math import isclose
from time import monotonic, sleep
from typing import Any, Callable
from urllib.parse import urlsplit

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)  # where python -P and -I do not look

try:
    import requests

    import oauth
    from keys import check
    from keys.check import Problem  # a message and hints; `explain`, below, adds one if it has none
except ImportError as missing:
    file = os.path.join(HERE, "requirements.txt")
    print(f'error: {missing}: run {sys.executable} -m pip install -r "{file}"', file=sys.stderr)
    sys.exit(2)

# The config to use if the command line names none. Put the path of yours here (in IBKR's document:
# path-to-your-app-config), such as r"~/ibkr/config.json". A relative path starts at this folder.
CONFIG = r"test-config.json"

PACE = 0.11  # seconds between the starts of two requests: IBKR blocks whoever sends 11 a second
LOGOUT_TIMEOUT = 5  # seconds; also the time to wait for an interrupted log-in
QUOTE_SECONDS = 8  # how long to ask, twice a second, for a complete quote

# States of the brokerage session
UP, SETTLING, REFUSED, HELD = "up", "settling", "refused", "held by another session"

QUOTE = {  # the fields of a quote
    "31": "last",
    "84": "bid",
    "88": "bid size",
    "86": "ask",
    "85": "ask size",
    "6509": "data",  # a code like "RpB", whose first letter is in QUALITY or UNSUBSCRIBED
}
QUALITY = {"R": "real time", "D": "delayed", "Z": "frozen", "Y": "frozen, delayed"}
UNSUBSCRIBED = {"N": "not subscribed", "O": "market-data agreement incomplete"}
SUMMARY = ["netliquidation", "totalcashvalue", "grosspositionvalue", "availablefunds"]
SUMMARY += ["excessliquidity", "buyingpower", "initmarginreq", "maintmarginreq"]
BAR = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
COUNTS = {"position", "volume"}  # columns with exact numbers, not amounts or prices
# JSON names, in lower case, whose values -v shows as ***: of the account's holder or the session
PRIVATE = {"accountvan", "accounttitle", "displayname", "accountalias", "aliases", "desc"}
PRIVATE |= {"acctdesc", "username", "mac", "hardware_info", "session", "sessionid"}

CLOSE_OTHERS = "close TWS, IBKR Mobile and Client Portal of this username, and run again"
FAULT = "this is a fault of the demo: report it"
SUBSCRIBE = "no market-data subscription for it: see Client Portal, Settings, or another --symbol"
NOT_IBKR = f"is base_url right? IBKR's is {check.BASE_URL}; or a proxy or a log-in page answers"


class Stop(BaseException):
    """Ends the steps, so that the logout comes next. `step` catches an Exception, not this."""


class Demo:
    """The steps: most call one endpoint, and show what is of interest in its JSON."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.console = client.console
        self.options = client.console.options

    def steps(self) -> None:
        """Take all steps except the logout. What lacks its input is left out."""
        credentials, symbol = self.client.credentials, self.options.symbol
        self.console.say(
            f"config    {self.options.config}",
            # The check only warns of a wrong form. It may be a secret in the wrong field: not shown
            f"realm     {check.shown(credentials.realm, check.REALM_FORM)}",
            f"consumer  {check.shown(credentials.consumer_key, check.CONSUMER_FORM)}",
            f"host      {urlsplit(self.client.base_url).netloc}",
        )
        self.step("Live session token", self.log_in)
        if self.client.auth is None:  # it has failed
            return
        brokerage = self.step("Brokerage session", self.open_brokerage_session)
        account = self.step("Accounts", self.accounts)
        if account:
            self.step(f"Summary of {account}", self.summary, account)
            self.step(f"Ledger of {account}", self.ledger, account)
            self.step(f"Positions of {account}", self.positions, account)
        conid = self.step(f"Stock {symbol}", self.stock, symbol)
        if brokerage == SETTLING:  # it has had some time by now
            brokerage = self.step("Wait for the brokerage session", self.await_brokerage_session)
        if brokerage != UP:
            self.console.say("", "Quote and daily bars: left out, without a brokerage session")
            return
        if conid:
            self.step(f"Quote of {symbol}, conid {conid}", self.quote, conid)
            self.step(f"Daily bars of {symbol}, conid {conid}", self.history, conid)

    def step(self, title: str, action: Callable[..., str | None], *values: str) -> str | None:
        """Take one step under its heading. Return its result, or None if it has none or failed."""
        self.console.say("", title)
        try:
            return action(*values)
        except Exception as error:  # such as a KeyError for a field that an answer lacks
            self.console.complain("error", *explain(error, self.client))
            if isinstance(error, requests.Timeout) or self.client.status == 429:
                raise Stop from None  # further steps would wait, too, or prolong the ban
            return None

    def log_in(self) -> None:
        """Request the live session token; the client, a requests.Session, then signs with it."""
        client, credentials = self.client, self.client.credentials
        try:
            # POST /oauth/live_session_token, which oauth.py signs with the RSA key
            token = oauth.request_live_session_token(client, client.base_url, credentials)
        except oauth.ExchangeError as error:  # IBKR's live session token differs from ours
            # Suspects: hints at the likely causes, from the offline check of the config
            raise Problem(str(error), *check.exchange_suspects(client.report)) from None
        except oauth.AnswerError as error:  # the base class: any other bad answer
            raise self.refusal(error) from None
        client.auth = oauth.HmacSha256Auth(credentials, token.token)
        self.console.secrets.append(token.token.hex())
        self.console.secrets.append(base64.b64encode(token.token).decode())
        self.console.say(f"    valid until  {token.expires:%Y-%m-%d %H:%M:%S} UTC")

    def refusal(self, error: oauth.AnswerError) -> Problem:
        """Name the suspects if IBKR has refused keys or tokens, which a 503 or a page does not."""
        status, response = self.client.status, self.client.response
        words = f"{error}: {server_words(response)}"
        if status == 401 or (status in (200, 400) and error_in(response)):
            date = response.headers.get("Date", "")  # shows if the clock is wrong
            return Problem(words, *check.refusal_suspects(self.client.report, words, date))
        return Problem(words)

    def open_brokerage_session(self) -> str:
        """Ask for the brokerage session, which /iserver needs. It may take a moment to come up."""
        body = {"publish": True, "compete": self.options.compete}
        return self.show_session(self.client.call("POST", "/iserver/auth/ssodh/init", json=body))

    def await_brokerage_session(self) -> str:
        """Ask up to ten times, once a second, whether it has come up."""
        for _ in range(10):
            state = self.show_session(self.client.call("POST", "/iserver/auth/status"))
            if state != SETTLING:
                return state
            sleep(1)
        raise Problem("the brokerage session is not up yet", "run again in a minute")

    def show_session(self, answer: dict[str, Any]) -> str:
        """Print and return the state that init or status answered. Raises Problem if the session
        is refused, or held in spite of --compete; without --compete that is only a warning."""
        state = self.session_state(answer)
        words = answer.get("fail") or answer.get("message") or ""
        self.console.say(f"    {state}: {words}" if words else f"    {state}")
        if state == REFUSED:
            raise Problem(f"no brokerage session: {words}")
        if state == HELD:
            if self.options.compete:
                raise Problem(f"{HELD}, in spite of --compete", CLOSE_OTHERS)
            hint = "or run with --compete, which logs it out"
            self.console.complain("warning", f"no brokerage session: {HELD}", CLOSE_OTHERS, hint)
        return state

    @staticmethod
    def session_state(answer: dict[str, Any]) -> str:
        """Return the state in an answer of init or status, of which none has all fields:

        UP        {"authenticated": true, "connected": true, "established": true, "message": ""}
        HELD      {"fail": "Force compete capability must be used together with compete flag"}
                  {"passed": false, "authenticated": false, "connected": true}, {"competing": true}
        SETTLING  {"authenticated": true, "connected": true, "established": false}
                  {"wait": 1000}
        REFUSED   {"fail": "Timeout while contacting the server"}
                  {"message": "consumer key has not yet been authorized for trading"}
        """
        connected = answer.get("authenticated") is True and answer.get("connected") is True
        fail = str(answer.get("fail") or "")
        message = str(answer.get("message") or "").lower()
        if connected and answer.get("established") is not False:
            return UP  # whatever the other fields say
        if fail:
            return HELD if fail.startswith("Force compete capability") else REFUSED
        if answer.get("passed") is False or answer.get("competing") is True:
            return HELD
        if connected or message in ("", "ok"):
            return SETTLING  # nothing speaks against it
        return REFUSED

    def accounts(self) -> str:
        """Return the account to show: the one asked for, or the first that is not the group All."""
        answer = self.client.call("GET", "/portfolio/accounts")
        self.console.table(["accountId", "type", "currency"], answer)
        ids = [str(account["accountId"]) for account in answer]
        wanted = self.options.account
        for account in ids:
            if account == wanted or (not wanted and account != "All"):
                return account
        hint = f"IBKR lists {', '.join(ids)}" if ids else "ask IBKR which accounts the username has"
        raise Problem(f"no account {wanted or 'in the answer'}", hint)

    def summary(self, account: str) -> None:
        answer = self.client.call("GET", f"/portfolio/{account}/summary")
        items = []
        for name in SUMMARY:
            item = answer.get(name)
            if isinstance(item, dict) and not item.get("isNull"):
                items.append({"name": name, **item})
        self.console.table(["name", "amount", "currency"], items)

    def ledger(self, account: str) -> None:
        """Print the cash of each currency; BASE is the total of all, in the base currency."""
        answer = self.client.call("GET", f"/portfolio/{account}/ledger")
        columns = ["currency", "cashbalance", "settledcash", "stockmarketvalue"]
        columns.append("netliquidationvalue")
        self.console.table(columns, list(answer.values()))

    def positions(self, account: str) -> None:
        """Print the first page, of up to 100 positions; the next page is /positions/1."""
        answer = self.client.call("GET", f"/portfolio/{account}/positions/0")
        columns = ["contractDesc", "position", "mktPrice", "mktValue", "unrealizedPnl", "currency"]
        self.console.table(columns, answer)

    def stock(self, symbol: str) -> str:
        """Return the contract id of the symbol's first listing, preferably one in the US."""
        answer = self.client.call("GET", "/trsrv/stocks", params={"symbols": symbol})
        listings = []
        for company in answer.get(symbol) or []:
            for contract in company["contracts"]:
                conid = str(contract["conid"])  # as text: `table` gives numbers commas
                listings.append({**company, **contract, "conid": conid})
        if not listings:
            hint = 'try another --symbol; a share class is written with a space: "BRK B"'
            raise Problem(f"no stock has the symbol {symbol}", hint)
        listings.sort(key=lambda listing: not listing.get("isUS"))
        self.console.table(["name", "exchange", "conid"], listings)
        return str(listings[0]["conid"])

    def quote(self, conid: str) -> None:
        """Print last, bid and ask, and how recent they are."""
        answer = self.client.call("GET", "/iserver/accounts")  # required before a snapshot
        if not answer.get("accounts"):
            hint = "the username has none, or its brokerage session is not up"
            raise Problem("no account in the answer", hint)
        quote = self.snapshot(conid)
        letter = quote["data"][0]  # "-" if none came
        no_price = {quote["last"], quote["bid"], quote["ask"]} == {"-"}
        if no_price and letter not in UNSUBSCRIBED:
            raise Problem(f"no price in {QUOTE_SECONDS} s", "try while the market is open")
        quote["last"] = quote["last"].replace("C", "previous close ")  # as in C187.20
        quote["last"] = quote["last"].replace("H", "halted ")
        quote["data"] = (QUALITY | UNSUBSCRIBED).get(letter, quote["data"])
        self.console.table(list(quote), [quote])
        if letter in UNSUBSCRIBED:
            self.console.complain("warning", f"{self.options.symbol}: {quote['data']}", SUBSCRIBE)

    def snapshot(self, conid: str) -> dict[str, str]:
        """Ask until the quote is complete; the first call only subscribes. "-": what is missing."""
        params = {"conids": conid, "fields": ",".join(QUOTE)}
        began = monotonic()
        quote = dict.fromkeys(QUOTE.values(), "-")
        while monotonic() < began + QUOTE_SECONDS:
            for item in self.client.call("GET", "/iserver/marketdata/snapshot", params=params):
                for field, name in QUOTE.items():
                    text = cell(item.get(field), exact=True)  # IBKR's text, or a number as it is
                    if text not in ("-", "-1", "N/A"):  # IBKR's "-1" and "N/A" mean none, too
                        quote[name] = text
            if "-" not in (quote["last"], quote["bid"], quote["ask"], quote["data"]):
                break
            if quote["data"][0] in UNSUBSCRIBED and monotonic() > began + 2:
                break  # until then, delayed prices may still come
            sleep(0.5)
        return quote

    def history(self, conid: str) -> None:
        """Print the last five daily bars, with the time at which each day's session opened."""
        params = {"conid": conid, "period": "1m", "bar": "1d"}  # m: month
        answer = self.client.call("GET", "/iserver/marketdata/history", params=params)
        factor = answer.get("volumeFactor") or 1
        rows = []
        for bar in answer["data"][-5:]:
            opened = datetime.fromtimestamp(bar["t"] / 1000, timezone.utc)
            day = f"{opened:%Y-%m-%d %H:%M}".replace(" 00:00", "")  # midnight says nothing
            values = {name: bar.get(letter) for letter, name in BAR.items()}
            if values["volume"]:
                values["volume"] *= factor
            rows.append({"opened (UTC)": day, **values})
        self.console.table(["opened (UTC)", *BAR.values()], rows)


class Client(requests.Session):
    """Sends one request at a time, at IBKR's pace, and notes a line for each, for the next `say`.
    All pass through `request`, the one for the token, too, which oauth.py sends by session.post."""

    def __init__(self, report: check.Report, console: Console) -> None:
        super().__init__()
        assert report.credentials is not None  # main checks that
        self.report = report
        self.credentials = report.credentials
        self.base_url = report.good["base_url"]  # `good`: the values that were checked
        self.console = console
        self.headers["User-Agent"] = "ibkr-oauth-demo"
        # The check allows http for localhost only, which the environment's proxy would not reach
        self.trust_env = self.base_url.startswith("https:")
        self.auth: Any = None  # once set, all requests are signed, and a logout must end the run
        self.logging_out = False  # the logout is sent even if the run was stopped
        self.next_start = 0.0  # the earliest time of the next request
        self.request_line = ""  # method and path of the last request
        self.response: Any = None  # its answer (requests.Response), once complete
        self.status = 0  # of its answer

    def call(self, method: str, path: str, **content: Any) -> Any:
        """Send a request and return its answer's JSON. `content`: `params`, a dict of strings, or
        `json`, the body. Raises Problem for an error or no JSON, and what `requests` raises."""
        response = self.request(method, self.base_url + path, **content)
        if not self.logging_out:  # to print may block, which must not delay the logout
            self.console.say()
        if self.status // 100 != 2 or error_in(response):
            raise Problem(f"HTTP {self.status}: {server_words(response)}")
        if self.logging_out and not response.content:
            return {}  # an empty answer to the logout is well
        answer = json_of(response)
        if answer is None:
            raise Problem(f"the answer is not JSON: {server_words(response)}")
        return answer

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Wait for the request's turn, send it, and note its answer. If the run was stopped, by a
        signal or because stdout has failed, the steps end here."""
        self.request_line = f"{method} {url.removeprefix(self.base_url)}"
        self.response, self.status = None, 0
        sleep(max(0.0, self.next_start - monotonic()))
        if self.console.stopped and not self.logging_out:
            raise Stop
        self.next_start = monotonic() + PACE
        # All requests get these, the one of oauth.py, too, whatever it gave
        kwargs["timeout"] = LOGOUT_TIMEOUT if self.logging_out else oauth.TIMEOUT
        kwargs["allow_redirects"] = False
        response = super().request(method, url, *args, **kwargs)
        self.response, self.status = response, response.status_code
        milliseconds = response.elapsed.total_seconds() * 1000
        lines = [f"  {self.request_line:<50} {self.status} {milliseconds:>7,.0f} ms"]
        if self.console.options.verbose:
            lines += [f"    < {line}" for line in readable(response).splitlines()]
        self.console.noted += lines
        if self.status < 200:
            self.close()  # the real answer follows a 103: the next request must not read it
        return response


def json_of(response: requests.Response, object_hook: Any = None) -> Any:
    """Return the JSON of an answer, or None if it is not JSON. The hook may change its objects."""
    try:
        return json.loads(response.content, object_hook=object_hook)
    except (ValueError, RecursionError):
        return None


def masked(values: dict[str, Any]) -> dict[str, Any]:
    """Replace the private values of a JSON object: a hook for json.loads."""
    for name in values:
        if values[name] and name.lower() in PRIVATE:
            values[name] = "***"
    return values


def error_in(response: requests.Response) -> str:
    """Return the error message in an answer's JSON, or ""."""
    answer = json_of(response)
    if isinstance(answer, dict) and answer.get("error"):
        return f"{answer['error']} {answer.get('error_description', '')}"
    return ""


def readable(response: requests.Response) -> str:
    """Return an answer's text. JSON is indented, with *** for private values."""
    answer = json_of(response, masked)
    return response.text if answer is None else json.dumps(answer, indent=2)


def server_words(response: requests.Response) -> str:
    """Sum an answer up in one line: its redirect, its error, or its text without HTML tags."""
    if "Location" in response.headers:
        return f"a redirect to {response.headers['Location'][:200]}"
    text = error_in(response) or readable(response)
    text = re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", " ", text)
    return " ".join(text.split())[:200] or "(empty)"


# Hints for messages that have none. The first pattern found in "STATUS MESSAGE" counts, so special
# ones come first. STATUS is 0 without an answer:
#     404 POST /oauth/live_session_token: HTTP 404: Not Found
#     401 GET /portfolio/x/ledger: HTTP 401: (empty)
#     0 GET /portfolio/accounts: no answer from api.ibkr.com: ProxyError: Connection refused
HINTS = {
    "no bridge|query /accounts": "the brokerage session is not ready: run again in a minute",
    "not authenticated|different ip": f"another session came up: {CLOSE_OTHERS}, or with --compete",
    "permissions|no data of type": SUBSCRIBE,
    "not yet been authorized": "ask IBKR's API support to enable this consumer key for trading",
    "sso dh token": "a fault of IBKR's, mostly with new paper users: ask its API support",
    "invalid signature": "run python -m tests.sandbox --serve: it names what a signature got wrong",
    "^3": NOT_IBKR,
    "POST /oauth.*(HTTP 40[04]|not JSON)": NOT_IBKR,
    "certificate.*(expired|yet)": "set this computer's clock; or the certificate is out of date",
    "certificate": "your own proxy's certificate belongs, as PEM, into REQUESTS_CA_BUNDLE",
    "^0 .*(proxy|tunnel connection)": "check the proxy that HTTPS_PROXY names",
    "^0 POST /oauth": "is base_url right? is there a network? does it need HTTPS_PROXY?",
    "^0 ": "check the network, or try later",
    "^401 GET /portfolio/\\S+/": "is it an account of this username? if it was before, try later",
    "^401": "the live session token is not accepted any more: run the demo again",
    "^403": "this address is blocked: try without a VPN, or from another network",
    "^410": "run the demo again, or set base_url to https://1.api.ibkr.com/v1/api",
    "^429": "too many requests: wait 15 minutes, each try before prolongs the ban",
    "^503": "IBKR is slow or in maintenance (midnight, Saturday evening, New York time): try later",
    "^5": "try later",
    "": "with -v the demo shows the whole answer",
}


def explain(error: Exception, client: Client) -> list[str]:
    """Return an error's message, and hints: its own, or one of HINTS."""
    reason, kind = str(error), type(error).__name__
    hints: list[str] = []
    if isinstance(error, Problem):
        hints = [*error.hints]
    elif client.response is None:  # `requests` or urllib3 has raised it
        cause: BaseException = error
        while cause.__context__ is not None:  # the first exception of a chain says most
            cause = cause.__context__
        host = urlsplit(client.base_url).netloc
        reason = f"no answer from {host}: {kind}: {str(cause)[:200]}"
    else:  # a step has raised it, such as a KeyError
        said = server_words(client.response)
        reason = f"an answer of an unexpected form ({kind}: {error}): {said}"
    message = f"{client.request_line}: {reason}"
    if not hints:
        text = f"{client.status} {message}"
        hints = [next(hint for words, hint in HINTS.items() if re.search(words, text, re.I))]
    return [message, *hints]


class Console(logging.Handler):
    """Prints results to stdout; errors, warnings and hints to stderr. Printing never raises: if it
    fails, the run stops. With -v it is a handler of what oauth.py logs, too."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self.options = options
        # Lines for the next `say`. To print them at once may block, with a request signed but not
        # yet sent, or a token received but not yet kept
        self.noted: list[str] = []
        self.secrets: list[str] = []  # printed as ***, should an answer or an error hold one
        self.errors = 0
        self.stopped = False  # by a closed pipe, a full disk or a signal: stdout gets no more
        self.interrupted = False  # by a signal, and so stopped, too: stderr gets no more errors
        if options.verbose:
            oauth.log.setLevel(logging.DEBUG)
            oauth.log.addHandler(self)  # calls `emit`

    def interrupt(self, number: int, _frame: object) -> None:
        """Handle Ctrl-C, SIGTERM and SIGHUP by setting flags, which `run` and `request` look at.
        After the first, a Ctrl-C ends the program at once."""
        if self.interrupted and number == signal.SIGINT:
            os._exit(130)
        self.interrupted = self.stopped = True

    def emit(self, record: logging.LogRecord) -> None:
        """Note what oauth.py logs of a request when it signs it."""
        self.noted.append(f"    > {record.getMessage()}")

    def say(self, *lines: str) -> None:
        """Print what was noted, and lines, to stdout, unless that is over."""
        self.noted += lines
        if self.noted and not self.stopped:
            self.write(sys.stdout, *self.noted)
        self.noted.clear()

    def complain(self, kind: str, message: str, *hints: str) -> None:
        """Print and count an error, or print a warning; then its hints."""
        if self.interrupted:
            return
        self.say()  # what was noted comes first
        if kind == "error":
            self.errors += 1
        stream = sys.stdout if self.options.check else sys.stderr  # --check prints all there
        self.write(stream, f"{kind}: {message}", *[f"hint: {hint}" for hint in hints])

    def write(self, stream: Any, *lines: str) -> None:
        """Print lines to a stream, without secrets. If that fails, the run stops."""
        text = "\n".join(lines)
        for secret in self.secrets:
            if len(secret) >= 8:  # a shorter one, or "", is no secret
                text = text.replace(secret, "***")
        # Shows all but printable ASCII, such as escape sequences or accents, as \x..
        text = re.sub("[^ -~\n]", lambda match: ascii(match[0])[1:-1], text)
        try:
            print(text, file=stream, flush=True)
        except OSError as error:
            self.stopped = True
            closed = error.errno in (errno.EPIPE, errno.EINVAL)  # by head, on Unix and on Windows
            if stream is sys.stdout and not (closed or self.interrupted):
                message = f"error: cannot write: {error.strerror}"
                self.write(sys.stderr, message, "hint: make room on the disk")  # tried once

    def table(self, names: list[str], items: list[dict[str, Any]]) -> None:
        """Print the first ten items, a column a name: text to the left, numbers to the right. Give
        ids as text: numbers get commas."""
        if not isinstance(items, list):
            raise TypeError("not a list")
        if not items:
            self.say("    none")
            return
        columns = []
        for name in names:
            texts, justify = [name], str.ljust
            for item in items[:10]:
                value = item.get(name)
                texts.append(cell(value, exact=name in COUNTS))
                if isinstance(value, (int, float)):
                    justify = str.rjust
            width = max(map(len, texts))
            columns.append([justify(text, width) for text in texts])
        for row in zip(*columns):
            self.say("    " + "  ".join(row).rstrip())
        if len(items) > 10:
            more = " or more" if len(items) == 100 else ""  # a full page of positions
            self.say(f"    first 10 of {len(items)}{more}")


def cell(value: Any, exact: bool = False) -> str:
    """Format a JSON value for people; what is neither text nor a number as "-". For example

    1339037.2 is 1,339,037.20, 0.0066895 is 0.0066895; exact: 100.0 is 100, 0.5 is 0.5
    """
    if isinstance(value, str):
        return " ".join(value.split())[:40] or "-"
    if type(value) not in (int, float):  # leaves out bool
        return "-"
    places, tolerance = 2, 2**-24  # prices are often 32-bit floats: 187.19999695 is 187.20
    if exact:
        places, tolerance = 0, 1e-12  # a sum of 64-bit floats: 0.30000000000000004 is 0.3
    # The fewest places, these or more, that keep the value
    while places < 15 and not isclose(round(value, places), value, rel_tol=tolerance):
        places += 1
    return f"{value or 0:,.{places}f}"  # `or 0` for -0.0


def run(client: Client) -> int:
    """Take all steps, log out however they ended, and return the exit status.

    The steps have a thread of their own, because a signal that cut them off could lose a token that
    has just arrived, and with it the logout. After a signal they end before their next request.
    """
    console = client.console
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # no system has all
        known = getattr(signal, name, None)
        if known and signal.getsignal(known) != signal.SIG_IGN:  # as nohup does
            signal.signal(known, console.interrupt)
    executor = ThreadPoolExecutor(1)
    steps = executor.submit(Demo(client).steps)  # a Future, which keeps the exception, if any
    while not (steps.done() or console.interrupted):
        wait([steps], timeout=0.1)  # then look again, because a signal only sets flags
    if console.interrupted:
        if client.auth is None:  # the token may be on its way
            wait([steps], LOGOUT_TIMEOUT)
        # The steps may still use their client, to wait for an answer or for `| less`: take another
        fresh = Client(client.report, console)
        fresh.auth, fresh.next_start = client.auth, client.next_start
        client = fresh
    outcome = log_out(client) if client.auth else "not logged in"
    if steps.done() and isinstance(steps.exception(), Exception):  # not Stop
        console.complain("error", repr(steps.exception()), FAULT)
    console.say("", f"errors: {console.errors}" if console.errors else "all well")
    if console.interrupted:  # and so nothing more was said; perhaps only during the logout
        console.write(sys.stderr, f"interrupted: {outcome}")
        os._exit(130)  # at once: deleting the old client could wait for a lock that the steps hold
    return int(console.errors > 0 or console.stopped)


def log_out(client: Client) -> str:
    """Send the logout; if the connection was lost, once more. Return what came of it."""
    client.logging_out = True
    client.console.noted += ["", "Logout"]
    for _ in range(2):  # each time signed anew
        try:
            answer = client.call("POST", "/logout")
            # Logged out is {"status": true}; {"confirmed": true} means that it is still logged in
            if answer.get("confirmed") or answer.get("status") is False:
                raise Problem(f"not logged out: {server_words(client.response)}")
            return "logged out"
        except Exception as error:
            failure = explain(error, client)[0]
            lost = client.status == 0 and not isinstance(error, requests.Timeout)
            if not lost:  # but answered, or late
                break
    # 200: IBKR declined; 401: the session was already over. Neither spoils the run
    kind = "warning" if client.status in (200, 401) else "error"
    client.console.complain(kind, failure, "the brokerage session ends by itself in minutes")
    return failure


def command_line(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try IBKR's Client Portal API with OAuth 1.0a.")
    add = parser.add_argument
    default = os.path.join(HERE, os.path.expanduser(CONFIG))
    about = "path of the JSON config (default: CONFIG, near the top of demo.py)"
    add("config", nargs="?", type=os.path.expanduser, default=default, help=about)
    add("--account", metavar="ID", help="account to show (default: the first)")
    add("--symbol", type=str.upper, default="AAPL", help="stock to quote (default: AAPL)")
    take_over = "take the brokerage session over: logs out a TWS or IBKR Mobile of the username"
    add("--compete", action="store_true", help=take_over)
    add("--check", action="store_true", help="check config and keys offline, then stop")
    add("-v", "--verbose", action="store_true", help="show what is signed and answered")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo with the command line's arguments; return its exit status."""
    options = command_line(arguments)
    console = Console(options)
    try:
        values = check.load_config(options.config)
        for name in ("access_token", "access_token_secret"):
            console.secrets.append(str(values.get(name, "")).strip())
        report = check.check_config(values, options.config)
        if options.check:
            console.say(*check.report_lines(report, options.config))
            # 2 if an error was found, 1 if the report was cut off
            return 2 if report.credentials is None else int(console.stopped)
        for kind, name, message, hints in report.findings:
            if kind in ("error", "warn"):  # others are "ok" and "-"
                kind = kind.replace("warn", "warning")
                console.complain(kind, f"{options.config}: {name}: {message}", *hints)
        if report.credentials is None:
            return 2
        console.secrets.append(report.credentials.access_token_secret.hex())
        return run(Client(report, console))
    except Problem as problem:
        console.complain("error", f"{options.config}: {problem}", *problem.hints)
        return 2
    except KeyboardInterrupt:  # before `run` handles signals
        console.write(sys.stderr, "interrupted: not logged in")
        return 130
    except Exception as error:  # the last resort
        console.complain("error", repr(error), FAULT)
        return 1


if __name__ == "__main__":
    # sys.exit would flush stdout once more, which may be closed
    os._exit(main())
