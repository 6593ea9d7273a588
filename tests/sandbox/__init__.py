"""A stand-in for api.ibkr.com on this machine, for this demo and for any other client.

It checks a request as a server does, from the public keys, and on purpose shares no code with
`oauth.py`: two programs that agree by sharing a function prove nothing. README.md has the rest.
"""

import demo as demo  # first: if a package is missing, it says so in one line
from tests.sandbox.answers import Answer as Answer
from tests.sandbox.answers import error_answer as error_answer
from tests.sandbox.answers import json_answer as json_answer
from tests.sandbox.answers import recorded as recorded
from tests.sandbox.identity import KEYS as KEYS
from tests.sandbox.stand_in import Sandbox as Sandbox
