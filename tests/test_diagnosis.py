"""One wrong ingredient each, over real sockets: the hints that follow IBKR's refusal, in their order.

The sandbox has another key, token, prime or clock than a row's config, and so answers as IBKR would;
where only IBKR knows why it refuses, the answer is canned. What is named when all is in order stands
in the transcripts.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from Crypto.PublicKey import RSA

from tests.conftest import ROOT, run, write_files
from tests.sandbox import Answer, Sandbox, error_answer
from tests.sandbox.identity import read_dh_parameters, throwaway_identity

pytestmark = pytest.mark.usefixtures("all_well")

NO_SECRET = error_answer(401, "id: 1, error: LST failed, error: No access secret key found for X")
LST_FAILED = error_answer(401, "id: 118871, error: LST failed, error: ")

REALM, FORM = "realm: does not fit", "consumer_key: not nine capitals or digits"
COMPARE_CONSUMER = "compare consumer_key with the portal"
WAIT = "a new key is active after"
COMPARE_TOKEN = "compare access_token with the one that the portal shows"
GENERATE = "only then generate the token again"
SECRET = 'access_token_secret: was "Generate" pressed since?'
SIGNATURE = "signature_key_fp: was its public half uploaded? It has SHA-256 "
TOKEN = "access_token: compare it with where it was generated"
CLOCK = "set this computer's clock, which is 600 s "
SAME_KEY = "signature_key_fp: is the encryption key, too"
PRIME = "dh_prime or dh_generator: was a dhparam.pem with SHA-256 "
GENERATOR = "dh_generator: "
FILE_SIGNATURE = "public_signature.pem: does not fit: SHA-256 "
FILE_ENCRYPTION = "public_encryption.pem: does not fit: SHA-256 "
FILE_DH = "dhparam.pem: does not fit: SHA-256 "

OTHER_KEY = RSA.import_key((ROOT / "tests/vectors/throwaway-key.pem").read_bytes())
# Smaller than the sandbox's, which takes any challenge so
SMALLER = read_dh_parameters((ROOT / "tests/dh-parameters/generator-5.pem").read_text())[0]
OLD_SIGNATURE = {"public_signature.pem": OTHER_KEY.public_key().export_key()}
OLD_ENCRYPTION = {"public_encryption.pem": OTHER_KEY.public_key().export_key()}
NO_FILES = {"public_signature.pem": b"", "public_encryption.pem": b"", "dhparam.pem": b""}
OLD_SECRET = {"access_token_secret": throwaway_identity().encrypted_secret}
UNKNOWN, WRONG_REALM = {"consumer_key": "ABCDEFGH1"}, {"realm": "test_realm"}
MIXED, OTHER_PRIME = {"consumer_key": "Simulated"}, {"dh_prime": f"{SMALLER:x}"}


class Row(NamedTuple):
    """What is wrong. `hints`: how they begin. `config`: what is changed in it. `answer`: to the token
    request; `clock`: the seconds that IBKR is ahead; `files`: beside the keys, in place of those that
    fit; `server`: what IBKR has of this user instead."""

    name: str
    hints: list[str]
    config: Mapping[str, Any] = {}
    answer: Answer | None = None
    clock: float = 0
    files: Mapping[str, bytes] = {}
    server: Mapping[str, Any] = {}


ROWS = [
    Row("invalid consumer, small letters", [FORM, COMPARE_CONSUMER, WAIT], {"consumer_key": "simulated"}),
    Row("invalid consumer, realm", [REALM, COMPARE_CONSUMER, WAIT], {**UNKNOWN, **WRONG_REALM}),
    Row("invalid consumer, clock", [COMPARE_CONSUMER, CLOCK, WAIT], UNKNOWN, clock=600),
    Row("invalid consumer, old file", [COMPARE_CONSUMER, FILE_SIGNATURE, WAIT], UNKNOWN, files=OLD_SIGNATURE),
    Row("no secret found, old file", [COMPARE_TOKEN, FILE_ENCRYPTION], answer=NO_SECRET, files=OLD_ENCRYPTION),
    Row("signature key", [SECRET, SIGNATURE, TOKEN], files=NO_FILES, server={"signature_key": OTHER_KEY.public_key()}),
    Row("signature key, its file", [FILE_SIGNATURE, SECRET, TOKEN], OLD_SECRET, files=OLD_SIGNATURE),
    Row("one key for both", [FILE_SIGNATURE, SAME_KEY, SECRET], {"signature_key_fp": "private_encryption.pem"}),
    Row("realm, old file", [FILE_ENCRYPTION, REALM, SECRET], WRONG_REALM, files=OLD_ENCRYPTION),
    Row("clock ahead, realm, old file", [CLOCK + "ahead of"], WRONG_REALM, clock=-600, files=OLD_SIGNATURE),
    Row("clock 40 s behind, told by a 400", [CLOCK.partition("600")[0]], answer=LST_FAILED._replace(status=400), clock=40),
    Row("clock a little off", [SECRET, SIGNATURE, TOKEN], OLD_SECRET, clock=20),
    Row("prime, and an old file that is another's", [PRIME], OTHER_PRIME, files={**NO_FILES, **OLD_SIGNATURE}),
    Row("prime, clock a minute off", [PRIME], OTHER_PRIME, clock=60, files=NO_FILES),
    Row("generator", [GENERATOR, PRIME], {"dh_generator": 5}, files=NO_FILES),
    Row("generator, its file", [FILE_DH, GENERATOR], {"dh_generator": 5}),
    Row("consumer key's case", [FORM, PRIME], {**MIXED, **OTHER_PRIME}, files=NO_FILES, server=MIXED),
]  # fmt: skip


def hints_seen(row: Row) -> list[str]:
    """The hints of the run's first error, which its warnings stand before."""
    answers = {} if row.answer is None else {"POST /oauth/live_session_token": row.answer}
    with Sandbox(answers=answers) as sandbox:
        sandbox.fault = sandbox.fault._replace(clock_ahead=row.clock)
        identity = dataclasses.replace(sandbox.identity, **row.server)
        sandbox.identity = sandbox.gate.identity = identity
        write_files(sandbox.folder, row.files)
        err = run(sandbox, config={**sandbox.config, **row.config}).err
    err = re.sub(r"\b(599|601) s", "600 s", err)
    error = re.search("(?m)^error: .*((\nhint: .*)*)", err)
    return re.findall("hint: (.*)", error[1]) if error else []


def test_the_suspects_come_in_their_order() -> None:
    wrong = []
    for row in ROWS:
        hints = hints_seen(row)
        begins = [hint[: len(begin)] for hint, begin in zip(hints, row.hints)]
        if begins != row.hints or len(hints) != len(row.hints):
            wrong.append("\n    ".join([f"{row.name}:", *hints]))
    assert not wrong, "\n".join(wrong)
