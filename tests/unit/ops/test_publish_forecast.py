"""What `signalq publish` says before anything is sent: orders that come too late, and connectors that nobody meant."""

from __future__ import annotations

from typing import Any

import pytest

from signalq import OrderIntent
from signalq.ops.publish.forecast import NAMED_MAX, POST_S, Forecast
from signalq.settings.sections import Settings


def intents(count: int, connector: str = "main", action: str = "buy", **fields: Any) -> list[OrderIntent]:
    return [OrderIntent(connector_name=connector, action=action, **fields)] * count


def told(given: list[OrderIntent], *, rate_per_s: float | None = None, **sections: Any) -> list[str]:
    forecast = Forecast(Settings.model_validate(sections), rate_per_s=rate_per_s)
    for intent in given:
        forecast.take(intent)
    return forecast.sentences()


IN_TIME = round(60 / POST_S)


def test_a_thousand_opens_of_one_connector_kill_their_own_tail_and_a_pace_that_helps_is_named() -> None:
    (said,) = told(intents(1000))
    assert said == (
        f"main: {1000 - IN_TIME - 1} of 1,000 intents would wait for longer than 60 s and be dead, expired, "
        "if 5 a second are POSTed, as is assumed here: --rate 5 spreads them"
    )
    assert told(intents(1000), rate_per_s=5) == []
    assert told(intents(1000), rate_per_s=20) != []


@pytest.mark.parametrize(
    ("count", "is_told"), [(1, False), (IN_TIME, False), (IN_TIME + 1, False), (IN_TIME + 2, True)]
)
def test_orders_in_time_cause_no_warning(count: int, is_told: bool) -> None:
    assert bool(told(intents(count))) is is_told


def test_each_connector_counts_for_itself_and_an_exit_may_wait_for_longer() -> None:
    assert told([*intents(250), *intents(250, "alt")]) == []
    assert told(intents(1000, action="closeLong")) == []
    # An exit behind them waits as long, and an open behind exits too.
    (said,) = told([*intents(400, action="closeLong"), *intents(1)])
    assert said.startswith("main: 1 of 401 intents")


def test_a_lanes_settings_count() -> None:
    paced = {"connectors": {"main": {"rate_per_s": 0.5}}}
    (said,) = told(intents(40), **paced)
    assert "if 0.5 a second are POSTed" in said
    assert "--rate 0.5 spreads them" in said
    side_by_side = {"connectors": {"main": {"ordering": "none", "concurrency": 10}}}
    assert told(intents(1000), **side_by_side) == []
    assert told(intents(40), connectors={"main": {"open_max_age_s": 5}}) != []
    assert told(intents(1000), connectors={"main": {"open_max_age_s": 600}}) == []


def test_a_delay_is_no_waiting_but_intents_due_at_the_same_time_wait_for_one_another() -> None:
    spread = [intent for second in range(500) for intent in intents(1, delay_seconds=second)]
    assert told(spread) == []
    assert told(intents(1000, delay_seconds=90)) != []


def test_a_share_of_the_lines_may_be_faster_than_its_connector() -> None:
    one_of_each = [intents(1, f"connector {number}")[0] for number in range(10)]
    assert all("--rate 50 spreads them" in said for said in told(one_of_each * 500)[:-1])
    assert told(one_of_each * 500, rate_per_s=50) == []
    more = [intent for number in range(NAMED_MAX + 3) for intent in intents(500, f"lane{'x' * number}")]
    assert told(more)[-1] == "the same holds for 3 connectors more"


def test_for_a_pipe_each_warning_comes_as_soon_as_it_is_known_and_once() -> None:
    forecast = Forecast(Settings(), rate_per_s=None)
    said = [forecast.take(intent) for intent in intents(1000)]
    assert [number for number, sentences in enumerate(said) if sentences] == [IN_TIME + 1]
    assert said[IN_TIME + 1][0].startswith(f"main: 1 of {IN_TIME + 2} intents so far would wait")


def test_a_connector_that_looks_misspelt_causes_one_warning() -> None:
    connectors: dict[str, Any] = {"main": {}}
    given = [*intents(2, "mian"), *intents(1, "main"), *intents(1, "elsewhere")]
    assert told(given, connectors=connectors) == [
        "no setting names the connector mian, the nearest is main: it counts as another connector"
    ]
    named = {"connectors": connectors, "delivery": {"connectors": "named"}}
    assert told(given, **named) == [
        'no setting names the connector mian, the nearest is main: with delivery.connectors = "named" it is refused',
        'no setting names the connector elsewhere: with delivery.connectors = "named" it is refused',
    ]
    assert told(given) == []
