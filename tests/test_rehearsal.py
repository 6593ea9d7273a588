"""The rehearsal: IBKR played with a person's own config and keys."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.conftest import ROOT, assert_no_secret
from tests.sandbox import DH_PRIME, KEYS
from tests.test_sandbox import Client

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
    """Somebody's folder with a config, keys and what was uploaded."""

    folder: Path
    config: dict[str, Any]
    secrets: list[Any]

    @property
    def path(self) -> Path:
        return self.folder / "my.json"

    def save(self) -> None:
        self.path.write_text(json.dumps(self.config))


def public_half(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(PEM, PUBLIC)


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    folder = tmp_path / "my folder"
    (folder / "keys").mkdir(parents=True)
    for name in ("signature", "encryption"):
        for half in ("private", "public"):
            file = f"{half}_{name}.pem"
            (folder / "keys" / file).write_bytes((KEYS / file).read_bytes())
            (folder / "keys" / file).chmod(0o600)
    (folder / "keys" / "dhparam.pem").write_bytes((KEYS / "dhparam.pem").read_bytes())
    pem = (KEYS / "public_encryption.pem").read_bytes()
    key = serialization.load_pem_public_key(pem)
    assert isinstance(key, rsa.RSAPublicKey)
    secret = secrets.token_bytes(32)
    encrypted = base64.b64encode(key.encrypt(secret, padding.PKCS1v15())).decode()
    config = {
        "realm": "limited_poa",
        "encryption_key_fp": "keys/private_encryption.pem",
        "signature_key_fp": "keys/private_signature.pem",
        "consumer_key": "MYOWNKEY1",
        "dh_prime": f"{DH_PRIME:x}",
        "access_token": secrets.token_hex(10),
        "access_token_secret": encrypted,
        "base_url": "https://api.ibkr.invalid/v1/api",
    }
    made = Person(folder, config, [secret, encrypted, config["access_token"]])
    made.save()
    return made


def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "my folder")}


def rehearse(tmp_path: Path, person: Person, config: str = "", *options: str) -> tuple[int, str]:
    """Returns status and output, having checked that nothing was left, changed or told."""
    before = {file: file.read_bytes() for file in person.folder.rglob("*") if file.is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox", "--config", config or str(person.path), *options],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert_no_secret(output, person.secrets)
    assert "Traceback" not in output
    assert {f: f.read_bytes() for f in person.folder.rglob("*") if f.is_file()} == before
    assert list((tmp_path / "tmp").iterdir()) == []
    return done.returncode, output


def nothing(_person: Person, _key: rsa.RSAPrivateKey) -> None:
    """All fits."""


def no_files(person: Person, _key: rsa.RSAPrivateKey) -> None:
    for name in ("public_signature.pem", "public_encryption.pem", "dhparam.pem"):
        (person.folder / "keys" / name).unlink()


def another_key(use: str) -> Callable[[Person, rsa.RSAPrivateKey], None]:
    def change(person: Person, key: rsa.RSAPrivateKey) -> None:
        pem = key.private_bytes(PEM, PRIVATE, serialization.NoEncryption())
        (person.folder / "keys" / f"private_{use}.pem").write_bytes(pem)

    return change


def another_prime(person: Person, _key: rsa.RSAPrivateKey) -> None:
    person.config["dh_prime"] = f"{OTHER_PRIME:x}"


def other_file(name: str, text: str = "") -> Callable[[Person, rsa.RSAPrivateKey], None]:
    """Put this text, or the public half of another key, into the file."""

    def change(person: Person, key: rsa.RSAPrivateKey) -> None:
        (person.folder / "keys" / name).write_bytes(text.encode() or public_half(key))

    return change


def the_test_environment(person: Person, _key: rsa.RSAPrivateKey) -> None:
    person.config["consumer_key"] = "TESTCONS"
    person.config["realm"] = "test_realm"


def broken(person: Person, _key: rsa.RSAPrivateKey) -> None:
    del person.config["realm"]


ALL_FITS = "rehearsal: all fits: "
MISSIGNED = "signed with a key whose public half is not public_signature.pem"
CASES: dict[str, tuple[Callable[..., None], int, list[str]]] = {
    "all fits": (nothing, 0, [ALL_FITS, "only IBKR knows", "Logout"]),
    "no files": (no_files, 0, ["proves no", "public_signature.pem, public_encryption.pem, dhparam"]),
    "another signature key": (another_key("signature"), 1, [MISSIGNED, "401"]),
    "another encryption key": (another_key("encryption"), 2, ["error: "]),
    "another dhparam.pem": (another_prime, 1, ["not the prime of dhparam.pem"]),
    "a stale signature half": (other_file("public_signature.pem"), 1, [MISSIGNED]),
    "a stale encryption half": (other_file("public_encryption.pem"), 0, ["warning: public_encryption.pem is not", "does not fit: public_encryption.pem"]),
    "TESTCONS": (the_test_environment, 0, [ALL_FITS, "TESTCONS", "test_realm"]),
    "broken": (broken, 2, ["error: ", "realm"]),
    "unreadable half": (other_file("public_signature.pem", "no key"), 2, ["error: public_signature.pem"]),
    "unreadable parameters": (other_file("dhparam.pem", "no parameters"), 2, ["error: dhparam.pem"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_ends_as_it_would_at_ibkr_and_names_the_file(
    tmp_path: Path, person: Person, other_key: rsa.RSAPrivateKey, name: str
) -> None:
    change, status, said = CASES[name]
    change(person, other_key)
    person.save()
    code, output = rehearse(tmp_path, person)
    for part in said:
        assert part in output
    assert code == status, output
    assert (ALL_FITS in output) == (ALL_FITS in said)


def test_a_config_elsewhere_in_any_form_that_the_demo_reads(tmp_path: Path, person: Person) -> None:
    person.config["signature_key_fp"] = "~/keys/private_signature.pem"
    person.config["encryption_key_fp"] = "../my folder/keys/private_encryption.pem"
    person.save()
    prime = person.config["dh_prime"]
    text = person.path.read_text().replace(prime, f"{prime[:300]}\n  {prime[300:]}\n")
    person.path.write_text("\ufeff" + text, encoding="utf-8")
    code, output = rehearse(tmp_path, person, "~/my.json")
    assert ALL_FITS in output
    assert code == 0


@pytest.fixture
def serving(tmp_path: Path, person: Person) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sandbox", "--serve", "--config", str(person.path)],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_another_client_rehearses_with_serve(
    tmp_path: Path, person: Person, serving: subprocess.Popen[str]
) -> None:
    assert serving.stdout
    told = dict(serving.stdout.readline().strip().split(": ", 1) for _ in range(3))
    copy = Path(told["config"])
    assert copy.stat().st_mode & 0o777 == 0o600
    assert json.loads(copy.read_text())["access_token_secret"] in person.secrets
    client = Client(copy)
    assert client.log_in().status == 200
    assert client.send("GET", "/portfolio/accounts").status == 200
    client.close()
    serving.terminate()
    output, _ = serving.communicate(timeout=10)
    assert serving.returncode == 0
    assert ALL_FITS in output
    assert_no_secret(output, person.secrets)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_with_serve_a_broken_config_ends_the_same_way(tmp_path: Path, person: Person) -> None:
    del person.config["consumer_key"]
    person.save()
    assert rehearse(tmp_path, person, "", "--serve")[0] == 2


def test_without_a_temporary_folder_it_says_so(tmp_path: Path) -> None:
    code = "import sys, tempfile; tempfile.tempdir = sys.argv[1]; from tests.sandbox import command; sys.exit(command.main([]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "none")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: no temporary folder: ")
    assert "TMPDIR" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_rehearsal_logs_out_and_leaves_nothing_behind(
    person: Person, tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sandbox", "--config", str(person.path)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("Summary"):
            break
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted\n" in err
    assert list(temporary.iterdir()) == []
