"""The log for people: a line an order, with what became of it, and any other event with its fields behind it.

The outcome of a POST and the ending that follows at once are two events in JSON, and one line here.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TextIO
from unicodedata import east_asian_width

from structlog import DropEvent
from structlog.typing import EventDict

from signalq.message.identity import short_id

GAP = "  "
WORD_COLUMNS, NAME_COLUMNS, ACTION_COLUMNS, ID_CHARACTERS = 10, 12, 10, 8
# Said by the words of a line, by its beginning, or by nobody who reads along.
_UNSAID = frozenset({"event", "level", "timestamp", "logger", "exception"})
_GREEN, _RED, _YELLOW, _CYAN, _DIM, _BOLD = "32", "31", "33", "36", "2", "1"
_LEVEL_STYLES = {"debug": _DIM, "warning": _YELLOW, "error": _RED, "critical": _RED}
_WORD_STYLES = {"delivered": _GREEN, "retrying": _YELLOW, "canceled": _YELLOW, "duplicate": _DIM, "scheduled": _CYAN}


class ConsoleLine:
    """Renders events for a stream, as structlog asks; in colour on a terminal, unless NO_COLOR is set.

    On a terminal the line of an order is cut to its width; nothing else is cut. Raises DropEvent for an event of an
    order that another line tells.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._has_colours = self._is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, _logger: object, _method: str, event: EventDict) -> str:
        at, name, level = _clock(event.get("timestamp")), str(event["event"]), str(event.get("level", "info"))
        if "intent_id" in event and (said := _said_of_order(name, event)) is not None:
            word, detail = said
            return self._order(at, word, detail, event)
        parts = [self._styled(at, _DIM)]
        if level != "info":
            parts.append(self._styled(level, _LEVEL_STYLES.get(level, "")))
        parts.append(self._styled(name, _BOLD))
        parts += [f"{key}={_shown(value)}" for key, value in event.items() if key not in _UNSAID and value is not None]
        line = GAP.join(parts)
        return f"{line}\n{event['exception']}" if "exception" in event else line

    def _order(self, at: str, word: str, detail: str, event: EventDict) -> str:
        cells = (
            (at, _DIM),
            (word.ljust(WORD_COLUMNS), _WORD_STYLES.get(word, _RED)),
            (_sized(_cut_name(str(event["connector"]), NAME_COLUMNS), NAME_COLUMNS), _BOLD),
            (_sized(str(event.get("action", "-")), ACTION_COLUMNS), ""),
            (_sized(short_id(str(event["intent_id"]), ID_CHARACTERS), ID_CHARACTERS), _DIM),
            (f"{detail}{GAP}({event['strategy']})" if detail else f"({event['strategy']})", ""),
        )
        room = self._width()
        told: list[str] = []
        for text, style in cells:
            shown = text if room is None else _cut(text, max(room, 0))
            if room is not None:
                room -= _columns(shown) + len(GAP)
            told.append(self._styled(shown, style))
        return GAP.join(told)

    def _width(self) -> int | None:
        """The width of the terminal; None where there is none."""
        if not self._is_terminal:
            return None
        try:
            return int(os.environ.get("COLUMNS") or os.get_terminal_size(self._stream.fileno()).columns) or None
        except (OSError, ValueError):
            return None

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and self._has_colours else text


def _said_of_order(name: str, event: EventDict) -> tuple[str, str] | None:
    """The word and the sentence for what became of an order; None for an event that is told like any other.

    Raises DropEvent where the line of another event tells it.
    """
    match name:
        case "delivery.attempted" if event.get("certainty") == "accepted":
            tries = f", attempt {event['attempt']}" if event.get("attempt", 1) > 1 else ""
            return "delivered", f"{event.get('duration_ms', 0):.0f} ms{tries}"
        case "delivery.attempted" if event.get("next_attempt_at") is not None:
            return "retrying", f"{event.get('why')}, again at {_clock(event['next_attempt_at'])}"
        case "delivery.attempted":
            raise DropEvent  # its dead letter follows
        case "intent.dead_lettered":
            answer = f" (it said: {event['answer']})" if event.get("answer") else ""
            return str(event.get("reason")), f"{event.get('detail')}{answer}"
        case "intent.scheduled":
            return "scheduled", f"until {_clock(event.get('due_at'))}"
        case "intent.settled" if event.get("status") in {"delivered", "dead"}:
            raise DropEvent  # the attempt, or the dead letter, has told it
        case "intent.settled":
            by = f"by {event['canceled_by']}" if event.get("canceled_by") else ""
            return str(event.get("status")), by
    return None


def _clock(iso: object) -> str:
    """The local time of a moment."""
    try:
        return f"{datetime.fromisoformat(str(iso)).astimezone():%H:%M:%S}"
    except ValueError:
        return str(iso)


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f'"{text}"' if " " in text or not text else text


def _sized(text: str, columns: int) -> str:
    """The text, cut or padded to so many columns."""
    text = _cut(text, columns)
    return text + " " * (columns - _columns(text))


def _cut(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    return _beginning(text, columns - 1) + "…" if columns else ""


def _cut_name(text: str, columns: int) -> str:
    """The text, cut in its middle: many names differ at their ends."""
    if _columns(text) <= columns:
        return text
    end = _beginning(text[::-1], (columns - 1) // 2)[::-1]
    return _cut(text, columns - _columns(end)) + end


def _beginning(text: str, columns: int) -> str:
    """As much of the text as so many columns hold."""
    taken = 0
    for at, width in enumerate(_widths(text)):
        taken += width
        if taken > columns:
            return text[:at]
    return text


def _columns(text: str) -> int:
    return len(text) if text.isascii() else sum(_widths(text))


def _widths(text: str) -> Iterator[int]:
    """The columns of each character on a terminal."""
    return (2 if east_asian_width(character) in "WF" else 1 for character in text)
