"""The reception reads each message that comes in: an order, which it notes, or a message that is none."""

from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.read import read
from signalq.consumer.telemetry.intents import IntentTelemetry
from signalq.settings.reload import CurrentSettings


class Reception:
    """Reads by the settings that hold, and by what is known of the clock."""

    def __init__(self, current: CurrentSettings, *, telemetry: IntentTelemetry, clock: Clock, skew: Skew) -> None:
        self._current = current
        self._telemetry = telemetry
        self._clock = clock
        self._skew = skew

    def read(self, delivery: Delivery) -> Order | Unreadable:
        """Read any message whatsoever; never raises."""
        settings = self._current.settings
        order = read(delivery.message, settings, self._clock.now_ms(), self._skew.known())
        if isinstance(order, Order):
            is_configured = order.connector in settings.connectors
            self._telemetry.received(order, None if is_configured else settings.near_connectors.of(order.connector))
            if order.timing.stamped_ms is not None:  # the order can't have come before the broker took it
                self._skew.note("broker", 0, order.timing.received_ms - order.timing.stamped_ms)
        return order
