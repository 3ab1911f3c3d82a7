"""The news for one service, and the one message that tells all of them. Pure: no clock, no network.

A service that is away gets, once it is back, one message with everything since the last one that it took. So nothing is
lost, nothing has to be kept in order, and the memory is bounded.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from signalq.ops.notify.trouble import ADVICE, IN_DOUBT, Trouble
from signalq.ops.terminal.escaping import secrets
from signalq.ops.terminal.plain import plural

# The smallest of the large services takes 2,000 characters (Discord), some a title of 100.
BODY_CHARACTERS_MAX = 1_800
TITLE_CHARACTERS_MAX = 100
LINES_MAX = 20
# So many connectors are named in a line, and so many troubles in a title.
CONNECTORS_NAMED_MAX = 6
TITLED_MAX = 3
# More kinds of dead letters are counted together: anybody can make up names of connectors.
KINDS_MAX = 200
OTHERS = "others"

Level = Literal["failure", "warning", "success"]
# A dead letter's reason and connector.
Kind = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is sent, and what it tells: `letters` by kind, and the troubles that hold after it."""

    title: str
    body: str
    level: Level
    letters: Counter[Kind]
    told: Mapping[str, Trouble]


class Outbox:
    """The news that one service has been told, and the news that it has not; they are from `since` on."""

    def __init__(self, where: str, since: datetime) -> None:
        self._where = where
        self._since = since
        self._letters: Counter[Kind] = Counter()
        self._told: dict[str, Trouble] = {}

    def add(self, reason: str, connector: str) -> None:
        """Count one more dead letter."""
        kind = reason, connector
        if kind not in self._letters and len(self._letters) >= KINDS_MAX:
            kind = reason if reason in ADVICE else OTHERS, OTHERS
        self._letters[kind] += 1

    def message(self, troubles: Mapping[str, Trouble]) -> Message | None:
        """The message that says everything new, now that these troubles hold; None if nothing is new."""
        told = self._told
        new = [one for key, one in troubles.items() if key not in told or not one.says_the_same(told[key])]
        over = [one for key, one in told.items() if key not in troubles]
        if not new and not over and not self._letters:
            return None
        letters = Counter(self._letters)
        return Message(
            _cut(secrets.blanked(f"signalq {self._where}: {_headline(letters, new, over)}"), TITLE_CHARACTERS_MAX),
            secrets.blanked(_body(letters, new, over, self._since)),
            _level(letters, new),
            letters,
            dict(troubles),
        )

    def taken(self, message: Message, at: datetime) -> None:
        """Note that the service took a message that was made at this time."""
        self._letters -= message.letters
        self._told = dict(message.told)
        self._since = at


def _headline(letters: Counter[Kind], new: list[Trouble], over: list[Trouble]) -> str:
    in_doubt = _of(letters, IN_DOUBT).total()
    dead = letters.total() - in_doubt
    parts = [f"{in_doubt:,} in doubt"] if in_doubt else []
    parts += [one.name for one in new[:TITLED_MAX]]
    parts += [f"{len(new) - TITLED_MAX} more"] if len(new) > TITLED_MAX else []
    parts += [plural(dead, "dead letter")] if dead else []
    return ", ".join(parts or [one.over for one in over[:TITLED_MAX]])


def _level(letters: Counter[Kind], new: list[Trouble]) -> Level:
    if _of(letters, IN_DOUBT) or any(one.grave for one in new):
        return "failure"
    return "warning" if letters or new else "success"


def _body(letters: Counter[Kind], new: list[Trouble], over: list[Trouble], since: datetime) -> str:
    """A line for each thing, the gravest first, and at the end what to do; cut at whole lines."""
    totals = {reason: _of(letters, reason) for reason, _ in letters}
    in_doubt = [reason for reason in totals if reason == IN_DOUBT]
    others = sorted(totals.keys() - {IN_DOUBT}, key=lambda reason: (-totals[reason].total(), reason))
    lines = [
        *(_line(reason, totals[reason]) for reason in in_doubt),
        *(f"{one.name}: {one.detail}" if one.detail else one.name for one in new),
        *(_line(reason, totals[reason]) for reason in others),
        *(one.over for one in over),
    ]
    end = f"Since {since:%Y-%m-%d %H:%M} UTC."
    if letters:
        end += " `signalq dead list` shows the letters."
    return _fitted(lines, end)


def _line(reason: str, by_connector: Counter[str]) -> str:
    """One line for all letters of a reason: how many, of which connectors."""
    total = by_connector.total()
    what = "in doubt" if reason == IN_DOUBT else f"dead, {reason}"
    named = [f"{name} {count:,}" for name, count in by_connector.most_common(CONNECTORS_NAMED_MAX)]
    more = len(by_connector) - len(named)
    of = ", ".join(named) + (f" and {plural(more, 'more connector')}" if more else "")
    advice = f"; {ADVICE[reason]}" if reason in ADVICE else ""
    return f"{total:,} {what} ({of}){advice}"


def _of(letters: Counter[Kind], reason: str) -> Counter[str]:
    return Counter({connector: count for (one, connector), count in letters.items() if one == reason})


def _fitted(lines: list[str], end: str) -> str:
    """As many lines as fit, and how many were left out."""
    kept: list[str] = []
    room = BODY_CHARACTERS_MAX - len(end) - len("… and 1,000 lines more\n") - 1
    for line in lines[:LINES_MAX]:
        if len(line) + 1 > room:
            break
        room -= len(line) + 1
        kept.append(line)
    left = len(lines) - len(kept)
    return "\n".join([*kept, *([f"… and {plural(left, 'line')} more"] if left else []), end])


def _cut(text: str, characters_max: int) -> str:
    return f"{text[: characters_max - 1]}…" if len(text) > characters_max else text
