"""What goes wrong, by name: `--fault NAME` shows one of them, and the tests use the same table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.sandbox.answers import (
    ACCESS_DENIED,
    ACCOUNTS_FIRST,
    BASE_PATH,
    NO_BRIDGE,
    NOT_AUTHENTICATED,
    NOT_FOUND,
    UNKNOWN_ACCOUNT,
    Answer,
    error_answer,
    html_answer,
    json_answer,
    session_status,
)
from tests.sandbox.identity import DH_PRIME


def any_number(_shared: int) -> bool:
    return True


def has_top_bit(shared: int) -> bool:
    return shared.bit_length() % 8 == 0


def has_odd_digits(shared: int) -> bool:
    return 0 < shared.bit_length() % 8 < 5


def is_short(shared: int) -> bool:
    return shared.bit_length() <= DH_PRIME.bit_length() - 8


class Fault(NamedTuple):
    """One thing that goes wrong. Most are one canned answer, to the named routes or to all."""

    where: str
    what: str
    answer: Answer | None = None
    dh_response: str | None = None  # sent in place of the genuine one
    wanted: Callable[[int], bool] = any_number  # of K; else the server draws again
    clock_ahead: float = 0  # seconds

    @property
    def help(self) -> str:
        return f"{self.where}: {self.what}"


_LST_FAILED = "id: 118871, error: LST failed, error: "
_NO_SECRET = f"{_LST_FAILED}No access secret key found for SIMULATED"
_BUSY = "Service Unavailable"
_NEVER = json_answer(session_status(False))
_HALF = Answer(200, b'[{"conid":265598,"contractDesc":"AAPL"},' + b" " * 400 + b"]", cut=300)
_MOVED = Answer(302, headers={"Location": f"{BASE_PATH}/tickle"})
_SSO_DH = json_answer({"error": "failed to generate sso dh token"}, 500)
_NOT_YET = "consumer key has not yet been authorized for trading"
_FAILED = json_answer(session_status(False, fail=_NOT_YET))

FAULTS = {
    "invalid-consumer": Fault(
        "token", "401, invalid consumer", error_answer(401, "id: 39687, error: invalid consumer")
    ),
    "lst-failed": Fault("token", "401, LST failed, no secret", error_answer(401, _NO_SECRET)),
    "lst-failed-empty": Fault("token", "401, LST failed", error_answer(401, _LST_FAILED)),
    "token-401": Fault("token", "401 without a reason", error_answer(401, "id: 40312, error: ")),
    "clock-off": Fault("token", "401, the server's clock is 10 minutes ahead", clock_ahead=600),
    "wrong-proof": Fault("token", "the proof does not fit the live session token"),
    "dh-zero": Fault("token", "Diffie-Hellman response 0", dh_response="0"),
    "dh-one": Fault("token", "Diffie-Hellman response 1", dh_response="1"),
    "dh-p-minus-1": Fault("token", "Diffie-Hellman response p-1", dh_response=f"{DH_PRIME - 1:x}"),
    "dh-not-hex": Fault("token", "Diffie-Hellman response not hex", dh_response="not hex at all"),
    "dh-empty": Fault("token", "Diffie-Hellman response empty", dh_response=""),
    "k-top-bit": Fault("no failure", "K has its top bit set", wanted=has_top_bit),
    "k-odd-digits": Fault("no failure", "K has an odd number of digits", wanted=has_odd_digits),
    "k-short": Fault("no failure", "K is a byte shorter", wanted=is_short),
    "access-denied": Fault("all", "403, plain text, from the edge", ACCESS_DENIED),
    "not-found": Fault("all", "404, HTML", NOT_FOUND),
    "unavailable": Fault("all", "503, empty", Answer(503)),
    "html-503": Fault("summary", "503, HTML", html_answer(503, _BUSY)),
    "unavailable-json": Fault("stocks", "503, JSON", error_answer(503, _BUSY)),
    "too-many-requests": Fault("accounts", "429", error_answer(429, "Too Many Requests")),
    "redirect": Fault("accounts", "302 to another path", _MOVED),
    "no-accounts": Fault("accounts", "an empty list", json_answer([])),
    "unknown-account": Fault("summary", "401, unknown account", UNKNOWN_ACCOUNT),
    "200-with-error": Fault(
        "ledger", "status 200 with an error in it", json_answer({"error": "Request refused"})
    ),
    "dropped-connection": Fault("ledger", "connection closed, no answer", Answer(cut=0)),
    "truncated-body": Fault("positions", "the answer ends half-way", _HALF),
    "no-positions": Fault("positions", "an empty list", json_answer([])),
    "gone": Fault("init", "410, empty", Answer(410)),
    "sso-dh-token": Fault("init", "500, failed to generate sso dh token", _SSO_DH),
    "init-waits": Fault("init", "answers wait, then settles", json_answer({"wait": 1000})),
    "init-never-ready": Fault("init, status", "the brokerage session never settles", _NEVER),
    "session-fail": Fault("init, status", "no session, and not for another one", _FAILED),
    "competing": Fault("init", "refused because of another session, unless compete is true"),
    "not-authenticated": Fault("iserver, snapshot", "401, not authenticated", NOT_AUTHENTICATED),
    "no-bridge": Fault("iserver, snapshot", "400, no bridge", NO_BRIDGE),
    "no-brokerage-accounts": Fault("iserver", "an empty object", json_answer({})),
    "accounts-first": Fault(
        "snapshot", "400, query /accounts first", error_answer(400, ACCOUNTS_FIRST)
    ),
    "no-subscription": Fault("snapshot", "not subscribed, so no price ever"),
    "one-sided-quote": Fault("snapshot", "no ask price, as thin instruments have it"),
    "history-503": Fault("history", "503, JSON", error_answer(503, _BUSY)),
    "logout-fails": Fault("logout", "500", error_answer(500, "Internal Server Error")),
    "logout-refused": Fault("logout", "200, status false", json_answer({"status": False})),
}
