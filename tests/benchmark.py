"""How long a run of demo.py takes, beside a bare script that does only what cannot be avoided.

    python -m tests.benchmark [rounds]

Each answer of the sandbox comes 100 ms later than it could, as from a server far away. The bare
script imports requests and RSA, reads the two keys, decrypts the secret, does the arithmetic of the
exchange, and sends as many requests on one session; it signs and prints nothing. The waits between
two questions for the same thing are the protocol's: they are counted, and subtracted from the wall
clock. The least of the runs, since what else a machine does only adds; the processes' own CPU, so
POSIX only. No test: a figure depends on the machine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.sandbox import Sandbox

DELAY = 0.1
POLLS = {"/iserver/auth/status": 1.0, "/iserver/marketdata/snapshot": 0.5}  # seconds between two
ROOT = Path(__file__).resolve().parent.parent
BARE = """
import base64, json, os, secrets, sys
import requests
from Crypto.Cipher import PKCS1_v1_5
from Crypto.PublicKey import RSA

path, count = sys.argv[1], int(sys.argv[2])
with open(path) as file:
    config = json.load(file)
keys = {}
for name in ("signature_key_fp", "encryption_key_fp"):
    with open(os.path.join(os.path.dirname(path), config[name]), "rb") as file:
        keys[name] = RSA.import_key(file.read())
encrypted = base64.b64decode(config["access_token_secret"])
PKCS1_v1_5.new(keys["encryption_key_fp"]).decrypt(encrypted, None)
prime, exponent = int(config["dh_prime"], 16), secrets.randbits(256)
public = pow(2, exponent, prime)
pow(public, exponent, prime)
session = requests.Session()
session.trust_env = False
for _ in range(count):
    session.get(config["base_url"] + "/portfolio/accounts").text
"""


def measured(command: Sequence[str], cache: str) -> tuple[float, float]:
    """Run a command; return its seconds on the wall clock, and those of CPU."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}  # as a person's second run has it
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def waited(sandbox: Sandbox) -> float:
    """Return the seconds that the last run waited between two questions for the same thing."""
    asked = [record.path for record in sandbox.requests]
    return sum(max(0, asked.count(path) - 1) * seconds for path, seconds in POLLS.items())


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    demo, bare = [], []
    with Sandbox(delay=DELAY) as sandbox, tempfile.TemporaryDirectory() as cache:
        config = str(sandbox.config_path)
        for _ in range(rounds + 1):
            sandbox.requests.clear()
            demo.append(measured([sys.executable, str(ROOT / "demo.py"), config], cache))
            waits, count = waited(sandbox), len(sandbox.requests)
            bare.append(measured([sys.executable, "-c", BARE, config, str(count)], cache))
    del demo[0], bare[0]  # these filled the cache
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, the least of {rounds} runs")
    print(f"{count} requests, each answer {DELAY * 1000:.0f} ms later; waits {waits:.1f} s")
    print("        demo s  bare s  ratio")
    for index, name in enumerate(("wall", "CPU")):
        own = min(run[index] for run in demo) - (0 if index else waits)
        other = min(run[index] for run in bare)
        print(f"  {name:<4}  {own:>6.3f}  {other:>6.3f}  {own / other:>5.2f}")


if __name__ == "__main__":
    main()
