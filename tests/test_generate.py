"""keys/generate.sh, run as a user runs it, with a quick stand-in for `openssl dhparam` only.

A fresh 2048-bit prime takes up to minutes, so the stand-in hands out a ready-made one. Everything
else is the real openssl.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from Crypto.IO import PEM
from Crypto.Util.asn1 import DerSequence

SCRIPT = Path(__file__).parent.parent / "keys" / "generate.sh"
DHPARAM = Path(__file__).parent / "throwaway-keys" / "dhparam.pem"

PRIVATE = ["private_signature.pem", "private_encryption.pem"]
PUBLIC = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]
FILES = sorted(PRIVATE + PUBLIC)

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(not OPENSSL or os.name == "nt", reason="needs openssl and sh")

READY_MADE = f"""
for last; do :; done
[ "$last" = 2048 ] || exit 1 # LibreSSL takes the number last only
[ "$2" = -out ] && cat {shlex.quote(str(DHPARAM))} >"$3"
"""


def environment(folder: Path, dhparam: str, other: str = f'exec {OPENSSL} "$@"') -> dict[str, str]:
    """A PATH whose openssl runs the shell lines `dhparam` for dhparam, and `other` for the rest."""
    stub = folder / "bin" / "openssl"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\nif [ $1 = dhparam ]; then\n{dhparam}\nelse\n{other}\nfi\n")
    stub.chmod(0o755)
    return {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path, READY_MADE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for the keys; its name needs quoting in a shell."""
    path = tmp_path / "a folder's * keys"
    path.mkdir()
    return path


def generate(*args: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def openssl(*args: str | Path) -> str:
    return subprocess.run(
        [str(OPENSSL), *args], capture_output=True, text=True, check=True
    ).stdout.strip()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_makes_five_files_that_openssl_reads_and_prints_the_prime_for_the_config(
    folder: Path, env: dict[str, str]
) -> None:
    result = generate(folder, env=env)
    assert result.returncode == 0, result.stderr
    assert names(folder) == FILES
    for use in ("signature", "encryption"):
        private, public = folder / f"private_{use}.pem", folder / f"public_{use}.pem"
        assert private.stat().st_mode & 0o777 == 0o600
        assert "RSA key ok" in openssl("rsa", "-check", "-noout", "-in", private)
        assert "(2048 bit" in openssl("rsa", "-pubin", "-text", "-noout", "-in", public)
        assert openssl("rsa", "-pubout", "-in", private) == public.read_text().strip()
    assert len({(folder / name).read_bytes() for name in PRIVATE}) == 2
    openssl("dhparam", "-check", "-noout", "-in", folder / "dhparam.pem")
    der, _, _ = PEM.decode((folder / "dhparam.pem").read_text())
    assert result.stdout == f"{DerSequence().decode(der)[0]:x}\n"


def test_files_are_private_from_the_first_byte(tmp_path: Path, folder: Path) -> None:
    # Not openssl's own care: the stand-in writes as carelessly as the umask lets it.
    seen = tmp_path / "seen"
    careless = f"""
    {OPENSSL} "$@" || exit
    for word; do
        case $word in */private_*) ls -ld "$word" "${{word%/*}}" >>{shlex.quote(str(seen))} ;; esac
    done
    """
    old = os.umask(0)
    try:
        generate(folder, env=environment(tmp_path, READY_MADE, careless))
    finally:
        os.umask(old)
    modes = {line.split()[0].rstrip(".+") for line in seen.read_text().splitlines()}
    assert modes == {"-rw-------", "drwx------"}


def test_it_says_which_files_to_upload_and_which_never_to_share(
    folder: Path, env: dict[str, str]
) -> None:
    talk = generate(folder, env=env).stderr
    before, _, rest = talk.partition("upload these three")
    upload, _, never = rest.partition("never share these two")
    assert "can take some minutes" in before
    assert [name for name in FILES if name in upload] == sorted(PUBLIC)
    assert [name for name in FILES if name in never] == sorted(PRIVATE)


def test_the_progress_dots_of_openssl_stay_out_of_sight(tmp_path: Path, folder: Path) -> None:
    env = environment(tmp_path, f"echo '...+...++*++*' >&2\n{READY_MADE}")
    result = generate(folder, env=env)
    assert result.returncode == 0
    assert "..+" not in result.stderr


@pytest.mark.parametrize("name", FILES)
def test_one_existing_file_is_named_and_nothing_changes(
    name: str, folder: Path, env: dict[str, str]
) -> None:
    (folder / name).write_text("mine")
    result = generate(folder, env=env)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {folder / name} exists already\nhint: ")
    assert result.stdout == ""
    assert contents(folder) == {name: b"mine"}


def test_a_dangling_link_counts_as_existing(folder: Path, env: dict[str, str]) -> None:
    (folder / "dhparam.pem").symlink_to(folder / "elsewhere")
    assert generate(folder, env=env).returncode == 1
    assert names(folder) == ["dhparam.pem"]


def test_a_second_run_changes_nothing(folder: Path, env: dict[str, str]) -> None:
    generate(folder, env=env)
    first = contents(folder)
    result = generate(folder, env=env)
    assert result.returncode == 1
    assert result.stderr.count("exists already") == 5
    assert contents(folder) == first


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_appears_meanwhile_is_kept(name: str, tmp_path: Path, folder: Path) -> None:
    late = shlex.quote(str(folder / name))
    result = generate(folder, env=environment(tmp_path, f"{READY_MADE}\necho theirs >{late}"))
    assert result.returncode == 1
    error, hint = result.stderr.splitlines()[-2:]
    assert error == f"error: {folder / name} cannot be made"
    assert hint.startswith("hint: nothing was changed")
    assert contents(folder) == {name: b"theirs\n"}


def default_signals() -> None:
    """In the child: what a shell started with nohup, or in the background, ignores."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "shell alone"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing_behind(
    number: signal.Signals, whole_group: bool, tmp_path: Path, folder: Path
) -> None:
    pid_file = tmp_path / "pid"
    sleeping = f"echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60"
    with subprocess.Popen(
        [SCRIPT, folder],
        env=environment(tmp_path, sleeping),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=default_signals,
    ) as process:
        deadline = time.monotonic() + 30
        while not pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert names(folder) != []
        (os.killpg if whole_group else os.kill)(process.pid, number)
        stdout, stderr = process.communicate(timeout=10)

    assert process.returncode == 128 + number
    assert stdout == ""
    assert stderr.splitlines()[-1] == "error: interrupted, nothing was made"
    assert names(folder) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_without_an_argument_the_files_lie_beside_the_script(
    tmp_path: Path, folder: Path, env: dict[str, str]
) -> None:
    copy = shutil.copy(SCRIPT, folder)
    result = subprocess.run([copy], cwd=tmp_path, env=env, capture_output=True)
    assert result.returncode == 0
    assert names(folder) == sorted([*FILES, SCRIPT.name])


def test_a_missing_folder_is_named(folder: Path, env: dict[str, str]) -> None:
    result = generate(folder / "nowhere", env=env)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: no such folder: {folder / 'nowhere'}\nhint: ")
    assert names(folder) == []


def test_a_folder_that_cannot_be_written_is_named(env: dict[str, str]) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a folder that even root cannot write to")
    result = generate("/proc/self", env=env)
    assert (result.returncode, result.stderr) == (
        1,
        "error: cannot write to the folder /proc/self\nhint: name one that you may write to\n",
    )


def test_a_disk_that_is_full_from_the_beginning_is_one_error(tmp_path: Path, folder: Path) -> None:
    env = environment(tmp_path, READY_MADE)
    mkdir = tmp_path / "bin" / "mkdir"
    mkdir.write_text(f'#!/bin/sh\n{shutil.which("mkdir")} -p "$1/log"\n')  # as a file, log fails
    mkdir.chmod(0o755)
    result = generate(folder, env=env)
    assert (result.returncode, result.stdout, names(folder)) == (1, "", [])
    assert result.stderr == f"error: cannot write to the folder {folder}\nhint: is the disk full?\n"


@pytest.mark.parametrize("written", ["nothing", "half of it"])
@pytest.mark.parametrize("name", FILES)
def test_an_openssl_that_writes_too_little_and_ends_well_is_no_success(
    name: str, written: str, tmp_path: Path, folder: Path
) -> None:
    output = "" if written == "nothing" else 'echo -----BEGIN >"$last"'
    silent = f"""case "$*" in *-out*{name}*)
        for file in "$@"; do [ "$file" = 2048 ] || last=$file; done; {output}
        exit 0 ;;
    esac
    """
    env = environment(tmp_path, silent + READY_MADE, f'{silent}exec {OPENSSL} "$@"')
    result = generate(folder, env=env)
    assert (result.returncode, result.stdout, names(folder)) == (1, "", [])
    error, hint = result.stderr.splitlines()[-2:]
    assert error == f"error: openssl made no {name}"
    assert hint == "hint: nothing was made; is the disk full?"


@pytest.mark.parametrize(
    "printed", ["", "nonsense", "INTEGER :", "INTEGER :-0E61", "INTEGER :no number", "INTEGER :00"]
)
def test_a_prime_that_is_none_is_refused(printed: str, tmp_path: Path, folder: Path) -> None:
    other = f'[ $1 = asn1parse ] && echo "    4:d=1  hl=4 l= 257 {printed}" && exit 0'
    env = environment(tmp_path, READY_MADE, f'{other}\nexec {OPENSSL} "$@"')
    result = generate(folder, env=env)
    assert (result.returncode, result.stdout, names(folder)) == (1, "", [])
    error, hint = result.stderr.splitlines()[-2:]
    assert error == "error: the prime could not be read from what openssl asn1parse prints"
    assert hint.startswith("hint: nothing was made; ")


@pytest.mark.parametrize("dhparam", [READY_MADE, "exit 0"], ids=["well", "failing"])
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh", "zsh", "mksh", "yash"])
def test_in_any_shell_of_the_system_it_makes_all_files_or_none(
    shell: str, dhparam: str, tmp_path: Path, folder: Path
) -> None:
    program, *options = shell.split()
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed here")
    command = [path, *options, str(SCRIPT), str(folder)]
    env = environment(tmp_path, dhparam)
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    expected = (0, FILES) if dhparam is READY_MADE else (1, [])
    assert (result.returncode, names(folder)) == expected, result.stderr
    if expected == (1, []):
        assert result.stderr.splitlines()[-2:] == [
            "error: openssl made no dhparam.pem",
            "hint: nothing was made; is the disk full?",
        ]


def test_a_missing_openssl_is_named(tmp_path: Path, folder: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("dirname", "printf"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    result = generate(folder, env={"PATH": str(tools)})
    assert result.returncode == 1
    assert result.stderr.startswith("error: openssl not found\nhint: ")
    assert names(folder) == []


@pytest.mark.parametrize("command", ["genrsa", "rsa", "dhparam", "asn1parse"])
def test_a_failing_openssl_is_quoted_without_its_dots(
    command: str, tmp_path: Path, folder: Path
) -> None:
    fail = "printf '..+..*\\nno entropy today\\n' >&2; exit 3"
    if command == "dhparam":
        env = environment(tmp_path, fail)
    else:
        other = f'if [ $1 = {command} ]; then {fail}; else {OPENSSL} "$@"; fi'
        env = environment(tmp_path, READY_MADE, other)
    result = generate(folder, env=env)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-3:-1] == [
        f"error: openssl {command} failed with status 3",
        "no entropy today",
    ]
    assert result.stderr.splitlines()[-1].startswith("hint: nothing was made")
    assert names(folder) == []


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_goes_to_stdout(option: str, env: dict[str, str]) -> None:
    result = generate(option, env=env)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(name in result.stdout for name in FILES)


@pytest.mark.parametrize("args", [["--force"], ["a", "b"]])
def test_bad_usage_ends_with_2(args: list[str], env: dict[str, str]) -> None:
    result = generate(*args, env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert "\nusage: " in result.stderr


def test_the_script_is_executable_with_unix_line_ends() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert b"\r" not in SCRIPT.read_bytes()
