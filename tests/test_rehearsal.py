"""The rehearsal: IBKR played with a person's own config and keys."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client, swap
from tests.conftest import ROOT, assert_no_secret, start_sandbox, write_files
from tests.sandbox import Sandbox
from tests.sandbox.rehearsal import read_rehearsal

pytestmark = pytest.mark.usefixtures("all_well")

OTHER_PRIME = json.loads((ROOT / "test-config.json").read_text("ascii"))["dh_prime"]
PRIVATE = (ROOT / "tests/vectors/throwaway-key.pem").read_bytes()
ALL_FITS = "rehearsal: all fits: "
ONLY_IBKR = "rehearsal: only IBKR knows"
NOT_FIT = "rehearsal: does not fit the config: "
OTHER_KEY_SIGNED = "made with another key, neither the signature key nor the encryption key"
UPLOADED = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]
MISSING = f"rehearsal: it fits, but without {', '.join(UPLOADED)}"


def somebodys(folder: Path) -> Path:
    """Make a folder with config.json, the keys, and what was uploaded."""
    with Sandbox() as sandbox:
        shutil.copytree(sandbox.folder, folder)
    return folder


SET_UPS: dict[str, tuple[dict[str, str], dict[str, bytes], bool, list[str]]] = {
    # what is changed in the config, and in the folder; whether it logs in; what is said
    "all fits": ({"consumer_key": "MYOWNKEY1"}, {}, True, [ALL_FITS, ONLY_IBKR]),
    "public halves missing": ({}, dict.fromkeys(UPLOADED, b""), True, [MISSING, ONLY_IBKR]),
    "another signature key": ({}, {"private_signature.pem": PRIVATE}, False, [f"{NOT_FIT}public_signature.pem", OTHER_KEY_SIGNED]),
    "another dhparam.pem": ({"dh_prime": OTHER_PRIME}, {}, True, [f"{NOT_FIT}dhparam.pem"]),
    "the test realm": ({"consumer_key": "TESTCONS", "realm": "test_realm"}, {}, True, [ALL_FITS]),
    "no key in the file": ({}, {"public_signature.pem": b"?"}, True, [f"{NOT_FIT}public_signature.pem"]),
}  # fmt: skip


def rehearsed(folder: Path) -> tuple[Client, str]:
    """A client that has logged in, or not, and made mistakes; and all that was told of it."""
    rehearsal = read_rehearsal(str(folder / "config.json"))
    assert rehearsal, folder
    log: list[str] = []
    with Sandbox(identity=rehearsal.identity, log=log.append) as sandbox:
        rehearsal.write_config(sandbox)
        assert rehearsal.stale or "nothing proved" in rehearsal.verdict(sandbox)
        client = Client(sandbox.config_path)
        client.log_in()
        for change in ("nobody/knows", ""):
            client.send(url=swap("$", change))
        client.log_in(url=swap("http:", "https:"))
        client.connection.close()
    return client, "\n".join([*log, rehearsal.verdict(sandbox)])


def test_it_ends_as_it_would_at_ibkr_names_the_file_and_tells_nothing(tmp_path: Path) -> None:
    for name, (changes, files, logs_in, said) in SET_UPS.items():
        folder = somebodys(tmp_path / name)
        path = folder / "config.json"
        config: dict[str, Any] = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps(config))
        write_files(folder, files)
        client, text = rehearsed(folder)
        assert bool(client.token) == logs_in, name
        assert [part for part in said if part not in text] == [], name
        assert (ALL_FITS in text) == (ALL_FITS in said), name
        assert "PREPENDPOST&http" in text, name
        assert "oauth_token=ACCESS-TOKEN" in text, name
        assert_no_secret(text, [config["access_token"], client.secret, client.token])


def test_the_command_leaves_changes_and_tells_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for encryption_key, status, said in (
        (None, 0, ["all well", ALL_FITS, ONLY_IBKR]),
        (PRIVATE, 2, ["error  ", "access_token_secret"]),
    ):
        folder = somebodys(tmp_path / f"my folder {status}")
        if encryption_key:
            (folder / "private_encryption.pem").write_bytes(encryption_key)
        before = {file: file.read_bytes() for file in folder.iterdir()}
        with start_sandbox(temporary, "--config", str(folder / "config.json")) as process:
            output = "".join(process.communicate(timeout=60))
        assert process.returncode == status, output
        assert [part for part in said if part not in output] == []
        config = json.loads((folder / "config.json").read_text())
        assert_no_secret(output, [config["access_token"], config["access_token_secret"]])
        assert {file: file.read_bytes() for file in folder.iterdir()} == before
        assert list(temporary.iterdir()) == []
