"""What goes wrong, by name: `--fault NAME` shows one of them, and the tests use the same table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.sandbox import answers
from tests.sandbox.answers import Answer, error_answer, html_answer, json_answer, recorded

TOKEN = "/oauth/live_session_token"
INIT = "/iserver/auth/ssodh/init"
STATUS = "/iserver/auth/status"
ACCOUNTS = "/portfolio/accounts"
SUMMARY = "/portfolio/{id}/summary"
LEDGER = "/portfolio/{id}/ledger"
POSITIONS = "/portfolio/{id}/positions/{page}"
STOCKS = "/trsrv/stocks"
BROKERAGE_ACCOUNTS = "/iserver/accounts"
SNAPSHOT = "/iserver/marketdata/snapshot"
HISTORY = "/iserver/marketdata/history"
LOGOUT = "/logout"
SESSION = f"{INIT} {STATUS}"
QUOTED = f"{BROKERAGE_ACCOUNTS} {SNAPSHOT}"
AFTER_INIT = f"{STATUS} /portfolio /trsrv {QUOTED} {HISTORY} {LOGOUT}"


class Fault(NamedTuple):
    """One thing that goes wrong. `where`: how the paths begin, with blanks between them."""

    where: str
    what: str
    answer: Answer | None = None  # in place of the genuine one
    change: Callable[[Any], Any] | None = None  # of the genuine answer's JSON
    dh_response: str | None = None  # sent in place of the genuine one
    k_bits: Sequence[int] = range(5000)  # how long K may be; else the server draws again
    clock_ahead: float = 0  # seconds
    held: bool = False  # another session holds the brokerage session
    proof_of: str | None = None  # consumer key that the proof is made of

    def concerns(self, path: str) -> bool:
        return path.startswith(tuple(self.where.split()))


def error(where: str, what: str, status: int, message: str) -> Fault:
    return Fault(where, what, error_answer(status, message))


def with_message(status: Any) -> Any:
    return {**status, "message": "ok"}


def data(where: str, what: str, answer: Any) -> Fault:
    return Fault(where, what, json_answer(answer))


_DOWN = {**recorded(f"POST {STATUS}"), "authenticated": False, "established": False}
_NOT_ACTIVE = {**_DOWN, "fail": "consumer key has not yet been authorized for trading"}
_REFUSED = "id: 118871, error: LST failed, error: "
_NO_SECRET = f"{_REFUSED}No access secret key found for SIMULATED"
_INVALID = "id: 39687, error: invalid consumer"
_HALF = Answer(200, b'[{"conid":265598,"contractDesc":"AAPL"},' + b" " * 400 + b"]", cut=300)
_MOVED = Answer(302, headers={"Location": f"{answers.BASE_PATH}/tickle"})
_BUSY = "Service Unavailable"
_PERMISSIONS = "No market data permissions for NASDAQ STK"
_ELSEWHERE = "Trading TWS session is connected from a different IP address"
_ODD_DIGITS = [bits for bits in range(2049) if 0 < bits % 8 < 5]
_ROWS = recorded("GET /portfolio/{id}/position/{conid}") * 100
_NO_ASK = {"conid": 265598, "31": "C231.50", "84": "231.48", "88": "400", "6509": "RpB"}
_SYDNEY = recorded(f"GET {HISTORY}")
for _bar in _SYDNEY["data"]:
    _bar["t"] -= (15 * 60 + 30) * 60_000  # from 14:30 UTC to 23:00 of the day before

FAULTS = {
    "invalid-consumer": error(TOKEN, "401, invalid consumer", 401, _INVALID),
    "lst-failed": error(TOKEN, "401, LST failed, no secret", 401, _NO_SECRET),
    "lst-failed-empty": error(TOKEN, "401, LST failed", 401, _REFUSED),
    "token-401": error(TOKEN, "401 without a reason", 401, "id: 40312, error: "),
    "token-200-error": data(TOKEN, "200 with an error in it", {"error": _INVALID}),
    "clock-off": Fault(TOKEN, "401, the server's clock is 10 minutes ahead", clock_ahead=600),
    "wrong-proof": Fault(TOKEN, "the proof does not fit the token", proof_of="SOMEONE01"),
    "dh-one": Fault(TOKEN, "Diffie-Hellman response 1", dh_response="1"),
    "dh-empty": Fault(TOKEN, "Diffie-Hellman response empty", dh_response=""),
    "k-top-bit": Fault(TOKEN, "no failure: K has its top bit set", k_bits=range(0, 2049, 8)),
    "k-odd-digits": Fault(TOKEN, "no failure: K's digits are odd in number", k_bits=_ODD_DIGITS),
    "k-short": Fault(TOKEN, "no failure: K is a byte shorter", k_bits=range(2041)),
    "access-denied": Fault("/", "403, plain text, from the edge", answers.ACCESS_DENIED),
    "not-found": Fault("/", "404, HTML", answers.NOT_FOUND),
    "login-page": Fault("/", "200, HTML, as from a wrong base_url", html_answer(200, "Login")),
    "unavailable": Fault("/", "503, empty", Answer(503)),
    "expired": Fault(AFTER_INIT, "401, the token is not good any more", answers.UNAUTHORIZED),
    "too-many-requests": error(ACCOUNTS, "429", 429, "Too Many Requests"),
    "redirect": Fault(ACCOUNTS, "302 to another path", _MOVED),
    "no-accounts": data(ACCOUNTS, "an empty list", []),
    "unknown-account": Fault(SUMMARY, "401, unknown account", answers.UNAUTHORIZED),
    "html-503": Fault(SUMMARY, "503, HTML", html_answer(503, _BUSY)),
    "200-with-error": data(LEDGER, "200 with an error", {"error": "Request refused"}),
    "dropped-connection": Fault(LEDGER, "connection closed, no answer", Answer(cut=0)),
    "truncated-body": Fault(POSITIONS, "the answer ends half-way", _HALF),
    "no-positions": data(POSITIONS, "an empty list", []),
    "many-positions": data(POSITIONS, "a full page, of 100", _ROWS[:100]),
    "unavailable-json": error(STOCKS, "503, JSON", 503, _BUSY),
    "gone": Fault(INIT, "410, empty", Answer(410)),
    "sso-dh-token": error(INIT, "500", 500, "failed to generate sso dh token"),
    "init-waits": data(INIT, "answers wait, then settles", {"wait": 1000}),
    "init-never-ready": data(SESSION, "it never settles", _DOWN),
    "session-fail": data(SESSION, "refused, not for another session", _NOT_ACTIVE),
    "message-ok": Fault(SESSION, "no failure: message ok", change=with_message),
    "competing": Fault(INIT, "refused for another session, unless compete is true", held=True),
    "not-authenticated": Fault(QUOTED, "401, not authenticated", answers.NOT_AUTHENTICATED),
    "no-bridge": Fault(QUOTED, "400, no bridge", answers.NO_BRIDGE),
    "no-brokerage-accounts": data(BROKERAGE_ACCOUNTS, "an empty object", {}),
    "accounts-first": error(SNAPSHOT, "400", 400, answers.ACCOUNTS_FIRST),
    "no-subscription": data(SNAPSHOT, "not subscribed: no price", [{"6509": "N"}]),
    "one-sided-quote": data(SNAPSHOT, "no ask, as thin instruments have it", [_NO_ASK]),
    "other-address": error(SNAPSHOT, "500, another session", 500, _ELSEWHERE),
    "history-503": error(HISTORY, "503, JSON", 503, _BUSY),
    "history-sydney": data(HISTORY, "no failure: bars of 23:00 UTC the day before", _SYDNEY),
    "history-no-permissions": error(HISTORY, "500", 500, _PERMISSIONS),
    "logout-fails": error(LOGOUT, "500", 500, "Internal Server Error"),
    "logout-refused": data(LOGOUT, "200, status false", {"status": False}),
}
