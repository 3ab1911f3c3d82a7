"""Real shells that complete `signalq` command lines: on a terminal, with the keys that a person presses."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import os
import pty
import re
import shutil
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.skipping import skip_outside_ci
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 120, 30
# The command itself where a shell asks; where it is called, it only notes the words that it got.
COMMAND = """#!/bin/sh
if [ -n "${_SIGNALQ_COMPLETE:-}" ]; then PYTHONPATH=%(root)s exec %(python)s -m signalq "$@"; fi
printf '%%s\\0' "$@" > %(folder)s/words.new
mv %(folder)s/words.new %(folder)s/words
"""
STARTS = {
    "bash": ("--noprofile", "--rcfile", "{rc}", "-i"),
    "zsh": ("--no-rcs", "-i"),
}
PROMPT = "ready>"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z=>]|\x1b[=>]")
BEGIN = {
    "bash": "PS1='{prompt} '; eval \"$({python} -m signalq completion bash)\"\n",
    "zsh": "PS1='{prompt} '; autoload -Uz compinit; compinit -D -u; eval \"$({python} -m signalq completion zsh)\"\n",
}


def shell(name: str) -> str:
    """The path of a shell. Skips (in CI: fails) where it lacks."""
    path = shutil.which(name)
    if path is None:
        skip_outside_ci(f"there is no {name} here: ./run setup installs it")
    return path


def make_command(folder: Path) -> None:
    """Make a `signalq` that a shell finds in this folder."""
    file = folder / "signalq"
    file.write_text(COMMAND % {"root": ROOT, "python": sys.executable, "folder": folder}, encoding="utf-8")
    file.chmod(0o755)


class Terminal:
    """A shell on a terminal, in which a person types."""

    def __init__(self, folder: Path, master: int) -> None:
        self._words = folder / "words"
        self._master = master
        self.shown = ""

    async def run(self, keys: str) -> list[str]:
        """Press these keys and Enter; the words that `signalq` is called with then."""
        await self.is_ready()
        self._words.unlink(missing_ok=True)
        self.press(f"{keys}\r")
        await wait_until(self._words.exists, what=f"the call of a line: {keys}")
        return self._words.read_text("utf-8").split("\0")[:-1]

    async def is_ready(self) -> None:
        """Wait for the prompt: a key that is pressed before goes to the terminal's own line editor."""
        shown = functools.partial(_CONTROL.sub, "")
        await wait_until(lambda: shown(self.shown).rstrip().endswith(PROMPT), what="the prompt")

    def press(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._master, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until this is on the screen."""
        await wait_until(lambda: text in self.shown, what=f"{text!r} on the screen")

    def take(self) -> None:
        with suppress(OSError):  # the other end is closed
            self.shown += os.read(self._master, 65_536).decode("utf-8", "replace")


@asynccontextmanager
async def on_a_terminal(name: str, folder: Path) -> AsyncIterator[Terminal]:
    """The shell, in the folder, where its `signalq` is; with the settings of this process's environment."""
    path = shell(name)
    make_command(folder)
    begin = BEGIN[name].format(python=sys.executable, prompt=PROMPT)
    rc = folder / "rc"
    rc.write_text(begin, encoding="utf-8")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    process = await asyncio.create_subprocess_exec(
        path,
        *(argument.format(rc=rc) for argument in STARTS[name]),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env=os.environ | environment(folder),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    terminal = Terminal(folder, master)
    asyncio.get_running_loop().add_reader(master, terminal.take)
    try:
        if name != "bash":
            terminal.press(begin.rstrip("\n") + "\r")
        yield terminal
    finally:
        process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


def environment(folder: Path) -> dict[str, str]:
    """The variables for a shell in which `signalq` is the one of the folder."""
    found = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "xterm", "HOME": str(folder)}
    return found | {"LC_ALL": "C.UTF-8", "INPUTRC": os.devnull, "HISTFILE": ""}


async def in_fish(line: str, folder: Path) -> list[str]:
    """The candidates that fish has for a line, with their descriptions behind a tab."""
    path = shell("fish")
    make_command(folder)
    script = f"{sys.executable} -m signalq completion fish | source; complete --do-complete $argv[1]"
    process = await asyncio.create_subprocess_exec(
        *(path, "--no-config", "--command", script, line),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=os.environ | environment(folder),
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (0, b""), err
    return out.decode().splitlines()
