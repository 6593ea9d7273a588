"""The rehearsal: IBKR played with a person's own config, before IBKR has activated the key.

The server's side uses what was uploaded: the signature key's public half and the parameters, from
the files beside the private key; where one is not there, from the config. keys/check.py compares
them. Only the secret comes from the config's own key, since nobody else can decrypt it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from Crypto.PublicKey import RSA

import demo
import oauth
from keys import check
from tests.sandbox.identity import Identity, read_dh_parameters
from tests.sandbox.stand_in import Sandbox


def read_rehearsal(path: str) -> Rehearsal | None:
    """The rehearsal of a config; None where `demo.py --check` has an error."""
    path = os.path.abspath(os.path.expanduser(path))
    try:
        values = demo.load_config(path)
    except check.Problem:
        return None
    report = check.check_config(values, path)
    if report.credentials is None:
        return None
    for name in ("signature_key_fp", "encryption_key_fp"):
        own = os.path.expanduser(values[name].strip())
        values[name] = os.path.join(os.path.dirname(path), own)
    kinds = {finding.name: finding.kind for finding in report.findings}
    return Rehearsal(values, report.credentials, kinds)


class Rehearsal(NamedTuple):
    """One config without an error, and what is known of the files beside its keys."""

    values: dict[str, Any]  # the paths in it are absolute
    credentials: oauth.Credentials
    kinds: dict[str, str]  # of what was checked: "ok", or "warn" where it does not fit

    def beside_the_key(self, name: str) -> Path:
        return Path(self.values["signature_key_fp"]).with_name(name)

    def uploaded(self, name: str, read: Callable[[str], Any], own: Any) -> Any:
        """What a file beside the key has in it; the config's own if there is none."""
        try:
            return read(self.beside_the_key(name).read_text("ascii"))
        except (OSError, ValueError, IndexError, TypeError):  # as keys/check.py says
            return own

    @property
    def identity(self) -> Identity:
        own = self.credentials
        own_key = own.signature_key.public_key()
        parameters = (own.dh_prime, own.dh_generator)
        prime, generator = self.uploaded("dhparam.pem", read_dh_parameters, parameters)
        return Identity(
            realm=own.realm,
            consumer_key=own.consumer_key,
            access_token=own.access_token,
            secret=own.access_token_secret,
            signature_key=self.uploaded("public_signature.pem", RSA.import_key, own_key),
            encryption_key=RSA.import_key(Path(self.values["encryption_key_fp"]).read_bytes()),
            prime=prime,
            generator=generator,
            encrypted_secret=self.values["access_token_secret"],
        )

    def write_config(self, sandbox: Sandbox) -> None:
        """A copy that differs in `base_url`; dhparam.pem beside it, which most clients read."""
        sandbox.write_config({**self.values, "base_url": sandbox.base_url})
        parameters = self.beside_the_key("dhparam.pem")
        if parameters.is_file():
            shutil.copy(parameters, sandbox.folder)

    def verdict(self, sandbox: Sandbox) -> str:
        """What the rehearsal has proved, and what it cannot."""
        stale = [name for name in check.UPLOADED if self.kinds.get(name) == "warn"]
        if stale:
            remedy = "upload the file that fits, or make the config fit the one uploaded"
            return f"rehearsal: does not fit the config: {', '.join(stale)}\nrehearsal: {remedy}"
        sessions = sandbox.sessions.live + sandbox.sessions.ended
        if not any(session.has_signed for session in sessions):
            return "rehearsal: nothing proved: no call was signed with a live session token"
        proved = "all fits: config, keys and the files beside them belong together"
        missing = [name for name in check.UPLOADED if name not in self.kinds]
        if missing:
            proved = f"it fits, but without {', '.join(missing)} this proves no more than --check"
        unknown = "whether it has these same files, and whether it has activated the consumer key"
        return f"rehearsal: {proved}\nrehearsal: only IBKR knows {unknown}"
