"""A stand-in for api.ibkr.com on this machine, for this demo and for any other client.

It checks a request as a server does, from the public keys, and on purpose shares no code with
`oauth.py`: two programs that agree by sharing a function prove nothing. README.md has the rest.
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
from tests.sandbox.faults import FAULTS
from tests.sandbox.gate import Request
from tests.sandbox.identity import DH_PRIME, KEYS
from tests.sandbox.stand_in import Sandbox

__all__ = [
    "DH_PRIME",
    "FAULTS",
    "KEYS",
    "Answer",
    "Request",
    "Sandbox",
    "error_answer",
    "html_answer",
    "json_answer",
    "recorded",
    "text_answer",
]
