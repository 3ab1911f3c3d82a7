"""The letters that a person has chosen on a page: whole groups, by what their letters share, and single ones.

A group is chosen as a filter, not as a list: the ledger says which of its letters were there when the page was made.
From then on a job is bound to exactly these; a letter that comes later is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from signalq.consumer.ledger.queries import letter_groups
from signalq.consumer.ledger.queries.audit import about_filter
from signalq.consumer.ledger.queries.letter_groups import By, Group, Scope
from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.letters.job import Chosen

# More than these are for the command line: a job keeps their marks in memory.
CHOSEN_MAX = 100_000
# So much of a group's cause is told in the audit.
CAUSE_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """The boxes that were ticked on a page that shows the groups of `scope`, up to the letter of the number `until`.

    `groups` and `letters` are marks; `intent_id` chooses the letters of one order, whatever is ticked.
    """

    scope: Scope
    by: By
    until: int
    groups: Sequence[bytes] = ()
    letters: Sequence[bytes] = ()
    intent_id: str | None = None


def choose(connection: Connection, choice: Choice) -> Chosen:
    """Look up the letters that are meant: none where none is there any more, at most CHOSEN_MAX and one more."""
    found: dict[Group, list[bytes]] = {}
    if choice.groups:
        ticked = frozenset(choice.groups)
        found = letter_groups.chosen(connection, choice.scope, choice.by, ticked, choice.until, CHOSEN_MAX)
    marks = dict.fromkeys(mark for some in found.values() for mark in some)
    single = dict(letter_groups.among(connection, choice.letters)) if choice.letters else {}
    if choice.intent_id is not None:
        single |= dict(letter_groups.of_intent(connection, choice.intent_id, choice.scope.strategy, CHOSEN_MAX))
    marks |= dict.fromkeys(single)
    ids = {intent_id for intent_id in single.values() if intent_id is not None}
    return Chosen(b"".join(marks), _about(list(found), ids, len(single), choice))


def checked(chosen: Chosen) -> Chosen:
    """The same letters. Raises Refused where they are none, or too many."""
    if not chosen.count:
        raise Refused("choose a group or a letter first: none that is meant is among the dead letters")
    if chosen.count > CHOSEN_MAX:
        raise Refused(f"these are more than {CHOSEN_MAX:,} letters: choose fewer, or use `signalq dead`")
    return chosen


def _about(groups: Sequence[Group], ids: set[str], singles: int, choice: Choice) -> dict[str, object]:
    """The choice in a few words, for the audit and for people."""
    about: dict[str, object] = {}
    if len(groups) == 1:
        about |= {name: value and value[:CAUSE_CHARACTERS_MAX] for name, value in groups[0].named.items()}
    elif groups:
        about |= {"groups": len(groups), "reasons": sorted({group.reason or "" for group in groups})}
    if ids:
        about |= about_filter(ids)
    elif singles:
        about["letters"] = singles
    if choice.scope.strategy is not None:
        about["strategy"] = choice.scope.strategy
    return {name: value for name, value in about.items() if value is not None}
