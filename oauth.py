"""First-party OAuth 1.0a as Interactive Brokers (IBKR) speaks it: from credentials to signed calls.

IBKR took OAuth 1.0a (RFC 5849) and changed it; each docstring says where. IBKR knows the client by
two RSA keys, whose public halves were uploaded to its portal: one signs, the other encrypts what
IBKR hands out. A session needs a key of its own, the live session token, which is never sent. The
file goes in the order of the protocol:

 1. decrypt the access token secret, which the portal encrypted for the encryption key
 2. request the live session token: send a challenge, the client's half of a Diffie-Hellman
    exchange, and sign the request with the signature key; its base string begins with the secret
 3. derive the token from the server's half and the secret, and compare the server's proof
 4. sign every other call with that token, until it expires after a day: then go on at 2

For all calls, `base_url` is https://api.ibkr.com/v1/api, with no slash behind it, here shortened to
{base}. On the wire:

    POST {base}/oauth/live_session_token     signed with RSA-SHA256; the body is empty
    Authorization: OAuth realm="limited_poa", diffie_hellman_challenge="8f3c...",
        oauth_consumer_key="...", oauth_nonce="...", oauth_signature="Kz%2BvE...%3D",
        oauth_signature_method="RSA-SHA256", oauth_timestamp="1767225600", oauth_token="..."

    200 {"diffie_hellman_response": "5d1...",           hex, possibly an odd number of digits
         "live_session_token_signature": "b617...",     the proof, 40 hex digits
         "live_session_token_expiration": 1767312000000}  milliseconds since 1970

    GET {base}/portfolio/accounts            signed with HMAC-SHA256; no challenge any more
    Authorization: OAuth realm="limited_poa", oauth_consumer_key="...", oauth_nonce="...",
        oauth_signature="...", oauth_signature_method="HMAC-SHA256", oauth_timestamp="...",
        oauth_token="..."

For every request:

- An empty POST has `Content-Length: 0`, or IBKR answers 411, and no Content-Type: some libraries
  add a form's. Any other body is JSON, with its `Content-Length` and `application/json`, and is not
  signed: there is no body hash, and no oauth_version either. A GET has no body and none of these.
- A `User-Agent` must be there, any text, or IBKR's edge answers 403. Cookies, `Accept` and one
  connection for all need not be. An answer is gzip if the request accepts that.
- Nonce and timestamp are new each time, the timestamp in whole seconds. Turn off what your library
  sends by itself: a request sent again has a nonce that was used, a redirect another URL.
- The URL that is signed has scheme and host in small letters, the path with that of `base_url`, no
  query, and the port only where the scheme's own is not used, as in http://127.0.0.1:8080.
- Hex is in small letters, base64 has the standard alphabet and its padding.

The calls under /iserver need a brokerage session besides: POST {base}/iserver/auth/ssodh/init comes
before them. Which calls make sense in which order, demo.py shows. Once there is a token, the last
call is POST {base}/logout, also if one before it has failed.

To check a port to another language, some functions have an example, and tests/vectors has numbers
of every step. Sources:

    IBKR-2018    "OAuth at Interactive Brokers", 16 May 2018: the only complete worked numbers
    IBKR-guide   "How to implement OAuth", the text that IBKR's API support hands out (2020)
    IBKR-docs    the OAuth 1.0a pages on IBKR Campus (2025-26)
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
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

MAX_ANSWER = 4_000_000
"""Bytes of an answer, unpacked. IBKR's longest are some hundred thousand."""

MAX_SECONDS = 30.0
"""Seconds for the body of an answer, where `read_answer` is not told otherwise."""

SIGN_QUERY = True
"""Whether the query's parameters are part of the base string.

Sources disagree: OAuth (RFC 5849 section 3.4.1.3), IBKR-guide and IBKR-2018's worked signature have
them in it, IBKR-docs say to leave them out; IBKR accepts both today. Keep True. Change it only if
calls without a query are accepted and those with one are answered 401."""


# Errors


class OAuthError(Exception):
    """Base of all errors here: `str()` says what is wrong, `hint` what to do about it; `response`
    is the answer where there is one."""

    def __init__(
        self, message: str, hint: str = "", response: requests.Response | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.response = response


class CredentialsError(OAuthError):
    """The access token secret and the encryption key do not fit together."""


class AnswerError(OAuthError):
    """The server answered something that must not be used."""


class ResponseRangeError(AnswerError):
    """The Diffie-Hellman response is out of range: the server uses another prime, or cheats."""


class ProofError(AnswerError):
    """The server's proof of the live session token is wrong: it has another token."""


def expect(name: str, value: object, kind: type) -> None:
    """Raise TypeError, which never shows the value, unless it is of exactly this kind."""
    if type(value) is not kind:
        raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")


# 1. The credentials, and the access token secret


@dataclass(frozen=True)
class Credentials:
    """All that it takes to request a live session token. Its `repr` shows no secret.

    `access_token_secret` is the decrypted one, bytes: see decrypt_access_token_secret. The realm is
    "limited_poa", or "test_realm" for the consumer TESTCONS; the prime the first, the generator the
    second number, in hex, that `openssl asn1parse -in dhparam.pem` prints. Raises TypeError or
    ValueError for values of another kind, such as a secret that is still base64 text.
    """

    realm: str
    consumer_key: str
    access_token: str = field(repr=False)
    access_token_secret: bytes = field(repr=False)
    signature_key: RsaKey = field(repr=False)
    dh_prime: int = field(repr=False)
    dh_generator: int = field(default=2, repr=False)

    def __post_init__(self) -> None:
        expect("realm", self.realm, str)
        expect("consumer_key", self.consumer_key, str)
        expect("access_token", self.access_token, str)
        expect("access_token_secret", self.access_token_secret, bytes)
        expect("signature_key", self.signature_key, RsaKey)
        expect("dh_prime", self.dh_prime, int)
        expect("dh_generator", self.dh_generator, int)
        if not self.signature_key.has_private():
            raise ValueError("signature_key must be the private half")
        if not 2 <= self.dh_generator <= self.dh_prime - 2:
            raise ValueError("dh_generator must be from 2 to dh_prime - 2")


def decrypt_access_token_secret(encrypted_secret: str, encryption_key: RsaKey) -> bytes:
    """Return the access token secret, 32 bytes in practice (IBKR-2018).

    `encrypted_secret` is base64 of an RSAES-PKCS1-v1_5 ciphertext, made for the public half of
    `encryption_key`. Raises CredentialsError if this key does not decrypt it.

    Not every library notices a wrong key: OpenSSL, from 3.2 on, gives random bytes in place of an
    error ("implicit rejection" in its CHANGES), and IBKR's refusal is the first sign. A port on it
    can decrypt without padding, and take the padding off by hand (RFC 8017 section 7.2.2).
    """
    expect("encrypted_secret", encrypted_secret, str)
    expect("encryption_key", encryption_key, RsaKey)
    if not encryption_key.has_private():
        raise ValueError("encryption_key must be the private half")
    try:
        ciphertext = base64.b64decode(encrypted_secret, validate=True)
    except ValueError:
        hint = "copy the whole secret again"
        raise CredentialsError("the access token secret is not base64", hint) from None
    size = encryption_key.size_in_bytes()
    if len(ciphertext) != size:
        message = f"the access token secret has {len(ciphertext)} bytes, the key has {size}"
        raise CredentialsError(message, "copy the whole secret again")
    try:
        secret: bytes | None = PKCS1_v1_5.new(encryption_key).decrypt(ciphertext, None)
    except ValueError:
        secret = None
    if not secret:  # b"" or None, depending on pycryptodome's version
        hint = "use the private key whose public half was uploaded when the secret was generated"
        raise CredentialsError("the access token secret does not decrypt with this key", hint)
    return secret


# 2. The challenge, and how a request is signed


def new_exponent() -> int:
    """Return a fresh Diffie-Hellman exponent, to be kept secret: an int from 1 to 2^256 - 1."""
    return 1 + secrets.randbelow(2**256 - 1)


def diffie_hellman_challenge(prime: int, generator: int, exponent: int) -> str:
    """Return A = generator^exponent mod prime in lower-case hex, without leading zeros, so the
    number of digits may be odd (IBKR-2018). Raises ValueError if the exponent is not positive.

    >>> diffie_hellman_challenge(227, 2, exponent=9)
    '3a'
    """
    expect("prime", prime, int)
    expect("generator", generator, int)
    expect_exponent(exponent)
    return f"{pow(generator, exponent, prime):x}"


def expect_exponent(exponent: int) -> None:
    expect("exponent", exponent, int)
    if exponent < 1:
        raise ValueError("the exponent must be positive")


def percent_encode(text: str) -> str:
    """Encode all but ASCII letters, digits and `-._~`: the bytes of UTF-8 as %, two hex digits in
    capitals (RFC 5849 section 3.6)."""
    return quote(text, safe="")


def checked_params(params: Params) -> list[tuple[str, str]]:
    """Return the pairs as a list. Raises TypeError unless each is a name and a value, both text."""
    if isinstance(params, (str, bytes, Mapping)):
        raise TypeError(f"params must be (name, value) pairs, not {type(params).__name__}")
    pairs = []
    for pair in params:
        if isinstance(pair, (str, bytes)) or len(pair) != 2:
            raise TypeError("params must be (name, value) pairs")
        name, value = pair
        expect("a parameter's name", name, str)
        expect("a parameter's value", value, str)
        pairs.append((name, value))
    return pairs


def signature_base_string(method: str, url: str, params: Params, prepend: str = "") -> str:
    """Return the text to be signed (RFC 5849 section 3.4.1; IBKR-2018).

        prepend + METHOD & encoded url & encoded list of name=value, joined with "&"

    `url` is scheme, host and path. `params` are every oauth_* parameter but oauth_signature,
    diffie_hellman_challenge, and the query's; never the realm, never a JSON body. Names and values
    come raw, those of the query decoded, sorted by name, then value, both by code point. On one
    line (IBKR-2018):

        GET&http%3A%2F%2Flocalhost%3A12345%2Ftradingapi%2Fv1%2Fmarketdata%2Fsnapshot&conid%3D8314
        %26oauth_consumer_key%3DTESTCONS%26oauth_nonce%3Daecef17086308940e861
        %26oauth_signature_method%3DHMAC-SHA256%26oauth_timestamp%3D1473795686
        %26oauth_token%3D6f531f8fd316915af53f

    `prepend` is for the token request alone, empty for all others: the decrypted access token
    secret in lower-case hex, directly before the method, neither separated nor encoded. IBKR
    departs from RFC 5849 in this, and in the list: all pairs are sorted and joined raw, and
    percent-encoded once, where the RFC encodes twice, `31%252C84` and `%2520` (IBKR-guide).
    Raises TypeError for a value of another type, and ValueError for a user name in the URL; all
    else is left to the caller.

    >>> signature_base_string("POST", "https://h/a", [("b", "31,84 x"), ("a", "1")], "0102")
    '0102POST&https%3A%2F%2Fh%2Fa&a%3D1%26b%3D31%2C84%20x'
    """
    expect("method", method, str)
    expect("url", url, str)
    expect("prepend", prepend, str)
    if urlsplit(url).username is not None:
        raise ValueError("the URL must not contain a user name")
    pairs = "&".join(f"{name}={value}" for name, value in sorted(checked_params(params)))
    return f"{prepend}{method.upper()}&{percent_encode(url)}&{percent_encode(pairs)}"


def rsa_sha256_signature(base_string: str, signature_key: RsaKey) -> str:
    """Return the RSASSA-PKCS1-v1_5 signature over SHA-256, in base64 (IBKR-2018).
    Raises ValueError if the base string is not ASCII."""
    expect("base_string", base_string, str)
    expect("signature_key", signature_key, RsaKey)
    digest = SHA256.new(base_string.encode("ascii"))
    return base64.b64encode(pkcs1_15.new(signature_key).sign(digest)).decode()


def authorization_header(realm: str, params: Params) -> str:
    """Return the Authorization header's value (RFC 5849 section 3.5.1): the realm first, the rest
    sorted; any order would do. The values come raw and are percent-encoded here, the realm and the
    signature like all others."""
    expect("realm", realm, str)
    pairs = [("realm", realm), *sorted(checked_params(params))]
    return "OAuth " + ", ".join(f'{name}="{percent_encode(value)}"' for name, value in pairs)


def new_nonce() -> str:
    """Return 32 hex digits for a nonce, which must never repeat (RFC 5849 section 3.3)."""
    return secrets.token_hex(16)


def split_query(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the URL without query, fragment and default port, as it is signed, and the query's
    parameters, decoded. The host must be in small letters already: `requests` sees to that. Raises
    ValueError for another scheme than http and https, a user name in the URL, or a query that is
    not UTF-8."""
    scheme, host, path, query, _ = urlsplit(url)
    if "@" in host:
        raise ValueError("the URL must not contain a user name")
    default_ports = {"https": ":443", "http": ":80"}
    if scheme not in default_ports:
        raise ValueError("the URL must begin with https:// or http://")
    signed_url = urlunsplit((scheme, host.removesuffix(default_ports[scheme]), path, "", ""))
    return signed_url, parse_qsl(query, keep_blank_values=True, errors="strict")


def join_query(query_params: Params) -> str:
    """Return the query as it is sent: `,` and `:` literally, a space as %20.

    The server splits and decodes it, so `%2C` would mean the same; IBKR's own samples send lists
    such as `fields=31,84` literally, and what is sent then reads as what is signed.
    """
    pairs = [(quote(name, safe=",:"), quote(value, safe=",:")) for name, value in query_params]
    return "&".join(f"{name}={value}" for name, value in pairs)


def refuse_unusable(response: requests.Response, **_: object) -> None:
    """Raise AnswerError for a redirect, whose target would get a signature made for another URL,
    and for an interim answer (1xx), behind which the real one would be taken for the next."""
    code = response.status_code
    if response.is_redirect:
        response.close()
        message = f"HTTP {code}, a redirect, which is never followed"
        raise AnswerError(message, "check base_url; a proxy or log-in page may answer", response)
    if code < 200:
        response.close()
        message = f"HTTP {code}, an interim answer that nobody asked for"
        raise AnswerError(message, "try again later; a proxy may be in between", response)


class SignedRequest(AuthBase):
    """Signs the prepared request, so that what is signed is what is sent.

    Base of the two ways to sign. A body must be JSON, which is not signed. `clock` gives seconds
    since 1970, `nonce` a text that never repeats. Threads may share an object of this class, but
    not a Session. Mount no retries: a nonce is accepted only once.
    """

    signature_method = ""
    prepend = ""

    def __init__(
        self,
        credentials: Credentials,
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        expect("credentials", credentials, Credentials)
        self.credentials = credentials
        self.clock = clock
        self.nonce = nonce

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add an Authorization header with a fresh nonce and timestamp (seconds), put the URL into
        the form that is signed and the query into IBKR's, and have a redirect or an interim answer
        refused (AnswerError) when it comes. Raises ValueError for a form body, which would have to
        be signed."""
        if "form" in str(request.headers.get("Content-Type")):
            raise ValueError("send the parameters as JSON or in the query, not as a form")
        url, query_params = split_query(str(request.url))
        request.url = "?".join(filter(None, (url, join_query(query_params))))
        log.debug("%s %s", request.method, request.url)
        params = self.oauth_params()
        to_sign = params + query_params if SIGN_QUERY else params
        base_string = signature_base_string(str(request.method), url, to_sign, self.prepend)
        log.debug("signature base string: %s", self.redacted(base_string))
        params.append(("oauth_signature", self.signature(base_string)))
        request.headers["Authorization"] = authorization_header(self.credentials.realm, params)
        request.hooks["response"].append(refuse_unusable)
        return request

    def oauth_params(self) -> list[tuple[str, str]]:
        """Return the parameters of the Authorization header, without the signature."""
        return [
            ("oauth_consumer_key", self.credentials.consumer_key),
            ("oauth_nonce", self.nonce()),
            ("oauth_signature_method", self.signature_method),
            ("oauth_timestamp", str(int(self.clock()))),
            ("oauth_token", self.credentials.access_token),
        ]

    def signature(self, base_string: str) -> str:
        """Return the value of oauth_signature: base64, not percent-encoded yet."""
        raise NotImplementedError

    def redacted(self, base_string: str) -> str:
        """Return the base string for a log: without the prepend and the access token."""
        shown = base_string[len(self.prepend) :]
        return shown.replace(percent_encode(self.credentials.access_token), "***")


class RsaSha256Auth(SignedRequest):
    """Signs the request for a live session token, with the signature key (IBKR-2018).

    `challenge` is that of diffie_hellman_challenge; it is signed, and stands in the header.
    """

    signature_method = "RSA-SHA256"

    def __init__(self, credentials: Credentials, challenge: str, **options: Any) -> None:
        super().__init__(credentials, **options)
        expect("challenge", challenge, str)
        self.challenge = challenge
        self.prepend = credentials.access_token_secret.hex()

    def oauth_params(self) -> list[tuple[str, str]]:
        return [*super().oauth_params(), ("diffie_hellman_challenge", self.challenge)]

    def signature(self, base_string: str) -> str:
        return rsa_sha256_signature(base_string, self.credentials.signature_key)


# 3. The answer: the live session token, and the proof


@dataclass(frozen=True)
class LiveSessionToken:
    """The key of one session, 20 bytes that are never sent or shown, and when it expires (UTC)."""

    token: bytes = field(repr=False)
    expires: datetime


def diffie_hellman_shared_secret(prime: int, exponent: int, response: str) -> bytes:
    """Return K = B^exponent mod prime, in the form of Java's BigInteger.toByteArray().

    `response` is the server's B in hex. The form is the shortest big-endian one whose top bit, the
    sign, is 0: 0x7f gives 7f, 0xff gives 00 ff (IBKR-guide). Without that 00 up to half of all
    log-ins fail.

    Raises AnswerError if B is no hex number, and ResponseRangeError unless 2 <= B <= prime - 2: for
    0, 1 and prime - 1 anybody can guess K, and a larger B is of another prime. Raises ValueError if
    the exponent is not positive.

    >>> diffie_hellman_shared_secret(227, exponent=9, response="3").hex()
    '00a1'
    """
    expect("prime", prime, int)
    expect("response", response, str)
    expect_exponent(exponent)
    if not re.fullmatch("[0-9a-fA-F]+", response):
        raise AnswerError("the Diffie-Hellman response is not a hex number", "try again later")
    number = int(response, 16)
    if not 2 <= number <= prime - 2:
        hint = "check that dh_prime is that of the dhparam.pem uploaded last"
        raise ResponseRangeError("the Diffie-Hellman response is out of range", hint)
    shared = pow(number, exponent, prime)
    return shared.to_bytes(shared.bit_length() // 8 + 1, "big")


def derive_live_session_token(shared_secret: bytes, access_token_secret: bytes) -> bytes:
    """Return HMAC-SHA1(key = shared secret, message = decrypted access token secret): 20 bytes.
    All that is IBKR's choice (IBKR-2018); SHA-1 as an HMAC is not known to be broken.

    >>> derive_live_session_token(bytes.fromhex("00a1"), bytes.fromhex("0102")).hex()
    '27b38aa7974017fae9c67070a47cc70346086080'
    """
    expect("shared_secret", shared_secret, bytes)
    expect("access_token_secret", access_token_secret, bytes)
    return hmac.digest(shared_secret, access_token_secret, "sha1")


def live_session_token_proof(live_session_token: bytes, consumer_key: str) -> str:
    """Return HMAC-SHA1(key = token, message = consumer key), 40 lower-case hex digits: by this
    both sides see that they hold the same token. IBKR-2018 and the answer's field call this number
    a signature, which it is not.

    >>> token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    >>> live_session_token_proof(token, "TESTCONS")
    'cae01166104b3a31825f6efc2dcc64768ba158c2'
    """
    expect_token(live_session_token)
    expect("consumer_key", consumer_key, str)
    return hmac.digest(live_session_token, consumer_key.encode("ascii"), "sha1").hex()


def expect_token(live_session_token: bytes) -> None:
    expect("live_session_token", live_session_token, bytes)
    if len(live_session_token) != 20:
        raise ValueError("a live session token is 20 bytes; decode its base64 form")


class LimitedBody:
    """Stands in for the raw body of a `requests.Response`, and ends it when it is too much. Once
    begun, it is not read again, whatever happened."""

    def __init__(self, raw: Any, seconds: float) -> None:
        self.read = getattr(raw, "read1", raw.read)  # urllib3 before 2.2 has no read1
        self.ends = time.monotonic() + seconds
        self.begun = False
        self.close = raw.close
        self.release_conn = raw.release_conn

    def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
        """Yield what comes, as it comes: at most `size` bytes at once, but no wait for so many."""
        if self.begun:
            return
        self.begun = True
        total = 0
        while True:
            try:
                data = self.read(size, decode_content=decode_content)
            except OverflowError:
                raise AnswerError("a chunk of an impossible size", "try again later") from None
            if not data:
                return
            total += len(data)
            if total > MAX_ANSWER:
                self.close()
                raise AnswerError(f"an answer of more than {MAX_ANSWER:,} bytes", "try again later")
            if time.monotonic() > self.ends:
                self.close()
                raise AnswerError("the answer took too long", "try again later")
            yield data


def read_answer(response: requests.Response, seconds: float = MAX_SECONDS) -> bytes:
    """Return the body of a response that was requested with `stream=True`; `text` and `json()` have
    it, too, afterwards.

    Raises AnswerError if it is longer than MAX_ANSWER or takes longer than `seconds`, and
    requests.RequestException if it breaks off. With urllib3 before 2.2 the seconds are looked at
    only after each ten kilobytes, so that a body that drips takes longer.
    """
    response.raw = LimitedBody(response.raw, seconds)
    try:
        return response.content
    except AnswerError as error:
        raise AnswerError(str(error), error.hint, response) from None


def read_json(response: requests.Response) -> Any:
    """Return the answer's body, decoded. Raises AnswerError if it is not JSON."""
    try:
        return json.loads(response.content, parse_int=whole_number)
    except (ValueError, RecursionError):
        raise AnswerError("the answer is not JSON", "try again later", response) from None


def whole_number(digits: str) -> int:
    """Return the number. Raises ValueError if it is so long that it would take minutes, for which
    older Pythons have no limit of their own."""
    if len(digits) > 4300:
        raise ValueError
    return int(digits)


def accept_answer(answer: Any, credentials: Credentials, exponent: int) -> LiveSessionToken:
    """Return the token that the server's JSON answer leads to, if its proof shows that both sides
    have the same (IBKR-2018). `exponent` is that of the challenge.

    Raises AnswerError: ResponseRangeError or ProofError where the exchange itself went wrong.
    """
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
        message = "the server's proof of the live session token is wrong"
        raise ProofError(message, "check dh_prime, dh_generator and the case of the consumer key")
    return LiveSessionToken(token, datetime.fromtimestamp(expires / 1000, timezone.utc))


def request_live_session_token(
    session: requests.Session,
    base_url: str,
    credentials: Credentials,
    exponent: Callable[[], int] = new_exponent,
    timeout: float | tuple[float, float] = TIMEOUT,
    headers: Mapping[str, str] | None = None,
    seconds: float = MAX_SECONDS,
) -> LiveSessionToken:
    """Agree with the server on a live session token, valid for about 24 hours (IBKR-docs).

    `base_url` is all before /oauth, and serves all other calls, too. `exponent` draws the secret
    exponent; `timeout` and `headers` are those of `requests`; `seconds` is for the answer's body.
    Raises AnswerError unless the answer is right in all parts, requests.RequestException if there
    is none.
    """
    a = exponent()
    challenge = diffie_hellman_challenge(credentials.dh_prime, credentials.dh_generator, a)
    response = session.post(
        f"{base_url.rstrip('/')}/oauth/live_session_token",
        auth=RsaSha256Auth(credentials, challenge),
        timeout=timeout,
        headers=headers,
        stream=True,
    )
    read_answer(response, seconds)
    if response.status_code != requests.codes.ok:
        raise AnswerError(f"HTTP {response.status_code}", "the answer's body says why", response)
    return accept_answer(read_json(response), credentials, a)


# 4. Every other call


def hmac_sha256_signature(base_string: str, live_session_token: bytes) -> str:
    """Return the HMAC-SHA256, in base64; the key is the 20 bytes, not a text form (IBKR-2018).
    Raises ValueError if the base string is not ASCII or the token is not 20 bytes long.

    >>> token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    >>> hmac_sha256_signature("GET&a&b", token)
    '2uC0W1AZvHBknOkREwEZknInhCoW6mr3fOBagiW1UbE='
    """
    expect("base_string", base_string, str)
    expect_token(live_session_token)
    digest = hmac.digest(live_session_token, base_string.encode("ascii"), "sha256")
    return base64.b64encode(digest).decode()


class HmacSha256Auth(SignedRequest):
    """Signs every call but the token request, with the live session token (IBKR-2018):

    session.auth = HmacSha256Auth(credentials, live_session_token.token)
    """

    signature_method = "HMAC-SHA256"

    def __init__(self, credentials: Credentials, live_session_token: bytes, **options: Any) -> None:
        super().__init__(credentials, **options)
        expect_token(live_session_token)
        self.live_session_token = live_session_token

    def signature(self, base_string: str) -> str:
        return hmac_sha256_signature(base_string, self.live_session_token)
