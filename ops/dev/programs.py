"""The programs of a world: `signalq consume`, `gateway` and `console`, as processes that end with this one.

They are private servers, as RabbitMQ is: a guard owns their processes and ends them, however this process ends.
"""

import json
import os
import sys
from pathlib import Path
from typing import ClassVar

import signalq
from signalq.local import PrivateBrokerError
from signalq.local.guard import Guard, ServerPlan
from signalq.local.server import PrivateServer
from signalq.ops.dev.world import World
from signalq.ops.terminal import one_time_link
from signalq.settings.config_file import CONFIG_ENV
from signalq.settings.sections import ENV_PREFIX

START_TIMEOUT_S = 60.0
# A drain takes 20 s at most, with the settings that a world is made with.
STOP_TIMEOUT_S = 40.0


class ProgramFailed(PrivateBrokerError):
    """A program of a world did not start, or has ended."""


class Program(PrivateServer):
    """One of our own commands; its log is a file in the world's folder, emptied at each start."""

    failure = ProgramFailed
    command: ClassVar[str]
    """The command that it runs."""
    started: ClassVar[str]
    """The event in its log that tells that it is ready."""

    def __init__(self, world: World) -> None:
        super().__init__(start_timeout_s=START_TIMEOUT_S, stop_timeout_s=STOP_TIMEOUT_S)
        self._world = world

    @property
    def log_path(self) -> Path:
        """Its log, a JSON object a line."""
        return self._world.folder / f"{self.command}.log"

    def _hire_guard(self) -> Guard:
        self.log_path.write_bytes(b"")
        return Guard(
            ServerPlan(
                epmd=[],
                server=[sys.executable, "-m", "signalq", self.command],
                environment=_environment(self._world.file) | self._own_environment(),
                folder=str(self._world.folder),
                log=str(self.log_path),
                folder_is_temporary=False,
                stop_timeout_s=STOP_TIMEOUT_S,
            )
        )

    def _own_environment(self) -> dict[str, str]:
        """Variables for this program alone."""
        return {}

    def _forget_folder(self) -> None:
        """Keep it: the world has it again at its next start."""

    def _is_ready(self) -> bool:
        return f'"{self.started}"' in self.log_path.read_text("utf-8", errors="replace")

    def _last_words(self, log_size_before: int) -> str:
        """The reason that it gives in its log."""
        del log_size_before
        return last_words(self.log_path)


class Consumer(Program):
    """`signalq consume`."""

    title = "signalq consume"
    command = "consume"
    started = "service.started"


class Gateway(Program):
    """`signalq gateway`."""

    title = "signalq gateway"
    command = "gateway"
    started = "gateway.started"


class Console(Program):
    """`signalq console`."""

    title = "signalq console"
    command = "console"
    started = "console.started"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._secret = one_time_link.new_secret()

    @property
    def link(self) -> str | None:
        """The link that signs a person in, once in each start; None where the world has a token for that."""
        if self._world.settings.ops.token is not None:
            return None
        return one_time_link.link_at(self._world.console_address, self._secret)

    def _own_environment(self) -> dict[str, str]:
        return {
            f"{ENV_PREFIX}CONSOLE__PORT": str(self._world.console_port),
            one_time_link.VARIABLE: self._secret,
        }


# Programs whose events are told: the console shows its own.
TELLING: tuple[type[Program], ...] = (Consumer, Gateway)


def last_words(log: Path) -> str:
    """The last reason in a log of ours, else its last line."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    for line in reversed(lines):
        try:
            why = json.loads(line).get("why")
        except (ValueError, AttributeError):
            continue
        if why:
            return str(why)
    return lines[-1] if lines else "it said nothing"


def _environment(settings_file: Path) -> dict[str, str]:
    """The environment of this process, with the world's settings alone; the code is that of this process."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    path = os.pathsep.join(filter(None, [str(Path(signalq.__file__).parents[1]), kept.get("PYTHONPATH")]))
    return kept | {"PYTHONPATH": path, CONFIG_ENV: str(settings_file), f"{ENV_PREFIX}LOG__FORMAT": "json"}
