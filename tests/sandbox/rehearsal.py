"""The rehearsal: IBKR played with a person's own config, before IBKR has activated the key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from Crypto.PublicKey import RSA

import oauth
from keys import check
from tests.sandbox.identity import Identity, read_dh_parameters
from tests.sandbox.stand_in import Sandbox


def read_rehearsal(path: str) -> Rehearsal | None:
    """The rehearsal of a config; None where `demo.py --check` has an error."""
    path = os.path.expanduser(path)
    try:
        values = check.load_config(path)
    except check.Problem:
        return None
    report = check.check_config(values, path)
    if report.credentials is None:
        return None
    for use, key_path in report.key_paths.items():
        values[f"{use}_key_fp"] = str(key_path.absolute())
    missing = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]
    stale = []
    for kind, name, _, _ in report.findings:
        if name in missing:
            missing.remove(name)
            if kind == "warn":
                stale.append(name)
    return Rehearsal(values, identity_of(values, report.credentials), missing, stale)


def identity_of(values: dict[str, Any], own: oauth.Credentials) -> Identity:
    own_key = own.signature_key.public_key()
    uploaded = Path(values["signature_key_fp"])
    parameters = uploaded.with_name("dhparam.pem")
    prime, generator = content(parameters, read_dh_parameters, (own.dh_prime, own.dh_generator))
    return Identity(
        realm=own.realm,
        consumer_key=own.consumer_key,
        access_token=own.access_token,
        secret=own.access_token_secret,
        signature_key=content(uploaded.with_name("public_signature.pem"), RSA.import_key, own_key),
        encryption_key=RSA.import_key(Path(values["encryption_key_fp"]).read_bytes()),
        prime=prime,
        generator=generator,
        encrypted_secret=values["access_token_secret"],
    )


def content(path: Path, read: Callable[[str], Any], own: Any) -> Any:
    """What a file has in it; the config's own if it cannot be read, as keys/check.py says."""
    try:
        return read(path.read_text("ascii"))
    except (OSError, ValueError, IndexError, TypeError):
        return own


class Rehearsal(NamedTuple):
    """One config without an error, and the files beside its keys."""

    values: dict[str, Any]  # the paths in it are absolute
    identity: Identity
    missing: list[str]  # of what was uploaded: not beside the keys
    stale: list[str]  # there, but of something else

    def write_config(self, sandbox: Sandbox) -> None:
        """A copy that differs in `base_url`; dhparam.pem beside it, which most clients read."""
        sandbox.write_config({**self.values, "base_url": sandbox.base_url})
        if "dhparam.pem" not in self.missing:
            folder = Path(self.values["signature_key_fp"]).parent
            shutil.copy(folder / "dhparam.pem", sandbox.folder)

    def verdict(self, sandbox: Sandbox) -> str:
        if self.stale:
            return f"rehearsal: does not fit the config: {', '.join(self.stale)}"
        if not any(session.has_signed for session in sandbox.sessions):
            return "rehearsal: nothing proved: no call was signed with a live session token"
        proved = "all fits: keys, secret, prime and the files beside them belong together"
        if self.missing:
            names = ", ".join(self.missing)
            proved = f"it fits, but without {names} this proves no more than --check"
        unknown = "it has these same files, if realm, consumer key and token are right and active"
        return f"rehearsal: {proved}\nrehearsal: only IBKR knows if {unknown}"
