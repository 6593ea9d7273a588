"""One wrong ingredient each, over real sockets: the hints that follow IBKR's refusal, in their order.

The sandbox plays an IBKR that has another key, secret, prime or clock than the config, and so answers
what a user would get; where only IBKR knows why it refuses, the answer is canned.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from Crypto.PublicKey import RSA

import demo
from tests.conftest import assert_no_secret
from tests.sandbox import DH_PRIME, KEYS, Answer, Request, Sandbox, error_answer, html_answer
from tests.sandbox.identity import encrypted_secret, throwaway_identity

OTHER_KEY = RSA.generate(2048).public_key()
OTHER_PUBLIC = OTHER_KEY.export_key().decode()
OTHER_DH = (Path(__file__).parent / "dh-parameters" / "generator-5.pem").read_text()
LARGER = DH_PRIME + 2  # no prime, but a smaller one would refuse some challenges as out of range
SIGNATURE_DIGEST, PRIME_DIGEST = "6abf6084", "822efdfc"  # of the throw-away keys, by openssl

INVALID = error_answer(401, "id: 39687, error: invalid consumer")
NO_SECRET = error_answer(401, "id: 1, error: LST failed, error: No access secret key found for X")
LST_FAILED = error_answer(401, "id: 118871, error: LST failed, error: ")
MOVED = Answer(302, headers={"Location": "https://login.example/"})

REALM = "realm: does not fit"
FORM = "consumer_key: not nine capitals or digits"
COMPARE_CONSUMER = "compare consumer_key with the portal, letter by letter"
WAIT, PAPER = "a new key is active after up to 24 hours, or a weekend", "paper and live have"
COMPARE_TOKEN = "compare access_token with the one that the portal shows now"
GENERATE = "only then generate the token again, which ends the present secret"
SECRET = 'access_token_secret: is it of the last "Generate"? Look before pressing it again'
SIGNATURE = f"signature key: was its public half uploaded? It has SHA-256 {SIGNATURE_DIGEST}"
TOKEN = "access_token: compare it with the portal"
CLOCK = "set this computer's clock, which is 600 s "
SAME_KEY = "signature_key_fp: is the encryption key, too"
PRIME = f"dh_prime: is it that of the dhparam.pem uploaded? It has SHA-256 {PRIME_DIGEST}"
GENERATOR = "dh_generator: openssl's is 2"
CAPITALS = "consumer_key: the portal keeps it in capitals"
FILE_SIGNATURE = "public_signature.pem: does not fit: SHA-256 "
FILE_ENCRYPTION = "public_encryption.pem: does not fit: SHA-256 "
FILE_DH = "dhparam.pem: does not fit: SHA-256 "
BASE_URL = "is base_url right?"
OTHERWISE = "otherwise a proxy"


class Row(NamedTuple):
    """What is wrong. `hints`: how they begin. `answer`: to the token request. `config`: what is wrong in
    it, `server`: what IBKR has instead; `clock`: the seconds that IBKR is ahead. `files`: beside the
    keys, in place of those that fit."""

    name: str
    hints: list[str]
    answer: Answer | None = None
    config: dict[str, Any] = {}
    server: dict[str, Any] = {}
    clock: float = 0
    files: dict[str, str] = {}


SMALL, WRONG_REALM = {"consumer_key": "simulated"}, {"realm": "test_realm"}
OLD_SIGNATURE = {"public_signature.pem": OTHER_PUBLIC}
OLD_ENCRYPTION = {"public_encryption.pem": OTHER_PUBLIC}
OLD_PARAMETERS = {"dhparam.pem": OTHER_DH}
MIXED_CASE = {"consumer_key": "Simulated"}
ROWS = [
    Row("invalid consumer", [COMPARE_CONSUMER, WAIT, PAPER], INVALID),
    Row("invalid consumer, small letters", [FORM, COMPARE_CONSUMER, WAIT], INVALID, SMALL),
    Row("invalid consumer, realm", [REALM, COMPARE_CONSUMER, WAIT], INVALID, WRONG_REALM),
    Row("invalid consumer, clock", [COMPARE_CONSUMER, CLOCK, WAIT], INVALID, clock=600),
    Row("invalid consumer, old file", [COMPARE_CONSUMER, FILE_SIGNATURE, WAIT], INVALID, files=OLD_SIGNATURE),
    Row("no secret found", [COMPARE_TOKEN, GENERATE], NO_SECRET),
    Row("no secret found, clock", [COMPARE_TOKEN, CLOCK], NO_SECRET, clock=-600),
    Row("no secret found, old file", [COMPARE_TOKEN, FILE_ENCRYPTION], NO_SECRET, files=OLD_ENCRYPTION),
    Row("LST failed", [SECRET, SIGNATURE, TOKEN], LST_FAILED),
    Row("LST failed, in an answer 200", [SECRET, SIGNATURE, TOKEN], LST_FAILED._replace(status=200)),
    Row("secret replaced", [SECRET, SIGNATURE, TOKEN], server={"secret": bytes(range(32))}),
    Row("signature key", [SECRET, SIGNATURE, TOKEN], server={"signature_key": OTHER_KEY}),
    Row("signature key, its file", [FILE_SIGNATURE, SECRET, TOKEN], server={"signature_key": OTHER_KEY}, files=OLD_SIGNATURE),
    Row("file, then realm", [FILE_ENCRYPTION, REALM, SECRET], config=WRONG_REALM, files=OLD_ENCRYPTION),
    Row("one key for both", [FILE_SIGNATURE, SAME_KEY, SECRET], config={"signature_key_fp": "private_encryption.pem"}),
    Row("access token", [SECRET, SIGNATURE, TOKEN], server={"access_token": "0" * 20}),
    Row("realm", [REALM, SECRET, SIGNATURE], config=WRONG_REALM),
    Row("clock behind", [CLOCK + "behind"], clock=600),
    Row("clock ahead", [CLOCK + "ahead of"], clock=-600),
    Row("clock, old file, realm", [CLOCK], config=WRONG_REALM, clock=600, files=OLD_SIGNATURE),
    Row("prime", [PRIME], server={"prime": LARGER}),
    Row("prime, its file", [FILE_DH], server={"prime": LARGER}, files=OLD_PARAMETERS),
    Row("prime, clock a minute off", [PRIME], server={"prime": LARGER}, clock=60),
    Row("prime, another's file", [PRIME], server={"prime": LARGER}, files=OLD_SIGNATURE),
    Row("generator", [FILE_DH, GENERATOR], config={"dh_generator": 5}),
    Row("generator, no file", [GENERATOR, PRIME], config={"dh_generator": 5}, files={"dhparam.pem": ""}),
    Row("consumer key's case", [FORM, PRIME, CAPITALS], None, MIXED_CASE, {**MIXED_CASE, "prime": LARGER}),
    Row("base_url, a page that is not there", [BASE_URL, OTHERWISE], html_answer(404, "Not Found")),
    Row("base_url, a log-in page", [BASE_URL, OTHERWISE], html_answer(200, "Log in")),
    Row("base_url, a redirect", [BASE_URL, OTHERWISE], MOVED),
    Row("base_url, nobody there", [BASE_URL[:-1]], config={"base_url": "http://127.0.0.1:1/v1/api"}),
]  # fmt: skip


class Canned(Sandbox):
    """Answers as it is told, before it looks at anything."""

    canned: Answer | None = None

    def respond(self, request: Request) -> Answer:
        return self.canned or super().respond(request)


def diagnose(row: Row, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the demo on a set-up that is wrong in what the row says, and return its stderr."""
    client = throwaway_identity()
    identity = dataclasses.replace(client, **row.server)
    with Canned(identity=identity, clock=lambda: demo.time() + row.clock) as sandbox:
        sandbox.canned = row.answer
        config = {
            "realm": client.realm,
            "encryption_key_fp": "private_encryption.pem",
            "signature_key_fp": "private_signature.pem",
            "consumer_key": client.consumer_key,
            "dh_prime": f"{DH_PRIME:x}",
            "access_token": client.access_token,
            "access_token_secret": encrypted_secret(client),
            "base_url": sandbox.base_url,
            **row.config,
        }
        for pem in KEYS.glob("*.pem"):
            Path(shutil.copy(pem, folder)).chmod(0o600)
        for name, content in row.files.items():
            (folder / name).write_text(content)
            if not content:
                (folder / name).unlink()
        (folder / "config.json").write_text(json.dumps(config))
        status = demo.main([str(folder / "config.json")])
        out, err = capsys.readouterr()
        secrets = [*sandbox.secrets, config["access_token"], config["access_token_secret"]]
        assert_no_secret(out + err, [*secrets, client.secret])
    assert status == 1
    return err


def hints_of(err: str) -> list[str]:
    """Return the hints below the one error."""
    _, _, below = (
        err.partition("\nerror: ") if err.startswith("warning") else err.partition("error: ")
    )
    assert "error: " not in below.splitlines()[1]
    return [line.removeprefix("hint: ") for line in below.splitlines()[1:]]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_suspects_come_in_their_order(
    row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = diagnose(row, tmp_path, capsys)
    hints = hints_of(re.sub(r"\b(599|601) s", "600 s", err))
    assert len(hints) == len(row.hints) <= 3, err
    for hint, begin in zip(hints, row.hints):
        assert hint.startswith(begin), err
    assert "try later" not in err
    assert "must" not in "".join(hints)
    if row.config or row.files or row.clock:
        assert GENERATE not in hints, "something cheaper is more likely"


def test_a_host_that_does_not_exist_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    row = Row("", [], config={"base_url": "https://api.ibrk.example/v1/api"})
    err = diagnose(row, tmp_path, capsys)
    assert "error: POST /oauth/live_session_token: api.ibrk.example: " in err
    for word in ("base_url", "network", "HTTPS_PROXY"):
        assert word in hints_of(err)[0]
