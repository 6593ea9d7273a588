"""What must not be shown: finds secrets in a text, however they are written there.

`Secrets` is told what to hide, and puts `***` in its place, and in that of what tells of an
account's holder. It knows neither where a text comes from, nor where it goes.
"""

from __future__ import annotations

import base64
import contextlib
import re
import string
from array import array
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote
from urllib.request import getproxies


class Secrets:
    """Puts `***` in place of what it was told to hide, in all spellings that `Letters` knows."""

    NAMES = (
        r"oauth_signature|live_session_token_signature|MAC|hardware_info|session(?:_?id)?|user(?:id)?"
        r"|(?:account|client|customer|display|first|given|last|legal|middle|nick|user)_?name"
        r"|accountVan|acctDesc|desc|email|phone|address|owner|tax_?id"
        r"|\w{0,30}(?:alias|holder|title)\w{0,30}"
    )
    NAMED_TEXT = rf"""
          ("(?:{NAMES})\s*\\*"\s*:\s*)
          (?: (")(?:[^"\\]+|\\+.){{1,1000}}
            | (\\+")(?:[^"\\]+|\\+[^"\\]){{1,1000}}
            | ([\[{{])[^\]}}]+
          )
        """  # in JSON that is broken, or within a text, where quotes have a \
    MOST, MOST_LETTERS = 600, 1_000_000  # of all that is hidden: cookies may come without end
    REACH = 50_000  # letters, from the first to the last, in which a secret is written

    def __init__(self) -> None:
        self.hidden: dict[str, int] = {}  # what is searched for, and how many letters before it
        self.size = 0

    def hide(self, *secrets: str | bytes, least: int = 8) -> None:
        """Hide texts of at least so many letters (shorter ones would mask a lot), and bytes in all
        forms in which they may be written.

        A long one is also found without its first three letters: what stands before it, as in
        "%ab12...", may make them look like another letter that is written as a number.
        """
        for secret in secrets:
            if isinstance(secret, bytes):
                self.hide(*written(secret))
                continue
            letters = Letters(secret).text
            for form in (letters, letters.rstrip("=")):
                if len(form) >= least:
                    self.search(form, 0)
                if len(form) >= 12:
                    self.search(form[3:], 3)

    def search(self, letters: str, before: int) -> None:
        """Search for letters from now on, to hide them and so many before them."""
        room = len(self.hidden) < self.MOST and self.size + len(letters) <= self.MOST_LETTERS
        if room and letters not in self.hidden:
            self.hidden[letters] = before
            self.size += len(letters)

    def mask(self, text: str, size: int | None = None) -> str:
        """Return the text, or its first letters, with `***` for what is secret in it. Cut nothing
        before: half a secret is not recognized."""
        letters = Letters(text if size is None else text[: size + self.REACH])
        present = [secret for secret in self.hidden if secret in letters.text]
        shown, done = [], 0
        for start, end in self.places(letters, present) if present else ():
            if size is None or start < size:
                shown += [text[done:start], "***"]
                done = end
        return self.without_named("".join(shown) + text[done:size])

    def without_named(self, text: str) -> str:
        """Return a text with `***` for what stands behind one of the names in it."""
        if '"' not in text:
            return text
        flags = re.IGNORECASE | re.VERBOSE | re.DOTALL  # compiled only when a text may have a name
        return re.sub(self.NAMED_TEXT, r"\1\2\3\4***", text, flags=flags)

    def places(self, letters: Letters, secrets: list[str]) -> Iterator[tuple[int, int]]:
        """Yield from where to where in the original text there are secrets, one or several."""
        marked = bytearray(len(letters.text))
        for secret in secrets:
            at = letters.text.find(secret)
            while at >= 0:
                after = at + len(secret)
                start = max(0, at - self.hidden[secret])
                marked[start:after] = b"x" * (after - start)
                at = letters.text.find(secret, after)
        starts, ends = letters.spans()
        for match in re.finditer(b"x+", marked):
            yield starts[match.start()], ends[match.end() - 1]

    def excerpt(self, text: str) -> str:
        """Return the beginning of a text, on one line."""
        return self.mask(" ".join(text.split()), 2000)[:200]

    def redact(self, value: Any, name: str = "") -> Any:
        """Return a JSON value without secrets, and without what tells of the holder."""
        if value and re.fullmatch(self.NAMES, name.strip(), re.IGNORECASE):
            return "***"
        if isinstance(value, dict):
            return {self.mask(key): self.redact(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return self.mask(value) if isinstance(value, str) else value


def written(secret: bytes) -> Iterator[str]:
    """Yield the forms in which bytes may be written: hex, base64, a number, a list, themselves."""
    yield from (secret.hex(), secret.hex("-"))
    if len(secret) < 1000:  # of much longer ones, Python refuses to write the number
        with contextlib.suppress(ValueError):  # where it is told to refuse shorter ones, too
            yield str(int.from_bytes(secret, "big"))
    yield from (base64.b64encode(secret).decode(), base64.b32encode(secret).decode())
    yield " ".join(str(byte) for byte in secret)
    yield " ".join(str(byte - 256 * (byte > 127)) for byte in secret)  # Java's bytes have signs
    yield secret.decode("latin-1")


class Letters:
    """A text as it is searched for secrets: every way to write a letter (URL, JSON, HTML, Python)
    decoded, in small letters, without spaces and punctuation."""

    SPELLED = r"""
          %(?:25)*(?:u00)?(?P<url>[0-9a-f]{2})
        | \\+(?:u00|u\{|x|x\{|U000000)(?P<escape>[0-9a-f]{2})\}?
        | &(?:amp;|\#38;)*\#x0*(?P<hex>[0-9a-f]{2});?
        | &(?:amp;|\#38;)*\#0*(?P<decimal>[0-9]{2,3});?
        | &(?:amp;)*(?P<name>plus|sol|equals);
        | \\+(?P<slash>/)
        | \\+[nrt]?
        """
    SKIPPED = " \t\r\n\f\v\0\\:;,.'\"\u200b\u200c\u200d\ufeff"
    PLAIN = rf"(?P<plain>[^%&{re.escape(SKIPPED)}]+|[%&])"
    FLAGS = re.IGNORECASE | re.VERBOSE | re.ASCII  # or another letter would be taken for an s
    DECODED = re.compile(SPELLED, FLAGS)
    NAMED = MappingProxyType({"plus": "+", "sol": "/", "equals": "="})
    SAME = str.maketrans(string.ascii_uppercase + "-_", string.ascii_lowercase + "+/", SKIPPED)

    def __init__(self, text: str) -> None:
        self.original = text
        self.text = self.DECODED.sub(self.decoded, text).translate(self.SAME)

    def decoded(self, match: re.Match[str]) -> str:
        """Return the letter that is written as a number or by its name, "" for what is left out."""
        way = match.lastgroup
        if way is None:
            return ""
        if way == "slash":
            return "/"
        if way == "name":
            return self.NAMED[match[way].lower()]
        return chr(int(match[way], 10 if way == "decimal" else 16))

    def spans(self) -> tuple[array[int], array[int]]:
        """Return where in the original each letter begins, and where it ends."""
        starts, ends = array("L"), array("L")
        for match in re.finditer(f"{self.SPELLED}|{self.PLAIN}", self.original, self.FLAGS):
            start, end = match.span()
            if match.lastgroup == "plain":
                starts.extend(range(start, end))
                ends.extend(range(start + 1, end + 1))
            elif self.decoded(match).translate(self.SAME):
                starts.append(start)
                ends.append(end)
        return starts, ends


def decoded_bytes(text: str) -> Iterator[bytes]:
    """Yield what a text is if it is hex or base64: a server may write that otherwise."""
    for decode in (bytes.fromhex, base64.b64decode):
        with contextlib.suppress(ValueError):
            yield decode(text)


def proxy_passwords() -> Iterator[str]:
    """Yield the passwords of the environment's proxies, as they are, as they are sent, and as far
    as a URL goes that is not encoded as it should be."""
    for url in getproxies().values():
        rest = url.partition("://")[2] or url
        user, at, _ = rest.rpartition("@")
        user = user if at else rest  # its host may be forgotten
        password = user.partition(":")[2]
        if not at and password.rstrip("/").isdigit():
            continue  # a port
        yield from (password, unquote(password), *re.split("[/#?]", password))
        yield base64.b64encode(user.encode(errors="replace")).decode()
        yield base64.b64encode(unquote(user).encode(errors="replace")).decode()
