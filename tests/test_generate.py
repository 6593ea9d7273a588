"""keys/generate.sh with the real openssl; one in front of it sees 2048 bits and asks for 512,
because a prime of 2048 bits takes up to a minute."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import time
from pathlib import Path
from subprocess import CompletedProcess, Popen, run

import pytest
from Crypto.IO import PEM
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

SCRIPT = Path(__file__).parent.parent / "keys" / "generate.sh"
PRIVATE = ["private_encryption.pem", "private_signature.pem"]
PUBLIC = ["dhparam.pem", "public_encryption.pem", "public_signature.pem"]
FILES = sorted(PRIVATE + PUBLIC)
SHELLS = ["dash", "bash", "busybox sh", "zsh", "mksh"]
SHELLS = [shell for shell in SHELLS if shutil.which(shell.split()[0])]
OPENSSL = shutil.which("openssl")
SMALL = f'genrsa | dhparam) [ "$2 $4 $#" = "-out 2048 4" ] && {OPENSSL} "$1" -out "$3" 512 ;;'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for the keys; its name needs quoting in a shell."""
    path = tmp_path / "a folder's * keys"
    path.mkdir()
    return path


def emptied(folder: Path) -> list[str]:
    """What was in the folder, which is empty then."""
    names = sorted(os.listdir(folder))
    shutil.rmtree(folder)
    folder.mkdir()
    return names


def environment(folder: Path, command: str = "none", lines: str = "") -> dict[str, str]:
    """A PATH whose openssl runs these shell lines for this command of openssl's."""
    program = folder.parent / "openssl"
    cases = f'{command}) {lines} ;;\n{SMALL}\n*) {OPENSSL} "$@" ;;'
    program.write_text(f"#!/bin/sh\ncase $1 in\n{cases}\nesac\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def generate(folder: Path, env: dict[str, str], shell: str = "sh") -> CompletedProcess[str]:
    command = [*shell.split(), str(SCRIPT), str(folder)]
    return run(command, env=env, capture_output=True, text=True, timeout=120)


def test_it_makes_five_files_that_fit_and_prints_the_prime(folder: Path) -> None:
    for shell in SHELLS:
        result = generate(folder, environment(folder), shell)
        assert result.returncode == 0, f"{shell}: {result.stderr}"
        for use in ("signature", "encryption"):
            private = RSA.import_key((folder / f"private_{use}.pem").read_bytes())
            public = RSA.import_key((folder / f"public_{use}.pem").read_bytes())
            assert private != private.public_key() == public, shell
        der, _, _ = PEM.decode((folder / "dhparam.pem").read_text())
        assert result.stdout == f"{DerSequence().decode(der)[0]:x}\n", shell
        upload, keep = re.split("upload these three|never share these two", result.stderr)[1:]
        assert [name for name in FILES if f"{folder}/{name}\n" in upload] == PUBLIC, shell
        assert [name for name in FILES if f"{folder}/{name}\n" in keep] == PRIVATE, shell
        assert emptied(folder) == FILES, shell


def test_private_keys_are_private_from_the_first_byte(folder: Path) -> None:
    careless = f'{OPENSSL} genrsa 512 >"$3"; ls -l "$3" >&2'  # leaves the mode to the umask
    result = generate(folder, environment(folder, "genrsa", careless))
    assert len(re.findall("^-rw-------", result.stderr, re.MULTILINE)) == 2


def test_it_overwrites_no_file(folder: Path) -> None:
    for name in FILES:
        env = environment(folder, "asn1parse", f'echo mine >"{folder}/{name}"; {OPENSSL} "$@"')
        for _ in ("another run has made it meanwhile", "it is there from the beginning"):
            result = generate(folder, env)
            assert (result.returncode, result.stdout) == (1, ""), name
            assert f"error: already in {folder}: {name}\nhint: nothing was " in result.stderr
            assert (folder / name).read_text() == "mine\n", name
        assert emptied(folder) == [name]


FAILING = "echo no entropy >&2; exit 3"
FAULTS = [
    ("genrsa", FAILING, "no entropy\nerror: openssl genrsa failed\nhint: "),
    ("asn1parse", FAILING, "no entropy\nerror: openssl asn1parse shows no prime\nhint: "),
    ("dhparam", 'echo -----BEGIN >"$3"', "error: openssl did not write all of dhparam.pem\nhint: "),
]


def test_a_fault_of_openssl_is_told(folder: Path) -> None:
    for command, lines, message in FAULTS:
        result = generate(folder, environment(folder, command, lines))
        assert (result.returncode, result.stdout, emptied(folder)) == (1, "", []), command
        assert message in result.stderr


def test_interrupted_it_leaves_nothing(folder: Path) -> None:
    env = environment(folder, "dhparam", 'echo begun >"$3"; exec sleep 60')
    ends = {}
    for shell, number in itertools.product(SHELLS, ["SIGINT", "SIGTERM", "SIGHUP"]):
        command = [*shell.split(), str(SCRIPT), str(folder)]
        with Popen(command, env=env, start_new_session=True) as process:
            while process.poll() is None and not list(folder.glob(".*/dhparam.pem")):
                time.sleep(0.01)
            os.killpg(process.pid, signal.Signals[number])
        ends[shell, number] = (process.returncode, emptied(folder))
    assert {row: end for row, end in ends.items() if end != (1, [])} == {}


def test_what_is_missing_is_named(folder: Path) -> None:
    result = generate(folder / "nowhere", {**os.environ})
    assert result.stderr.startswith(f"error: no such folder: {folder}/nowhere\nhint: ")
    (folder / "rm").symlink_to(str(shutil.which("rm")))
    result = generate(folder, {"PATH": str(folder)}, str(shutil.which("sh")))
    assert result.stderr.startswith("error: openssl not found\nhint: ")
