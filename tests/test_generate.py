"""keys/generate.sh, run as a user runs it, with the real openssl but for the size of the prime.

A prime of 2048 bits takes up to a minute, so an `openssl` in front of the real one asks for 512.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from Crypto.IO import PEM
from Crypto.Util.asn1 import DerSequence
from cryptography.hazmat.primitives import serialization

SCRIPT = Path(__file__).parent.parent / "keys" / "generate.sh"
PRIVATE = ["private_encryption.pem", "private_signature.pem"]
PUBLIC = ["dhparam.pem", "public_encryption.pem", "public_signature.pem"]
FILES = sorted(PRIVATE + PUBLIC)

ALL_SHELLS = ["dash", "bash", "busybox sh", "zsh", "mksh"]
SHELLS = [shell for shell in ALL_SHELLS if shutil.which(shell.split()[0])]
OPENSSL = shutil.which("openssl") or ""
SMALL = f'[ "$2 $4 $#" = "-out 2048 4" ] && exec {OPENSSL} dhparam -out "$3" 512'

pytestmark = pytest.mark.skipif(not OPENSSL or os.name == "nt", reason="needs openssl and sh")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for the keys; its name needs quoting in a shell."""
    path = tmp_path / "a folder's * keys"
    path.mkdir()
    return path


def environment(folder: Path, command: str = "", lines: str = "") -> dict[str, str]:
    """A PATH whose openssl runs these shell lines for this command."""
    cases = f"{command or 'none'}) {lines} ;;\ndhparam) {SMALL} ;;"
    program = folder.parent / "openssl"
    program.write_text(f'#!/bin/sh\ncase $1 in\n{cases}\n*) exec {OPENSSL} "$@" ;;\nesac\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def generate(
    folder: Path | str, env: dict[str, str], shell: str = "sh"
) -> subprocess.CompletedProcess[str]:
    command = [*shell.split(), str(SCRIPT), str(folder)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_it_makes_five_files_that_fit_and_prints_the_prime(shell: str, folder: Path) -> None:
    result = generate(folder, environment(folder), shell)
    assert (result.returncode, sorted(os.listdir(folder))) == (0, FILES), result.stderr
    for use in ("signature", "encryption"):
        pem = (folder / f"private_{use}.pem").read_bytes()
        public = serialization.load_pem_public_key((folder / f"public_{use}.pem").read_bytes())
        assert serialization.load_pem_private_key(pem, None).public_key() == public
        assert public.key_size == 2048
    der, _, _ = PEM.decode((folder / "dhparam.pem").read_text())
    assert result.stdout == f"{DerSequence().decode(der)[0]:x}\n"
    _, upload, keep = re.split("upload these three|never share these two", result.stderr)
    assert [name for name in FILES if f"{folder}/{name}\n" in upload] == PUBLIC
    assert [name for name in FILES if f"{folder}/{name}\n" in keep] == PRIVATE


def test_private_keys_are_private_from_the_first_byte(folder: Path) -> None:
    careless = f'{OPENSSL} genrsa 2048 >"$3"; ls -l "$3" >&2'  # as the umask lets it
    result = generate(folder, environment(folder, "genrsa", careless))
    assert len(re.findall("^-rw-------", result.stderr, re.MULTILINE)) == 2
    assert [(folder / name).stat().st_mode & 0o777 for name in PRIVATE] == [0o600, 0o600]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_it_overwrites_no_file(name: str, when: str, folder: Path) -> None:
    write = f'echo mine >"{folder}/{name}"'
    env = environment(folder, "asn1parse", f'{write}; exec {OPENSSL} "$@"')
    if when == "before":
        subprocess.run(["sh", "-c", write], check=True)
    result = generate(folder, env)
    assert (result.returncode, result.stdout, os.listdir(folder)) == (1, "", [name])
    assert f"error: already in {folder}: {name}\nhint: nothing was changed" in result.stderr
    assert (folder / name).read_text() == "mine\n"


FAILING = "echo no entropy >&2; exit 3"
SHORT = 'echo -----BEGIN >"$3"'
FAULTS = [
    ("genrsa", FAILING, "no entropy\nerror: openssl genrsa failed\nhint: "),
    ("rsa", FAILING, "no entropy\nerror: openssl rsa failed\nhint: "),
    ("dhparam", FAILING, "no entropy\nerror: openssl dhparam failed\nhint: "),
    ("asn1parse", FAILING, "no entropy\nerror: openssl asn1parse shows no prime\nhint: "),
    ("genrsa", SHORT, "error: openssl did not write all of private_signature.pem\nhint: "),
    ("dhparam", SHORT, "error: openssl did not write all of dhparam.pem\nhint: "),
]


@pytest.mark.parametrize(("command", "lines", "message"), FAULTS)
def test_a_fault_of_openssl_is_told(command: str, lines: str, message: str, folder: Path) -> None:
    result = generate(folder, environment(folder, command, lines))
    assert (result.returncode, result.stdout, os.listdir(folder)) == (1, "", [])
    assert message in result.stderr


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(number: int, shell: str, folder: Path) -> None:
    env = environment(folder, "dhparam", 'echo begun >"$3"; exec sleep 60')
    command = [*shell.split(), str(SCRIPT), str(folder)]
    with subprocess.Popen(command, env=env, start_new_session=True) as process:
        while process.poll() is None and not list(folder.glob(".*/dhparam.pem")):
            time.sleep(0.01)
        os.killpg(process.pid, number)
    assert (process.returncode, os.listdir(folder)) == (1, [])


def test_what_is_missing_is_named(folder: Path) -> None:
    result = generate(folder / "nowhere", dict(os.environ))
    assert result.stderr.startswith(f"error: no such folder: {folder}/nowhere\nhint: ")
    (folder / "rm").symlink_to(str(shutil.which("rm")))
    result = generate(folder, {"PATH": str(folder)}, str(shutil.which("sh")))
    assert result.stderr.startswith("error: openssl not found\nhint: ")


def test_help_goes_to_stdout() -> None:
    result = generate("-h", dict(os.environ))
    assert (result.returncode, result.stderr) == (0, "")
    assert all(name in result.stdout for name in FILES)
