"""The options of a command line of `signalq publish`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """The options of one run; without a `file` it publishes one intent from flags."""

    config: Path | None = None
    file: str | None = None
    strategy: str | None = None
    message_id: str | None = None
    file_format: str | None = None
    again: bool = False
    batch: str | None = None
    resume: bool = False
    rate_per_s: float | None = None
    as_json: bool = False

    def next_command(self, batch: str | None, *, resume: bool) -> str:
        """The command line that goes on with this run: the same options, and `batch` for its lines."""
        words = ["signalq"]
        if self.config is not None:
            words += ["--config", str(self.config)]
        words += ["publish", *(["--resume"] if resume else [])]
        for name, value in (("--batch", batch), ("--strategy", self.strategy), ("--format", self.file_format)):
            if value is not None:
                words += [name, value]
        if self.rate_per_s is not None:
            words += ["--rate", f"{self.rate_per_s:g}"]
        return shlex.join([*words, self.file or "-"])
