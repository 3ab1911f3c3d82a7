"""Standard streams that are closed, full, or that nobody reads: a sentence or silence, a status, never a traceback."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LONG_S = 30.0
# Port 1 of loopback: nobody listens there.
NOBODY = {"SIGNALQ_BROKER__URL": "amqp://u:topsecret@127.0.0.1:1/", "SIGNALQ_LEDGER__URL": "sqlite:////no/such/x.db"}
# What they say without a broker and a ledger goes to standard output.
WRITERS = ["--help", "check"]


def ran(command: str, redirection: str) -> tuple[int, str]:
    """Exit status and standard error of a command under a shell's redirection; `| true` is a pipe that closes."""
    line = f"{sys.executable} -m signalq {command} {redirection}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALQ_")} | NOBODY
    ended = subprocess.run(  # noqa: S603 - our own program
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],  # noqa: S607
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=LONG_S,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    assert "unexpected" not in ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("command", WRITERS)
def test_output_that_takes_nothing_is_one_sentence(command: str) -> None:
    for redirection, why in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
        sentence = f"signalq: standard output can't be written ({why}); see `signalq help output-lost`\n"
        assert ran(command, redirection) == (1, sentence)


def test_output_before_an_error_that_can_not_be_written_is_a_sentence_and_a_status_too() -> None:
    code = (
        "from signalq.ops.__main__ import main\nfrom signalq.ops.terminal.cli import cli\n"
        "from signalq.ops.terminal.errors import CommandFailed\n"
        "def ends_in_an_error(**_: object) -> None:\n    print('a row')\n    raise CommandFailed('it failed')\n"
        "cli.main = ends_in_an_error\nmain()\n"
    )
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=LONG_S,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("signalq: it failed\nsignalq: standard output can't be written (No space left")


@pytest.mark.parametrize("command", WRITERS)
def test_a_reader_that_closes_the_pipe_causes_no_sentence(command: str) -> None:
    assert ran(command, "| true") == (1, "")


@pytest.mark.parametrize("redirection", ["2>/dev/full >/dev/null", ">&- 2>&- <&-"])
def test_without_standard_error_the_status_says_it(redirection: str) -> None:
    assert ran("--version", redirection)[0] == (1 if redirection.startswith(">&-") else 0)
    assert ran("nonsense", redirection)[0] == 2


def test_a_sentence_on_standard_error_stays_where_output_is_closed() -> None:
    status, said = ran("lanes list", ">&-")
    assert status == 1
    assert said.startswith("signalq: there is no ledger at")


def test_a_closed_input_is_one_sentence() -> None:
    status, said = ran("publish --format jsonl -", "<&-")
    assert status == 1
    assert said.count("\n") == 1


def test_files_that_a_command_makes_are_its_users_alone(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom signalq.ops.__main__ import main\nfrom pathlib import Path\n"
        "from signalq.settings.private_files import make_private_folder, open_private\nos.umask(0)\n"
        f"folder = Path({str(tmp_path)!r}) / 'a' / 'b'\nmake_private_folder(folder)\n"
        "with open_private(folder / 'c') as file: file.write('x')\n"
        f"sys.argv = ['signalq', '--version']\ntry: main()\nexcept SystemExit: pass\n(folder / 'd').write_text('x')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=LONG_S, capture_output=True)  # noqa: S603
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "c": 0o600, "d": 0o600}
