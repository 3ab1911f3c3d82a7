"""The things that need a person, as values: a trouble that lasts, and the dead letters that came, by what they are of.

The texts go to a service of somebody else. So of foreign text only names and a person's reason are in them, no word
that may be a secret, and nothing that acts: it calls nobody, leads nowhere, and is set like the rest.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from signalq.consumer.orders.switch import ALL, Change, State
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import MASK, shown_words

NAME_CHARACTERS_MAX = 40
SENTENCE_CHARACTERS_MAX = 240
NAMED_MAX = 6
IN_DOUBT = "outcome-unknown"
# The advice for each reason, in a few words; docs/operate/dead-letters.md has it in full.
ADVICE = {
    IN_DOUBT: "the platform may have taken them: look there before you replay",
    "invalid": "their producer sends what is no order",
    "unauthorized": "this strategy may not send them, or the token differs",
    "forbidden": "over a limit, or close-only",
    "expired": "too old to be sent",
    "superseded": "a later exit took their place",
    "rejected": "the webhook refused them",
    "exhausted": "tried in vain",
    "undeliverable": "a mistake in signalq: report it",
}
_STATES: dict[State, str] = {"open": "open", "close-only": "close-only", "paused": "paused"}
# Signs by which services call everybody in a channel, draw a link or set a text; and what they make a link of by
# themselves: `https://…`, and a name with a point before a letter.
_ACTS = re.compile(r"[@<>`\[\]*~|]|(?<=:)//|(?<=\w)\.(?=[^\W\d_])")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A state that needs a person: its name, what to know of it, and the sentence for its end.

    One that is `at_once` was made by a person; any other has to last, since a restart is no news. `grave` is one in
    which no order goes out. `of` has the things that it is about, where it may come to be about others.
    """

    name: str
    detail: str
    over: str
    at_once: bool = False
    grave: bool = True
    of: frozenset[str | None] = frozenset()

    def says_the_same(self, other: "Trouble") -> bool:
        """Whether it is no news after the other one: another cause is none, another lane is."""
        return (self.name, self.of) == (other.name, other.of)


def no_broker(why: str) -> Trouble:
    """The broker can't be reached; `why` is the sentence that the connection gave."""
    return Trouble("RabbitMQ is not reachable", _sentence(why), "RabbitMQ is reachable again")


def no_ledger(why: str) -> Trouble:
    """The ledger can't be read; `why` is the sentence that it gave."""
    return Trouble("the ledger is not reachable", _sentence(why), "the ledger is reachable again")


NO_CONSUMER = Trouble(
    "no consumer is at work", "orders wait in their queues, and grow too old", "consumers are at work again"
)


def unread(connectors: Sequence[str | None]) -> Trouble:
    """Lanes that no consumer reads, by connector, the shared one as None, although consumers live."""
    names = [name if name is not None else "the shared lane" for name in connectors]
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    why = "a consumer lives, and is not connected to RabbitMQ, or has not been restarted for a new connector"
    detail = _sentence(f"{', '.join(names[:NAMED_MAX])}{more}; {why}")
    return Trouble("lanes are not read", detail, "all lanes are read again", of=frozenset(connectors))


def switched(connector: str, state: State, change: Change | None, known: Collection[str]) -> Trouble:
    """A connector (or all, under ALL) that a person has switched off; `change` says who, and why."""
    name = "all connectors" if connector == ALL else shown_connector(connector, known)
    by = f"by {_plain(change.who)}" if change is not None and change.who else ""
    why = _plain(change.why) if change is not None else ""
    verb = "are" if connector == ALL else "is"
    detail = _sentence(": ".join(filter(None, (by, why))))
    return Trouble(f"{name} {verb} {_STATES[state]}", detail, f"{name} {verb} open again", at_once=True, grave=False)


def shown_connector(name: str, known: Collection[str]) -> str:
    """A connector's name as it may be sent: of one that no setting names, which may be anything, words and numbers."""
    shown = escaped(name if name in known else _still(shown_words(name)))
    return f"{shown[: NAME_CHARACTERS_MAX - 1]}…" if len(shown) > NAME_CHARACTERS_MAX else shown


def _plain(text: str) -> str:
    """A person's text without words that may be a secret, and without what acts."""
    return " ".join(_still(word) if shown_words(word) == word else MASK for word in text.split())


def _still(text: str) -> str:
    """The text with a `_` in the place of everything that would act."""
    return _ACTS.sub("_", text)


def _sentence(text: str) -> str:
    shown = escaped(text)
    return f"{shown[: SENTENCE_CHARACTERS_MAX - 1]}…" if len(shown) > SENTENCE_CHARACTERS_MAX else shown
