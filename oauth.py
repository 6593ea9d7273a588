"""First-party OAuth 1.0a as Interactive Brokers (IBKR) speaks it: from credentials to signed calls.

IBKR took OAuth 1.0a (RFC 5849) and changed it; each docstring says where. The client has two RSA
key pairs: one signs, with the other IBKR encrypts. A session needs a key of its own, the live
session token, which both sides compute and neither sends. In the order of the protocol:

 1. decrypt the access token secret, which IBKR encrypted with the public encryption key
 2. request the live session token: send a challenge, the client's half of a Diffie-Hellman
    exchange; put the secret before what is signed, and sign with the private signature key
 3. derive the token from the server's half and the secret, and compare the server's proof
 4. sign every other call with that token

Both private keys are PEM files, PKCS#1 ("BEGIN RSA PRIVATE KEY") or PKCS#8 ("BEGIN PRIVATE KEY").
Their public halves ("BEGIN PUBLIC KEY", SubjectPublicKeyInfo) and the Diffie-Hellman parameters, a
prime and the generator 2, were uploaded to IBKR's portal; the client needs no public half.

On the wire, where {base} is https://api.ibkr.com/v1/api, with no slash behind it, and a header is
one line. The numbers are from the functions' examples, below; real ones are longer:

    POST {base}/oauth/live_session_token
    User-Agent: your-program
    Content-Length: 0
    Authorization: OAuth realm="limited_poa", diffie_hellman_challenge="3a",
        oauth_consumer_key="ABCDEFGHI", oauth_nonce="cafe", oauth_signature="Kz%2BvE...%3D",
        oauth_signature_method="RSA-SHA256", oauth_timestamp="1767225600",
        oauth_token="6f531f8fd316915af53f"

    200 {"diffie_hellman_response": "3",            hex, possibly an odd number of digits
         "live_session_token_signature": "edf8...", the proof, 40 hex digits
         "live_session_token_expiration": 1767312000000}   milliseconds since 1970

    GET {base}/iserver/marketdata/snapshot?conids=265598&fields=31,84
    User-Agent: your-program
    Authorization: OAuth realm="limited_poa", oauth_consumer_key="ABCDEFGHI", oauth_nonce="beef",
        oauth_signature="ARDUNHQjXJWcA%2FsuLUpApgTa3slfiTy%2BxLvjjGo15Lo%3D",
        oauth_signature_method="HMAC-SHA256", oauth_timestamp="1767225605",
        oauth_token="6f531f8fd316915af53f"

    POST {base}/iserver/auth/ssodh/init
    Content-Type: application/json
    Content-Length: 35
    User-Agent, Authorization: as for the GET, with nonce, timestamp and signature of its own

    {"publish": true, "compete": false}

The text that is signed, the signature base string, of the token request and of the GET; each is one
line, *** is the secret in front:

    ***POST&https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Foauth%2Flive_session_token
    &diffie_hellman_challenge%3D3a%26oauth_consumer_key%3DABCDEFGHI%26oauth_nonce%3Dcafe
    %26oauth_signature_method%3DRSA-SHA256%26oauth_timestamp%3D1767225600
    %26oauth_token%3D6f531f8fd316915af53f

    GET&https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Fiserver%2Fmarketdata%2Fsnapshot
    &conids%3D265598%26fields%3D31%2C84%26oauth_consumer_key%3DABCDEFGHI%26oauth_nonce%3Dbeef
    %26oauth_signature_method%3DHMAC-SHA256%26oauth_timestamp%3D1767225605
    %26oauth_token%3D6f531f8fd316915af53f

For every request:

- A body is JSON, with or without blanks, and is not signed: there is no body hash. There is no
  oauth_version, either.
- A POST without a body has `Content-Length: 0`, or IBKR answers 411, and no Content-Type. Some
  libraries add a form's: turn that off. A GET has neither a body nor these two headers.
- A `User-Agent` must be there, any text, or IBKR's edge answers 403.
- Nonce and timestamp are new each time, the timestamp in whole seconds. Let no library send a
  request again, or follow a redirect: the nonce was used, and the signature is for another URL.
- Hex is in small letters, base64 has the standard alphabet and its padding.
- One connection can serve all calls; in Python, use one `requests.Session`. Cookies and `Accept`
  need not be sent. An answer is gzip if the request accepts that.

A live session token lasts about 24 hours; then go on at 2. Calls under /iserver need a brokerage
session besides: the POST to ssodh/init, above, comes before them, and is not enough while its
answer has "established": false. Then ask POST {base}/iserver/auth/status, with no body, once a
second, up to ten times, until it has true; calls that come too early get 400 "no bridge".
"compete": true would end another brokerage session of the username. Once there is a token, the last
call is POST {base}/logout, with no body, also after an error; the answer is {"status": true}. An
answer whose JSON has an "error" is a refusal, even if its status is 200.

Once a call with a token was accepted, a 401 to a later one does not mean that a key is wrong. Under
/iserver, "not authenticated" means that there is no brokerage session, or that another program took
it; under /portfolio/{account}, a 401 means that the account is unknown. If every call gets a 401,
the token may have expired: request a new one. A new token does not end the one before.

To check a port, the functions have examples, and tests/vectors has numbers of each step. Sources:

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any, Callable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from Crypto.Cipher import PKCS1_v1_5
from Crypto.Hash import SHA256
from Crypto.PublicKey.RSA import RsaKey
from Crypto.Signature import pkcs1_15
from requests import PreparedRequest, Response, Session
from requests.auth import AuthBase

Params = Iterable[tuple[str, str]]  # names and values, raw: neither is percent-encoded yet

log = logging.getLogger(__name__)

TIMEOUT = (10, 30)  # seconds to connect, and to wait for the next byte of an answer

SIGN_QUERY = True
"""Whether the query's parameters are part of the base string. OAuth (RFC 5849 section 3.4.1.3),
IBKR-guide and IBKR-2018's worked signature have them in it, IBKR-docs say to leave them out; IBKR
accepts both today. Change it only if calls with a query get 401, and those without one do not."""


class OAuthError(Exception):
    """Base of all errors here. `hint`: what helps, or ""; `response`: the answer, or None."""

    def __init__(self, message: str, hint: str = "", response: Response | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.response = response


class CredentialsError(OAuthError):
    """The access token secret and the encryption key do not fit together."""


class AnswerError(OAuthError):
    """The server answered something that must not be used. Mostly its body says why."""


class ExchangeError(AnswerError):
    """The two sides do not hold the same token. Compare dh_prime and dh_generator with the
    dhparam.pem uploaded last, and the case of the consumer key."""


def expect(kind: type, **values: object) -> None:
    """Raise TypeError, which does not show the value, for a value of another type."""
    for name, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")


# 1. The credentials, and the access token secret


@dataclass(frozen=True)
class Credentials:
    """All that it takes to request a live session token. Its `repr` shows no secret.

    The realm is "limited_poa", or "test_realm" for the consumer key TESTCONS. The secret is what
    decrypt_access_token_secret returns. Of the two numbers that `openssl asn1parse -in dhparam.pem`
    prints, in hex, the first is the prime, the second the generator. Raises TypeError or ValueError
    for values of another kind, such as a secret that is still base64 text.
    """

    realm: str
    consumer_key: str
    access_token: str = field(repr=False)
    access_token_secret: bytes = field(repr=False)
    signature_key: RsaKey = field(repr=False)
    dh_prime: int = field(repr=False)
    dh_generator: int = field(default=2, repr=False)

    def __post_init__(self) -> None:
        expect(str, realm=self.realm, consumer_key=self.consumer_key)
        expect(str, access_token=self.access_token)
        expect(bytes, access_token_secret=self.access_token_secret)
        expect(RsaKey, signature_key=self.signature_key)
        expect(int, dh_prime=self.dh_prime, dh_generator=self.dh_generator)
        if not self.signature_key.has_private():
            raise ValueError("signature_key must be the private half")
        if not 2 <= self.dh_generator <= self.dh_prime - 2:
            raise ValueError("dh_generator must be from 2 to dh_prime - 2")


def decrypt_access_token_secret(encrypted_secret: str, encryption_key: RsaKey) -> bytes:
    """Return the access token secret, 32 bytes in practice (IBKR-2018).

    `encrypted_secret` is base64 of an RSAES-PKCS1-v1_5 ciphertext, made with the public half of
    `encryption_key`. Raises CredentialsError if this key does not decrypt it, TypeError if it is a
    public key.

    Not every library notices a wrong key: OpenSSL, from 3.2 on, gives random bytes in place of an
    error ("implicit rejection" in its CHANGES), and IBKR's refusal is the first sign. A port on it
    can decrypt without padding, and take the padding off by hand (RFC 8017 section 7.2.2).
    """
    expect(str, encrypted_secret=encrypted_secret)
    expect(RsaKey, encryption_key=encryption_key)
    hint = "copy the whole secret again"
    try:
        ciphertext = base64.b64decode(encrypted_secret, validate=True)
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
    if exponent < 1:
        raise ValueError("the exponent must be positive")
    return f"{pow(generator, exponent, prime):x}"


def percent_encode(text: str) -> str:
    """Encode all but ASCII letters, digits and `-._~`: each byte of its UTF-8 as % and two hex
    digits in capitals (RFC 5849 section 3.6)."""
    return quote(text, safe="")


def sorted_pairs(params: Params) -> list[tuple[str, str]]:
    """Return the pairs sorted by name, then value, by code point: capitals before small letters.
    Raises TypeError unless each is a name and a value, both text."""
    if isinstance(params, (str, bytes, Mapping)):
        raise TypeError(f"params must be (name, value) pairs, not {type(params).__name__}")
    pairs = sorted(params)
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("a parameter's name and value must both be str")
    return pairs


def signature_base_string(method: str, url: str, params: Params, prepend: str = "") -> str:
    """Return the text to be signed (RFC 5849 section 3.4.1; IBKR-2018).

        prepend + METHOD & percent-encoded url & percent-encoded list

    `url` is scheme and host in small letters, the port if it is not the scheme's own, and the whole
    path as it is sent; the query is not part of it. `params`, in any order, are of three kinds:
    - the oauth_* parameters of the header, without oauth_signature
    - diffie_hellman_challenge, in the token request
    - the parameters of the query, decoded

    The realm and a JSON body are never among them. The list is `name=value` of each, sorted by
    name, then value, joined with "&". Names and values go into it raw, and the whole list is
    percent-encoded once. RFC 5849 encodes names and values first, too, so its result differs:

        in the query          IBKR, and here            RFC 5849
        symbols=BRK%20B,IBM   symbols%3DBRK%20B%2CIBM  symbols%3DBRK%2520B%252CIBM

    `prepend` is IBKR's, for the token request alone: the decrypted access token secret in
    lower-case hex, directly before the method, not encoded. For all other requests it is empty.
    Raises TypeError for a value of another type, and ValueError for a user name in the URL.

    >>> signature_base_string("POST", "https://h/a", [("b", "31,84 x"), ("a", "1")], "0102")
    '0102POST&https%3A%2F%2Fh%2Fa&a%3D1%26b%3D31%2C84%20x'
    """
    expect(str, method=method, url=url, prepend=prepend)
    if "@" in urlsplit(url).netloc:
        raise ValueError("the URL must not contain a user name")
    pairs = "&".join(map("=".join, sorted_pairs(params)))
    return f"{prepend}{method.upper()}&{percent_encode(url)}&{percent_encode(pairs)}"


def rsa_sha256_signature(base_string: str, signature_key: RsaKey) -> str:
    """Return the RSASSA-PKCS1-v1_5 signature over SHA-256, in base64 (IBKR-2018)."""
    expect(str, base_string=base_string)
    expect(RsaKey, signature_key=signature_key)
    digest = SHA256.new(base_string.encode("ascii"))
    return base64.b64encode(pkcs1_15.new(signature_key).sign(digest)).decode()


def authorization_header(realm: str, params: Params) -> str:
    """Return the Authorization header's value (RFC 5849 section 3.5.1), in an order that does not
    matter. The values come raw and are percent-encoded here, the realm and the signature, too."""
    expect(str, realm=realm)
    pairs = [("realm", realm), *sorted_pairs(params)]
    return "OAuth " + ", ".join([f'{name}="{percent_encode(value)}"' for name, value in pairs])


def oauth_params(
    credentials: Credentials, signature_method: str, nonce: str = "", timestamp: int = 0
) -> list[tuple[str, str]]:
    """Return the parameters that every request has in its header, but for the signature. The nonce
    must never repeat (RFC 5849 section 3.3), the timestamp is in seconds since 1970: a random one
    and the present time are taken unless others are given."""
    return [
        ("oauth_consumer_key", credentials.consumer_key),
        ("oauth_nonce", nonce or secrets.token_hex(16)),
        ("oauth_signature_method", signature_method),
        ("oauth_timestamp", str(timestamp or int(time.time()))),
        ("oauth_token", credentials.access_token),
    ]


def split_query(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the URL as it is signed, and the query's parameters, decoded: %2C is a comma, %20 and
    + are a space. The host must be in small letters: `requests` sees to that. Raises ValueError for
    a query that is not UTF-8."""
    scheme, host, path, query, _ = urlsplit(url)
    own_port = ":443" if scheme == "https" else ":80"
    signed_url = urlunsplit((scheme, host.removesuffix(own_port), path, "", ""))
    return signed_url, parse_qsl(query, keep_blank_values=True, errors="strict")


def sign_request(
    request: PreparedRequest,
    credentials: Credentials,
    params: list[tuple[str, str]],
    sign: Callable[[str], str],
    prepend: str = "",
) -> PreparedRequest:
    """Add the Authorization header to a prepared request, so that what is signed is what is sent.

    `sign` makes the signature from the base string, `params` are the header's others. A query is
    sent like `fields=31,84` in IBKR's own samples: `,` and `:` literally, a space as %20; `%2C`
    would mean the same, and be signed the same. Raises ValueError for a form body, which would have
    to be signed. Logs the base string, without the prepend and the access token.
    """
    if "form" in str(request.headers.get("Content-Type")):
        raise ValueError("send the parameters as JSON or in the query, not as a form")
    url, query_params = split_query(str(request.url))
    request.url = url
    if query_params:
        request.url += "?" + urlencode(query_params, safe=",:", quote_via=quote)
    to_sign = params + query_params if SIGN_QUERY else params
    base_string = signature_base_string(str(request.method), url, to_sign, prepend)
    access_token = percent_encode(credentials.access_token)
    redacted = base_string.removeprefix(prepend).replace(access_token, "***")
    log.debug("%s %s", request.method, request.url)
    log.debug("signature base string: %s", redacted)
    header_params = [*params, ("oauth_signature", sign(base_string))]
    request.headers["Authorization"] = authorization_header(credentials.realm, header_params)
    return request


class RsaSha256Auth(AuthBase):
    """Signs the token request, with the private signature key (IBKR-2018). The challenge is signed
    and stands in the header; the prepend is only signed."""

    def __init__(self, credentials: Credentials, challenge: str) -> None:
        self.credentials = credentials
        self.challenge = challenge

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        params = oauth_params(self.credentials, "RSA-SHA256")
        params.append(("diffie_hellman_challenge", self.challenge))
        sign = partial(rsa_sha256_signature, signature_key=self.credentials.signature_key)
        prepend = self.credentials.access_token_secret.hex()
        return sign_request(request, self.credentials, params, sign, prepend)


# 3. The answer: the live session token, and the proof


@dataclass(frozen=True)
class LiveSessionToken:
    """The key of one session, 20 bytes that are never sent or shown, and when it expires (UTC)."""

    token: bytes = field(repr=False)
    expires: datetime


def diffie_hellman_shared_secret(prime: int, exponent: int, response: str) -> bytes:
    """Return K = B^exponent mod prime, in the form of Java's BigInteger.toByteArray().

    `response` is the server's B in hex, `exponent` that of the challenge. The form is the shortest
    big-endian one whose top bit, the sign, is 0: 0x7f gives 7f, 0xff gives 00 ff (IBKR-guide).
    Without that 00 up to half of all log-ins fail.

    Raises AnswerError if B is no hex number, ExchangeError unless 2 <= B <= prime - 2 (for 0, 1 and
    prime - 1 anybody can guess K, a larger B is of another prime), and ValueError if the exponent
    is not positive.

    >>> diffie_hellman_shared_secret(227, exponent=9, response="3").hex()
    '00a1'
    """
    if exponent < 1:
        raise ValueError("the exponent must be positive")
    if not re.fullmatch("[0-9a-fA-F]+", response):
        raise AnswerError("the Diffie-Hellman response is not a hex number")
    number = int(response, 16)
    if not 2 <= number <= prime - 2:
        raise ExchangeError("the Diffie-Hellman response is out of range")
    shared = pow(number, exponent, prime)
    return shared.to_bytes(shared.bit_length() // 8 + 1, "big")


def derive_live_session_token(shared_secret: bytes, access_token_secret: bytes) -> bytes:
    """Return HMAC-SHA1(key = shared secret, message = decrypted secret): 20 bytes (IBKR-2018).

    >>> derive_live_session_token(bytes.fromhex("00a1"), bytes.fromhex("0102")).hex()
    '27b38aa7974017fae9c67070a47cc70346086080'
    """
    return hmac.digest(shared_secret, access_token_secret, "sha1")


def live_session_token_proof(live_session_token: bytes, consumer_key: str) -> str:
    """Return HMAC-SHA1(key = token, message = consumer key), 40 lower-case hex digits: by this both
    sides see that they hold the same token. IBKR-2018 and the answer call it a signature.

    >>> token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    >>> live_session_token_proof(token, "ABCDEFGHI")
    'edf85b6d9fa8d8462cb71e1166548b3d056bac15'
    """
    expect_token(live_session_token)
    expect(str, consumer_key=consumer_key)
    return hmac.digest(live_session_token, consumer_key.encode("ascii"), "sha1").hex()


def expect_token(live_session_token: bytes) -> None:
    expect(bytes, live_session_token=live_session_token)
    if len(live_session_token) != 20:
        raise ValueError("a live session token is 20 bytes; decode its base64 form")


def accept_answer(answer: Any, credentials: Credentials, exponent: int) -> LiveSessionToken:
    """Return the token that the server's JSON answer leads to (IBKR-2018). `exponent` is that of
    the challenge. Raises AnswerError if a part is missing or of another form, ExchangeError if the
    proof is wrong, which a port compares in constant time, too."""
    try:
        response = answer["diffie_hellman_response"]
        proof = answer["live_session_token_signature"]
        expires = answer["live_session_token_expiration"]
        expect(str, response=response, proof=proof)
        expect(int, expires=expires)
    except (KeyError, TypeError):
        raise AnswerError("the answer lacks a part of the exchange") from None
    if not 1e12 < expires < 4e12:  # from 2001 to 2096
        raise AnswerError("the answer's expiration is not in milliseconds")
    shared_secret = diffie_hellman_shared_secret(credentials.dh_prime, exponent, response)
    token = derive_live_session_token(shared_secret, credentials.access_token_secret)
    expected = live_session_token_proof(token, credentials.consumer_key)
    if not hmac.compare_digest(expected.encode("ascii"), proof.encode("ascii", "replace")):
        raise ExchangeError("the server's proof of the live session token is wrong")
    return LiveSessionToken(token, datetime.fromtimestamp(expires / 1000, timezone.utc))


def request_live_session_token(
    session: Session,
    base_url: str,
    credentials: Credentials,
    exponent: Callable[[], int] = new_exponent,
    timeout: float | tuple[float, float] = TIMEOUT,
) -> LiveSessionToken:
    """Agree with the server on a live session token (IBKR-docs).

    `base_url` is {base} in the module's docstring; `exponent` draws the secret exponent, fresh for
    each request. Raises AnswerError unless the answer is 200 and right in all parts,
    requests.RequestException if there is none.
    """
    a = exponent()
    challenge = diffie_hellman_challenge(credentials.dh_prime, credentials.dh_generator, a)
    response = session.post(
        f"{base_url.rstrip('/')}/oauth/live_session_token",
        auth=RsaSha256Auth(credentials, challenge),
        timeout=timeout,
        allow_redirects=False,
    )
    if response.status_code != 200:
        raise AnswerError(f"HTTP {response.status_code}", response=response)
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        raise AnswerError("the answer is not JSON", response=response) from None
    if isinstance(answer, dict) and answer.get("error"):
        raise AnswerError("HTTP 200 with an error", response=response)
    return accept_answer(answer, credentials, a)


# 4. Every other call


def hmac_sha256_signature(base_string: str, live_session_token: bytes) -> str:
    """Return the HMAC-SHA256 in base64; the key is the token's 20 bytes (IBKR-2018). Raises
    ValueError if the base string is not ASCII or the token has another length.

    >>> token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    >>> hmac_sha256_signature("GET&a&b", token)
    '2uC0W1AZvHBknOkREwEZknInhCoW6mr3fOBagiW1UbE='
    """
    expect(str, base_string=base_string)
    expect_token(live_session_token)
    digest = hmac.digest(live_session_token, base_string.encode("ascii"), "sha256")
    return base64.b64encode(digest).decode()


class HmacSha256Auth(AuthBase):
    """Signs every call but the token request, with the live session token (IBKR-2018):

    session.auth = HmacSha256Auth(credentials, live_session_token.token)
    session.get(url, timeout=TIMEOUT, allow_redirects=False)
    """

    def __init__(self, credentials: Credentials, live_session_token: bytes) -> None:
        self.credentials = credentials
        self.live_session_token = live_session_token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        params = oauth_params(self.credentials, "HMAC-SHA256")
        sign = partial(hmac_sha256_signature, live_session_token=self.live_session_token)
        return sign_request(request, self.credentials, params, sign)
