"""The rules of what may be done with a dead letter. Pure: the ledger's record and the time are passed in.

to replay   -> Begin | GoOn | Admit | PublishAnyway | MovedOn | Refuse
to discard  -> Discard | TakeBack | Refuse
"""

from dataclasses import dataclass

from signalq import names
from signalq.consumer.ledger.queries.replays import Standing
from signalq.consumer.orders.order import Order, Unreadable
from signalq.ops.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class Begin:
    """The ledger says dead at this generation: begin the next, publish it, take the letter away."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class GoOn:
    """An earlier replay was interrupted, or no consumer has taken it yet: publish it (again), take the letter away."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class Admit:
    """The ledger does not know it, and --force was given: record it, publish it, take the letter away."""

    order: Order


@dataclass(frozen=True, slots=True)
class PublishAnyway:
    """The body can't be read, and --force was given: publish it as it is, take the letter away."""

    why: str


@dataclass(frozen=True, slots=True)
class MovedOn:
    """A consumer has taken an earlier replay: take the letter away, there is nothing else to do."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The letter stays; `why` says what to do."""

    why: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Take the letter away; `standing` is None if the ledger does not know the intent."""

    standing: Standing | None


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Take the letter away, and end the replay that no consumer has taken."""

    standing: Standing


ReplayVerdict = Begin | GoOn | Admit | PublishAnyway | MovedOn | Refuse
DiscardVerdict = Discard | TakeBack | Refuse
Verdict = ReplayVerdict | DiscardVerdict

DISCARD_IT = "`signalq dead discard` takes this letter away"
BUSY = Refuse("the consumer is at work on it: try again in a moment")


@dataclass(frozen=True, slots=True)
class ReplayTerms:
    """The terms of a replay; with `force`, a person has confirmed it."""

    now_ms: int
    retention_ms: int
    force: bool


def judge_replay(
    letter: Letter, found: Order | Unreadable, standing: Standing | None, terms: ReplayTerms
) -> ReplayVerdict:
    """Decide whether the letter's next generation may begin; `found` is the order as the consumer would read it."""
    why = _not_repeatable(letter, found, standing)
    if why is not None:
        return Refuse(why)
    if standing is None:
        return _unknown(found, force=terms.force)
    generation = letter.generation or 0
    if standing.generation > generation:
        return _later(generation, standing, found)
    why = _not_dead(generation, standing)
    if why is None and isinstance(found, Unreadable):
        why = f"it would be invalid: {found.detail}"
    elif why is None and isinstance(found, Order) and not terms.force:
        why = _doubt(letter, found, standing, terms)
    return Refuse(why) if why is not None else Begin(standing)


def judge_discard(letter: Letter, standing: Standing | None, *, force: bool) -> DiscardVerdict:
    """Decide whether the letter may be thrown away."""
    if standing is None or not letter.is_ours or letter.generation is None:
        return Discard(None)
    if standing.generation != letter.generation + 1 or not standing.is_untouched:
        return Discard(standing)
    if force:
        return TakeBack(standing)
    return Refuse(
        "a replay of it was begun, and no consumer has taken it: `signalq dead replay` finishes it, --force ends it"
    )


def _not_repeatable(letter: Letter, found: Order | Unreadable, standing: Standing | None) -> str | None:
    """The reason why no message can replace this letter; None if one can."""
    if names.BODY_BYTES in (letter.properties.headers or {}):
        return f"only the beginning of its body was kept, and no order is so long: {DISCARD_IT}"
    if letter.intent_id is None:
        return "it has no id by which a second copy would be recognised: publish its body anew"
    if (found.intent_id, found.strategy) != (letter.intent_id, letter.strategy):
        return "no message can carry its id or its strategy again: publish its body anew"
    if standing is not None and (not letter.is_ours or letter.generation is None):
        return "it is no letter of signalq, and the ledger knows an intent with its id: publish its body anew"
    return None


def _not_dead(generation: int, standing: Standing) -> str | None:
    """The reason by the ledger's record why it is not dead; None if it is."""
    if standing.generation < generation:
        return f"the ledger knows only generation {standing.generation} of it: {DISCARD_IT}"
    if standing.status == "dying":
        return BUSY.why
    if standing.status != "dead":
        return f"the ledger says that generation {generation} is {standing.status}: {DISCARD_IT}"
    return None


def _unknown(found: Order | Unreadable, *, force: bool) -> ReplayVerdict:
    would_be = f"it would be invalid: {found.detail}" if isinstance(found, Unreadable) else ""
    if not force:
        because = would_be or "its body could not be read, or it is older than ledger.retention_days"
        return Refuse(f"the ledger does not know it, {because}: --force publishes it")
    return PublishAnyway(would_be) if isinstance(found, Unreadable) else Admit(found)


def _later(generation: int, standing: Standing, found: Order | Unreadable) -> ReplayVerdict:
    if standing.generation == generation + 1 and standing.is_untouched:
        return Refuse(f"it would be invalid: {found.detail}") if isinstance(found, Unreadable) else GoOn(standing)
    return MovedOn(
        f"generation {generation} was replayed already; generation {standing.generation} is {standing.status}"
    )


def _doubt(letter: Letter, order: Order, standing: Standing, terms: ReplayTerms) -> str | None:
    """The reason why a person has to confirm the replay; None if there is none."""
    if standing.reason == "outcome-unknown":
        return "it is not known whether the webhook took it, so look on the platform first: --force replays it"
    if letter.properties.message_id != letter.intent_id:
        return "its message_id belongs to another intent, of which this may be another version: --force replays it"
    if standing.ended_ms is not None and terms.now_ms - standing.ended_ms > terms.retention_ms:
        return "it ended longer than ledger.retention_days ago: --force replays it"
    age_ms = terms.now_ms - order.known_as(order.intent_id, standing.created).timing.age_from_ms
    if not order.is_exit and age_ms > order.policy.max_age_s * 1000:
        allowed = f"{order.policy.max_age_s:g} s are allowed"
        return f"it is an open of {_span(age_ms / 1000)} ago, and {allowed}: --force replays it"
    return None


def _span(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
