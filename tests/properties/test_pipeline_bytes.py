"""Whatever comes out of the queue, it ends: in exactly one acknowledgement, and with a POST, a letter or a parking.

The pipeline, the rules and the ledger are the real ones; the broker's side, the webhook and the clock are small fakes
that keep what they are given.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq import names
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.consumer.__main__ import handling_of
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.broker.session import ConsumeOptions, Delivery, Session
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.lanes.due_times import DueTimes
from signalq.consumer.ledger import CLAIM_MS_MAX, Epoch, LedgerEntry
from signalq.consumer.orders.delays import park_seconds
from signalq.consumer.orders.letters import LetterRecord
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.outcomes import Event
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.slots import Slot
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.webhook.client import Webhook
from signalq.message.outcome import Outcome
from signalq.settings.reload import CurrentSettings
from signalq.settings.sections import Settings
from tests.support.ledgers import MemoryLedger

handle_foreign_properties()

NOW_MS = 1_700_000_000_000
LANE = "signalq.orders"
SETTINGS = Settings(
    connectors={
        "with-token": {"token": "configured"},
        "with-extra": {"extra_fields": ["notional"]},
        "always": {"resend_when_unknown": "always"},
    }
)


# --- the fakes -------------------------------------------------------------------------------------------------------


class FakeClock:
    """Time stands still but for those who wait: whoever sleeps until a moment brings it about."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def slice_until(self, at_ms: int) -> float:
        return max(0, at_ms - self.ms) / 1000

    def even_ms(self) -> int:
        return self.ms

    async def sleep(self, wait_ms: int) -> None:
        await asyncio.sleep(0)
        self.ms += max(0, wait_ms)


class FakeDueTimes:
    """Whoever waits here finds that it is time."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    async def wait_until(self, at_ms: int, *, rank: int, session: object = None, held_bytes: int = 0) -> bool:
        assert isinstance(rank, int)
        assert held_bytes >= 0
        assert session is None or isinstance(session, Session)
        await self._clock.sleep(at_ms - self._clock.ms)
        return True


@dataclass
class FakeWebhook:
    """Answers as scripted, then always takes what comes."""

    ledger: MemoryLedger
    script: deque[Attempt] = field(default_factory=deque)
    posted: list[tuple[str, bytes, Attempt]] = field(default_factory=list)

    async def post(self, order: Order, _may_begin: object = None) -> Attempt:
        claim = self.ledger.row_of(order)
        assert claim is not None
        assert (claim.status, claim.in_doubt) == ("sending", True), "the claim is known before the first byte"
        await asyncio.sleep(0)
        attempt = self.script.popleft() if self.script else ACCEPTED
        self.posted.append((order.intent_id, order.body_to_post(), attempt))
        return attempt


class FakeDispositions:
    """The broker's side: what is parked (until when) and handed on waits in `due` and `lane` for the test."""

    def __init__(self) -> None:
        self.letters: list[tuple[bytes, Basic.Properties]] = []
        self.due: deque[tuple[bytes, Basic.Properties, int]] = deque()
        self.lane: deque[tuple[bytes, Basic.Properties]] = deque()
        self.parked = 0
        self.told: list[Outcome] = []

    async def park(self, due_ms: int, now_ms: Callable[[], int], body: bytes, properties: Basic.Properties) -> None:
        assert due_ms > 0
        assert now_ms() >= NOW_MS
        await asyncio.sleep(0)
        self.parked += 1
        self.due.append((body, travelled(properties), now_ms() + 1000 * park_seconds(due_ms, now_ms())))

    async def forward(self, connector: str, body: bytes, properties: Basic.Properties) -> None:
        assert connector
        await asyncio.sleep(0)
        self.lane.append((body, travelled(properties)))

    async def dead_letter(self, body: bytes, properties: Basic.Properties) -> None:
        await asyncio.sleep(0)
        self.letters.append((body, travelled(properties)))

    async def publish_outcome(self, event: Event) -> None:
        await asyncio.sleep(0)
        travelled(event.properties)
        assert len(event.routing_key.encode()) <= 255
        self.told.append(Outcome.from_event(event.body))


class FakeChannel:
    """Counts acknowledgements."""

    def __init__(self) -> None:
        self.acked: Counter[int] = Counter()

    async def basic_ack(self, tag: int, *, wait: bool) -> None:
        assert not wait
        self.acked[tag] += 1


def travelled(properties: Basic.Properties) -> Basic.Properties:
    """The properties after a way over the wire, which must be possible."""
    encoded = properties.marshal()
    assert len(encoded) < 131_072, "one AMQP frame"
    decoded = Basic.Properties()
    decoded.unmarshal(int.from_bytes(encoded[:2], "big"), encoded[2:])
    return decoded


ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
REFUSED = Attempt("refused", sent=True, why="HTTP 400", status=400)
UNKNOWN = Attempt("unknown", sent=True, why="timed out after the request began to go out")
TURNED_AWAY = Attempt("not taken", sent=True, why="HTTP 429", status=429, retry_after_s=1.0)
UNSENT = Attempt("not taken", sent=False, why="refused before anything was sent")


class World:
    """A pipeline between its fakes; `deliver` plays the broker."""

    def __init__(self, script: list[Attempt] | None = None, ledger: type[MemoryLedger] = MemoryLedger) -> None:
        self.clock = FakeClock()
        self.ledger = ledger(lambda: self.clock.ms)
        self.webhook = FakeWebhook(self.ledger, deque(script or []))
        self.publisher = FakeDispositions()
        self.channel = FakeChannel()
        self.session = Session(cast("Any", self.channel), ConsumeOptions(LANE, 1, 1), 0.0)
        self.tags = 0
        self.skew = Skew()
        handling = handling_of(
            CurrentSettings(SETTINGS),
            ledger=self.ledger,
            webhook=cast("Webhook", self.webhook),
            publisher=cast("BrokerPublisher", self.publisher),
            metrics=Metrics(SETTINGS.connectors),
            clock=cast("Any", self.clock),
            jitter=lambda: 1.0,
            skew=self.skew,
        )
        self.pipeline, self.due_queue = handling.pipeline, handling.due_queue
        due_times = cast("DueTimes", FakeDueTimes(self.clock))
        self.due_queue._due_times = self.pipeline._waiting.due_times = due_times

    def delivery(self, body: bytes, properties: Basic.Properties, *, redelivered: bool = False) -> Delivery:
        self.tags += 1
        message = Message(body, properties, LANE, redelivered)
        return Delivery(message, self.tags, self.session)

    async def connect(self) -> None:
        """Become the active consumer of the lane, as a session does before it hands anything over."""
        self.session.epoch = await self.ledger.open_lane(LANE)

    async def deliver(self, *deliveries: Delivery) -> None:
        """Handle these at once, and then whatever they bring about, until nothing is left."""
        if self.session.epoch is None:
            await self.connect()
        await asyncio.gather(*(self.pipeline.handle(delivery, Slot()) for delivery in deliveries))
        while self.publisher.due or self.publisher.lane:
            self.clock.ms = max([self.clock.ms, *(back_ms for *_, back_ms in self.publisher.due)])
            due = [self.delivery(*message) for *message, _ in self.publisher.due]
            lane = [self.delivery(*message) for message in self.publisher.lane]
            self.publisher.due.clear()
            self.publisher.lane.clear()
            handlers: list[Coroutine[Any, Any, None]] = [self.due_queue.handle(one, Slot()) for one in due]
            handlers += [self.pipeline.handle(one, Slot()) for one in lane]
            await asyncio.gather(*handlers)

    @property
    def reasons(self) -> list[object]:
        return [(properties.headers or {})[names.REASON] for _, properties in self.publisher.letters]

    def each_delivery_acked_once(self) -> bool:
        return dict(self.channel.acked) == dict.fromkeys(range(1, self.tags + 1), 1)


# --- strategies ------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["100", "0", "-1", "1e3", "50.5", "soon", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "connectorName",
    "connectorToken",
    "action",
    "fixed",
    "percent",
    "limit",
    "profit",
    "loss",
    "log",
    "clientOrderId",
    "delaySeconds",
    "delaySecondsFilter",
    "notional",
    "nonsense",
]
nearly_intents = st.builds(
    lambda base, changes: json.dumps(base | changes).encode("utf-8", "surrogatepass"),
    st.fixed_dictionaries(
        {
            "connectorName": st.sampled_from(["main", "with-token", "with-extra", "always"]),
            "connectorToken": st.just("t"),
            "action": st.sampled_from(["buy", "sell", "openLong", "closeLong", "cancelAll", "cancel_all"]),
        },
        optional={
            "percent": st.sampled_from(["100", "50", 12.5]),
            "delaySeconds": st.sampled_from([0, 0.2, "1.5", 60, 86_400]),
            "clientOrderId": st.sampled_from(["a", "b"]),
            "log": st.text(max_size=10),
        },
    ),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=2),
)
mutated_intents = st.builds(
    lambda body, at, byte: body[: at % len(body)] + bytes([byte]) + body[at % len(body) + 1 :],
    nearly_intents,
    st.integers(0, 10_000),
    st.integers(0, 255),
)
bodies = st.binary(max_size=300) | nearly_intents | mutated_intents | json_values.map(lambda v: json.dumps(v).encode())

header_names = st.sampled_from(
    [
        *sorted(names.OWN_HEADERS),
        names.CREATED_MS,
        names.STRATEGY,
        names.TRACEPARENT,
        names.BROKER_TIMESTAMP_MS,
        "x-death",
        "x-delivery-count",
        "CC",
    ]
) | st.text(st.characters(codec="utf-8"), max_size=20)
# AMQP counts seconds from 1970 on, and what lies beyond the year 9999 is read as no time at all.
wire_times = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it
header_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([NOW_MS, NOW_MS - 1000, NOW_MS + 10_000, NOW_MS - 100_000, 0, -1])
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=40)
    | st.binary(max_size=20)
    | wire_times,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
short_strings = (
    st.none() | st.text(st.characters(codec="utf-8"), max_size=60) | st.text("é", min_size=200, max_size=300)
)
some_properties = st.builds(
    Basic.Properties,
    message_id=short_strings,
    app_id=short_strings,
    user_id=st.none() | st.sampled_from(["guest", "momentum"]),
    timestamp=st.none() | wire_times,
    content_type=short_strings,
    expiration=st.none() | st.just("1000"),
    headers=st.none() | st.dictionaries(header_names, header_values, max_size=5),
    priority=st.none() | st.integers(0, 255),
    delivery_mode=st.sampled_from([None, 1, 2]),
)
attempts = st.sampled_from([ACCEPTED, REFUSED, UNKNOWN, TURNED_AWAY, UNSENT])


# --- the properties --------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(body=bodies, properties=some_properties, redelivered=st.booleans())
@example(body=b"", properties=Basic.Properties(), redelivered=False)
@example(body=b'{"connectorName":"' + b"\xf0\x9f\x98\x80" * 40 + b'"}', properties=Basic.Properties(), redelivered=True)
def test_any_message_can_be_read(body: bytes, properties: Basic.Properties, redelivered: bool) -> None:
    found = read(Message(body, properties, "key", redelivered), SETTINGS, NOW_MS)
    assert isinstance(found, Order | Unreadable)
    assert found.intent_id
    assert found.connector is not None
    if isinstance(found, Unreadable):
        assert found.detail
        assert found.detail.isprintable()
    else:
        assert found.timing.creation.age_ms <= NOW_MS
        assert json.loads(found.body_to_post())["connectorName"] == found.connector


@settings(max_examples=400)
@given(body=bodies, properties=some_properties, redelivered=st.booleans(), script=st.lists(attempts, max_size=12))
def test_any_message_ends_in_one_acknowledgement_and_a_post_a_letter_or_a_parking(
    body: bytes, properties: Basic.Properties, redelivered: bool, script: list[Attempt]
) -> None:
    world = World(script)
    asyncio.run(world.deliver(world.delivery(body, properties, redelivered=redelivered)))
    assert world.each_delivery_acked_once()
    accepted = [post for post in world.webhook.posted if post[2] is ACCEPTED]
    letters = world.publisher.letters
    assert len(accepted) + len(letters) == 1, "it has exactly one ending"
    (told,) = world.publisher.told
    assert told.status == ("dead" if letters else "delivered")
    assert told.attempts == len(world.webhook.posted)
    assert world.publisher.parked <= 1
    assert [letter for letter, _ in letters] == [body] * len(letters)
    if letters:
        headers = letters[0][1].headers or {}
        assert headers[names.ATTEMPTS] == len(world.webhook.posted)
        assert (headers[names.REASON], headers[names.INTENT_ID]) == (told.reason, told.intent_id)
        assert letters[0][1].expiration is None
        assert not {"x-death", "x-delivery-count", "CC"} & headers.keys()
    assert world.clock.ms <= NOW_MS + 10**12


@settings(max_examples=150)
@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from(["openLong", "closeLong", "cancelAll", "buy"]),
            st.sampled_from(["main", "always", "with-token"]),
            st.sampled_from(["1", "2", None]),
            st.sampled_from([None, 0.5, 90]),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    script=st.lists(attempts, max_size=30),
)
def test_however_often_an_intent_is_delivered_it_is_repeated_only_where_that_can_do_no_harm(
    messages: list[tuple[str, str, str | None, float | None, bool]], script: list[Attempt]
) -> None:
    """The law of the contract, for intents with an identity; `redelivered` stands for a lost acknowledgement."""
    world = World(script)
    deliveries = []
    for action, connector, message_id, delay_s, redelivered in messages:
        fields = {"connectorName": connector, "connectorToken": "t", "action": action, "percent": "100"}
        body = json.dumps(fields | ({"delaySeconds": delay_s} if delay_s else {})).encode()
        properties = Basic.Properties(message_id=message_id, headers={names.CREATED_MS: NOW_MS})
        deliveries.append(world.delivery(body, properties, redelivered=redelivered and message_id is not None))
    asyncio.run(deliver_in_two_goes(world, deliveries))
    assert world.each_delivery_acked_once()
    by_intent: dict[tuple[str, bytes], list[Attempt]] = defaultdict(list)
    for intent_id, body, attempt in world.webhook.posted:
        by_intent[intent_id, body].append(attempt)
    for (_, body), state in by_intent.items():
        assert ACCEPTED not in state[:-1], "nothing is POSTed after it was taken"
        assert REFUSED not in state[:-1], "nothing is POSTed after it was refused"
        fields = json.loads(body)
        if UNKNOWN in state[:-1]:
            assert fields["action"] in {"closeLong", "cancelAll"} or fields["connectorName"] == "always"


async def deliver_in_two_goes(world: World, deliveries: list[Delivery]) -> None:
    half = len(deliveries) // 2
    await world.deliver(*deliveries[:half])
    await world.deliver(*deliveries[half:])


# --- single stories --------------------------------------------------------------------------------------------------


def open_body(**fields: object) -> bytes:
    return json.dumps({"connectorName": "main", "connectorToken": "t", "action": "openLong"} | fields).encode()


NO_ORDER = b"no JSON"
EXPIRED = open_body()


@pytest.mark.parametrize("body", [NO_ORDER, EXPIRED], ids=["no order", "an order"])
async def test_a_letter_that_comes_back_is_put_back_and_not_told_again(body: bytes) -> None:
    world = letters_world()
    dated = Basic.Properties(message_id="id", headers={names.CREATED_MS: NOW_MS - 3_600_000})
    await world.deliver(world.delivery(body, dated))
    ((letter, properties),) = world.publisher.letters
    for _ in range(2):
        await world.deliver(world.delivery(letter, properties))
    assert len(world.publisher.letters) == 3
    assert len({str(sorted(said_by(one).items())) for one in world.publisher.letters}) == 1
    assert len(world.publisher.told) == 1


@pytest.mark.parametrize("forged", ["marks", "the seal of another letter", "the seal of another ledger"])
async def test_a_letter_that_is_forged_has_an_event_as_any_other_ending(forged: str) -> None:
    world, other = letters_world(), letters_world()
    other.ledger.ledger_id = "theirs"
    source, body = (other, NO_ORDER) if forged == "the seal of another ledger" else (world, NO_ORDER + b"!")
    await source.deliver(source.delivery(body, Basic.Properties(message_id="id")))
    headers = dict(source.publisher.letters[0][1].headers or {})
    if forged == "marks":
        del headers[names.SEAL]
    world.publisher.told.clear()
    await world.deliver(world.delivery(NO_ORDER, Basic.Properties(message_id="id", headers=headers)))
    assert [(told.intent_id, told.status) for told in world.publisher.told] == [("id", "dead")]


def letters_world() -> World:
    world = World()
    world.ledger.ledger_id = "ours"
    return world


def said_by(letter: tuple[bytes, Basic.Properties]) -> dict[str, object]:
    headers = dict(letter[1].headers or {})
    del headers[names.DEAD_AT]
    return headers


async def test_parking_that_is_confirmed_after_the_intent_came_back_does_not_let_it_out_again() -> None:
    """The confirm was lost, parking was repeated, and the first copy is POSTed before the second is confirmed."""
    world = World()
    body, properties = open_body(delaySeconds=0.2), Basic.Properties(message_id=uuid.uuid4().hex)
    park = world.publisher.park

    async def park_twice(due_ms: int, now_ms: Callable[[], int], body: bytes, properties: Basic.Properties) -> None:
        await park(due_ms, now_ms, body, properties)
        *first, _ = world.publisher.due.popleft()
        world.clock.ms = due_ms
        await world.due_queue.handle(world.delivery(*first), Slot())
        await world.pipeline.handle(world.delivery(*world.publisher.lane.popleft()), Slot())
        await park(due_ms, now_ms, body, properties)

    world.publisher.park = park_twice  # type: ignore[method-assign]
    await world.deliver(world.delivery(body, properties))
    assert len(world.webhook.posted) == 1
    assert world.publisher.letters == []
    assert world.each_delivery_acked_once()


async def test_an_order_without_an_id_that_fails_unforeseen_after_its_post_is_not_posted_again() -> None:
    """The same delivery is handled again: it must find its own history."""

    class Unwilling(MemoryLedger):
        failures = 1

        async def record(
            self,
            order: Order,
            state: IntentState,
            epoch: Epoch | None = None,
            *,
            attempt: Attempt | None = None,
            letter: LetterRecord | None = None,
        ) -> LedgerEntry:
            if state.status == "delivered" and self.failures:
                self.failures -= 1
                raise RuntimeError("disk on fire")
            return await super().record(order, state, epoch, attempt=attempt, letter=letter)

    world = World(ledger=Unwilling)
    await world.connect()
    delivery = world.delivery(open_body(), Basic.Properties())
    with pytest.raises(RuntimeError):
        await world.pipeline.handle(delivery, Slot())
    await world.pipeline.handle(delivery, Slot())
    assert len(world.webhook.posted) == 1
    assert world.reasons == ["outcome-unknown"]
    assert world.each_delivery_acked_once()


async def test_an_empty_message_id_is_no_identity() -> None:
    """Redelivered after a POST, an equal body may be the same order: it is not POSTed again."""
    world = World([TURNED_AWAY, ACCEPTED])
    properties = Basic.Properties(message_id="")
    await world.deliver(world.delivery(open_body(), properties))
    await world.deliver(world.delivery(open_body(), properties, redelivered=True))
    assert [attempt for *_, attempt in world.webhook.posted] == [TURNED_AWAY, ACCEPTED]
    assert world.reasons == ["outcome-unknown"]


async def test_equal_orders_without_an_id_that_were_published_twice_are_both_posted() -> None:
    world = World()
    await world.deliver(*(world.delivery(open_body(), Basic.Properties()) for _ in range(2)))
    assert len(world.webhook.posted) == 2


async def test_a_withdrawn_order_is_neither_posted_nor_acknowledged() -> None:
    world = World()
    await world.connect()
    slot = Slot()
    slot.withdraw()
    await world.pipeline.handle(world.delivery(open_body(), Basic.Properties()), slot)
    assert world.webhook.posted == []
    assert world.channel.acked == {}


async def test_a_message_that_failed_unforeseen_too_often_is_undeliverable() -> None:
    world = World()
    await world.connect()
    await world.pipeline.give_up(world.delivery(open_body(), Basic.Properties(message_id="x")), Slot(), 3)
    assert world.reasons == ["undeliverable"]
    assert world.webhook.posted == []
    assert world.each_delivery_acked_once()


async def test_a_message_that_is_given_up_after_it_was_delivered_is_no_dead_letter() -> None:
    world = World()
    properties = Basic.Properties(message_id="x")
    await world.deliver(world.delivery(open_body(), properties))
    await world.pipeline.give_up(world.delivery(open_body(), properties, redelivered=True), Slot(), 3)
    assert world.reasons == []
    assert len(world.webhook.posted) == 1
    assert world.each_delivery_acked_once()


@pytest.mark.parametrize(
    ("message_id", "fields"),
    [("x", {}), (None, {}), (None, {"delaySeconds": 60})],
    ids=["known by its id", "known by nothing", "known by nothing, delayed"],
)
@pytest.mark.parametrize("redelivered", [False, True])
async def test_a_consumer_whose_lane_another_has_taken_does_nothing_and_loses_its_session(
    message_id: str | None, fields: dict[str, object], redelivered: bool
) -> None:
    """Its message is the other one's now: neither POSTed, parked, buried nor acknowledged."""
    world = World()
    await world.connect()
    await world.ledger.open_lane(LANE)
    properties = Basic.Properties(message_id=message_id)
    await world.pipeline.handle(world.delivery(open_body(**fields), properties, redelivered=redelivered), Slot())
    assert world.session.ended.is_set()
    assert world.webhook.posted == []
    assert world.channel.acked == {}
    assert (world.publisher.parked, world.publisher.letters) == (0, [])


async def test_a_claim_that_a_consumer_before_us_never_concluded_is_not_repeated() -> None:
    world = World()
    await world.connect()
    delivery = world.delivery(open_body(), Basic.Properties(message_id="x"))
    order = read(delivery.message, SETTINGS, NOW_MS)
    assert isinstance(order, Order)
    epoch = await world.ledger.open_lane(LANE)
    known = await world.ledger.recall(order, epoch)
    await world.ledger.claim(order, known.state.claimed(NOW_MS), epoch)
    await world.connect()
    await world.deliver(world.delivery(open_body(), Basic.Properties(message_id="x"), redelivered=True))
    assert world.webhook.posted == []
    assert world.reasons == ["outcome-unknown"]
    assert (world.publisher.letters[0][1].headers or {})[names.ATTEMPTS] == 1


@pytest.mark.parametrize("redelivered", [True, False], ids=["redelivered", "published again"])
async def test_an_order_that_is_overdue_only_by_the_ledgers_time_goes_through_the_ladder_to_get_its_turn(
    redelivered: bool,
) -> None:
    """Nobody dated it, and who received it first ended before it was parked: now it looks early, and is late."""
    world = World()
    await world.connect()
    body, properties = open_body(delaySeconds=5), Basic.Properties(message_id="late")
    order = read(Message(body, properties, LANE, redelivered=False), SETTINGS, NOW_MS)
    assert isinstance(order, Order)
    await world.ledger.recall(order, await world.ledger.open_lane(LANE))
    world.clock.ms += 10_000
    await world.connect()
    on_the_wire: list[str] = []
    post = world.webhook.post

    async def one_at_a_time(order: Order, _may_begin: object = None) -> Attempt:
        on_the_wire.append(order.intent_id)
        assert len(on_the_wire) == 1, "within a connector, one POST at a time"
        for _ in range(5):
            await asyncio.sleep(0)
        on_the_wire.remove(order.intent_id)
        return await post(order)

    world.webhook.post = one_at_a_time  # type: ignore[method-assign]
    await world.deliver(
        world.delivery(open_body(), Basic.Properties(message_id="first")),
        world.delivery(body, properties, redelivered=redelivered),
    )
    assert [intent_id for intent_id, *_ in world.webhook.posted] == ["first", "late"]
    assert world.publisher.parked == 1
    assert world.clock.ms == NOW_MS + 10_000, "its delay was over: it is not served again"
    assert world.each_delivery_acked_once()


async def test_a_strategy_that_sets_no_message_id_is_warned_of_once() -> None:
    world = World()
    with capture_logs() as lines:
        for name in ("one", "two", "one", "one", "two"):
            await world.deliver(world.delivery(open_body(), Basic.Properties(app_id=name)))
        await world.deliver(world.delivery(open_body(), Basic.Properties(app_id="three", message_id="x")))
    warned = [(line["strategy"], line["log_level"]) for line in lines if line["event"] == "intent.without_message_id"]
    assert warned == [("one", "warning"), ("two", "warning")]


async def test_a_connector_that_looks_like_a_configured_one_is_warned_of_once_by_name() -> None:
    world = World()
    with capture_logs() as lines:
        for number, name in enumerate(("Always", "alwyas", "Always", "with-token", "elsewhere", "alwyas")):
            body = open_body(connectorName=name, connectorToken="configured")
            await world.deliver(world.delivery(body, Basic.Properties(message_id=f"{number}")))
    warned = [(line["connector"], line["near"]) for line in lines if line["event"] == "connector.near_another"]
    assert warned == [("Always", "always"), ("alwyas", "always")]
    assert len(world.webhook.posted) == 6


async def test_forged_internal_headers_do_not_bring_an_order_past_its_delay_or_its_identity() -> None:
    world = World()
    forged = {names.INTENT_ID: "another", names.GENERATION: 7, names.ATTEMPTS: 3, names.PARK_RANK: -5}
    properties = Basic.Properties(message_id="mine", headers=forged | {names.CREATED_MS: NOW_MS})
    await world.deliver(world.delivery(open_body(delaySeconds=5), properties))
    assert world.clock.ms >= NOW_MS + 5_000
    assert [intent_id for intent_id, *_ in world.webhook.posted] == ["mine"]


async def test_the_due_time_of_the_ledger_counts_whatever_a_message_that_comes_back_says() -> None:
    """A restored backup, a forged header, a clock that was set: it is parked again, and never early."""
    world = World()
    await world.connect()
    body, dated = open_body(delaySeconds=60), {names.CREATED_MS: NOW_MS}
    await world.pipeline.handle(world.delivery(body, Basic.Properties(message_id="x", headers=dated)), Slot())
    world.publisher.due.clear()
    pretends = {names.CREATED_MS: NOW_MS - 60_000, names.INTENT_ID: "x"}
    await world.deliver(world.delivery(body, Basic.Properties(message_id="x", headers=pretends)))
    assert [intent_id for intent_id, *_ in world.webhook.posted] == ["x"]
    assert world.clock.ms >= NOW_MS + 60_000
    assert world.each_delivery_acked_once()


@pytest.mark.parametrize("age_s", [20, 70], ids=["not due yet", "overdue"])
async def test_an_order_that_comes_back_to_a_ledger_without_it_is_posted_at_its_own_due_time(age_s: int) -> None:
    """An older backup of the ledger was put in its place."""
    world = World()
    back = {names.CREATED_MS: NOW_MS - age_s * 1000, names.INTENT_ID: "x"}
    await world.deliver(world.delivery(open_body(delaySeconds=60), Basic.Properties(message_id="x", headers=back)))
    assert [intent_id for intent_id, *_ in world.webhook.posted] == ["x"]
    assert world.clock.ms >= NOW_MS + (60 - age_s) * 1000


async def test_an_order_that_was_canceled_while_it_was_parked_is_dropped_when_it_comes_back() -> None:
    world = World()
    await world.connect()
    first = Basic.Properties(message_id="x", headers={names.CREATED_MS: NOW_MS})
    await world.pipeline.handle(world.delivery(open_body(delaySeconds=60), first), Slot())
    with capture_logs() as lines:
        await world.deliver(world.delivery(open_body(action="cancelAll"), Basic.Properties(message_id="all")))
    assert [intent_id for intent_id, *_ in world.webhook.posted] == ["all"]
    settled = {line["intent_id"]: line["status"] for line in lines if line["event"] == "intent.settled"}
    assert settled == {"x": "canceled", "all": "delivered"}
    assert world.each_delivery_acked_once()


async def test_an_order_that_is_canceled_while_it_is_being_parked_is_no_duplicate() -> None:
    """The cancel is right behind it, and is claimed before the ladder has confirmed."""
    world = World()
    await world.connect()
    park = world.publisher.park

    async def park_slowly(due_ms: int, now_ms: Callable[[], int], body: bytes, properties: Basic.Properties) -> None:
        cancel = world.delivery(open_body(action="cancelAll"), Basic.Properties(message_id="all"))
        await world.pipeline.handle(cancel, Slot())
        await park(due_ms, now_ms, body, properties)

    world.publisher.park = park_slowly  # type: ignore[method-assign]
    with capture_logs() as lines:
        await world.pipeline.handle(
            world.delivery(open_body(delaySeconds=60), Basic.Properties(message_id="x", timestamp=None)), Slot()
        )
    assert [line["status"] for line in lines if line["event"] == "intent.settled" and line["intent_id"] == "x"] == [
        "canceled"
    ]
    assert world.each_delivery_acked_once()


async def test_the_consumer_hears_the_time_that_a_webhook_and_a_broker_tell() -> None:
    told: dict[str, float] = {}
    world = World([replace(REFUSED, clock_ahead_ms=(5_000, 6_000))])
    world.skew._tell = told.__setitem__
    content = b'{"connectorName":"main","connectorToken":"t","action":"cancelAll"}'
    stamped = Basic.Properties(headers={names.CREATED_MS: NOW_MS, names.BROKER_TIMESTAMP_MS: NOW_MS + 3_000})
    await world.deliver(world.delivery(content, stamped))
    assert told == {"broker": -3.0, "webhook": 5.0}
    assert world.skew.known().ahead_ms == 5_000


def test_the_age_of_a_claim_goes_by_the_clock_that_nobody_sets() -> None:
    world = World()
    began_ms = world.clock.even_ms()
    world.clock.now_ms = lambda: NOW_MS - 3_600_000  # type: ignore[method-assign]
    world.clock.ms += CLAIM_MS_MAX
    assert not world.pipeline._attempts._is_stale(began_ms)
    world.clock.ms += 1
    assert world.pipeline._attempts._is_stale(began_ms)


async def test_an_order_from_the_ladder_is_due_when_it_was_although_the_clock_was_set_back() -> None:
    world = World()
    await world.connect()
    world.clock.ms = created_ms = NOW_MS + 10_000_000
    content = b'{"connectorName":"main","connectorToken":"t","action":"cancelAll","delaySeconds":60}'
    properties = Basic.Properties(headers={names.CREATED_MS: created_ms})
    await world.pipeline.handle(world.delivery(content, properties), Slot())
    for _ in range(2):
        body, properties, _ = world.publisher.due.popleft()
        world.clock.ms -= 3_600_000
        await world.due_queue.handle(world.delivery(body, properties), Slot())
        ((_, _, back_ms),) = world.publisher.due
        assert created_ms + 58_000 < back_ms < created_ms + 60_000
        assert (properties.headers or {})[names.CREATED_MS] == created_ms


@pytest.mark.parametrize("is_ours", [True, False])
async def test_an_order_that_was_parked_before_takes_its_connectors_turn_although_it_is_not_due_by_now(
    is_ours: bool,
) -> None:
    """It may have been tried since, and then it is POSTed: one at a time."""
    world = World()
    content = b'{"connectorName":"main","connectorToken":"t","action":"cancelAll","delaySeconds":60}'
    headers = {names.CREATED_MS: NOW_MS} | ({names.INTENT_ID: "id"} if is_ours else {})
    message = world.delivery(content, Basic.Properties(message_id="id", headers=headers), redelivered=True).message
    parked = read(message, SETTINGS, NOW_MS)
    assert isinstance(parked, Order)
    assert not parked.timing.is_due
    async with world.pipeline._waiting.turn(world.delivery(content, message.properties), parked) as turn:
        assert (world.pipeline._waiting.queues.of("main") is turn.queue) == is_ours
