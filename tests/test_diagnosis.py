"""One wrong ingredient each, over real sockets: the first hint names it, or one of three does.

The sandbox plays an IBKR that has other keys, parameters or clock than the config; so its answers
are those that a user would get. Each row is run with and without the three uploaded files beside
the keys.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

import demo
from keys import check
from tests.conftest import Result, assert_no_secret
from tests.sandbox import DH_PRIME, KEYS, Answer, Request, Sandbox, error_answer
from tests.sandbox.identity import encrypted_secret, throwaway_identity

OTHER_KEY = RSA.generate(2048)
OTHER_PRIME = int(json.loads((KEYS.parent.parent / "test-config.json").read_text())["dh_prime"], 16)
LARGER = DH_PRIME + 2  # no prime, but a smaller one would refuse some challenges as out of range
OTHER_DH = (
    "-----BEGIN DH PARAMETERS-----\n"
    + base64.b64encode(DerSequence([OTHER_PRIME, 2]).encode()).decode()
    + "\n-----END DH PARAMETERS-----\n"
)
OTHER_PUBLIC = OTHER_KEY.public_key().export_key().decode()
OLD_SECRET = bytes(range(32))
INVALID = error_answer(401, "id: 39687, error: invalid consumer")
NO_SECRET = error_answer(401, "id: 1, error: LST failed, error: No access secret key found for X")
LST_FAILED = error_answer(401, "id: 118871, error: LST failed, error: ")

REALM = "realm: "
COMPARE_CONSUMER = "compare consumer_key with the portal, letter by letter"
CONSUMER_FORM = "consumer_key: nine capitals or digits"
WAIT = "a new key is active after"
PAPER = "paper and live have"
COMPARE_TOKEN = "compare access_token with the portal"
GENERATE = "only then generate the token again"
LAST_SECRET = 'access_token_secret: is it of the last "Generate"?'
SIGNATURE = "signature key: uploaded public_signature.pem must have SHA-256 "
CLOCK = "set this computer's clock, which is "
SAME_KEY = "signature_key_fp names the encryption key, too"
PRIME = "dh_prime: the dhparam.pem uploaded must have SHA-256 "
GENERATOR = "dh_generator: openssl's is 2"
CAPITALS = "consumer_key: the portal keeps it in capitals"
FILE_SIGNATURE = "public_signature.pem is not the public half"
FILE_ENCRYPTION = "public_encryption.pem is not the public half"
FILE_DH = "dhparam.pem has another prime"


@dataclasses.dataclass(frozen=True)
class Row:
    """A set-up. `hints`: how they begin, in their order. `config`: what is wrong in it. `server`: what
    the server has in place of the config's; `answer`: what it sends to the token request; `clock`:
    the seconds that it is ahead. `files`: beside the keys, in place of those that fit."""

    name: str
    hints: tuple[str, ...]
    answer: Answer | None = None
    server: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    clock: float = 0
    files: dict[str, str] = dataclasses.field(default_factory=dict)


ROWS = [
    Row("unknown consumer", (COMPARE_CONSUMER, WAIT, PAPER), INVALID),
    Row("unknown consumer, small letters", (CONSUMER_FORM, WAIT, PAPER), INVALID, config={"consumer_key": "simulated"}),
    Row("unknown consumer, realm", (REALM, COMPARE_CONSUMER, WAIT), INVALID, config={"realm": "test_realm"}),
    Row("unknown consumer, clock", (COMPARE_CONSUMER, CLOCK, WAIT), INVALID, clock=600),
    Row("unknown consumer, stale file", (COMPARE_CONSUMER, FILE_SIGNATURE, WAIT), INVALID, files={"public_signature.pem": OTHER_PUBLIC}),
    Row("no secret found", (COMPARE_TOKEN, GENERATE), NO_SECRET),
    Row("no secret found, clock", (COMPARE_TOKEN, CLOCK), NO_SECRET, clock=-600),
    Row("no secret found, stale file", (COMPARE_TOKEN, FILE_ENCRYPTION), NO_SECRET, files={"public_encryption.pem": OTHER_PUBLIC}),
    Row("LST failed", (LAST_SECRET, SIGNATURE, COMPARE_TOKEN), LST_FAILED),
    Row("LST failed, realm", (REALM, LAST_SECRET, SIGNATURE), LST_FAILED, config={"realm": "test_realm"}),
    Row("secret replaced", (LAST_SECRET, SIGNATURE, COMPARE_TOKEN), server={"secret": OLD_SECRET}),
    Row("signature key", (LAST_SECRET, SIGNATURE, COMPARE_TOKEN), server={"signature_key": OTHER_KEY.public_key()}),
    Row("signature key, its file", (FILE_SIGNATURE, SIGNATURE, COMPARE_TOKEN), server={"signature_key": OTHER_KEY.public_key()}, files={"public_signature.pem": OTHER_PUBLIC}),
    Row("one key for both", (SAME_KEY, LAST_SECRET, SIGNATURE), config={"signature_key_fp": "private_encryption.pem"}, files={"public_signature.pem": "", "dhparam.pem": ""}),
    Row("encryption key, its file", (FILE_ENCRYPTION, SIGNATURE, COMPARE_TOKEN), server={"secret": OLD_SECRET}, files={"public_encryption.pem": OTHER_PUBLIC}),
    Row("access token", (LAST_SECRET, SIGNATURE, COMPARE_TOKEN), server={"access_token": "0" * 20}),
    Row("realm", (REALM, LAST_SECRET, SIGNATURE), config={"realm": "test_realm"}),
    Row("clock behind", (CLOCK,), clock=600),
    Row("clock ahead", (CLOCK,), clock=-600),
    Row("clock, and the signature key's file", (CLOCK,), clock=600, files={"public_signature.pem": OTHER_PUBLIC}),
    Row("prime", (PRIME,), server={"prime": LARGER}),
    Row("prime, its file", (FILE_DH, PRIME), server={"prime": LARGER}, files={"dhparam.pem": OTHER_DH}),
    Row("prime, clock a little off", (PRIME,), server={"prime": LARGER}, clock=60),
    Row("generator", (GENERATOR, PRIME), config={"dh_generator": 5}, files={"dhparam.pem": ""}),
    Row("generator, file", ("dhparam.pem has another generator", GENERATOR, PRIME), config={"dh_generator": 5}),
    Row("a consumer key of digits", (PRIME,), server={"consumer_key": "123456789"}, config={"consumer_key": "123456789", "dh_prime": f"{OTHER_PRIME:x}"}, files={"dhparam.pem": ""}),
    Row("consumer key's case", (PRIME, CAPITALS), server={"consumer_key": "Simulated"}, config={"consumer_key": "Simulated", "dh_prime": f"{OTHER_PRIME:x}"}, files={"dhparam.pem": ""}),
]  # fmt: skip


def set_up(sandbox: Sandbox, row: Row, folder: Path, beside: bool) -> Path:
    """Lay config and keys as a user has them; `beside`: the three files that fit, too."""
    names = ["private_signature.pem", "private_encryption.pem"]
    if beside:
        names += ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]
    for name in names:
        shutil.copy(KEYS / name, folder)
        (folder / name).chmod(0o600)
    for name, content in row.files.items():
        (folder / name).write_text(content)
        if not content:
            (folder / name).unlink()
    client = throwaway_identity() if sandbox.identity.secret == OLD_SECRET else sandbox.identity
    config = {
        "realm": client.realm,
        "encryption_key_fp": "private_encryption.pem",
        "signature_key_fp": "private_signature.pem",
        "consumer_key": client.consumer_key,
        "dh_prime": f"{DH_PRIME:x}",
        "access_token": sandbox.identity.access_token,
        "access_token_secret": encrypted_secret(client),
        "base_url": sandbox.base_url,
        **row.config,
    }
    if "access_token" in row.server:
        config["access_token"] = "1" * 20
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


class Canned(Sandbox):
    """Answers the token request as it is told, before it looks at anything."""

    canned: Answer | None = None

    def respond(self, request: Request) -> Answer:
        return self.canned or super().respond(request)


def diagnose(row: Row, folder: Path, beside: bool, capsys: pytest.CaptureFixture[str]) -> Result:
    identity = dataclasses.replace(throwaway_identity(), **row.server)
    with Canned(identity=identity, clock=lambda: demo.time() + row.clock) as sandbox:
        sandbox.canned = row.answer
        path = set_up(sandbox, row, folder, beside)
        status = demo.main([str(path)])
        result = Result(status, *capsys.readouterr())
        assert_no_secret(result.out + result.err, sandbox.secrets)
    return result


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "with the uploaded files"])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_wrong_ingredient_is_named(
    row: Row, beside: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if row.name == "generator, file" and not beside:
        row = dataclasses.replace(row, hints=row.hints[1:])
    result = diagnose(row, tmp_path, beside, capsys)
    assert result.status == 1
    _, _, after = result.err.partition("error: ")
    hints = [line.removeprefix("hint: ") for line in after.splitlines()[1:]]
    assert len(hints) == len(row.hints) <= 3, result.err
    for hint, begin in zip(hints, row.hints):
        assert hint.startswith(begin), result.err
    off = abs(row.clock) > 30
    direction = "behind" if row.clock > 0 else "ahead of"
    assert (
        f"warning: this computer's clock is {abs(row.clock):.0f} s {direction}"
        in without_jitter(result.err)
    ) == off
    misfit = off or any(row.files.values())
    assert not (misfit and re.search("generate the token|Generate", "".join(hints)))


def without_jitter(text: str) -> str:
    return re.sub(r"\b(599|600|601) s", "600 s", re.sub(r"\b(59|60|61) s", "60 s", text))


def test_a_response_out_of_range_is_the_exchanges_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox("dh-one") as sandbox:
        path = set_up(sandbox, Row("", ()), tmp_path, False)
        assert demo.main([str(path)]) == 1
    assert f"hint: {PRIME}822efdfc...\n" in capsys.readouterr().err


@pytest.mark.parametrize("status", [400, 403, 500])
def test_another_status_than_401_suspects_no_ingredient(
    status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("", (), error_answer(status, "sorry"))
    result = diagnose(row, tmp_path, False, capsys)
    assert len(re.findall("(?m)^hint: ", result.err)) == 1
    assert not re.search("consumer|secret|key", result.err.partition("error: ")[2])


def test_no_more_than_three_suspects_whatever_comes_together() -> None:
    found = check.Ingredients(
        base_url="https://h",
        realm="x",
        consumer_key="small",
        signature_key=OTHER_KEY,
        signature_key_file="s",
        encryption_key=OTHER_KEY,
        encryption_key_file="e",
        access_token="t",
        access_token_secret=b"s",
        dh_prime=DH_PRIME,
        dh_generator=3,
    )
    misfits = [
        check.Finding("warning", name, "does not fit", misfit=name)
        for name in ("public_signature.pem", "public_encryption.pem", "dhparam.pem")
    ]
    for kind in ("refused", "proof", "range"):
        refusal = check.Refusal(kind, "invalid consumer", 99.0)
        assert len(check.suspects(refusal, found, misfits)) == 3
    first = check.suspects(check.Refusal("proof"), found, misfits)[0]
    assert first == "dhparam.pem does not fit"
    words = check.suspects(check.Refusal("refused"), found, misfits)
    assert words == [f"public_{use}.pem does not fit" for use in ("signature", "encryption")] + [
        "dhparam.pem does not fit"
    ]
    for seconds, suspected in ((30.0, False), (-30.0, False), (30.5, True), (-30.5, True)):
        hints = check.suspects(check.Refusal("refused", clock=seconds), found, [])
        assert hints[0].startswith("set this computer's clock") == suspected

    half = hashlib.sha256(OTHER_KEY.public_key().export_key("DER")).hexdigest()[:8]
    assert f"{SIGNATURE}{half}..." in check.secret_suspects(found)
