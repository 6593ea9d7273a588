"""The rehearsal: IBKR played with a person's own config, before IBKR has activated the key.

The server's side uses what was uploaded: the public halves and the parameters from the files
beside the private keys, read by this file's own code. Where one is missing it is derived from the
config, which proves nothing that the demo's --check does not. Only the secret has to come from the
config's own key, since nobody else can decrypt it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from Crypto.PublicKey import RSA

import demo
from keys.check import Ingredients
from tests.sandbox.identity import Identity, read_dh_parameters
from tests.sandbox.stand_in import Sandbox

SIGNATURE_FILE = "public_signature.pem"
ENCRYPTION_FILE = "public_encryption.pem"
PRIME_FILE = "dhparam.pem"
LARGEST = 100_000  # bytes of a file


class RehearsalError(Exception):
    """A file that was uploaded cannot be read."""


@dataclass(frozen=True)
class Uploaded:
    """What lies beside the keys. None: there is no such file."""

    signature_key: RSA.RsaKey | None
    encryption_key: RSA.RsaKey | None
    parameters: tuple[int, int] | None


def read_ingredients(path: str) -> Ingredients | None:
    """Return what a right config holds; print what is wrong with any other, and return None."""
    console = demo.Console()
    try:
        return demo.check_and_report(path, console, show=False).ingredients
    except demo.Problem as problem:
        console.error(str(problem), *problem.hints)
        return None


def read_text(path: Path) -> str | None:
    """Raises RehearsalError for a file that is there and cannot be read."""
    if not path.exists():
        return None
    try:
        if not path.is_file():
            raise OSError("not a regular file")
        with path.open("rb") as file:
            return file.read(LARGEST).decode("ascii", "replace")
    except OSError as error:
        raise RehearsalError(f"{path.name}: {error.strerror or error}") from None


def read_public_key(folder: Path, name: str) -> RSA.RsaKey | None:
    text = read_text(folder / name)
    if text is None:
        return None
    start = text.find("-----BEGIN ")
    try:
        key = RSA.import_key(text[max(start, 0) :].strip())
    except (ValueError, IndexError, TypeError):
        raise RehearsalError(f"{name}: no public key in it") from None
    return key.public_key()


def read_parameters(folder: Path) -> tuple[int, int] | None:
    text = read_text(folder / PRIME_FILE)
    if text is None:
        return None
    try:
        return read_dh_parameters(text)
    except (ValueError, IndexError, TypeError) as error:
        raise RehearsalError(f"{PRIME_FILE}: {error}") from None


def read_uploaded(found: Ingredients) -> Uploaded:
    beside_signature = Path(found.signature_key_file).parent
    beside_encryption = Path(found.encryption_key_file).parent
    return Uploaded(
        read_public_key(beside_signature, SIGNATURE_FILE),
        read_public_key(beside_encryption, ENCRYPTION_FILE),
        read_parameters(beside_signature),
    )


def same_key(one: RSA.RsaKey, other: RSA.RsaKey) -> bool:
    return (one.n, one.e) == (other.n, other.e)


class Rehearsal:
    """One config, the files beside its keys, and what they say about each other."""

    def __init__(self, config_path: str, found: Ingredients) -> None:
        self.found = found
        self.source = config_path
        self.uploaded = read_uploaded(found)
        self.missing: list[str] = []
        self.misfits: list[str] = []
        self.remarks: list[str] = []  # to be said before anything is sent
        self.compare_signature()
        self.compare_encryption()
        self.compare_parameters()
        if self.missing:
            names = ", ".join(self.missing)
            self.remarks.append(
                f"derived from the config, not beside the keys: {names}; "
                "for this part the rehearsal proves nothing beyond --check"
            )
        self.identity = self.make_identity()

    def compare_signature(self) -> None:
        key = self.uploaded.signature_key
        if key is None:
            self.missing.append(SIGNATURE_FILE)
        elif not same_key(key, self.found.signature_key):
            self.misfits.append(
                f"{SIGNATURE_FILE} is not the public half of the signature key in the config"
            )

    def compare_encryption(self) -> None:
        key = self.uploaded.encryption_key
        if key is None:
            self.missing.append(ENCRYPTION_FILE)
        elif not same_key(key, self.found.encryption_key):
            misfit = f"{ENCRYPTION_FILE} is not the public half of the encryption key in the config"
            self.misfits.append(misfit)
            self.remarks.append(
                f"warning: {misfit}; no request shows this: the secret decrypts with the key"
            )

    def compare_parameters(self) -> None:
        parameters = self.uploaded.parameters
        if parameters is None:
            self.missing.append(PRIME_FILE)
        elif parameters[0] != self.found.dh_prime:
            self.misfits.append(f"dh_prime in the config is not the prime of {PRIME_FILE}")
        elif parameters[1] != self.found.dh_generator:
            self.misfits.append(f"the config's generator is not that of {PRIME_FILE}")

    def make_identity(self) -> Identity:
        found = self.found
        public = self.uploaded.signature_key or found.signature_key.public_key()
        prime, generator = self.uploaded.parameters or (found.dh_prime, found.dh_generator)
        stray = f"signed with a key whose public half is not {SIGNATURE_FILE}"
        return Identity(
            realm=found.realm,
            consumer_key=found.consumer_key,
            access_token=found.access_token,
            secret=found.access_token_secret,
            signature_key=public,
            encryption_key=self.uploaded.encryption_key or found.encryption_key.public_key(),
            prime=prime,
            generator=generator,
            stray_keys=((stray, found.signature_key.public_key()),),
        )

    def write_config(self, sandbox: Sandbox) -> None:
        """A copy of the config that differs in `base_url` only, with the paths made absolute."""
        values = demo.load_config(self.source)
        values["signature_key_fp"] = os.path.abspath(self.found.signature_key_file)
        values["encryption_key_fp"] = os.path.abspath(self.found.encryption_key_file)
        values["base_url"] = sandbox.base_url
        sandbox.write_config(values)

    def verdict(self, sandbox: Sandbox) -> list[str]:
        """What the rehearsal has proved, and what it cannot."""
        if self.misfits:
            lines = [f"rehearsal: does not fit: {misfit}" for misfit in self.misfits]
            return [
                *lines,
                "rehearsal: upload the file that fits, or make the config fit that file",
            ]
        if not self.used(sandbox):
            return ["rehearsal: nothing proved: no call was signed with a live session token"]
        lines = ["rehearsal: all fits: config, keys and the files beside them belong together"]
        if self.missing:
            names = ", ".join(self.missing)
            lines = [f"rehearsal: it fits, but without {names} this proves no more than --check"]
        lines.append(
            "rehearsal: only IBKR knows whether it has these same files, "
            "and whether it has activated the consumer key"
        )
        return lines

    def used(self, sandbox: Sandbox) -> bool:
        """Whether a call was accepted that only the right live session token can sign."""
        for record in sandbox.requests:
            if "signature" in record.passed and not record.path.startswith("/oauth/"):
                return True
        return False
