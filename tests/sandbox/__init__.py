"""A stand-in for api.ibkr.com on this machine, for this demo and for any other client.

    python -m tests.sandbox [--fault NAME] [demo options]     runs demo.py against it
    python -m tests.sandbox --serve [--port N]                stays up, explains refused signatures
    python -m tests.sandbox --config FILE [...]               the same, with a person's own keys

Real HTTP, real RSA, real Diffie-Hellman; throw-away keys and invented data. It checks a request
as a server does, from the public keys, and on purpose shares no code with `oauth.py`: two
programs that agree by sharing a function prove nothing.
"""

from __future__ import annotations

from tests.sandbox.answers import (
    Answer,
    error_answer,
    html_answer,
    json_answer,
    recorded,
    text_answer,
)
from tests.sandbox.endpoints import ROUTES
from tests.sandbox.faults import FAULTS
from tests.sandbox.gate import Record, Request
from tests.sandbox.identity import DH_PRIME, KEYS
from tests.sandbox.stand_in import Sandbox

__all__ = [
    "DH_PRIME",
    "FAULTS",
    "KEYS",
    "ROUTES",
    "Answer",
    "Record",
    "Request",
    "Sandbox",
    "error_answer",
    "html_answer",
    "json_answer",
    "recorded",
    "text_answer",
]
