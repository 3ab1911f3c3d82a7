"""The due queue: an order that the delay ladder hands back goes up again, or into its lane just before it is due."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from pamqp.commands import Basic

from signalq.consumer.broker.intake import Room
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.due_times import MAKE_ROOM_PART, DueTimes
from signalq.consumer.orders.delays import LANE_LEAD_MS, park_seconds
from signalq.consumer.orders.marks import marks_of
from signalq.consumer.orders.order import Unreadable
from signalq.consumer.reception import Reception
from signalq.consumer.slots import Slot
from signalq.message.envelope import republish_properties

# Intents that fall due within the same second and wait here for their moment; more wait on the broker.
DUE_WINDOW = 10_000
# So many bytes of them at most: the rest is left with the broker, and the intents due last go back to it.
DUE_BYTES = 24 * 1_048_576


@dataclass(frozen=True, slots=True)
class _Parcel:
    """An order on its way from the due queue to its lane, all but its body: read, it may take five times its bytes."""

    due_ms: int
    rank: int
    lane: str
    properties: Basic.Properties


def due_room() -> Room:
    """Room for what is read of the due queue: all of it leaves within its last second, so all of it counts."""
    return Room(DUE_BYTES + DUE_BYTES // MAKE_ROOM_PART, lambda _bytes: True)


class DueQueue:
    """Handles the messages of the due queue; `handle_as_any` takes those that did not come by the ladder alone."""

    def __init__(
        self,
        *,
        reception: Reception,
        due_times: DueTimes,
        publisher: BrokerPublisher,
        clock: Clock,
        handle_as_any: Callable[[Delivery, Slot], Awaitable[None]],
    ) -> None:
        self._reception = reception
        self._due_times = due_times
        self._publisher = publisher
        self._clock = clock
        self._handle_as_any = handle_as_any

    async def handle(self, delivery: Delivery, slot: Slot) -> None:
        """Park an order for what is left of its delay, or hold it for its last second and hand it to its lane."""
        parcel = self._packed(delivery)
        if parcel is None:
            await self._handle_as_any(delivery, slot)
            return
        is_time = park_seconds(parcel.due_ms, self._clock.now_ms()) == 0 and await self._due_times.wait_until(
            parcel.due_ms - LANE_LEAD_MS,
            rank=parcel.rank,
            session=delivery.session,
            held_bytes=delivery.held_bytes,
        )
        await slot.finish(self._pass_on(delivery, parcel, is_time=is_time))

    def close(self) -> None:
        self._due_times.close()

    def _packed(self, delivery: Delivery) -> _Parcel | None:
        """None for no order, and for one that came beside the ladder: the ledger alone tells whether it is a copy."""
        order = self._reception.read(delivery)
        if isinstance(order, Unreadable) or order.provenance.came_beside:
            return None
        given = replace(order, timing=replace(order.timing, creation=order.timing.creation.as_given()))
        properties = republish_properties(delivery.message.properties, marks_of(given), order.intent_id)
        due_ms = (order.timing.due_ms or 0) + order.timing.creation.ahead_ms
        return _Parcel(due_ms, order.route.park_rank, order.route.lane, properties)

    async def _pass_on(self, delivery: Delivery, parcel: _Parcel, *, is_time: bool) -> None:
        body = delivery.message.body
        if is_time:
            await self._publisher.forward(parcel.lane, body, parcel.properties)
        else:
            await self._publisher.park(parcel.due_ms, self._clock.now_ms, body, parcel.properties)
        await delivery.ack()
