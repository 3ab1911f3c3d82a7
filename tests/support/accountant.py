"""The accountant: does every intent have its one ending? It trusts nobody but the two ends of the way.

At the one end it is told what was published, and of that what was confirmed; at the other end it reads what the
webhook recorded, with what it answered, and what lies in the dead letters. What it makes of that is an Account, and
`account.check()` fails where the law of docs/delivery-semantics.md is broken. It shares no rule with the consumer:
which answer means what is written down here once more.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.support.amqp import Message, drain
from tests.support.intents import Intent
from tests.support.webhook import Answer, Behaviour, Order, Webhook

Meaning = Literal["taken", "not taken", "refused", "unknown"]

NOT_TAKEN = frozenset({425, 429, 521, 523, 525, 526})
NOT_TAKEN_WITH_RETRY_AFTER = frozenset({408, 503})
# What a letter may say of an order that the webhook has taken: that nobody knows.
IN_DOUBT = "outcome-unknown"
# What any open may die of that waited for another attempt, if an exit came behind it.
SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Post:
    """One POST as the webhook saw it, and what its answer said, whether or not anybody heard it."""

    key: str
    connector: str
    at_ns: int
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    key: str
    identity: tuple[str, int]
    connector: str
    action: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Account:
    """Counts, and the offences against the law: each names its intents."""

    published: int
    confirmed: int
    unconfirmed: int
    repeated_publishes: int
    delivered: int
    scheduled: int
    dead: Counter[str]
    in_doubt: Counter[str]
    posts: int
    repeated_safely: int
    letters_twice: int
    lost: list[str]
    doubled: list[str]
    two_endings: list[str]
    out_of_order: list[str]
    too_early: list[str]
    vague: list[str]
    superseded_by_nobody: list[str]

    @property
    def doubts(self) -> int:
        """Letters that say: whether the webhook took it can't be known."""
        return self.dead[IN_DOUBT]

    @property
    def offences(self) -> dict[str, list[str]]:
        """What breaks the law; empty lists where nothing does."""
        return {
            "lost": self.lost,
            "doubled": self.doubled,
            "two endings": self.two_endings,
            "out of order": self.out_of_order,
            "before its time": self.too_early,
            "vague letters": self.vague,
            "superseded by nobody": self.superseded_by_nobody,
        }

    @property
    def is_lawful(self) -> bool:
        """Whether nothing breaks the law."""
        return not any(self.offences.values())

    def rows(self) -> list[tuple[str, int, str]]:
        """Name, count, and of what; the offences last, with the first intents of each."""
        dead = [(f"dead, {reason}", count, "") for reason, count in sorted(self.dead.items())]
        doubts = [(f"  {kind}", count, "") for kind, count in sorted(self.in_doubt.items())]
        return [
            ("published", self.published, "intents"),
            ("confirmed", self.confirmed, ""),
            ("unconfirmed", self.unconfirmed, "no message_id: not repeated, may have arrived"),
            ("published again", self.repeated_publishes, "by message_id, after a missing confirm"),
            ("POSTs", self.posts, f"{self.repeated_safely} of them again where that is safe"),
            ("delivered", self.delivered, ""),
            ("scheduled", self.scheduled, "not due yet"),
            *dead,
            *doubts,
            ("letters twice", self.letters_twice, "the same intent and generation: a crash may do that"),
            *((name.upper(), len(keys), " ".join(keys[:8])) for name, keys in self.offences.items()),
        ]

    def table(self) -> str:
        """All of it for people, a line each."""
        return "\n".join(f"{name:<44}{count:>7}  {note}".rstrip() for name, count, note in self.rows())

    def check(self, *, doubts_max: int, reasons: Collection[str] = ()) -> None:
        """Assert the law, at most so many doubts, and no dead letter for a reason not expected here."""
        sys.stdout.write(f"\n{self.table()}\n")  # pytest shows it where a test fails, and with -rP
        assert self.is_lawful, f"the law is broken:\n{self.table()}"
        assert self.doubts <= doubts_max, f"at most {doubts_max} could have been in flight:\n{self.table()}"
        unexpected = set(self.dead) - {IN_DOUBT, SUPERSEDED, *reasons}
        assert not unexpected, f"nothing here should die of {unexpected}:\n{self.table()}"


@dataclass
class Accountant:
    """Stands at the webhook and at the dead letters; `posts` and `letters` are all so far."""

    hook: Webhook
    posts: list[Post] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def answer(self, how: Behaviour | Callable[[Order], Behaviour]) -> None:
        """From now on the webhook behaves so (use this and not `hook.behave`, so that it is written down)."""

        def behave(order: Order) -> Behaviour:
            behaviour = how(order) if callable(how) else how
            content = order.json
            self.posts.append(Post(content["log"], content["connectorName"], order.at_ns, meaning(behaviour)))
            return behaviour

        self.hook.behave(behave)

    async def collect(self, url: str, dead_queue: str) -> None:
        """Take the dead letters that there are."""
        self.letters += [_letter(message) for message in await drain(url, dead_queue)]

    @property
    def unknown_answers(self) -> int:
        """POSTs that the webhook itself left in doubt."""
        return sum(post.meaning == "unknown" for post in self.posts)

    def account(self, intents: Sequence[Intent], *, may_overtake: Collection[str] = ()) -> Account:
        """The account of these intents. `may_overtake`: keys on the wire of a frozen consumer (contract 2, order)."""
        groups: dict[str, _Group] = defaultdict(_Group)
        for intent in intents:
            groups[intent.key].intents.append(intent)
        strangers = {entry.key for entry in (*self.posts, *self.letters)} - set(groups)
        assert not strangers, f"POSTed or dead, and never published: {sorted(strangers)[:8]}"
        for post in self.posts:
            groups[post.key].posts.append(post)
        for letter in self.letters:
            groups[letter.key].letters.append(letter)
        return _account(groups, intents, _out_of_order(groups, may_overtake))


def meaning(behaviour: Behaviour) -> Meaning:
    """What the webhook's behaviour says of the order, by the contract's table."""
    if not isinstance(behaviour, Answer):
        return "unknown"
    status = behaviour.status
    if 200 <= status <= 299:
        return "taken" if behaviour.body.strip().lower() == b"ok" else "unknown"
    if status in NOT_TAKEN or (status in NOT_TAKEN_WITH_RETRY_AFTER and "Retry-After" in behaviour.headers):
        return "not taken"
    return "unknown" if status == 408 or status >= 500 else "refused"


@dataclass
class _Group:
    """All intents with one key, which is one unless their bodies are equal, and what became of them."""

    intents: list[Intent] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    @property
    def confirmed(self) -> int:
        return sum(intent.confirmed for intent in self.intents)

    @property
    def taken(self) -> int:
        return min(sum(post.meaning == "taken" for post in self.posts), len(self.intents))

    @property
    def dead(self) -> dict[tuple[str, int], Letter]:
        """A letter that came twice is one."""
        return {letter.identity: letter for letter in self.letters}

    @property
    def delivered(self) -> int:
        """Taken and not in doubt."""
        return max(0, min(self.taken, len(self.intents) - len(self.dead)))

    @property
    def without_an_ending(self) -> int:
        """Confirmed, and neither taken by the webhook nor dead."""
        return max(0, self.confirmed - self.taken - len(self.dead))

    @property
    def scheduled(self) -> int:
        now_ms = time.time_ns() // 1_000_000
        return min(self.without_an_ending, sum(intent.due_ms > now_ms for intent in self.intents if intent.delay_s))

    @property
    def lost(self) -> int:
        return self.without_an_ending - self.scheduled

    @property
    def again(self) -> int:
        """POSTs after as many as there are intents which may have been taken already."""
        possible, count = 0, 0
        for post in self.posts:
            count += possible >= len(self.intents)
            possible += post.meaning != "not taken"
        return count

    @property
    def doubled(self) -> int:
        return 0 if self.intents[0].repeating_is_safe else self.again

    @property
    def repeated_safely(self) -> int:
        return self.again - self.doubled

    @property
    def two_endings(self) -> int:
        """Taken, and dead by a letter that says it was not; or with a message_id and two letters."""
        denied = sum(letter.reason != IN_DOUBT for letter in self.dead.values())
        contradicted = 0 if self.intents[0].repeating_is_safe else self.taken + denied - len(self.intents)
        two_letters = len(self.dead) - 1 if self.intents[0].message_id is not None else 0
        return max(0, contradicted, two_letters)

    @property
    def too_early(self) -> int:
        first_due_ms = min(intent.due_ms for intent in self.intents)
        return sum(post.at_ns < first_due_ms * 1_000_000 for post in self.posts)

    @property
    def vague(self) -> int:
        """Letters in doubt that do not say of which connector, which action, and why nobody can know."""
        first = self.intents[0]
        connector, action, has_id = first.connector, first.fields["action"], first.message_id is not None
        good = [
            (letter.connector, letter.action) == (connector, action) and _says_why(letter.detail, has_id=has_id)
            for letter in self.letters
            if letter.reason == IN_DOUBT
        ]
        return good.count(False)

    def superseded_by_none_of(self, exits: Sequence[Intent]) -> int:
        """Letters that say superseded, where no exit behind it would close what it opens."""
        number = sum(letter.reason == SUPERSEDED for letter in self.dead.values())
        by_some = number and any(_may_supersede(exit_, intent) for exit_ in exits for intent in self.intents)
        return 0 if by_some else number

    @property
    def doubts(self) -> list[str]:
        return [_kind(letter.detail) for letter in self.dead.values() if letter.reason == IN_DOUBT]


def _account(groups: dict[str, _Group], intents: Sequence[Intent], out_of_order: list[str]) -> Account:
    every = groups.values()

    def offenders(count: Callable[[_Group], int]) -> list[str]:
        return [key for key, group in groups.items() for _ in range(count(group))]

    exits = [intent for intent in intents if intent.closes]
    return Account(
        published=len(intents),
        confirmed=sum(group.confirmed for group in every),
        unconfirmed=sum(not intent.confirmed for intent in intents),
        repeated_publishes=sum(max(0, intent.sent - 1) for intent in intents),
        delivered=sum(group.delivered for group in every),
        scheduled=sum(group.scheduled for group in every),
        dead=Counter(letter.reason for group in every for letter in group.dead.values()),
        in_doubt=Counter(kind for group in every for kind in group.doubts),
        posts=sum(len(group.posts) for group in every),
        repeated_safely=sum(group.repeated_safely for group in every),
        letters_twice=sum(len(group.letters) - len(group.dead) for group in every),
        lost=offenders(lambda group: group.lost),
        doubled=offenders(lambda group: group.doubled),
        two_endings=offenders(lambda group: group.two_endings),
        out_of_order=out_of_order,
        too_early=offenders(lambda group: group.too_early),
        vague=offenders(lambda group: group.vague),
        superseded_by_nobody=offenders(lambda group: group.superseded_by_none_of(exits)),
    )


def _out_of_order(groups: dict[str, _Group], may_overtake: Collection[str]) -> list[str]:
    """Undelayed intents that were first POSTed after a later one of their connector, and how long after it.

    Equal ones can't be told apart.
    """
    comparable = [
        group
        for key, group in groups.items()
        if group.posts and len(group.intents) == 1 and not group.intents[0].delay_s and key not in may_overtake
    ]
    comparable.sort(key=_first_ns)
    furthest: dict[str, _Group] = {}
    overtaken = []
    for group in comparable:
        intent = group.intents[0]
        before = furthest.setdefault(intent.connector, group)
        if intent.number < before.intents[0].number:
            late_ms = (_first_ns(group) - _first_ns(before)) / 1e6
            overtaken.append(f"{intent.key} ({late_ms:.0f} ms after {before.intents[0].key})")
        else:
            furthest[intent.connector] = group
    return overtaken


def _first_ns(group: _Group) -> int:
    return min(post.at_ns for post in group.posts)


def _letter(message: Message) -> Letter:
    content = json.loads(message.body)
    headers = message.headers
    return Letter(
        key=content["log"],
        identity=(str(headers["signalq-intent-id"]), int(str(headers["signalq-generation"]))),
        connector=str(headers["signalq-connector"]),
        action=content["action"],
        reason=str(headers["signalq-reason"]),
        detail=str(headers["signalq-detail"]),
    )


def _may_supersede(exit_: Intent, intent: Intent) -> bool:
    """Whether it closes what the other opens, and came behind it; what is delayed comes at its own time."""
    is_behind = exit_.number > intent.number or exit_.delay_s or intent.delay_s
    return bool(exit_.connector == intent.connector and intent.fields["action"] in exit_.closes and is_behind)


def _says_why(detail: str, *, has_id: bool) -> bool:
    _, colon, why = detail.partition("can't be known: ")
    return bool(colon and why) or (not has_id and "no message_id" in detail and "may be that one" in detail)


def _kind(detail: str) -> str:
    """The doubts by their cause."""
    if "no message_id" in detail:
        return "no message_id, came again"
    return "cut off while sending" if "the consumer ended" in detail else "left open by the webhook"
