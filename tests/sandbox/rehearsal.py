"""The rehearsal: IBKR played with a person's own config, before IBKR has activated the key.

The server's side uses what was uploaded: the signature key's public half and the parameters, from
the files beside the private key, read by this file's own code. One that is not there is derived
from the config. Only the secret comes from the config's own key, since nobody else can decrypt
it. keys/check.py compares all these files with the config; that is not done again here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from Crypto.PublicKey import RSA

import demo
from keys import check
from tests.sandbox.identity import Identity, read_dh_parameters
from tests.sandbox.stand_in import Sandbox

UPLOADED = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]


def read_rehearsal(path: str) -> Rehearsal | None:
    """The rehearsal of a config; None where `demo.py --check` has an error."""
    path = os.path.expanduser(path)
    try:
        values = demo.load_config(path)
    except check.Problem:
        return None
    report = check.check_config(values, path)
    if report.ingredients is None:
        return None
    return Rehearsal(values, report, os.path.dirname(path))


class Rehearsal:
    """One config without an error, and the files beside its keys."""

    def __init__(self, values: dict[str, Any], report: check.Report, folder: str) -> None:
        assert report.ingredients is not None
        self.values = values
        self.folder = folder
        self.found = report.ingredients.credentials
        self.identity = self.make_identity()
        self.missing = list(UPLOADED)
        self.stale = []
        for finding in report.findings:
            if finding.name in UPLOADED:
                self.missing.remove(finding.name)
                if finding.kind == "warn":
                    self.stale.append(finding.name)

    def beside_the_key(self, name: str) -> Path:
        return self.path_of("signature_key_fp").with_name(name)

    def path_of(self, field: str) -> Path:
        return Path(os.path.abspath(self.folder), os.path.expanduser(self.values[field].strip()))

    def uploaded(self, name: str, read: Callable[[str], Any], own: Any) -> Any:
        """What a file beside the key has in it; without one that can be read, the config's."""
        path = self.beside_the_key(name)
        try:
            return read(path.read_text("ascii")) if path.is_file() else own
        except (ValueError, IndexError, TypeError):  # as keys/check.py says
            return own

    def make_identity(self) -> Identity:
        found = self.found
        own_key = found.signature_key.public_key()
        parameters = (found.dh_prime, found.dh_generator)
        prime, generator = self.uploaded("dhparam.pem", read_dh_parameters, parameters)
        stray = "signed with a key whose public half is not public_signature.pem"
        return Identity(
            realm=found.realm,
            consumer_key=found.consumer_key,
            access_token=found.access_token,
            secret=found.access_token_secret,
            signature_key=self.uploaded("public_signature.pem", RSA.import_key, own_key),
            encryption_key=RSA.import_key(self.path_of("encryption_key_fp").read_bytes()),
            prime=prime,
            generator=generator,
            stray_keys=((stray, own_key),),
        )

    def write_config(self, sandbox: Sandbox) -> None:
        """A copy that differs in `base_url`, with the paths made absolute; dhparam.pem beside it,
        which most clients read."""
        config = dict(self.values)
        for name in ("signature_key_fp", "encryption_key_fp"):
            config[name] = str(self.path_of(name))
        config["base_url"] = sandbox.base_url
        sandbox.write_config(config)
        sandbox.gate.encrypted_secret = config["access_token_secret"]
        parameters = self.beside_the_key("dhparam.pem")
        if parameters.is_file():
            shutil.copy(parameters, sandbox.folder)

    def verdict(self, sandbox: Sandbox) -> list[str]:
        """What the rehearsal has proved, and what it cannot."""
        if self.stale:
            return [
                f"rehearsal: does not fit the config: {', '.join(self.stale)}",
                "rehearsal: upload the file that fits, or make the config fit the one uploaded",
            ]
        if not used_token(sandbox):
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


def used_token(sandbox: Sandbox) -> bool:
    """Whether a call was accepted that only the right live session token can have signed."""
    for record in sandbox.requests:
        if "signature" in record.passed and not record.path.startswith("/oauth/"):
            return True
    return False
