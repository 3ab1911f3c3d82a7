"""One attempt: what it returns, and what it begins only if it still may."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pamqp.commands import Basic

from signalq import names
from signalq.consumer.attempt import AskAgain, Attempted, Attempts
from signalq.consumer.broker.session import ConsumeOptions, Delivery, Session
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.lanes.turn import Turn
from signalq.consumer.ledger import CLAIM_MS_MAX, Conflict, Epoch, Fenced, LedgerEntry
from signalq.consumer.orders.decisions import DeadLetter, Done, Refusal, Retry
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import SwitchedOff
from signalq.consumer.slots import Slot
from signalq.consumer.webhook.client import MayBegin
from signalq.settings.reload import CurrentSettings
from signalq.settings.sections import Settings
from tests.support.orders import body
from tests.support.webhook import looked

NOW_MS = 1_700_000_000_000
EVEN_MS = 1_000_000
SETTINGS = Settings()
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
TURNED_AWAY = Attempt("not taken", sent=True, why="HTTP 429", status=429)
REFUSED = Attempt("refused", sent=True, why="HTTP 400", status=400)
UNSENT = Attempt("not taken", sent=False, why="too late")


class Scene:
    """All that an attempt is made between; `story` is what happened, in order."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.now_ms = NOW_MS
        self.even_ms = EVEN_MS
        self.answer = ACCEPTED
        self.refusal: Refusal | None = None
        self.claim_takes_ms = self.connecting_takes_ms = 0
        self.confirmed: int | SwitchedOff | Conflict = 0
        self.must_wait = self.is_outdated = False
        clock = cast("Clock", SimpleNamespace(now_ms=lambda: self.now_ms, even_ms=lambda: self.even_ms))
        self.attempts = Attempts(
            CurrentSettings(SETTINGS),
            ledger=cast("Any", self),
            webhook=cast("Any", self),
            telemetry=cast("Any", SimpleNamespace(claimed=lambda _: None, attempted=lambda *_: None)),
            outcomes=cast("Any", SimpleNamespace(publish_in_background=lambda _: None)),
            clock=clock,
            skew=Skew(),
        )
        self._turn = SimpleNamespace(
            is_outdated=lambda: self.is_outdated,
            now_ms=lambda: self.now_ms,
            must_wait=lambda _: self.must_wait,
            claims=lambda _: self.story.append("claims"),
            begins=lambda _: self.story.append("begins"),
            answered=lambda *_: 2.0,
            pass_on=lambda: self.story.append("passes on"),
        )

    async def claim(self, order: Order, claim: IntentState, _epoch: Epoch, **_: object) -> LedgerEntry | Refusal:
        began_ms = self.even_ms
        self.pass_ms(self.claim_takes_ms)
        if self.refusal is not None:
            return self.refusal
        self.story.append(claim.status)
        return LedgerEntry(order, claim, began_ms=began_ms)

    async def record(self, order: Order, state: IntentState, *, attempt: Attempt) -> LedgerEntry:
        assert attempt in {self.answer, UNSENT} or not attempt.sent
        self.story.append(state.status)
        return LedgerEntry(order, state)

    async def confirm(self, *_: object) -> int | SwitchedOff:
        self.story.append("looks again")
        if isinstance(self.confirmed, Conflict):
            raise self.confirmed
        return self.confirmed

    async def post(self, _order: Order, may_begin: MayBegin) -> Attempt:
        self.pass_ms(self.connecting_takes_ms)
        if not await looked(may_begin):
            return UNSENT
        self.story.append("POST")
        return self.answer

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms
        self.even_ms += ms

    def order(self, **fields: Any) -> Order:
        properties = Basic.Properties(message_id="id", headers={names.CREATED_MS: NOW_MS})
        order = read(Message(body(**fields), properties, "main", redelivered=False), SETTINGS, NOW_MS)
        assert isinstance(order, Order)
        return order

    async def make(self, order: Order | None = None, **known: Any) -> object:
        order = order or self.order()
        session = Session(cast("Any", None), ConsumeOptions("main", 1, 1), 0.0)
        session.epoch = Epoch("lane", 1, None)
        delivery = Delivery(cast("Message", None), 1, session)
        state = IntentState(order.intent_id, order.identity.digest, **known)
        return await self.attempts.make(delivery, LedgerEntry(order, state), cast("Turn", self._turn), Slot())


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_the_claim_comes_before_the_post_and_the_outcome_is_recorded_with_what_follows(scene: Scene) -> None:
    made = await scene.make()
    assert isinstance(made, Attempted)
    assert made.after == Done()
    assert scene.story == ["claims", "sending", "begins", "POST", "passes on", "delivered"]


@pytest.mark.parametrize(("answer", "status"), [(TURNED_AWAY, "retrying"), (REFUSED, "dying")])
async def test_an_attempt_that_was_not_accepted_is_recorded_with_its_consequence(
    scene: Scene, answer: Attempt, status: str
) -> None:
    scene.answer = answer
    made = await scene.make()
    assert isinstance(made, Attempted)
    assert isinstance(made.after, Retry | DeadLetter)
    assert scene.story[-1] == made.known.state.status == status
    assert "passes on" not in scene.story


@pytest.mark.parametrize("refusal", [SwitchedOff("paused"), RateExceeded(Rate("main", "connector", 1, enforced=True))])
async def test_a_refused_claim_is_a_value_and_nothing_is_begun(scene: Scene, refusal: Refusal) -> None:
    scene.refusal = refusal
    assert await scene.make() == refusal
    assert scene.story == ["claims"]


@pytest.mark.parametrize("why", ["too old", "in doubt", "other settings", "paced"])
async def test_a_change_since_the_rules_were_asked_has_them_asked_again(scene: Scene, why: str) -> None:
    known: dict[str, Any] = {}
    if why == "too old":
        scene.now_ms += round(SETTINGS.delivery.open_max_age_s * 1000) + 1
    elif why == "in doubt":
        known = {"status": "retrying", "in_doubt": True, "first_post_ms": NOW_MS}
    elif why == "other settings":
        scene.is_outdated = True
    else:
        scene.must_wait = True
    assert await scene.make(**known) == AskAgain()
    assert scene.story == []


async def test_a_claim_that_took_too_long_is_retried_without_a_post(scene: Scene) -> None:
    scene.claim_takes_ms = CLAIM_MS_MAX + 1
    made = await scene.make()
    assert isinstance(made, Attempted)
    assert scene.story == ["claims", "sending", "retrying"]
    assert made.known.state.why == "its claim took too long"


@pytest.mark.parametrize(
    ("confirmed", "goes_out"),
    [(EVEN_MS + CLAIM_MS_MAX, True), (EVEN_MS - 1, False), (SwitchedOff("paused"), False), (Fenced(), False)],
    ids=["still so", "too long ago as well", "switched off", "the lane is another's"],
)
async def test_where_getting_a_connection_took_longer_the_ledger_is_asked_again_before_the_first_byte(
    scene: Scene, confirmed: int | SwitchedOff | Conflict, goes_out: bool
) -> None:
    scene.connecting_takes_ms, scene.confirmed = CLAIM_MS_MAX + 1, confirmed
    await scene.make()
    assert scene.story[:4] == ["claims", "sending", "begins", "looks again"]
    assert ("POST" in scene.story) is goes_out


async def test_no_byte_goes_out_past_the_deadline(scene: Scene) -> None:
    old = scene.order()
    scene.connecting_takes_ms = round(SETTINGS.delivery.open_max_age_s * 1000) + 1
    scene.confirmed = EVEN_MS + scene.connecting_takes_ms
    made = await scene.make(old)
    assert isinstance(made, Attempted)
    assert "POST" not in scene.story
    assert isinstance(made.after, DeadLetter)
    assert made.after.reason == "expired"
