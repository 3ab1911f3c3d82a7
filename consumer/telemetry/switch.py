"""The switch in the log, and as a metric, when the consumer takes up a change of it."""

from collections.abc import Sequence

import structlog

from signalq.consumer.orders.switch import ALL, Change, Switch
from signalq.consumer.telemetry.metrics import Metrics

# The name of the switch of all connectors, as a label and in the log.
EVERY_CONNECTOR = "*"
# A person's reason is logged up to here.
WHY_CHARACTERS_MAX = 200
# So many connectors that are not open are named at the start.
NAMED_MAX = 20

log = structlog.get_logger()


class SwitchReport:
    """Logs and shows each change of the switch; called by the ledger, see Ledger.watch_switch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._labels: set[str] = set()
        self._is_first = True

    def __call__(self, switch: Switch, changes: Sequence[Change]) -> None:
        """Report how the switch stands from now on, and the latest changes since the last call."""
        for change in changes:
            log.warning(
                "switch.changed",
                connector=change.connector if change.connector != ALL else EVERY_CONNECTOR,
                state=change.state,
                who=change.who[:WHY_CHARACTERS_MAX],
                why=change.why[:WHY_CHARACTERS_MAX] or None,
                number=change.number,
            )
        if self._is_first and switch.states:
            shown = [f"{name or EVERY_CONNECTOR}: {state}" for name, state in sorted(switch.states.items())]
            log.warning("switch.found", connectors=", ".join(shown[:NAMED_MAX]), count=len(shown))
        self._is_first = False
        self._show(switch)

    def _show(self, switch: Switch) -> None:
        """Set the metric of the configured connectors, of each that has a switch of its own, and of all."""
        paused = {name: switch.state_of(name) == "paused" for name in self._metrics.configured_connectors}
        values = dict.fromkeys(self._labels, False) | paused | {EVERY_CONNECTOR: switch.own(ALL) == "paused"}
        for name in switch.states.keys() - {ALL}:
            label = self._metrics.connector_label(name)
            values[label] = values.get(label, False) or switch.state_of(name) == "paused"
        self._labels = set(values)
        for label, is_paused in values.items():
            self._metrics.lane_paused.labels(label).set(is_paused)
