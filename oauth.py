"""First-party OAuth 1.0a as Interactive Brokers (IBKR) speaks it: from credentials to signed calls.

IBKR took OAuth 1.0a (RFC 5849) and changed it; each docstring says where. It knows the client by
two RSA keys, uploaded to its portal: one signs requests, the other encrypts what IBKR hands out.
A session needs a key of its own, the live session token, which is never sent:

 1. decrypt the access token secret, which the portal encrypted for the encryption key
 2. send a challenge, the client's half of a Diffie-Hellman exchange; the request is signed with the
    signature key, and the secret goes into the signature: so both are shown to be at hand
 3. from the server's half and the secret, derive the live session token, and compare proofs
 4. sign every call with that token, until it expires after a day: then go on at 2

First what is signed and how (2, 4), then the exchange (1 to 3), then what requests needs for both.
Sources:

    IBKR-2018    "OAuth at Interactive Brokers", 16 May 2018: the only complete worked numbers
    IBKR-guide   "How to implement OAuth", the text that IBKR's API support hands out (2020)
    IBKR-docs    the OAuth 1.0a pages on IBKR Campus (2025-26)
"""

from __future__ import annotations

import base64
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import requests
from Crypto.Cipher import PKCS1_v1_5
from Crypto.Hash import SHA256
from Crypto.PublicKey.RSA import RsaKey
from Crypto.Signature import pkcs1_15
from requests.auth import AuthBase

Params = Iterable[tuple[str, str]]  # names and values, raw: neither is percent-encoded yet

log = logging.getLogger(__name__)

TIMEOUT = (10, 30)
"""Seconds to connect, and to wait for the next byte of an answer."""

SIGN_QUERY = True
"""Whether the query's parameters are signed. Sources disagree: OAuth (RFC 5849 section 3.4.1.3)
and IBKR-2018's worked example sign them, IBKR-docs say not to; clients of both kinds work today."""


class OAuthError(Exception):
    """Base of all errors here: `str()` says what is wrong, `hint` what to do about it; `response`
    is the answer where that may say more."""

    def __init__(
        self, message: str, hint: str = "", response: requests.Response | None = None
    ) -> None:
        super().__init__(message)
        self.hint, self.response = hint, response


class CredentialsError(OAuthError):
    """The credentials do not fit together."""


class AnswerError(OAuthError):
    """The server answered something that must not be used."""


@dataclass(frozen=True)
class Credentials:
    """All that it takes to request a live session token. Its `repr` shows no secret."""

    realm: str
    consumer_key: str
    access_token: str = field(repr=False)
    access_token_secret: bytes = field(repr=False)  # decrypted: see decrypt_access_token_secret
    signature_key: RsaKey = field(repr=False)
    dh_prime: int = field(repr=False)
    dh_generator: int = field(default=2, repr=False)


@dataclass(frozen=True)
class LiveSessionToken:
    """The key of one session, 20 bytes that are never sent or shown, and when it expires (UTC)."""

    token: bytes = field(repr=False)
    expires: datetime


def percent_encode(text: str) -> str:
    """Encode all but letters, digits and `-._~`, as UTF-8 (RFC 5849 section 3.6)."""
    return quote(text, safe="")


def signature_base_string(method: str, url: str, params: Params, prepend: str = "") -> str:
    """Return the text to be signed (RFC 5849 section 3.4.1; IBKR-2018).

    `url` is scheme, host and path. `params` are every oauth_* parameter but oauth_signature, the
    challenge, and the query's; never the realm, never a JSON body. `prepend`: see OAuth1.

    IBKR departs from RFC 5849: the pairs are joined raw and percent-encoded once, so `31,84`
    becomes `31%2C84`; the RFC encodes twice, `31%252C84` (IBKR-guide).
    """
    pairs = "&".join(f"{name}={value}" for name, value in sorted(params))
    return f"{prepend}{method.upper()}&{percent_encode(url)}&{percent_encode(pairs)}"


def rsa_sha256_signature(base_string: str, signature_key: RsaKey) -> str:
    """Return the RSASSA-PKCS1-v1_5 signature over SHA-256, in base64 (IBKR-2018).
    Raises ValueError if the base string is not ASCII."""
    digest = SHA256.new(base_string.encode("ascii"))
    return base64.b64encode(pkcs1_15.new(signature_key).sign(digest)).decode()


def hmac_sha256_signature(base_string: str, live_session_token: bytes) -> str:
    """Return the HMAC-SHA256, in base64; the key is the 20 bytes, not a text form (IBKR-2018).
    Raises ValueError if the base string is not ASCII or the token is not 20 bytes long."""
    if len(live_session_token) != 20:
        raise ValueError("a live session token is 20 bytes; decode its base64 form")
    digest = hmac.digest(live_session_token, base_string.encode("ascii"), "sha256")
    return base64.b64encode(digest).decode()


def authorization_header(realm: str, params: Params) -> str:
    """Return the Authorization header's value (RFC 5849 section 3.5.1), the realm first, the rest
    sorted. The values come raw and are percent-encoded here."""
    pairs = [("realm", realm), *sorted(params)]
    return "OAuth " + ", ".join(f'{name}="{percent_encode(value)}"' for name, value in pairs)


def decrypt_access_token_secret(access_token_secret: str, encryption_key: RsaKey) -> bytes:
    """Return the secret, 32 bytes in practice, that IBKR encrypted with RSAES-PKCS1-v1_5 and put
    into base64 (IBKR-2018). Raises CredentialsError if this key does not decrypt it."""
    hint = "generate the token again and copy the whole secret; it belongs to one encryption key"
    try:
        ciphertext = base64.b64decode(access_token_secret, validate=True)
    except ValueError:
        raise CredentialsError("the access token secret is not base64", hint) from None
    size = encryption_key.size_in_bytes()
    if len(ciphertext) != size:
        message = f"the access token secret has {len(ciphertext)} bytes, the key has {size}"
        raise CredentialsError(message, hint)
    try:
        secret: bytes | None = PKCS1_v1_5.new(encryption_key).decrypt(ciphertext, None)
    except ValueError:
        secret = None
    if not secret:  # b"" or None, depending on pycryptodome's version
        raise CredentialsError("the access token secret does not decrypt with this key", hint)
    return secret


def new_exponent() -> int:
    """Return a fresh Diffie-Hellman exponent, to be kept secret: an int from 1 to 2^256 - 1."""
    return 1 + secrets.randbelow(2**256 - 1)


def new_nonce() -> str:
    """Return 32 hex digits for a nonce, which must never repeat (RFC 5849 section 3.3)."""
    return secrets.token_hex(16)


def diffie_hellman_challenge(prime: int, generator: int, exponent: int) -> str:
    """Return A = generator^exponent mod prime in lower-case hex, without leading zeros, so the
    number of digits may be odd (IBKR-2018). Raises ValueError if the exponent is not positive."""
    if exponent < 1:
        raise ValueError("the exponent must be positive")
    return f"{pow(generator, exponent, prime):x}"


def diffie_hellman_shared_secret(prime: int, exponent: int, response: str) -> bytes:
    """Return K = B^exponent mod prime, in the form of Java's BigInteger.toByteArray().

    `response` is the server's B in hex. The form is the shortest big-endian one whose top bit, the
    sign, is 0: 0x7f gives 7f, 0xff gives 00 ff (IBKR-guide). Without that 00 up to half of all
    log-ins fail.

    Raises AnswerError unless 2 <= B <= prime - 2: from any other B, anybody can guess K.
    """
    if not re.fullmatch("[0-9a-fA-F]+", response):
        raise AnswerError("the Diffie-Hellman response is not a hex number", "try again later")
    number = int(response, 16)
    if not 2 <= number <= prime - 2:
        message = "the Diffie-Hellman response is out of range"
        raise AnswerError(message, "check that dh_prime is that of the dhparam.pem uploaded last")
    shared = pow(number, exponent, prime)
    return shared.to_bytes(shared.bit_length() // 8 + 1, "big")


def derive_live_session_token(shared_secret: bytes, access_token_secret: bytes) -> bytes:
    """Return HMAC-SHA1(key = shared secret, message = decrypted access token secret): 20 bytes.
    All that is IBKR's choice (IBKR-2018); SHA-1 as an HMAC is not known to be broken."""
    return hmac.digest(shared_secret, access_token_secret, "sha1")


def live_session_token_proof(live_session_token: bytes, consumer_key: str) -> str:
    """Return HMAC-SHA1(key = token, message = consumer key), 40 lower-case hex digits: by this
    both sides see that they hold the same token (IBKR-2018, there "signature")."""
    return hmac.digest(live_session_token, consumer_key.encode("ascii"), "sha1").hex()


def refuse_redirect(response: requests.Response, **_: object) -> None:
    """Raise AnswerError for a redirect: its target would get a signature made for another URL."""
    if response.is_redirect:
        response.close()
        message = f"HTTP {response.status_code}, a redirect, which is never followed"
        raise AnswerError(message, "check base_url; a proxy or log-in page may answer", response)


class OAuth1(AuthBase):
    """Signs the prepared request, so that what is signed is what is sent.

    For every call: `session.auth = OAuth1(credentials, live_session_token.token)`, HMAC-SHA256.
    Without a token, for the request of one: RSA-SHA256. That one carries the Diffie-Hellman
    challenge, and its base string begins with the prepend: the decrypted access token secret in
    lower-case hex, not encoded, no separator (IBKR-2018). Bodies are not signed: they are JSON.
    Raises ValueError unless given either a token or a challenge.

    Threads may share it, but not a Session. Mount no retries: a nonce is accepted only once.
    """

    def __init__(
        self,
        credentials: Credentials,
        token: bytes | None = None,
        challenge: str = "",
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        if (token is None) == (challenge == ""):
            raise ValueError("give either a token or a challenge")
        self.credentials, self.token, self.challenge = credentials, token, challenge
        self.clock, self.nonce = clock, nonce

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add an Authorization header with a fresh nonce and timestamp (seconds), and put the
        query into IBKR's form: `,` and `:` literally, a space as %20. Redirects are refused."""
        scheme, host, path, query, _ = urlsplit(str(request.url))
        host = host.removesuffix({"https": ":443", "http": ":80"}[scheme])
        query_params = parse_qsl(query, keep_blank_values=True)
        query = "&".join(f"{quote(n, safe=',:')}={quote(v, safe=',:')}" for n, v in query_params)
        request.url = urlunsplit((scheme, host, path, query, ""))
        log.debug("%s %s", request.method, request.url)
        params = self.oauth_params()
        to_sign = params + query_params if SIGN_QUERY else params
        url = urlunsplit((scheme, host, path, "", ""))
        params.append(("oauth_signature", self.sign(str(request.method), url, to_sign)))
        request.headers["Authorization"] = authorization_header(self.credentials.realm, params)
        request.hooks["response"].append(refuse_redirect)
        return request

    def oauth_params(self) -> list[tuple[str, str]]:
        """Return the parameters of the Authorization header, without the signature."""
        params = [
            ("oauth_consumer_key", self.credentials.consumer_key),
            ("oauth_nonce", self.nonce()),
            ("oauth_signature_method", "RSA-SHA256" if self.token is None else "HMAC-SHA256"),
            ("oauth_timestamp", str(int(self.clock()))),
            ("oauth_token", self.credentials.access_token),
        ]
        if self.token is None:
            params.append(("diffie_hellman_challenge", self.challenge))
        return params

    def sign(self, method: str, url: str, params: Params) -> str:
        """Return the value of oauth_signature: base64, not percent-encoded yet."""
        access_token = percent_encode(self.credentials.access_token)
        base_string = signature_base_string(method, url, params)
        log.debug("signature base string: %s", base_string.replace(access_token, "***"))
        if self.token is not None:
            return hmac_sha256_signature(base_string, self.token)
        prepend = self.credentials.access_token_secret.hex()
        base_string = signature_base_string(method, url, params, prepend)
        return rsa_sha256_signature(base_string, self.credentials.signature_key)


def read_json(response: requests.Response) -> Any:
    """Return the answer's body, decoded. Raises AnswerError if it is not JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise AnswerError("the answer is not JSON", "try again later", response) from None


def accept_answer(answer: Any, credentials: Credentials, exponent: int) -> LiveSessionToken:
    """Return the token that the server's JSON answer leads to, if its proof shows that both sides
    have the same (IBKR-2018). `exponent` is that of the challenge. Raises AnswerError."""
    values = answer if isinstance(answer, dict) else {}
    response = values.get("diffie_hellman_response")
    proof = values.get("live_session_token_signature")
    expires = values.get("live_session_token_expiration")  # milliseconds since 1970
    if type(response) is not str or type(proof) is not str or type(expires) is not int:
        raise AnswerError("the answer lacks a part of the exchange", "try again later")
    if not 1e12 < expires < 4e12:  # between 2001 and 2096
        raise AnswerError("the answer's expiration is not in milliseconds", "try again later")
    shared_secret = diffie_hellman_shared_secret(credentials.dh_prime, exponent, response)
    token = derive_live_session_token(shared_secret, credentials.access_token_secret)
    expected = live_session_token_proof(token, credentials.consumer_key)
    if not hmac.compare_digest(expected.encode("ascii"), proof.encode("ascii", "replace")):
        message = "the server's proof of the live session token is wrong: the token is not used"
        raise AnswerError(message, "check dh_prime, dh_generator and the case of the consumer key")
    return LiveSessionToken(token, datetime.fromtimestamp(expires / 1000, timezone.utc))


def request_live_session_token(
    session: requests.Session,
    base_url: str,
    credentials: Credentials,
    exponent: Callable[[], int] = new_exponent,
) -> LiveSessionToken:
    """Agree with the server on a live session token, valid for about 24 hours (IBKR-docs).

    `base_url` is all before /oauth, without the slash. Raises AnswerError unless the answer is
    right in all parts, requests.RequestException if there is none.
    """
    a = exponent()
    challenge = diffie_hellman_challenge(credentials.dh_prime, credentials.dh_generator, a)
    auth = OAuth1(credentials, challenge=challenge)
    url = f"{base_url}/oauth/live_session_token"
    response = session.post(url, auth=auth, timeout=TIMEOUT)
    if response.status_code != requests.codes.ok:
        raise AnswerError(f"HTTP {response.status_code}", "the answer's body says why", response)
    return accept_answer(read_json(response), credentials, a)
