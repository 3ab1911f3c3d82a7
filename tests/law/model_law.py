"""The law of docs/delivery-semantics.md, read off a world that has come to its end."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from signalq import names
from signalq.consumer.orders.letters import mark_of
from tests.law.model_scenario import Publish, Published, settings
from tests.law.model_world import Post, Told, World

ENDINGS = {"delivered", "dead", "canceled"}
EXITS = {"closeLong", "closeShort", "cancel", "cancelAll"}
# Faults after which nobody can know what became of what was being done.
FORGETTING = {"crash", "takeover", "commit unheard"}
# Between the last look at the clock and the first byte lies a commit.
COMMIT_MS = 50
STRATEGY = "s"
UNKNOWN = "outcome-unknown"
DELIVERY = settings(1000, 4).delivery


def breaches(world: World) -> list[str]:
    """What breaks the law, in sentences; none is as it should be."""
    return [
        *world.violations,
        *_of_endings(world),
        *_of_letters(world),
        *_of_noted_letters(world),
        *_of_events(world),
        *_of_posts(world),
        *_of_order(world),
        *_of_cancels(world),
        *_of_timelines(world),
    ]


def ending(row: Any) -> str:
    """`delivered`, or the reason of a dead one."""
    return str(row.reason) if row.status == "dead" else str(row.status)


def foreseen(publish: Publish, answers: tuple[str, ...]) -> str:
    """How an intent ends that meets these answers, then `ok`, while nothing breaks."""
    counted, in_doubt = 0, False
    for answer in (*answers, "ok"):
        counted += answer != "refused"
        if answer == "ok":
            return "delivered"
        if answer == "400":
            return "rejected"
        in_doubt = in_doubt or answer not in {"429", "503 later", "refused"}
        if in_doubt and not repeat_is_safe(publish, waited_ms=0):
            return UNKNOWN
        if publish.action not in EXITS and counted >= DELIVERY.attempts_max:
            return "exhausted"
    raise AssertionError("the last answer is ok")


def repeat_is_safe(publish: Publish, waited_ms: int) -> bool:
    """Whether a POST may follow one that may have been taken, so long after the first."""
    if publish.connector == "always" or publish.action == "cancel":
        return True
    if publish.connector == "by-id" and publish.client_order_id is not None:
        return True
    in_window = waited_ms <= DELIVERY.repeat_window_s * 1000 + COMMIT_MS
    return in_window and (publish.action == "cancelAll" or _closes_all(publish))


def _closes_all(publish: Publish) -> bool:
    return publish.action in {"closeLong", "closeShort"} and publish.percent == "100" and publish.limit is None


# --- endings -----------------------------------------------------------------------------------------------------


def _of_endings(world: World) -> Iterator[str]:
    rows = {(row.strategy, row.intent_id): row for row in world.rows}
    for row in world.rows:
        if row.status not in ENDINGS:
            yield f"{row.intent_id} has not ended, it is {row.status}"
    accounted: set[tuple[str, str]] = set()
    by_id, by_bytes = _groups(world)
    for message_id, group in by_id.items():
        yield from _of_an_identity(world, message_id, group, rows, accounted)
    for body, group in by_bytes.items():
        mine = [row for row in world.rows if not row.has_message_id and _uid_of(world, row) == group[0].uid]
        accounted |= {(row.strategy, row.intent_id) for row in mine}
        yield from _of_equal_bodies(world, body, group, mine)
    for identity in rows.keys() - accounted:
        yield f"nobody published {identity}"


def _groups(world: World) -> tuple[dict[str, list[Publish]], dict[bytes, list[Publish]]]:
    by_id: dict[str, list[Publish]] = defaultdict(list)
    by_bytes: dict[bytes, list[Publish]] = defaultdict(list)
    for published in world.published:
        publish = published.publish
        if publish.unreadable:
            continue
        if publish.message_id is None:
            by_bytes[publish.body].append(publish)
        else:
            by_id[publish.message_id].append(publish)
    return by_id, by_bytes


def _of_an_identity(
    world: World,
    message_id: str,
    group: list[Publish],
    rows: dict[tuple[str, str], Any],
    accounted: set[tuple[str, str]],
) -> Iterator[str]:
    """One intent; whatever else was published under its name is invalid, under a name of its own, and not POSTed."""
    row = rows.get((STRATEGY, message_id))
    if row is None:
        yield f"{message_id} is lost: the ledger does not know it"
        return
    accounted.add((STRATEGY, message_id))
    bodies = {publish.body: publish for publish in group}
    if (
        len(bodies) > 1
        and group[0].delay_s == 0
        and "bug" not in world.struck
        and bytes(row.digest) != _digest(group[0].body)
    ):
        yield f"{message_id} is another than the first that was published under it"
    for body, publish in bodies.items():
        if bytes(row.digest) == _digest(body):
            yield from _of_an_ending(world, publish, row)
            continue
        own = (STRATEGY, f"{message_id}~{_digest(body).hex()}"[:255])
        own_row = next(
            (found for key, found in rows.items() if key[1].startswith(own[1][: len(message_id) + 17])), None
        )
        if own_row is None or ending(own_row) != "invalid":
            yield f"{publish.uid} has the id of another, and is not invalid but {own_row and ending(own_row)}"
        else:
            accounted.add((own_row.strategy, own_row.intent_id))
        if any(post.uid == publish.uid for post in world.posts):
            yield f"{publish.uid} has the id of another, and was POSTed"


def _of_an_ending(world: World, publish: Publish, row: Any) -> Iterator[str]:
    """The ending fits the answers, and what broke."""
    found, answers = ending(row), world.scenario.answers.get(publish.uid, ())
    expected = foreseen(publish, answers)
    posts = _posts_of(world, row)
    if found == "delivered" and not any(post.taken for post in posts):
        yield f"{publish.uid} is delivered, and was not taken"
    safe = repeat_is_safe(publish, 0)
    if found == "canceled":
        if posts:
            yield f"{publish.uid} is canceled, and was POSTed"
        if not any(_cancels(other, publish) for other in world.published):
            yield f"{publish.uid} is canceled, and nobody canceled it"
        return
    if found not in {"delivered", UNKNOWN} and not safe and any(post.taken for post in posts):
        yield f"{publish.uid} is dead, {found}, and was taken"
    if found == expected:
        return
    if not _may_differ(world, publish, row):
        yield f"{publish.uid} ended as {found}, {expected} was foreseen"
    elif found == UNKNOWN and row.attempts == 0 and row.has_message_id:
        yield f"{publish.uid} is {UNKNOWN}, and no POST of it was ever claimed"


def _may_differ(world: World, publish: Publish, row: Any) -> bool:
    """Whether it may end otherwise than the answers foresee: after what broke, nobody knows, or it is too late."""
    answers = world.scenario.answers.get(publish.uid, ())
    may_end = set()
    if _took_long(world):
        may_end |= {"expired"} if repeat_is_safe(publish, 10**9) or not answers else {"expired", UNKNOWN}
    if "bug" in world.struck:  # a refusal that could not be recorded is forgotten, and what is safe goes again
        may_end |= {"undeliverable", UNKNOWN} | ({"delivered"} if repeat_is_safe(publish, 0) else set())
    if FORGETTING & set(world.struck):
        may_end |= {UNKNOWN, "delivered"} | ({"rejected"} if "400" in answers else set())
    if world.struck and row.attempts >= DELIVERY.attempts_max:
        may_end |= {"exhausted"}
    if _has_waited(world, publish) and any(_supersedes(world, other, publish) for other in world.published):
        may_end |= {"superseded"}
    return ending(row) in may_end


def _has_waited(world: World, publish: Publish) -> bool:
    """Whether a POST of its connector failed, so that it may have been between attempts."""
    return any(post.order.connector == publish.connector and post.certainty != "accepted" for post in world.posts)


def _supersedes(world: World, published: Published, publish: Publish) -> bool:
    """Whether one is an exit that ends the waiting of the other: it came behind it, as far as that can be told."""
    by = published.publish
    if by.unreadable or by.connector != publish.connector or publish.action in EXITS:
        return False
    closes = _closes_all(by) and by.action.removeprefix("close") == publish.action.removeprefix("open")
    if not closes and by.action != "cancelAll":
        return False
    in_order = not by.delay_s and not publish.delay_s and "bug" not in world.struck
    came_behind = published.at_ms >= min(other.at_ms for other in _same_bytes(world, publish))
    was_posted = any(post.uid == by.uid for post in world.posts)
    return (came_behind or not in_order) and (was_posted or bool(world.struck))


def _took_long(world: World) -> bool:
    timed_out = [answer for answers in world.scenario.answers.values() for answer in answers if "time-out" in answer]
    waited = any(fault.after_s > 10 for fault in world.scenario.faults)
    return waited or len(timed_out) > 1 or len(world.published) > 1


def _of_equal_bodies(world: World, body: bytes, group: list[Publish], rows: list[Any]) -> Iterator[str]:
    """Equal bodies without identities: as many endings as publishes, at least, and never more POSTs for opens."""
    publish = group[0]
    if len(rows) < len(group):
        yield f"{publish.uid} was published {len(group)} times, and has {len(rows)} endings"
    if not world.struck and len(rows) > len(group):
        yield f"{publish.uid} was published {len(group)} times, has {len(rows)} endings, and nothing broke"
    possible = [
        post for post in world.posts if post.uid == publish.uid and post.certainty not in {"not taken", "refused"}
    ]
    if len(group) == 1 and not world.struck:
        yield from (breach for row in rows for breach in _of_an_ending(world, publish, row))
    if repeat_is_safe(publish, 0):
        return
    certain = [row for row in rows if ending(row) != UNKNOWN]
    if len(certain) > len(group):
        yield f"{publish.uid} was published {len(group)} times, and has the endings {[ending(row) for row in rows]}"
    taken = sum(post.taken for post in world.posts if post.uid == publish.uid)
    if taken > len(group):
        yield f"{publish.uid} was published {len(group)} times, and taken {taken} times"
    if len(possible) > len(group):
        yield f"{publish.uid} was published {len(group)} times, and may have been taken {len(possible)} times"


def _uid_of(world: World, row: Any) -> str | None:
    for published in world.published:
        if not published.publish.unreadable and bytes(row.digest) == _digest(published.publish.body):
            return published.publish.uid
    return None


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def _posts_of(world: World, row: Any) -> list[Post]:
    return [post for post in world.posts if post.identity == (row.strategy, row.intent_id)]


# --- letters -----------------------------------------------------------------------------------------------------


def _of_letters(world: World) -> Iterator[str]:
    """Each dead one has its letter, with what the ledger says; a second one only where something broke."""
    letters: dict[str, list[Any]] = defaultdict(list)
    for letter in world.broker.letters:
        letters[str((letter.properties.headers or {}).get(names.INTENT_ID))].append(letter)
    rows = {row.intent_id: row for row in world.rows}
    published = Counter(_digest(each.publish.body) for each in world.published)
    for row in world.rows:
        found = letters.get(row.intent_id, [])
        if row.status == "dead" and not found:
            yield f"{row.intent_id} is dead, and there is no letter"
        if row.status != "dead" and found:
            yield f"{row.intent_id} is {row.status}, and there is a letter"
    for intent_id, found in letters.items():
        # The same bytes twice under another's id are one intent, and may both be underway.
        if intent_id in rows and len(found) > published[bytes(rows[intent_id].digest)] and not world.struck:
            yield f"{intent_id} has {len(found)} letters, and nothing broke"
        for letter in found:
            yield from _of_a_letter(letter, rows.get(intent_id), alone=len(found) == 1)
    yield from _of_unreadable(world)


def _of_a_letter(letter: Any, row: Any, *, alone: bool) -> Iterator[str]:
    headers = letter.properties.headers
    if row is None:
        if headers[names.REASON] != "invalid":
            yield f"a letter tells of an intent that the ledger does not know: {headers}"
        return
    if headers[names.REASON] != row.reason:
        yield f"{row.intent_id} is dead for {row.reason}, its letter says {headers[names.REASON]}"
    if bytes(row.digest) != _digest(letter.body):
        yield f"the letter of {row.intent_id} holds another body"
    if alone and headers[names.ATTEMPTS] != row.attempts:
        yield f"the letter of {row.intent_id} says {headers[names.ATTEMPTS]} attempts, the ledger {row.attempts}"


def _of_unreadable(world: World) -> Iterator[str]:
    """They are not kept in the ledger: each publish has a letter."""
    bodies = Counter(published.publish.body for published in world.published if published.publish.unreadable)
    for body, published in bodies.items():
        found = sum(letter.body == body for letter in world.broker.letters)
        if found < published or (found > published and not world.struck):
            yield f"{body!r}, which can't be read, was published {published} times, and has {found} letters"


def _of_noted_letters(world: World) -> Iterator[str]:
    """The ledger knows each letter, and no other; but of a body that can't be read, and has no id, it may know one that
    was never published: its consumer died, and the message came again under another id.
    """
    lying = {_mark(letter) for letter in world.broker.letters}
    noted = {bytes(row.mark): row for row in world.letters}
    for mark in lying - noted.keys():
        yield f"the ledger does not know the letter {mark.hex()}"
    for mark, row in noted.items():
        if row.settled_ms is not None:
            yield f"the letter of {row.intent_id} is settled, and nobody has settled it"
        if mark not in lying and not (world.struck and row.order_fields is None):
            yield f"the ledger has a letter of {row.intent_id}, and the queue has none"


def _mark(letter: Any) -> bytes:
    said = letter.properties.headers
    return mark_of(said[names.STRATEGY], said[names.INTENT_ID], said[names.GENERATION], letter.body)


# --- outcome events ----------------------------------------------------------------------------------------------


def _of_events(world: World) -> Iterator[str]:
    """Each ending is told, after it was recorded, as the ledger has it; once, while nothing breaks."""
    rows = {(row.strategy, row.intent_id): row for row in world.rows}
    told: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for event in world.told:
        outcome = event.outcome
        yield from _of_an_event(event, rows.get((outcome.strategy, outcome.intent_id)))
        if outcome.status != "duplicate":
            told[outcome.strategy, outcome.intent_id].append(event)
    for identity, row in rows.items():
        yield from _of_the_events_of(world, row, told.pop(identity, []))
    letters = {(letter.properties.headers or {})[names.INTENT_ID] for letter in world.broker.letters}
    for _, intent_id in told:
        if intent_id not in letters:
            yield f"{intent_id} is told dead, and neither the ledger nor a letter knows it"
    # Without a message_id what can't be read has another name each time it comes.
    unreadable = sum(published.publish.unreadable for published in world.published)
    if sum(len(events) for events in told.values()) < unreadable:
        yield f"of {unreadable} that can't be read, {len(told)} were told"
    duplicates = sum(event.outcome.status == "duplicate" for event in world.told)
    logged = sum(facts["status"] == "duplicate" for facts in world.settled)
    if duplicates != logged and not world.struck:
        yield f"{duplicates} duplicates were told, {logged} were logged, and nothing broke"


def _of_an_event(event: Told, row: Any) -> Iterator[str]:
    """It says what the ledger says, and says it to whom it may concern."""
    outcome = event.outcome
    if event.headers != {names.INTENT_ID: outcome.intent_id, names.GENERATION: outcome.generation}:
        yield f"an event of {outcome.intent_id} has the headers {event.headers}"
    if event.routing_key != f"{outcome.connector}.{outcome.strategy}.{outcome.status}":
        yield f"an event of {outcome.intent_id} went out as {event.routing_key}"
    if row is None:
        if (outcome.status, outcome.reason) != ("dead", "invalid"):
            yield f"{outcome.intent_id} is told {outcome.status}, and the ledger does not know it"
        return
    if outcome.status == "duplicate":
        return
    found = (outcome.status, outcome.reason, outcome.attempts, outcome.http_status, outcome.generation)
    if found != (row.status, row.reason, row.attempts, row.http_status, row.generation):
        yield f"{row.intent_id} is {row.status} for {row.reason} after {row.attempts}, and told as {found}"
    if not event.was_recorded:
        yield f"{row.intent_id} was told {outcome.status} before that was recorded"


def _of_the_events_of(world: World, row: Any, events: list[Told]) -> Iterator[str]:
    """A second publish is answered with the first one's outcome. A canceled one is told by what canceled it, by its
    message that was just being parked, and by the copy that comes back.
    """
    if row.status in ENDINGS and not events:
        yield f"{row.intent_id} is {row.status}, and nobody was told"
    published = [each.publish for each in world.published if _digest(each.publish.body) == bytes(row.digest)]
    allowed = len(published) * (3 if row.status == "canceled" else 1)
    if len(events) > allowed and not world.struck:
        yield f"{row.intent_id} was published {len(published)} times, told {len(events)} times, and nothing broke"


# --- POSTs -------------------------------------------------------------------------------------------------------


def _of_posts(world: World) -> Iterator[str]:
    by_uid = {published.publish.uid: published for published in reversed(world.published)}
    by_identity: dict[tuple[str, str], list[Post]] = defaultdict(list)
    for post in world.posts:
        by_identity[post.identity].append(post)
        if post.uid not in by_uid:
            yield f"{post.uid} was POSTed, and nobody published it"
    for posts in by_identity.values():
        yield from _of_repeats(by_uid[posts[0].uid].publish, posts)
        yield from _of_times(world, by_uid[posts[0].uid], posts)
        if by_uid[posts[0].uid].publish.action not in EXITS:
            sent = sum(post.sent for post in posts)
            if sent > DELIVERY.attempts_max:
                yield f"{posts[0].uid} was sent {sent} times, {DELIVERY.attempts_max} are allowed"


def _of_repeats(publish: Publish, posts: list[Post]) -> Iterator[str]:
    """A POST follows another only where that is known not to have been taken, or where repeating is safe."""
    for number, post in enumerate(posts):
        doubtful = [before for before in posts[:number] if not _known_not_taken(before, post)]
        waited_ms = 0 if post.process.was_frozen else post.begun_ms - posts[0].begun_ms
        if doubtful and not repeat_is_safe(publish, waited_ms):
            yield f"{publish.uid} was POSTed again {waited_ms} ms later, and may have been taken before"


def _known_not_taken(before: Post, post: Post) -> bool:
    recorded = before.recorded_line is not None and before.recorded_line <= post.begun_line
    return before.certainty == "not taken" and recorded


def _of_times(world: World, published: Published, posts: list[Post]) -> Iterator[str]:
    """Not before it is due, and not when it is too old."""
    publish = published.publish
    row = next((row for row in world.rows if (row.strategy, row.intent_id) == posts[0].identity), None)
    if row is None:
        yield f"{publish.uid} was POSTed, and the ledger does not know it"
        return
    due_ms = published.at_ms + round(publish.delay_s * 1000)
    age_from_ms = row.age_from_ms if publish.delay_s == 0 else (row.due_ms or 0)
    max_age_s = DELIVERY.exit_max_age_s if publish.action in EXITS else DELIVERY.open_max_age_s
    if publish.dated == "ms" and age_from_ms != due_ms and len(_same_bytes(world, publish)) == 1:
        yield f"{publish.uid} is counted from {age_from_ms}, not from {due_ms}"
    for post in posts:
        if post.begun_ms < due_ms:
            yield f"{publish.uid} was POSTed {due_ms - post.begun_ms} ms before it was due"
        late_ms = post.begun_ms - age_from_ms - max_age_s * 1000
        if late_ms > COMMIT_MS and not post.process.was_frozen:
            yield f"{publish.uid} was POSTed {late_ms} ms after it had expired"


def _same_bytes(world: World, publish: Publish) -> list[Published]:
    return [published for published in world.published if published.publish.body == publish.body]


# --- order -------------------------------------------------------------------------------------------------------


def _of_order(world: World) -> Iterator[str]:
    """Of a connector one at a time, in queue order, through retries; what came delayed has its own place.

    An intent whose handling fails unexpectedly lets the next ones by until it is tried again.
    """
    lanes: dict[str, list[Post]] = defaultdict(list)
    for post in world.posts:
        if not post.process.was_frozen:
            lanes[post.order.connector].append(post)
    for posts in lanes.values():
        for before, after in pairwise(posts):
            if before.process is after.process and (before.ended_ms or 10**15) > after.begun_ms:
                yield f"{after.uid} was POSTed while {before.uid} was on the wire"
        if "bug" not in world.struck:
            yield from _of_a_lane(world, posts)


def _of_a_lane(world: World, posts: list[Post]) -> Iterator[str]:
    in_order = [
        published.publish
        for published in world.published
        if not published.publish.delay_s and len(_same_bytes(world, published.publish)) == 1
    ]
    spans = [_span_of(posts, publish) for publish in in_order]
    known = [(publish, span) for publish, span in zip(in_order, spans, strict=True) if span]
    for (first, first_span), (second, second_span) in pairwise(known):
        if max(first_span) > min(second_span):
            yield f"{second.uid} was POSTed before the last POST of {first.uid}, which was ahead of it"


def _span_of(posts: list[Post], publish: Publish) -> list[int]:
    """When its POSTs began. Without a message_id, a redelivery of what has ended may be POSTed again, if that is safe,
    as an intent of its own: the order was that of the first.
    """
    mine = [post for post in posts if post.uid == publish.uid]
    return [post.begun_line for post in mine if post.identity == mine[0].identity]


# --- cancels -----------------------------------------------------------------------------------------------------


def _cancels(published: Published, publish: Publish) -> bool:
    """Whether one is a cancel that means the other, if that is pending."""
    by = published.publish
    if by.unreadable or by.connector != publish.connector or not publish.delay_s:
        return False
    return by.action == "cancelAll" or (by.action == "cancel" and by.client_order_id == publish.client_order_id)


def _of_cancels(world: World) -> Iterator[str]:
    """What is delayed, and was ahead of a cancel in its lane, is not POSTed after the cancel was; a handler that fails
    unexpectedly can record it too late.
    """
    if "bug" in world.struck:
        return
    for place, published in enumerate(world.published):
        alone = len(_same_bytes(world, published.publish)) == 1
        for later in world.published[place + 1 :] if alone else []:
            # What nobody dated is created at its first receipt, which may be after the cancel was created.
            dated = {published.publish.dated, later.publish.dated} == {"ms"}
            once = len(_same_bytes(world, later.publish)) == 1
            if _cancels(later, published.publish) and later.publish.delay_s == 0 and dated and once:
                yield from _of_a_cancel(world, published.publish, later.publish)


def _of_a_cancel(world: World, canceled: Publish, by: Publish) -> Iterator[str]:
    canceling = [post.begun_line for post in world.posts if post.uid == by.uid and not post.process.was_frozen]
    late = [post for post in world.posts if post.uid == canceled.uid and not post.process.was_frozen]
    first = [post for post in late if canceling and post.begun_line > min(canceling)]
    if first and first == late and not _may_be_another(world, canceled, by, first[0]):
        yield f"{canceled.uid} was POSTed for the first time after {by.uid} had canceled it"


def _may_be_another(world: World, canceled: Publish, by: Publish, post: Post) -> bool:
    """Without a message_id, what was canceled and came again after something broke may be another order like it."""
    if canceled.message_id is not None or not repeat_is_safe(canceled, 0):
        return False
    if not any(row.status == "canceled" and _uid_of(world, row) == canceled.uid for row in world.rows):
        return False
    claimed = next(line for line, told in enumerate(world.story) if f"claim of {by.uid} (" in told)
    return any("*** " in told for told in world.story[claimed : post.begun_line])


# --- timelines ---------------------------------------------------------------------------------------------------


def _of_timelines(world: World) -> Iterator[str]:
    """Each attempt of what has ended is a step, also one that nobody concluded."""
    for row in world.rows:
        if row.status in ENDINGS and row.attempts_told != row.attempts:
            yield f"the timeline of {row.intent_id} tells of {row.attempts_told} of its {row.attempts} attempts"
