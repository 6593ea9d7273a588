"""Make the test vectors, one file a stage, with none of our own code.

    python tests/vectors/make.py           write the files
    python tests/vectors/make.py --check   compare them instead; status 1 if one differs

RSA and HMAC are openssl's, checked by `cryptography`; the URL and the parameters of a call by
`oauthlib`; the rest is arithmetic that can be read off.
Nothing is random. What the fields mean is in README.md. ibkr-2018.json is not made here:
Interactive Brokers (IBKR) published it.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from oauthlib.oauth1.rfc5849 import signature as rfc5849

HERE = Path(__file__).parent
IBKR = json.loads((HERE / "ibkr-2018.json").read_text(encoding="ascii"))

KEY_FILE = HERE / "throwaway-key.pem"  # signs and decrypts here, and is used for nothing else
KEY = load_pem_private_key(KEY_FILE.read_bytes(), None)
assert isinstance(KEY, rsa.RSAPrivateKey)
PUBLIC_KEY = KEY.public_key()
N, E = PUBLIC_KEY.public_numbers().n, PUBLIC_KEY.public_numbers().e

# RFC 3526, group 14: a safe prime of 2048 bits that everybody has. Its generator is 2.
PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E34"
    "04DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6"
    "F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A6916"
    "3FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C"
    "32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA95"
    "6AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
EXPONENT = int("fedcba9876543210" * 4, 16)  # 256 bits, as a real one

TOKEN = bytes(range(1, 21)).hex()
SECRET = bytes(range(32)).hex()
URL = "https://api.ibkr.com/v1/api/iserver/marketdata/snapshot"
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

Vector = dict[str, object]


def good(comment: str, output: str, **inputs: object) -> Vector:
    return {"comment": comment, **inputs, "output": output}


def bad(comment: str, fault: str, error: str, **inputs: object) -> Vector:
    return {"comment": comment, **inputs, "error": error, "fault": fault}


def openssl(*args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *args], input=stdin, capture_output=True, check=True).stdout


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def percent_encode(text: str) -> str:
    """RFC 3986, section 2.1, over UTF-8."""
    kept = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode())


# Base string. The parameters stand here in the order that is expected, so nothing is sorted; the
# vectors get them back to front.


def base_string(
    comment: str, *ordered: tuple[str, str], method: str = "GET", url: str = URL, prepend: str = ""
) -> Vector:
    pairs = "&".join(f"{name}={value}" for name, value in ordered)
    output = f"{method}&{percent_encode(url)}&{percent_encode(pairs)}"
    return good(
        comment,
        prepend + output,
        method=method,
        url=url,
        params=list(reversed(ordered)),
        prepend=prepend,
    )


def base_string_vectors() -> list[Vector]:
    return [
        base_string("no parameter at all: the last & stays"),
        base_string("one parameter: its = is percent-encoded", ("conid", "8314")),
        base_string(
            "sorted by name, not by name=value, where a1=0 would precede a=1, for 1 precedes =",
            *(("a", "1"), ("a-", "2"), ("a.", "3"), ("a1", "0"), ("aB", "4"), ("ab", "5")),
        ),
        base_string(
            "a name that is the beginning of another comes first, whatever the values",
            *(("a", "z"), ("aa", "y"), ("aaa", "x"), ("ab", "a"), ("b", "a")),
        ),
        base_string(
            "by code point: digits, capitals, underscore, small letters; case is not folded",
            *(("1", "d"), ("A", "d"), ("B", "c"), ("Z", "b"), ("_", "b"), ("a", "a"), ("b", "a")),
        ),
        base_string(
            "the challenge comes before oauth_*, a query name after it or between",
            *(("Symbol", "1"), ("diffie_hellman_challenge", "2"), ("oauth_consumer_key", "3")),
            *(("oauth_nonce", "4"), ("oauth_token", "5"), ("oauth_tokens", "6"), ("p", "7")),
        ),
        base_string(
            "a repeated name is kept, and sorted by value as text: 10 precedes 9",
            *(("a", "0"), ("conid", "10"), ("conid", "8314"), ("conid", "9"), ("d", "0")),
        ),
        base_string("the same pair twice is kept twice", ("conid", "1"), ("conid", "1")),
        base_string(
            "repeated names are sorted by the raw value: RFC 5849 sorts the encoded one, %2F first",
            *(("a", "."), ("a", "/"), ("a", "A"), ("a", "~")),
        ),
        base_string("an empty value keeps its =", ("a", ""), ("a", "0"), ("b", ""), ("c", "1")),
        base_string("an empty value alone", ("a", "")),
        base_string(
            "comma, encoded once: %2C, where RFC 5849 has %252C", ("fields", "31,84,86,7283")
        ),
        base_string("colon and bar, encoded once", ("a", "1:2"), ("b", "x|y")),
        base_string("a space is %20, not +", ("a", "APPLE INC")),
        base_string("a plus is %2B: it is no space here", ("a", "1+1")),
        base_string("a slash is encoded in a value as in the URL", ("symbol", "BRK/B")),
        base_string("a tilde is not encoded, an asterisk is", ("a", "~*")),
        base_string("a percent sign is data: %41 does not become A", ("a", "100%"), ("b", "%41")),
        base_string(
            "& and = inside a value look like separators: IBKR joins raw, so it is ambiguous",
            ("a", "1&b=2"),
        ),
        base_string("every printable ASCII character, in a value", ("a", PRINTABLE)),
        base_string("every printable ASCII character, in a name", (PRINTABLE, "1")),
        base_string("control characters are encoded", ("a", "\x00\t\r\n\x7f")),
        base_string(
            "all but ASCII is encoded as UTF-8, in two, three and four bytes",
            *(("a", "\u00fc\u0141"), ("b", "\u20ac"), ("c", "\U0001d11e")),
        ),
        base_string("accents are not composed or decomposed", ("a", "u\u0308"), ("b", "\u00fc")),
        {**base_string("a method in small letters is signed in capitals"), "method": "get"},
        base_string("POST", ("a", "1"), method="POST", url="https://api.ibkr.com/v1/api/logout"),
        base_string("DELETE", method="DELETE", url="https://api.ibkr.com/v1/api/x/1"),
        base_string("a port is part of the URL", ("a", "1"), url="http://127.0.0.1:5000/v1/api/x"),
        base_string(
            "what is percent-encoded in the path is so again, for it is the path that is sent",
            url="https://api.ibkr.com/v1/api/portfolio/U%201/a~b,c",
        ),
        base_string(
            "the prepend stands before the method: no separator, not encoded, lower-case hex",
            ("diffie_hellman_challenge", "2"),
            ("oauth_token", "6f531f8fd316915af53f"),
            method="POST",
            url="https://api.ibkr.com/v1/api/oauth/live_session_token",
            prepend=SECRET,
        ),
        bad(
            "half of a character outside the 16-bit range is no text",
            "caller",
            "a lone surrogate has no UTF-8 form",
            method="GET",
            url=URL,
            params=[("a", "\ud834")],
            prepend="",
        ),
        bad(
            "a user name in the URL is sent otherwise, so it would be signed wrongly",
            "caller",
            "the URL has a user name",
            method="GET",
            url="https://user:password@api.ibkr.com/v1/api/portfolio/accounts",
            params=[],
            prepend="",
        ),
    ]


# Both signatures. Neither can go wrong with good arguments, so the errors are the programmer's.

NOT_ASCII = {
    "base_string": "GET&\u00fc&",
    "error": "a base string is ASCII, because everything in it is percent-encoded",
    "fault": "caller",
}


def rsa_signature_vectors() -> list[Vector]:
    def vector(comment: str, text: str) -> Vector:
        signature = openssl("dgst", "-sha256", "-sign", str(KEY_FILE), stdin=text.encode("ascii"))
        PUBLIC_KEY.verify(signature, text.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
        return good(comment, b64(signature), base_string=text)

    return [
        vector("a request for a live session token", f"{SECRET}POST&https%3A%2F%2Fa.b%2Fc&d%3De"),
        vector("the same without its prepend", "POST&https%3A%2F%2Fa.b%2Fc&d%3De"),
        vector(
            "the same with the prepend in capitals",
            f"{SECRET.upper()}POST&https%3A%2F%2Fa.b%2Fc&d%3De",
        ),
        vector(
            "IBKR's published base string, signed with another key",
            str(IBKR["live_session_token_request"]["base_string"]),
        ),
        vector("nothing", ""),
        vector("every printable ASCII character", PRINTABLE),
        vector("no line end is added or taken away", "a\r\nb\n"),
        bad("not ASCII", **NOT_ASCII),
    ]


def hmac(digest: str, key: bytes, message: bytes) -> bytes:
    options = f"-{digest} -mac HMAC -macopt hexkey:{key.hex()} -binary"
    return openssl("dgst", *options.split(), stdin=message)


def hmac_signature_vectors() -> list[Vector]:
    def vector(comment: str, token: str, text: str) -> Vector:
        signature = hmac("sha256", bytes.fromhex(token), text.encode("ascii"))
        return good(comment, b64(signature), live_session_token=token, base_string=text)

    def wrong(comment: str, token: bytes) -> Vector:
        return bad(
            comment,
            "caller",
            f"{len(token)} bytes are no live session token",
            live_session_token=token.hex(),
            base_string="GET&a&b",
        )

    published = vector(
        "RFC 4231, test case 1, whose key happens to have 20 bytes", "0b" * 20, "Hi There"
    )
    result = base64.b64decode(str(published["output"])).hex()
    assert result == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    token = bytes.fromhex(TOKEN)
    return [
        published,
        vector("a request", TOKEN, "GET&https%3A%2F%2Fa.b%2Fc&d%3De"),
        vector(
            "the same request with the last bit of the token changed",
            TOKEN[:-1] + "5",
            "GET&https%3A%2F%2Fa.b%2Fc&d%3De",
        ),
        vector("a token that begins with zero bytes", "0000" + TOKEN[4:], "GET&a&b"),
        vector("a token that ends with zero bytes", TOKEN[:-4] + "0000", "GET&a&b"),
        vector("a token that is no text in any encoding", "ff" * 20, "GET&a&b"),
        vector("nothing", TOKEN, ""),
        vector("every printable ASCII character", TOKEN, PRINTABLE),
        wrong("the token's base64 text in place of its bytes", b64(token).encode("ascii")),
        wrong("the token's hex text in place of its bytes", TOKEN.encode("ascii")),
        wrong("a token without its last byte", token[:-1]),
        wrong("a token with a byte too many", token + b"\0"),
        wrong("no token", b""),
        bad("not ASCII", **NOT_ASCII, live_session_token=TOKEN),
    ]


# Header. As above, the parameters stand here in the order that is expected.


def header_vectors() -> list[Vector]:
    def vector(comment: str, realm: str, *ordered: tuple[str, str]) -> Vector:
        pairs = [
            f'{name}="{percent_encode(value)}"' for name, value in (("realm", realm), *ordered)
        ]
        return good(
            comment, f"OAuth {', '.join(pairs)}", realm=realm, params=list(reversed(ordered))
        )

    return [
        vector(
            "a complete header: realm first, the rest sorted",
            "limited_poa",
            ("oauth_consumer_key", "TESTCONS"),
            ("oauth_nonce", "36f7d85e418f8bfe8561"),
            ("oauth_signature", "lOrgJk9luuadUUq7AtLmGGlTa68+3WDK9UtghZ7eBvg="),
            ("oauth_signature_method", "HMAC-SHA256"),
            ("oauth_timestamp", "1473793702"),
            ("oauth_token", "6f531f8fd316915af53f"),
        ),
        vector(
            "the challenge comes after the realm and before oauth_*",
            "test_realm",
            ("diffie_hellman_challenge", "2"),
            ("oauth_nonce", "1"),
        ),
        vector(
            "the realm is first even if a name precedes it in the alphabet",
            "z",
            ("a", "1"),
            ("zz", "2"),
        ),
        vector("a signature: + / = become %2B %2F %3D", "r", ("oauth_signature", "a+b/c+/==")),
        vector("an empty value", "r", ("oauth_token", "")),
        vector("the realm alone", "limited_poa"),
        vector("every printable ASCII character: no quote ends the value", "r", ("a", PRINTABLE)),
        vector("a realm cannot end its own value, or the header's line", 'r", a="1\r\nCookie: b'),
        vector("all but ASCII is encoded as UTF-8", "\u00fc", ("a", "\u20ac\U0001d11e")),
        bad(
            "half of a character outside the 16-bit range is no text",
            "caller",
            "a lone surrogate has no UTF-8 form",
            realm="r",
            params=[("a", "\ud834")],
        ),
    ]


# Access token secret. PKCS#1 v1.5 pads with random bytes; here the padding is given, so that the
# ciphertext is always the same (RFC 8017, section 7.2.1).


def padded(
    message: bytes, start: bytes = b"\0\2", filler: bytes = b"\xa5", size: int = 256
) -> bytes:
    return start + filler * (size - len(start) - 1 - len(message)) + b"\0" + message


def encrypted(block: bytes) -> bytes:
    return pow(int.from_bytes(block, "big"), E, N).to_bytes(256, "big")


def secret_vectors() -> list[Vector]:
    def vector(comment: str, message: bytes) -> Vector:
        ciphertext = encrypted(padded(message))
        assert openssl("pkeyutl", "-decrypt", "-inkey", str(KEY_FILE), stdin=ciphertext) == message
        return good(comment, message.hex(), access_token_secret=b64(ciphertext))

    def wrong(comment: str, ciphertext: bytes | str, error: str) -> Vector:
        text = ciphertext if isinstance(ciphertext, str) else b64(ciphertext)
        return bad(comment, "credentials", error, access_token_secret=text)

    secret = bytes.fromhex(SECRET)
    whole = encrypted(padded(secret))
    no_base64 = "a character that is none of base64's"
    undecryptable = "no PKCS#1 v1.5 padding"
    return [
        vector("32 bytes, as in practice; the first is zero and is kept", secret),
        vector("bytes that are no text in any encoding", b"\xff" * 32),
        vector("zero bytes at both ends", b"\0\0secret\0\0"),
        vector("one byte", b"s"),
        vector("as many bytes as the padding leaves room for: 245", bytes(range(245))),
        wrong("empty", "", "0 bytes, the key has 256"),
        wrong(
            "the template's placeholder",
            "your-access-token-secret-from-self-service-portal",
            no_base64,
        ),
        wrong("the secret in hex instead of base64", whole.hex(), "384 bytes, the key has 256"),
        wrong(
            "cut off by a character: not whole bytes", b64(whole)[:-1], "the padding is incomplete"
        ),
        wrong("cut off by a byte", whole[:-1], "255 bytes, the key has 256"),
        wrong("a byte too many", whole + b"\0", "257 bytes, the key has 256"),
        wrong("a zero byte in front", b"\0" + whole, "257 bytes, the key has 256"),
        wrong("base64 for URLs", b64(whole).replace("/", "_").replace("+", "-"), no_base64),
        wrong("a letter that is not ASCII, behind the rest", b64(whole) + "\u00e9", no_base64),
        wrong("a line break inside", b64(whole)[:64] + "\n" + b64(whole)[64:], no_base64),
        wrong("percent-encoded", percent_encode(b64(whole)), no_base64),
        wrong(
            "encrypted for another key (IBKR's published secret)",
            str(IBKR["access_token_secret"]["encrypted"]),
            undecryptable,
        ),
        wrong("one bit changed", whole[:-1] + bytes([whole[-1] ^ 1]), undecryptable),
        wrong("a number that is not below the key's modulus", b"\xff" * 256, "out of range"),
        wrong("zero", bytes(256), undecryptable),
        wrong(
            "padded as a signature, with block type 1",
            encrypted(padded(secret, b"\0\1", b"\xff")),
            undecryptable,
        ),
        wrong("not padded", encrypted(bytes(224) + secret), undecryptable),
        wrong(
            "seven bytes of padding, where eight are the least",
            encrypted(padded(bytes(246))),
            undecryptable,
        ),
        wrong("padding without an end", encrypted(b"\0\2" + b"\xa5" * 254), undecryptable),
        wrong("an empty secret, well padded", encrypted(padded(b"")), "the secret is empty"),
    ]


# Diffie-Hellman.


def powers(base: int) -> Iterator[tuple[int, int]]:
    """(a, base^a mod PRIME) for a = EXPONENT and onwards."""
    power = pow(base, EXPONENT, PRIME)
    for exponent in count(EXPONENT):
        yield exponent, power
        power = power * base % PRIME


def challenge_vectors() -> list[Vector]:
    def vector(comment: str, prime: int, generator: int, exponent: int) -> Vector:
        output = f"{pow(generator, exponent, prime):x}"
        return good(
            comment,
            output,
            prime=f"{prime:x}",
            generator=f"{generator:x}",
            exponent=f"{exponent:x}",
        )

    def negative(comment: str, exponent: str) -> Vector:
        error = "the exponent must be positive"
        return bad(comment, "caller", error, prime="17", generator="5", exponent=exponent)

    def digits(number: int) -> int:
        """The first exponent whose challenge has so many hex digits."""
        return next(a for a, challenge in powers(2) if len(f"{challenge:x}") == number)

    textbook = vector("a textbook's: 5^4 = 4 (mod 23)", 23, 5, 4)
    assert textbook["output"] == "4"
    return [
        textbook,
        vector("the same textbook's other side: 5^3 = 10, one digit and a letter", 23, 5, 3),
        vector("two digits: 5^11 = 22", 23, 5, 11),
        vector("the exponent 1 gives the generator", PRIME, 2, 1),
        vector("an exponent too short to wrap around: 2^2047", PRIME, 2, 2047),
        vector("512 digits, with a 256-bit exponent", PRIME, 2, digits(512)),
        vector("511 digits: an odd number, no leading zero is written", PRIME, 2, digits(511)),
        vector("510 digits: no leading zero byte is written", PRIME, 2, digits(510)),
        vector("a generator other than 2", PRIME, 5, EXPONENT),
        vector("a generator as long as the prime", PRIME, PRIME - 2, EXPONENT),
        vector("an exponent longer than the prime", PRIME, 2, EXPONENT**9),
        negative("exponent 0: the challenge would be 1", "0"),
        negative("exponent -1: the challenge would be 1/5", "-1"),
    ]


def to_byte_array(number: int) -> bytes:
    """Java's BigInteger.toByteArray(), which is the content of an ASN.1 INTEGER: ask openssl."""
    der = openssl("asn1parse", "-genstr", f"INTEGER:{number}", "-noout", "-out", "/dev/stdout")
    long_form = der[1] & 0x7F if der[1] & 0x80 else 0  # bytes that say how long the content is
    return der[2 + long_form :]


def shared_secret_vectors() -> list[Vector]:
    def vector(comment: str, prime: int, exponent: int, response: int | str) -> Vector:
        text = response if isinstance(response, str) else f"{response:x}"
        output = to_byte_array(pow(int(text, 16), exponent, prime)).hex()
        return good(comment, output, prime=f"{prime:x}", exponent=f"{exponent:x}", response=text)

    def small(comment: str, prime: int, secret: int) -> Vector:
        """The response with which the exponent 3 leads to that secret."""
        return vector(comment, prime, 3, next(b for b in count(2) if pow(b, 3, prime) == secret))

    def full(comment: str, bits: int) -> Vector:
        """The first exponent whose secret has so many bits."""
        response = pow(2, 0x1234567, PRIME)
        exponent = next(a for a, secret in powers(response) if secret.bit_length() == bits)
        return vector(comment, PRIME, exponent, response)

    def wrong(comment: str, response: str, error: str, prime: int = 65537) -> Vector:
        return bad(
            comment,
            "answer",
            error,
            prime=f"{prime:x}",
            exponent=f"{EXPONENT:x}",
            response=response,
        )

    textbook = vector("a textbook's: 10^4 = 18 (mod 23)", 23, 4, 10)
    assert textbook["output"] == "12"
    return [
        textbook,
        small("tiny: 0x7f, the largest that needs no sign byte (IBKR-guide's example)", 257, 0x7F),
        small("tiny: 0x80, the first with a sign byte", 257, 0x80),
        small("tiny: 0xff, with a sign byte (IBKR-guide's example)", 257, 0xFF),
        small("tiny: 0x02", 257, 2),
        small("0x100: two bytes, no sign byte", 65537, 0x100),
        small("0xfff: an odd number of digits", 65537, 0xFFF),
        small("0x7fff: the largest of two bytes", 65537, 0x7FFF),
        small("0x8000: a sign byte before two bytes", 65537, 0x8000),
        full("2048 bits: the top bit is set, so 257 bytes with the sign byte", 2048),
        full("2047 bits: 256 bytes, no sign byte", 2047),
        full("2044 bits: an odd number of digits, 256 bytes", 2044),
        full("2041 bits: the shortest of 256 bytes", 2041),
        full("2040 bits: 255 bytes, and a sign byte because their top bit is set: 256 again", 2040),
        full("2039 bits: 255 bytes, no zero byte fills them up to the prime's 256", 2039),
        vector("the exponent 1 gives the response", PRIME, 1, 0xFF),
        vector("the smallest good response: 2", PRIME, EXPONENT, 2),
        vector("the largest good response: p - 2", PRIME, EXPONENT, PRIME - 2),
        vector("the smallest and largest good responses meet: p = 5", 5, 2, 3),
        vector("a response with an odd number of digits", PRIME, EXPONENT, "abc"),
        vector("a response in capitals", PRIME, EXPONENT, "ABCDEF"),
        vector("a response with leading zeros: they change nothing", PRIME, EXPONENT, "000abc"),
        wrong("empty: the server says so when it has none yet", "", "not hex"),
        wrong("0: the secret would be 0", "0", "out of range"),
        wrong("1: the secret would be 1", "1", "out of range"),
        wrong("p - 1: the secret would be 1 or p - 1", f"{PRIME - 1:x}", "out of range", PRIME),
        wrong("p: the secret would be 0", f"{PRIME:x}", "out of range", PRIME),
        wrong("p + 1: the secret would be 1", f"{PRIME + 1:x}", "out of range", PRIME),
        wrong("p + 2: not reduced", f"{PRIME + 2:x}", "out of range", PRIME),
        wrong("p - 1 for a small prime", "16", "out of range", 23),
        wrong("absurdly long: 5000 digits", "f" * 5000, "out of range"),
        wrong("a sign", "-2", "not hex"),
        wrong("the other sign", "+2", "not hex"),
        wrong("0x in front", "0xabc", "not hex"),
        wrong("an underscore, which Python's int() takes", "a_bc", "not hex"),
        wrong("a space in front", " abc", "not hex"),
        wrong("a space behind", "abc ", "not hex"),
        wrong("a line end behind, which a pattern that ends in $ lets pass", "abc\n", "not hex"),
        wrong("a line break inside", "a\nbc", "not hex"),
        wrong("colons, as openssl prints numbers", "ab:cd", "not hex"),
        wrong("a letter beyond f", "abcg", "not hex"),
        wrong("decimals", "10.0", "not hex"),
        wrong("Arabic-Indic digits, which Python's int() takes", "\u0661\u0662", "not hex"),
        wrong("full-width digits, which Python's int() takes", "\uff11\uff12", "not hex"),
        wrong("a null character", "abc\x00", "not hex"),
        *(
            bad(
                comment,
                "caller",
                "the exponent must be positive",
                prime="10001",
                exponent=exponent,
                response="abc",
            )
            for comment, exponent in (
                ("exponent 0: the secret would be 1", "0"),
                ("exponent -1: the secret would be the response's inverse", "-1"),
            )
        ),
    ]


# Live session token and its proof. HMAC takes keys of any length, so a token has no failing case.


def token_vectors() -> list[Vector]:
    def vector(comment: str, shared_secret: str, secret: str) -> Vector:
        output = hmac("sha1", bytes.fromhex(shared_secret), bytes.fromhex(secret)).hex()
        return good(comment, output, shared_secret=shared_secret, access_token_secret=secret)

    published = vector("RFC 2202, test case 1", "0b" * 20, b"Hi There".hex())
    assert published["output"] == "b617318655057264e28bc0b6fb378c8ef146be00"
    long = vector(
        "RFC 2202, test case 7: a key longer than SHA-1's block",
        "aa" * 80,
        b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data".hex(),
    )
    assert long["output"] == "e8e99d0f45237d786d6bbaa7965c7808bbff1a91"
    shared = to_byte_array(PRIME - 2).hex()
    return [
        published,
        long,
        vector("257 bytes, with the sign byte, as in practice", shared, SECRET),
        vector(
            "the same without the sign byte leads to another token: half of all log-ins",
            shared[2:],
            SECRET,
        ),
        vector("256 bytes with the top bit clear", "7f" + shared[4:], SECRET),
        vector("255 bytes, because the first was zero and is left out", "7f" + shared[6:], SECRET),
        vector(
            "the same padded to 256 bytes leads to another token: one log-in in 256",
            "007f" + shared[6:],
            SECRET,
        ),
        vector("a short one with the sign byte", "00ff", SECRET),
        vector("a short one without: the same number, another token", "ff", SECRET),
        vector("64 bytes, SHA-1's block: the key is used as it is", "7f" * 64, SECRET),
        vector("65 bytes: the key is hashed first", "7f" * 65, SECRET),
        vector("a secret of one byte", shared, "00"),
        vector(
            "a secret of 245 bytes, the most that a 2048-bit key can encrypt", shared, "5a" * 245
        ),
    ]


def proof_vectors() -> list[Vector]:
    def vector(comment: str, token: str, consumer_key: str) -> Vector:
        output = hmac("sha1", bytes.fromhex(token), consumer_key.encode("ascii")).hex()
        return good(comment, output, live_session_token=token, consumer_key=consumer_key)

    def zero_first(length: int) -> str:
        """The first token whose proof begins with a zero digit, so that its number is shorter."""
        candidates = (f"{number:040x}" for number in count())
        return next(
            t
            for t in candidates
            if str(vector("", t, "TESTCONS")["output"]).startswith("0" * length)
        )

    published = vector(
        "RFC 2202, test case 1, whose key happens to have 20 bytes", "0b" * 20, "Hi There"
    )
    assert published["output"] == "b617318655057264e28bc0b6fb378c8ef146be00"
    return [
        published,
        vector("a consumer key of nine", TOKEN, "ABCDEF123"),
        vector("the test environment's", TOKEN, "TESTCONS"),
        vector("the same in small letters: case matters", TOKEN, "testcons"),
        vector("a proof that begins with a zero digit still has 40", zero_first(1), "TESTCONS"),
        vector("the token's last bit changed", TOKEN[:-1] + "5", "TESTCONS"),
        bad(
            "a consumer key that is not ASCII",
            "caller",
            "a consumer key is ASCII",
            live_session_token=TOKEN,
            consumer_key="TESTC\u00d6NS",
        ),
        bad(
            "the token's base64 text in place of its bytes",
            "caller",
            "28 bytes are no live session token",
            live_session_token=b64(bytes.fromhex(TOKEN)).encode("ascii").hex(),
            consumer_key="TESTCONS",
        ),
    ]


# The whole answer to the request for a live session token: what is refused, and when it is trusted.


def answer_vectors() -> list[Vector]:
    server = 0x1234567  # the server's exponent
    known = {"access_token_secret": SECRET, "consumer_key": "TESTCONS"}

    def exchange(bits: int) -> tuple[int, str, str, dict[str, object]]:
        """An exponent whose shared secret has so many bits, K, the token and the right answer."""
        response = pow(2, server, PRIME)
        exponent = next(a for a, k in powers(response) if k.bit_length() == bits)
        shared = to_byte_array(pow(response, exponent, PRIME))
        token = hmac("sha1", shared, bytes.fromhex(SECRET))
        answer = {
            "diffie_hellman_response": f"{response:x}",
            "live_session_token_signature": hmac("sha1", token, b"TESTCONS").hex(),
            "live_session_token_expiration": 1767312000000,
        }
        return exponent, shared.hex(), token.hex(), answer

    exponent, shared, token, right = exchange(2048)

    def vector(comment: str, output: str, exponent: int, answer: object) -> Vector:
        numbers = {"prime": f"{PRIME:x}", "exponent": f"{exponent:x}"}
        return good(comment, output, **numbers, **known, answer=answer)

    def wrong(comment: str, error: str, answer: object = None, **changes: object) -> Vector:
        given = {**right, **changes} if answer is None else answer
        numbers = {"prime": f"{PRIME:x}", "exponent": f"{exponent:x}"}
        return bad(comment, "answer", error, **numbers, **known, answer=given)

    def without(field: str) -> Vector:
        rest = {name: value for name, value in right.items() if name != field}
        return wrong(f"no {field}", "a part is missing", rest)

    def proof_of(token: bytes, consumer_key: bytes = b"TESTCONS") -> str:
        return hmac("sha1", token, consumer_key).hex()

    unsigned = hmac("sha1", bytes.fromhex(shared)[1:], bytes.fromhex(SECRET))
    in_hex = hmac("sha1", shared.encode("ascii"), bytes.fromhex(SECRET))
    other_proof = "the proof is of another token"
    proof, response = "live_session_token_signature", "diffie_hellman_response"
    expiration = "live_session_token_expiration"
    return [
        vector("right: the shared secret has its sign byte", token, exponent, right),
        *(vector(f"right: a shared secret of {bits} bits", made[2], made[0], made[3]) for bits in (2047, 2039) for made in [exchange(bits)]),
        vector("right, with a field that nobody knows", token, exponent, {**right, "new": [1]}),
        wrong("proof of the token that K without its sign byte gives", other_proof, **{proof: proof_of(unsigned)}),
        wrong("proof of the token that K's hex text gives", other_proof, **{proof: proof_of(in_hex)}),
        wrong("proof for the consumer key in small letters", other_proof, **{proof: proof_of(bytes.fromhex(token), b"testcons")}),
        wrong("proof with its last digit changed", other_proof, **{proof: str(right[proof])[:-1] + "x"}),
        wrong("proof cut off: the part that is there is right", other_proof, **{proof: str(right[proof])[:20]}),
        wrong("proof empty", other_proof, **{proof: ""}),
        wrong("proof null", "a part is missing", **{proof: None}),
        without(proof),
        without(response),
        without(expiration),
        wrong("response empty: the server has none yet", "not hex", **{response: ""}),
        wrong("response 1, with the proof that fits it", "out of range", **{response: "1", proof: proof_of(hmac("sha1", b"\1", bytes.fromhex(SECRET)))}),
        wrong("response p - 1", "out of range", **{response: f"{PRIME - 1:x}"}),
        wrong("response as a number", "a part is missing", **{response: 5}),
        wrong("expiration in seconds", "not in milliseconds", **{expiration: 1767312000}),
        wrong("expiration as a text", "a part is missing", **{expiration: "1767312000000"}),
        wrong("an error in place of the answer", "a part is missing", {"error": "not ready"}),
        wrong("a list", "a part is missing", []),
    ]  # fmt: skip


# A whole call: from the URL as a program writes it to the header. The URL and the parameters stand
# here as they are expected in the base string; oauthlib checks them.


def call_vectors() -> list[Vector]:
    host = "https://api.ibkr.com/v1/api"
    oauth = [
        ("oauth_consumer_key", "TESTCONS"),
        ("oauth_nonce", "cafe"),
        ("oauth_signature_method", "HMAC-SHA256"),
        ("oauth_timestamp", "1767225600"),
        ("oauth_token", "6f531f8fd316915af53f"),
    ]
    inputs = {
        "realm": "test_realm",
        "consumer_key": "TESTCONS",
        "access_token": "6f531f8fd316915af53f",
        "live_session_token": TOKEN,
        "nonce": "cafe",
        "timestamp": 1767225600,
    }

    def vector(
        comment: str,
        url: str,
        signed_url: str,
        *before: tuple[str, str],
        after: tuple[tuple[str, str], ...] = (),
        method: str = "GET",
    ) -> Vector:
        assert rfc5849.base_string_uri(url) == signed_url
        query = rfc5849.collect_parameters(uri_query=url.partition("?")[2])
        assert sorted(query) == sorted([*before, *after])
        pairs = "&".join(f"{name}={value}" for name, value in (*before, *oauth, *after))
        text = f"{method}&{percent_encode(signed_url)}&{percent_encode(pairs)}"
        signature = b64(hmac("sha256", bytes.fromhex(TOKEN), text.encode("ascii")))
        params = [*oauth[:2], ("oauth_signature", signature), *oauth[2:]]
        header = ", ".join(f'{name}="{percent_encode(value)}"' for name, value in params)
        output = f'OAuth realm="test_realm", {header}'
        return good(comment, output, method=method, url=url, **inputs, base_string=text)

    def wrong(comment: str, error: str, url: str) -> Vector:
        return bad(comment, "caller", error, method="GET", url=url, **inputs)

    accounts, search = f"{host}/portfolio/accounts", f"{host}/trsrv/stocks"
    return [
        vector("no query", accounts, accounts),
        vector("POST; a JSON body is not signed", f"{host}/logout", f"{host}/logout", method="POST"),
        vector("a query is signed decoded", f"{search}?symbols=AAPL", search, after=(("symbols", "AAPL"),)),
        vector("a list with literal commas", f"{search}?fields=31,84", search, ("fields", "31,84")),
        vector("the same list with %2C: the same signature", f"{search}?fields=31%2C84", search, ("fields", "31,84")),
        vector("a space as %20", f"{search}?symbols=BRK%20B", search, after=(("symbols", "BRK B"),)),
        vector("a space as +: the same signature", f"{search}?symbols=BRK+B", search, after=(("symbols", "BRK B"),)),
        vector("a plus as %2B", f"{search}?symbols=BRK%2BB", search, after=(("symbols", "BRK+B"),)),
        vector("an empty value is kept", f"{search}?a=&b=1", search, ("a", ""), ("b", "1")),
        vector("a repeated name, not in order", f"{search}?p=10&p=1&B=2", search, ("B", "2"), after=(("p", "1"), ("p", "10"))),
        vector("all but ASCII is UTF-8", f"{search}?a=%C3%BC", search, ("a", "\u00fc")),
        vector("the port of https is left out", f"{accounts.replace('.com', '.com:443')}", accounts),
        vector("the port of http is left out", "http://localhost:80/v1/api/x", "http://localhost/v1/api/x"),
        vector("another port stays", "http://127.0.0.1:5000/v1/api/x", "http://127.0.0.1:5000/v1/api/x"),
        vector("scheme and host are signed in small letters, the path as it is", "HTTPS://API.IBKR.COM/v1/api/X", "https://api.ibkr.com/v1/api/X"),
        wrong("a query that is not UTF-8", "%FF is no UTF-8", f"{search}?a=%FF"),
        wrong("a user name", "the URL has a user name", accounts.replace("//", "//user:password@")),
    ]  # fmt: skip


STAGES = {
    "base_string": base_string_vectors,
    "rsa_signature": rsa_signature_vectors,
    "hmac_signature": hmac_signature_vectors,
    "header": header_vectors,
    "secret": secret_vectors,
    "challenge": challenge_vectors,
    "shared_secret": shared_secret_vectors,
    "token": token_vectors,
    "proof": proof_vectors,
    "answer": answer_vectors,
    "call": call_vectors,
}


def as_json(vectors: list[Vector]) -> str:
    """One line a field, so that a change shows in a diff."""
    objects = (
        ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in vector.items())
        for vector in vectors
    )
    return "[\n" + ",\n".join(f" {{\n{fields}\n }}" for fields in objects) + "\n]\n"


def main() -> int:
    status = 0
    for stage, vectors in STAGES.items():
        path, text = HERE / f"{stage}.json", as_json(vectors())
        if "--check" not in sys.argv[1:]:
            path.write_bytes(text.encode("ascii"))
        elif not path.exists() or path.read_text(encoding="ascii") != text:
            print(f"{path.name} is not what make.py makes")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
