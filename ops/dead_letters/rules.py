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
    """The letter stays; `why` says what to do.

    `doubt` is why a person has to confirm it, as a sentence that many letters share; None where that changes nothing.
    """

    why: str
    doubt: str | None = None


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

# Where the sentence of a doubt says which option of the command goes over it.
FORCE = ": --force"
DISCARD_IT = "`signalq dead discard` takes this letter away"
_BECAUSE_UNKNOWN = "its body could not be read, or it is older than ledger.retention_days"
_UNKNOWN = f"the ledger does not know it: {_BECAUSE_UNKNOWN}"
_NOT_OURS = "it is no letter of signalq, and the ledger knows an intent with its id: publish its body anew"
BUSY = Refuse("the consumer is at work on it: try again in a moment")


@dataclass(frozen=True, slots=True)
class ReplayTerms:
    """The terms of a replay; with `force`, a person has confirmed it."""

    now_ms: int
    retention_ms: int
    force: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of an order by which a person has to confirm its replay, or not.

    `age_ms` counts from its creation, or from its due time. `is_anothers`: its message_id belongs to another intent.
    """

    is_exit: bool
    age_ms: int
    max_age_s: float
    is_anothers: bool = False


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
    known = _known(generation, standing)
    if isinstance(found, Unreadable) and (known is None or isinstance(known, GoOn)):
        return Refuse(f"it would be invalid: {found.detail}")
    if known is None and isinstance(found, Order) and not terms.force:
        known = _doubt(_facts(letter, found, standing, terms), standing, terms)
    return known or Begin(standing)


def judge_by_ledger(
    generation: int | None, facts: Facts | None, standing: Standing | None, terms: ReplayTerms
) -> GoOn | MovedOn | Refuse | Begin:
    """Decide the same by the ledger alone, without the letter's body: `facts` is None where the intent is not known.

    The body may say more: whether it can be read by the present settings, and under which id it was published.
    """
    if standing is None or facts is None:
        return _to_confirm(_UNKNOWN, "publishes it")
    if generation is None:
        return Refuse(_NOT_OURS)
    return _known(generation, standing) or _doubt(facts, standing, terms) or Begin(standing)


def judge_discard(letter: Letter, standing: Standing | None, *, force: bool) -> DiscardVerdict:
    """Decide whether the letter may be thrown away."""
    if standing is None or not letter.is_ours or letter.generation is None:
        return Discard(None)
    if standing.generation != letter.generation + 1 or not standing.is_untouched:
        return Discard(standing)
    if force:
        return TakeBack(standing)
    doubt = "a replay of it was begun, and no consumer has taken it"
    return Refuse(f"{doubt}: `signalq dead replay` finishes it, --force ends it", doubt)


def without_option(why: str) -> str:
    """The sentence of a refusal without the option of the command, for where there is no command line."""
    return why.partition(FORCE)[0]


def _not_repeatable(letter: Letter, found: Order | Unreadable, standing: Standing | None) -> str | None:
    """The reason why no message can replace this letter; None if one can."""
    if names.BODY_BYTES in (letter.properties.headers or {}):
        return f"only the beginning of its body was kept, and no order is so long: {DISCARD_IT}"
    if letter.intent_id is None:
        return "it has no id by which a second copy would be recognised: publish its body anew"
    if (found.intent_id, found.strategy) != (letter.intent_id, letter.strategy):
        return "no message can carry its id or its strategy again: publish its body anew"
    if standing is not None and (not letter.is_ours or letter.generation is None):
        return _NOT_OURS
    return None


def _unknown(found: Order | Unreadable, *, force: bool) -> ReplayVerdict:
    would_be = f"it would be invalid: {found.detail}" if isinstance(found, Unreadable) else ""
    if not force:
        because = would_be or _BECAUSE_UNKNOWN
        return Refuse(f"the ledger does not know it, {because}{FORCE} publishes it", _UNKNOWN)
    return PublishAnyway(would_be) if isinstance(found, Unreadable) else Admit(found)


def _known(generation: int, standing: Standing) -> GoOn | MovedOn | Refuse | None:
    """The verdict by how the intent stands; None where it is dead at exactly this generation."""
    if standing.generation < generation:
        return Refuse(f"the ledger knows only generation {standing.generation} of it: {DISCARD_IT}")
    if standing.generation == generation + 1 and standing.is_untouched:
        return GoOn(standing)
    if standing.generation > generation:
        then, now = f"generation {generation}", f"generation {standing.generation}"
        return MovedOn(f"{then} was replayed already; {now} is {standing.status}")
    if standing.status == "dying":
        return BUSY
    if standing.status != "dead":
        return Refuse(f"the ledger says that generation {generation} is {standing.status}: {DISCARD_IT}")
    return None


def _facts(letter: Letter, order: Order, standing: Standing, terms: ReplayTerms) -> Facts:
    age_ms = terms.now_ms - order.known_as(order.intent_id, standing.created).timing.age_from_ms
    is_anothers = letter.properties.message_id != letter.intent_id
    return Facts(order.is_exit, age_ms, order.policy.max_age_s, is_anothers)


def _doubt(facts: Facts, standing: Standing, terms: ReplayTerms) -> Refuse | None:
    """The reason why a person has to confirm the replay; None if there is none."""
    if standing.reason == "outcome-unknown":
        return _to_confirm("it is not known whether the webhook took it, so look on the platform first")
    if facts.is_anothers:
        return _to_confirm("its message_id belongs to another intent, of which this may be another version")
    if standing.ended_ms is not None and terms.now_ms - standing.ended_ms > terms.retention_ms:
        return _to_confirm("it ended longer than ledger.retention_days ago")
    if not facts.is_exit and facts.age_ms > facts.max_age_s * 1000:
        allowed = f"{facts.max_age_s:g} s are allowed"
        aged = f"it is an open of {_span(facts.age_ms / 1000)} ago, and {allowed}{FORCE} replays it"
        return Refuse(aged, f"it is an open that is too old: {allowed}")
    return None


def _to_confirm(doubt: str, forced: str = "replays it") -> Refuse:
    return Refuse(f"{doubt}{FORCE} {forced}", doubt)


def _span(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
