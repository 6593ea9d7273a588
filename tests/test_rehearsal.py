"""The rehearsal: IBKR played with a person's own config and keys."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.conftest import ROOT, assert_no_secret
from tests.sandbox import DH_PRIME, KEYS

PEM = serialization.Encoding.PEM
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PRIVATE = serialization.PrivateFormat.PKCS8
OTHER_PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)  # group 14 of RFC 3526


class Person(NamedTuple):
    """Somebody's folder with config.json, the keys, and what was uploaded."""

    folder: Path
    config: dict[str, Any]
    other_key: rsa.RSAPrivateKey

    def change_nothing(self) -> None:
        """As it should be."""

    def remove_uploaded(self) -> None:
        for name in ("public_signature.pem", "public_encryption.pem", "dhparam.pem"):
            (self.folder / name).unlink()

    def change_private(self, use: str) -> None:
        pem = self.other_key.private_bytes(PEM, PRIVATE, serialization.NoEncryption())
        (self.folder / f"private_{use}.pem").write_bytes(pem)

    def change_public(self, use: str) -> None:
        pem = self.other_key.public_key().public_bytes(PEM, PUBLIC)
        (self.folder / f"public_{use}.pem").write_bytes(pem)


@pytest.fixture
def person(tmp_path: Path, other_key: rsa.RSAPrivateKey) -> Person:
    folder = tmp_path / "my folder"
    folder.mkdir()
    for file in KEYS.glob("*.pem"):
        (folder / file.name).write_bytes(file.read_bytes())
        (folder / file.name).chmod(0o600)
    key = serialization.load_pem_public_key((KEYS / "public_encryption.pem").read_bytes())
    assert isinstance(key, rsa.RSAPublicKey)
    encrypted = key.encrypt(secrets.token_bytes(32), padding.PKCS1v15())
    config = {
        "realm": "limited_poa",
        "encryption_key_fp": "private_encryption.pem",
        "signature_key_fp": "private_signature.pem",
        "consumer_key": "MYOWNKEY1",
        "dh_prime": f"{DH_PRIME:x}",
        "access_token": secrets.token_hex(10),
        "access_token_secret": base64.b64encode(encrypted).decode(),
    }
    return Person(folder, config, other_key)


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def rehearse(person: Person, tmp_path: Path) -> tuple[int, str]:
    """Returns status and output, having checked that nothing was left, changed or told."""
    (person.folder / "config.json").write_text(json.dumps(person.config))
    before = {file: file.read_bytes() for file in person.folder.iterdir()}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox", "--config", str(person.folder / "config.json")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert_no_secret(output, [person.config["access_token"], person.config["access_token_secret"]])
    assert "Traceback" not in output
    assert {file: file.read_bytes() for file in person.folder.iterdir()} == before
    assert list(temporary.iterdir()) == []
    return done.returncode, output


ALL_FITS = "rehearsal: all fits: "
ONLY_IBKR = "rehearsal: only IBKR knows"
NOT_FIT = "rehearsal: does not fit the config: "
Change = Callable[[Person], object]
SET_UPS: dict[str, tuple[Change, int, list[str]]] = {
    "all fits": (Person.change_nothing, 0, [ALL_FITS, ONLY_IBKR]),
    "public halves missing": (Person.remove_uploaded, 0, ["rehearsal: it fits, but without public_signature.pem, public_encryption.pem, dhparam.pem", ONLY_IBKR]),
    "another signature key": (lambda person: person.change_private("signature"), 1, [f"{NOT_FIT}public_signature.pem", "signed with a key whose public half is not public_signature.pem"]),
    "another dhparam.pem": (lambda person: person.config.update(dh_prime=f"{OTHER_PRIME:x}"), 1, [f"{NOT_FIT}dhparam.pem"]),
    "another encryption key": (lambda person: person.change_private("encryption"), 2, ["error  ", "access_token_secret"]),
    "another encryption key uploaded": (lambda person: person.change_public("encryption"), 0, [f"{NOT_FIT}public_encryption.pem"]),
    "the test realm": (lambda person: person.config.update(consumer_key="TESTCONS", realm="test_realm"), 0, [ALL_FITS, "consumer  TESTCONS"]),
    "a field missing": (lambda person: person.config.pop("realm"), 2, ["error  not filled in", "realm"]),
    "no key in the file": (lambda person: (person.folder / "public_signature.pem").write_text("?"), 0, [f"{NOT_FIT}public_signature.pem"]),
}  # fmt: skip


@pytest.mark.parametrize("set_up", SET_UPS)
def test_it_ends_as_it_would_at_ibkr_and_names_the_file(
    person: Person, tmp_path: Path, set_up: str
) -> None:
    change, status, said = SET_UPS[set_up]
    change(person)
    code, output = rehearse(person, tmp_path)
    for part in said:
        assert part in output
    assert code == status, output
    assert (ALL_FITS in output) == (ALL_FITS in said)
    lines = output.splitlines()
    warned = [line for line in lines if line.startswith("warning: ")]
    assert len(warned) == len(set(warned))  # by the demo, not by the rehearsal once more
