"""When a message may be interrupted: while it waits, never while it is busy."""

from __future__ import annotations

import asyncio

from signalq.consumer.slots import Slot, Slots


class Story:
    """What a message went through."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.go_on = asyncio.Event()

    async def wait_then_work(self, slot: Slot) -> None:
        try:
            self.events.append("waits")
            await self.go_on.wait()
            await slot.finish(self._work())
        except asyncio.CancelledError:
            self.events.append("interrupted")
            raise

    async def work_then_wait(self, slot: Slot) -> None:
        await slot.finish(self._work())
        self.events.append("withdrawn" if slot.withdrawn else "goes on")

    async def _work(self) -> None:
        self.events.append("begins")
        await self.go_on.wait()
        await asyncio.sleep(0)
        self.events.append("finishes")


async def test_waiting_work_is_interrupted_at_once() -> None:
    slots, story = Slots(), Story()
    slots.start("channel", story.wait_then_work)
    await asyncio.sleep(0)
    slots.withdraw()
    await slots.finished()
    assert story.events == ["waits", "interrupted"]


async def test_work_that_has_not_begun_when_it_is_withdrawn_never_begins() -> None:
    slots, story = Slots(), Story()
    slots.start("channel", story.work_then_wait)
    slots.withdraw()
    await slots.finished()
    assert story.events == []


async def test_busy_work_is_finished_and_then_told_that_it_was_withdrawn() -> None:
    slots, story = Slots(), Story()
    slots.start("channel", story.work_then_wait)
    await asyncio.sleep(0)
    slots.withdraw()
    await asyncio.sleep(0)
    assert len(slots) == 1
    story.go_on.set()
    await slots.finished()
    assert story.events == ["begins", "finishes", "withdrawn"]


async def test_only_the_messages_of_the_lost_channel_are_withdrawn() -> None:
    slots, lost, kept = Slots(), Story(), Story()
    slots.start("lost", lost.wait_then_work)
    slots.start("kept", kept.wait_then_work)
    await asyncio.sleep(0)
    slots.withdraw("lost")
    await asyncio.sleep(0)
    kept.go_on.set()
    await slots.finished()
    assert lost.events == ["waits", "interrupted"]
    assert kept.events == ["waits", "begins", "finishes"]


async def test_tasks_begin_in_the_order_of_their_start() -> None:
    slots, order = Slots(), list[int]()

    async def note(number: int, _slot: Slot) -> None:
        order.append(number)

    for number in range(100):
        slots.start("channel", lambda slot, number=number: note(number, slot))
    await slots.finished()
    assert order == list(range(100))


async def test_cutting_off_ends_even_what_is_busy() -> None:
    slots, story = Slots(), Story()
    slots.start("channel", story.work_then_wait)
    await asyncio.sleep(0)
    await slots.cut_off()
    assert story.events == ["begins"]
    assert len(slots) == 0


async def test_withdrawing_when_nothing_is_there_does_nothing() -> None:
    slots = Slots()
    slots.withdraw()
    await slots.finished()
    await slots.cut_off()
    assert len(slots) == 0


# --- telling: after the ledger knows, before the acknowledgement ----------------------------------------------------


class Teller:
    """Tells for as long as the test says."""

    def __init__(self, limit_s: float = 60.0) -> None:
        self.limit_s = limit_s
        self.confirmed = asyncio.Event()
        self.begun = asyncio.Event()
        self.ends: list[str] = []

    async def _tell(self) -> None:
        self.begun.set()
        await self.confirmed.wait()
        self.ends.append("acknowledged")

    async def tell(self, slot: Slot) -> None:
        try:
            await slot.finish_within(self.limit_s, self._tell())
        except asyncio.CancelledError:
            self.ends.append("given up")
            raise


async def test_telling_an_ending_may_finish_after_it_is_withdrawn() -> None:
    slots, teller = Slots(), Teller()
    slots.start("channel", teller.tell)
    await teller.begun.wait()
    slots.withdraw()
    teller.confirmed.set()
    await slots.finished()
    assert teller.ends == ["acknowledged"]


async def test_an_ending_that_cannot_be_told_is_given_up_soon_after_it_was_withdrawn() -> None:
    slots, teller = Slots(), Teller(0.01)
    slots.start("channel", teller.tell)
    await teller.begun.wait()
    slots.withdraw()
    await slots.finished()
    assert teller.ends == ["given up"]


async def test_an_ending_that_was_withdrawn_before_it_is_told_is_told_all_the_same_but_not_for_ever() -> None:
    async def be_withdrawn() -> None:
        slots.withdraw()

    async def work_then_tell(slot: Slot) -> None:
        await slot.finish(be_withdrawn())
        await teller.tell(slot)

    slots, teller = Slots(), Teller(0.01)
    slots.start("channel", work_then_tell)
    await slots.finished()
    assert teller.ends == ["given up"]
    teller.confirmed.set()
    slots.start("channel", work_then_tell)
    await slots.finished()
    assert teller.ends == ["given up", "acknowledged"]


async def test_after_it_was_told_nothing_interrupts_any_more() -> None:
    slots, teller = Slots(), Teller(0.0)
    teller.confirmed.set()

    async def be_withdrawn() -> None:
        slots.withdraw()

    async def tell_then_go_on(slot: Slot) -> None:
        await slot.finish(be_withdrawn())
        await teller.tell(slot)
        await asyncio.sleep(0.01)
        teller.ends.append("went on")

    slots.start("channel", tell_then_go_on)
    await slots.finished()
    assert teller.ends == ["acknowledged", "went on"]
