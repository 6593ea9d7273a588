"""The rehearsal: IBKR played with a person's own config, before IBKR has activated the key.

The server's side uses what was uploaded: the public halves and the parameters from the files
beside the private keys, read by this file's own code. One that is not there is derived from the
config. Only the secret comes from the config's own key, since nobody else can decrypt it. What
keys/check.py finds when it compares these files is not compared again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from Crypto.PublicKey import RSA

import demo
from keys import check
from tests.sandbox.gate import Record
from tests.sandbox.identity import Identity, read_dh_parameters
from tests.sandbox.stand_in import Sandbox, write_private

UPLOADED = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]


class RehearsalError(Exception):
    """There is nothing to rehearse with. Its text: lines to print."""


def check_config(path: str) -> tuple[dict[str, Any], check.Report]:
    """The config's values, and what keys/check.py says of them. Raises RehearsalError."""
    try:
        values = demo.load_config(path)
    except check.Problem as problem:
        raise RehearsalError(error_lines(str(problem), problem.hints)) from None
    report = check.check_config(values, os.path.expanduser(path))
    if report.ingredients is None:
        lines = []
        for finding in report.findings:
            if finding.kind == "error":
                message = f"{path}: {finding.name}: {finding.message}"
                lines.append(error_lines(message, finding.hints))
        raise RehearsalError("\n".join(lines))
    return values, report


def error_lines(message: str, hints: tuple[str, ...]) -> str:
    return "\n".join([f"error: {message}", *(f"hint: {hint}" for hint in hints)])


class Rehearsal:
    """One config, and the files beside its keys. Raises RehearsalError."""

    def __init__(self, path: str) -> None:
        self.values, report = check_config(path)
        assert report.ingredients is not None
        self.found = report.ingredients
        self.kinds = {finding.name: finding.kind for finding in report.findings}
        self.missing = [name for name in UPLOADED if name not in self.kinds]
        self.identity = self.make_identity()

    def uploaded(self, name: str) -> str:
        """What such a file has in it; empty if there is none."""
        key = self.found.signature.path
        if name == "public_encryption.pem":
            key = self.found.encryption.path
        path = Path(key).with_name(name)
        return path.read_text("ascii", "replace") if path.is_file() else ""

    def public_key(self, name: str, own: RSA.RsaKey) -> RSA.RsaKey:
        text = self.uploaded(name)
        try:
            return RSA.import_key(text) if text else own.public_key()
        except (ValueError, IndexError, TypeError):
            raise RehearsalError(f"error: {name}: no public key in it") from None

    def make_identity(self) -> Identity:
        found = self.found.credentials
        prime, generator = found.dh_prime, found.dh_generator
        parameters = self.uploaded("dhparam.pem")
        if parameters:
            try:
                prime, generator = read_dh_parameters(parameters)
            except (ValueError, IndexError) as error:
                raise RehearsalError(f"error: dhparam.pem: {error}") from None
        stray = "signed with a key whose public half is not public_signature.pem"
        return Identity(
            realm=found.realm,
            consumer_key=found.consumer_key,
            access_token=found.access_token,
            secret=found.access_token_secret,
            signature_key=self.public_key("public_signature.pem", found.signature_key),
            encryption_key=self.public_key("public_encryption.pem", self.found.encryption.key),
            prime=prime,
            generator=generator,
            stray_keys=((stray, found.signature_key.public_key()),),
        )

    def write_config(self, sandbox: Sandbox) -> None:
        """A copy that differs in `base_url`, with the paths made absolute; dhparam.pem beside it,
        which most clients read."""
        config = dict(self.values)
        config["signature_key_fp"] = os.path.abspath(self.found.signature.path)
        config["encryption_key_fp"] = os.path.abspath(self.found.encryption.path)
        config["base_url"] = sandbox.base_url
        sandbox.write_config(config)
        parameters = self.uploaded("dhparam.pem")
        if parameters:
            write_private(sandbox.folder / "dhparam.pem", parameters.encode())

    def verdict(self, sandbox: Sandbox) -> list[str]:
        """What the rehearsal has proved, and what it cannot."""
        stale = [name for name in UPLOADED if self.kinds.get(name) == "warn"]
        if stale:
            names = ", ".join(stale)
            return [
                f"rehearsal: does not fit the config: {names}",
                "rehearsal: upload the file that fits, or make the config fit the one uploaded",
            ]
        if not any(is_signed_call(record) for record in sandbox.requests):
            return ["rehearsal: nothing proved: no call was signed with a live session token"]
        proved = "all fits: config, keys and the files beside them belong together"
        if self.missing:
            names = ", ".join(self.missing)
            proved = f"it fits, but without {names} this proves no more than --check"
        return [
            f"rehearsal: {proved}",
            "rehearsal: only IBKR knows whether it has these same files, "
            "and whether it has activated the consumer key",
        ]


def is_signed_call(record: Record) -> bool:
    """Whether it was accepted, and only the right live session token can have signed it."""
    return "signature" in record.passed and not record.path.startswith("/oauth/")
