"""The rehearsal: IBKR played with a person's own config and keys."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client, b64, swap
from tests.conftest import ROOT, start_sandbox, write_files
from tests.sandbox import KEYS, Sandbox
from tests.sandbox.rehearsal import read_rehearsal

pytestmark = pytest.mark.usefixtures("log_in")

OTHER_PRIME = json.loads((ROOT / "test-config.json").read_text("ascii"))["dh_prime"]
PRIVATE = (ROOT / "tests/vectors/throwaway-key.pem").read_bytes()
PUBLIC = (KEYS / "public_signature.pem").read_bytes()
ALL_FITS = "rehearsal: all fits: "
ONLY_IBKR = "rehearsal: only IBKR knows"
NOT_FIT = "rehearsal: does not fit the config: "
OTHER_KEY_SIGNED = "made with another key, neither the signature key nor the encryption key"
UPLOADED = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]
MISSING = f"rehearsal: it fits, but without {', '.join(UPLOADED)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Somebody's folder with config.json, the keys, and what was uploaded."""
    folder = tmp_path / "my folder"
    with Sandbox() as sandbox:
        shutil.copytree(sandbox.folder, folder)
    return folder


SET_UPS: dict[str, tuple[dict[str, str], dict[str, bytes], bool, list[str]]] = {
    # what is changed in the config, and in the folder; whether it logs in; what is said
    "all fits": ({"consumer_key": "MYOWNKEY1"}, {}, True, [ALL_FITS, ONLY_IBKR]),
    "public halves missing": ({}, dict.fromkeys(UPLOADED, b""), True, [MISSING, ONLY_IBKR]),
    "another signature key": ({}, {"private_signature.pem": PRIVATE}, False, [f"{NOT_FIT}public_signature.pem", OTHER_KEY_SIGNED]),
    "another dhparam.pem": ({"dh_prime": OTHER_PRIME}, {}, True, [f"{NOT_FIT}dhparam.pem"]),
    "another encryption key uploaded": ({}, {"public_encryption.pem": PUBLIC}, True, [f"{NOT_FIT}public_encryption.pem"]),
    "the test realm": ({"consumer_key": "TESTCONS", "realm": "test_realm"}, {}, True, [ALL_FITS]),
    "no key in the file": ({}, {"public_signature.pem": b"?"}, True, [f"{NOT_FIT}public_signature.pem"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SET_UPS)
def test_it_ends_as_it_would_at_ibkr_names_the_file_and_tells_nothing(
    folder: Path, name: str
) -> None:
    changes, files, logs_in, said = SET_UPS[name]
    path = folder / "config.json"
    config: dict[str, Any] = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(config))
    write_files(folder, files)
    rehearsal = read_rehearsal(str(path))
    assert rehearsal
    log: list[str] = []
    with Sandbox(identity=rehearsal.identity, log=log.append) as sandbox:
        rehearsal.write_config(sandbox)
        client = Client(sandbox.config_path)
        client.log_in()
        assert (client.status == 200) == logs_in
        for change in ("nobody/knows", ""):
            client.send(url=swap("$", change))
        client.log_in(url=swap("http:", "https:"))
        client.connection.close()
    text = "\n".join([*log, rehearsal.verdict(sandbox)])
    for part in said:
        assert part in text
    assert (ALL_FITS in text) == (ALL_FITS in said)
    assert "PREPENDPOST&http" in text
    assert "oauth_token=ACCESS-TOKEN" in text
    secrets = [client.secret, client.token] if logs_in else [client.secret]
    for secret in [config["access_token"], *map(bytes.hex, secrets), *map(b64, secrets)]:
        assert secret not in text


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ({}, 0, ["all well", ALL_FITS, ONLY_IBKR]),
        ({"private_encryption.pem": PRIVATE}, 2, ["error  ", "access_token_secret"]),
    ],
)
def test_the_command_leaves_changes_and_tells_nothing(
    folder: Path, tmp_path: Path, files: dict[str, bytes], status: int, said: list[str]
) -> None:
    write_files(folder, files)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with start_sandbox(temporary, "--config", str(folder / "config.json")) as process:
        output = "".join(process.communicate(timeout=60))
    assert process.returncode == status, output
    for part in said:
        assert part in output
    config = json.loads((folder / "config.json").read_text())
    assert config["access_token"] not in output
    assert config["access_token_secret"] not in output
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert list(temporary.iterdir()) == []
