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
        "if 5 a second are POSTed, as is assumed here: --rate 5 spreads them, and --wait holds them back"
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
    assert "--rate 0.5 spreads them, and --wait holds them back" in said
    side_by_side = {"connectors": {"main": {"ordering": "none", "concurrency": 10}}}
    assert told(intents(1000), **side_by_side) == []
    assert told(intents(40), connectors={"main": {"open_max_age_s": 5}}) != []
    assert told(intents(1000), connectors={"main": {"open_max_age_s": 600}}) == []


def test_a_delay_is_no_waiting_but_intents_due_at_the_same_time_wait_for_one_another() -> None:
    spread = [intent for second in range(500) for intent in intents(1, delay_seconds=second)]
    assert told(spread) == []
    assert told(intents(1000, delay_seconds=90)) != []
    # Of 20 a second, a quarter can be POSTed, whatever order the lines have.
    crowded = [intent for second in range(240) for intent in intents(20, delay_seconds=(second * 7) % 240 + 60)]
    assert told(crowded)[0].startswith(f"main: {4800 - 4 * (IN_TIME + 1):,} of 4,800 intents")


def test_a_share_of_the_lines_may_be_faster_than_its_connector() -> None:
    one_of_each = [intents(1, f"connector {number}")[0] for number in range(10)]
    assert all("--rate 50 spreads them, and --wait holds them back" in said for said in told(one_of_each * 500)[:-1])
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


def test_with_wait_nothing_is_late_and_a_misspelt_connector_still_causes_a_warning() -> None:
    forecast = Forecast(Settings.model_validate({"connectors": {"main": {}}}), rate_per_s=None, is_held_back=True)
    for intent in [*intents(1000), *intents(1, "mian")]:
        forecast.take(intent)
    assert forecast.sentences() == [
        "no setting names the connector mian, the nearest is main: it counts as another connector"
    ]


def test_orders_that_the_settings_forbid_cause_one_warning_for_each_reason_and_are_not_late() -> None:
    connectors: dict[str, Any] = {"main": {"actions": ["buy", "sell"], "fixed_max": "2"}, "alt": {"limits": "report"}}
    given = [
        *intents(3, fixed="3"),
        *intents(1, action="openLong", fixed="1"),
        *intents(1, fixed="1"),
        *intents(1, action="sell", fixed="1"),
    ]
    assert told(given, connectors=connectors) == [
        "main: by these settings 3 intents would be dead, forbidden: fixed: is above the connector's fixed_max",
        "main: by these settings 1 intent would be dead, forbidden: the connector's actions don't have this one",
    ]
    reported = {"connectors": {"main": connectors["main"] | {"limits": "report"}}}
    assert told(given, **reported) == []
    assert told(intents(1000, fixed="3"), connectors=connectors)[0].startswith("main: by these settings 1,000 intents")


def test_orders_of_a_strategy_without_the_right_cause_a_warning() -> None:
    settings = Settings.model_validate(
        {"connectors": {"main": {}, "alt": {}}, "strategies": {"bot": {"connectors": ["main"], "percent_max": "10"}}}
    )
    one_of = {
        "bot": "alt: by these settings 1 intent would be dead, unauthorized: its strategy is not allowed this",
        None: "alt: by these settings 1 intent would be dead, unauthorized: no strategy of the settings is known by",
    }
    for strategy, says in one_of.items():
        forecast = Forecast(settings, rate_per_s=None, strategy=strategy)
        (said,) = forecast.take(intents(1, "alt", percent="5")[0])
        assert said.startswith(says)
    forecast = Forecast(settings, rate_per_s=None, strategy="bot")
    assert forecast.take(intents(1, percent="5")[0]) == []
    assert forecast.take(intents(1, percent="50")[0]) == [
        "main: by these settings 1 intent would be dead, forbidden: percent: is above the strategy's percent_max"
    ]
