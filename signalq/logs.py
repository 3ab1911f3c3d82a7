"""Logs of a process: one object a line to stderr, without a secret, a payload or a control character.

Events are noun.past_verb. docs/operate/log-events.md lists them and their fields.
"""

import asyncio
import atexit
import json
import logging
import re
import sys
import threading
from collections.abc import Collection, Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from signalq.log_lines import ConsoleLine
from signalq.secrets.blanking import Blanker

EVENT_NAME = re.compile(r"[a-z_]+\.[a-z_]+")
# Libraries log whole AMQP frames at debug, bodies and all: their level stays above that, whatever ours is.
LIBRARY_LEVEL = logging.WARNING
# These libraries report every lost connection as an error with a traceback; broker.lane_lost tells it in one line.
TOLD_BY_US = ("aio_pika", "aiormq")
_OURS = frozenset({"level", "timestamp"})


class Masker:
    """Escapes control characters (foreign text must not draw on a terminal) and blanks known secrets."""

    def __init__(self, blanker: Blanker) -> None:
        self._blanker = blanker

    def blank(self, secrets: Collection[str], names: Collection[str] = ()) -> None:
        """Blank these as well, from now on."""
        self._blanker.learn(secrets, names=names)

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        # As a rule nothing is to be blanked, which one look at all texts together tells.
        texts, is_flat = [], True
        for key, value in event.items():
            if isinstance(value, str):
                if key not in _OURS:
                    texts.append(value)
            elif isinstance(value, (list, tuple)):
                is_flat = False
        whole = " ".join(texts)
        if is_flat and whole.isprintable() and "://" not in whole and not self._blanker.finds(whole):
            return event
        for key, value in event.items():
            if isinstance(value, str) and not _is_our_own(key, value):
                event[key] = self._clean(value, lines=key == "exception")
            elif isinstance(value, (list, tuple)):
                event[key] = [self._clean(one, lines=False) if isinstance(one, str) else one for one in value]
        return event

    def _clean(self, text: str, *, lines: bool) -> str:
        text = self._blanker(text)
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() or (lines and c == "\n") else ascii(c)[1:-1] for c in text)


class Lines:
    """The lines of a log on their way to a stream. What one step of the event loop logs is written at once, behind it.

    So a process that is killed loses the lines of that step at most. A warning or an error is written before anything
    else happens, as is every line where no loop runs; what is left at the process' end is written by then.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._lock = threading.RLock()
        # The loop that will write what is there.
        self._loop: asyncio.AbstractEventLoop | None = None

    def debug(self, line: str) -> None:
        """Write a line behind this step of the loop."""
        self.write(f"{line}\n")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self.flush)

    def warning(self, line: str) -> None:
        """Write a line now, behind those before it."""
        self.write(f"{line}\n")
        self.flush()

    info = debug
    error = critical = warning

    def write(self, text: str) -> None:
        """Take in a text, which the next flush writes. See TextIO."""
        with self._lock:
            self._lines.append(text)

    def flush(self) -> None:
        """Write what is there."""
        with self._lock:
            self._loop = None
            lines, self._lines = self._lines, []
            if lines:
                self._stream.write("".join(lines))
                self._stream.flush()


def configure_logging(*, form: str | None, level: str, blanker: Blanker) -> Masker:
    """Log to stderr, one object a line (`json`) or for people (`console`, the default on a terminal).

    Secrets that the `blanker` knows are blanked wherever they turn up, in the libraries' messages too. Give further
    secrets to the Masker that this returns.
    """
    masker = Masker(blanker)
    lines = Lines(sys.stderr)
    atexit.register(lines.flush)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        masker,
    ]
    renderer: Processor = _as_json
    if form == "console" or (form is None and sys.stderr.isatty()):
        renderer = ConsoleLine(sys.stderr)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    _log_libraries(shared, renderer, lines)
    return masker


def _log_libraries(shared: Sequence[Processor], renderer: Processor, lines: Lines) -> None:
    """Log the warnings of libraries, and of Python itself, in the same form."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=LIBRARY_LEVEL, force=True)
    logging.captureWarnings(capture=True)  # Python's own would be printed as they are, between our lines
    for library in TOLD_BY_US:
        logging.getLogger(library).setLevel(logging.CRITICAL)


_encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def _as_json(_logger: object, _method: str, event: EventDict) -> str:
    return _encode(event)


def _is_our_own(key: str, value: str) -> bool:
    """Whether a field holds no secret, and must be found in the log even where some secret is a single letter."""
    return key in _OURS or (key == "event" and EVENT_NAME.fullmatch(value) is not None)
