"""The rehearsal: IBKR played with a person's own config and keys."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.client import Client, b64
from tests.sandbox import DH_PRIME, KEYS, Sandbox
from tests.sandbox.rehearsal import read_rehearsal

OTHER_PRIME = json.loads((KEYS.parent.parent / "test-config.json").read_text("ascii"))["dh_prime"]
_OTHER = rsa.generate_private_key(65537, 2048)
_PEM = serialization.Encoding.PEM
_PKCS8 = serialization.PrivateFormat.PKCS8
PRIVATE = _OTHER.private_bytes(_PEM, _PKCS8, serialization.NoEncryption())
PUBLIC = _OTHER.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
Change = Callable[["Person"], object]


class Person(NamedTuple):
    """Somebody's folder with config.json, the keys, and what was uploaded."""

    folder: Path
    config: dict[str, Any]

    def save(self) -> str:
        """Returns the path of the config."""
        (self.folder / "config.json").write_text(json.dumps(self.config))
        return str(self.folder / "config.json")


@pytest.fixture
def person(tmp_path: Path) -> Person:
    folder = tmp_path / "my folder"
    shutil.copytree(KEYS, folder)
    key: Any = serialization.load_pem_public_key((KEYS / "public_encryption.pem").read_bytes())
    config = {
        "realm": "limited_poa",
        "encryption_key_fp": "private_encryption.pem",
        "signature_key_fp": "private_signature.pem",
        "consumer_key": "MYOWNKEY1",
        "dh_prime": f"{DH_PRIME:x}",
        "access_token": secrets.token_hex(10),
        "access_token_secret": b64(key.encrypt(secrets.token_bytes(32), padding.PKCS1v15())),
    }
    return Person(folder, config)


def write(name: str, content: bytes) -> Change:
    return lambda person: (person.folder / name).write_bytes(content)


def configure(**values: str) -> Change:
    return lambda person: person.config.update(values)


def remove_uploaded(person: Person) -> None:
    for name in ("public_signature.pem", "public_encryption.pem", "dhparam.pem"):
        (person.folder / name).unlink()


ALL_FITS = "rehearsal: all fits: "
ONLY_IBKR = "rehearsal: only IBKR knows"
NOT_FIT = "rehearsal: does not fit the config: "
OTHER_KEY = "signed with a key whose public half is not public_signature.pem"
MISSING = "it fits, but without public_signature.pem, public_encryption.pem, dhparam.pem"
SET_UPS: dict[str, tuple[Change, bool, list[str]]] = {  # a change, whether it logs in, what is said
    "all fits": (configure(), True, [ALL_FITS, ONLY_IBKR]),
    "public halves missing": (remove_uploaded, True, [f"rehearsal: {MISSING}", ONLY_IBKR]),
    "another signature key": (write("private_signature.pem", PRIVATE), False, [f"{NOT_FIT}public_signature.pem", OTHER_KEY]),
    "another dhparam.pem": (configure(dh_prime=OTHER_PRIME), True, [f"{NOT_FIT}dhparam.pem"]),
    "another encryption key uploaded": (write("public_encryption.pem", PUBLIC), True, [f"{NOT_FIT}public_encryption.pem"]),
    "the test realm": (configure(consumer_key="TESTCONS", realm="test_realm"), True, [ALL_FITS]),
    "no key in the file": (write("public_signature.pem", b"?"), True, [f"{NOT_FIT}public_signature.pem"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SET_UPS)
def test_it_ends_as_it_would_at_ibkr_and_names_the_file(person: Person, name: str) -> None:
    change, logs_in, said = SET_UPS[name]
    change(person)
    rehearsal = read_rehearsal(person.save())
    assert rehearsal
    log: list[str] = []
    with Sandbox(identity=rehearsal.identity, log=log.append) as sandbox:
        rehearsal.write_config(sandbox)
        client = Client(sandbox.config_path)
        client.log_in()
        assert (client.status == 200) == logs_in
        client.send()
        client.connection.close()
    text = "\n".join([*log, rehearsal.verdict(sandbox)])
    for part in said:
        assert part in text
    assert (ALL_FITS in text) == (ALL_FITS in said)


COMMANDS: dict[str, tuple[Change, int, list[str]]] = {
    "all fits": (configure(), 0, ["all well", ALL_FITS, ONLY_IBKR]),
    "another encryption key": (write("private_encryption.pem", PRIVATE), 2, ["error  ", "access_token_secret"]),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_leaves_changes_and_tells_nothing(
    person: Person, tmp_path: Path, name: str
) -> None:
    change, status, said = COMMANDS[name]
    change(person)
    path = person.save()
    before = {file: file.read_bytes() for file in person.folder.iterdir()}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox", "--config", path],
        cwd=KEYS.parent.parent,
        env={**os.environ, "TMPDIR": str(temporary), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    for part in said:
        assert part in output
    for secret in ("access_token", "access_token_secret"):
        assert person.config[secret] not in output
    assert {file: file.read_bytes() for file in person.folder.iterdir()} == before
    assert list(temporary.iterdir()) == []
