"""The parts of the gateway that decide: who may call, what is a repeat, how many a second, which body is an alert."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.producers.gateway.alerts import Alert, Reading, Refusal, Rules, read_batch, token_digest
from signalq.producers.gateway.callers import Callers
from signalq.producers.gateway.health import GatewayMetrics
from signalq.producers.gateway.rates import Rates
from signalq.producers.gateway.repeats import UNANSWERED_MAX, UNANSWERED_S, Identity, Progress, Unanswered

NOW_MS = 1_764_000_000_000
TOKEN = "the-right-token"
RULES = Rules(token_digest(TOKEN))
FIELDS = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def read(fields: object, rules: Rules | None = None) -> Alert | Refusal:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    found = read_batch(body, Reading(lambda _connector: rules or RULES, delay_max_s=60), NOW_MS)
    if isinstance(found, Refusal):
        return found
    (alert,) = found.alerts
    return alert


# ---- which body is an alert ----


def test_an_alert_keeps_its_bytes() -> None:
    body = b'{ "connectorName": "main", "connectorToken": "the-right-token", "action": "openLong", "percent": 50.0 }'
    alert = read(body)
    assert alert == Alert("main", "openLong", body)
    assert TOKEN not in repr(alert)


@pytest.mark.parametrize("token", ["", "the-right-toke", "the-right-token ", "The-right-token", 5, ["x"], "ключ"])
def test_a_wrong_token_is_refused_before_any_other_mistake_is_named(token: object) -> None:
    refusal = read(FIELDS | {"connectorToken": token, "percent": "500", "nonsense": 1})
    assert isinstance(refusal, Refusal)
    assert refusal.status == 401
    assert [problem.field for problem in refusal.problems] == ["connectorToken"]


@pytest.mark.parametrize("rules", [RULES, Rules()])
def test_a_token_is_needed_whether_one_is_configured_or_not(rules: Rules) -> None:
    for missing in ({}, {"connectorToken": None}):
        fields = {name: value for name, value in FIELDS.items() if name != "connectorToken"} | missing
        refusal = read(fields, rules)
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.problems[0].field) == (401, "connectorToken")


def test_where_none_is_configured_any_token_is_passed_on_for_the_platform_to_judge() -> None:
    assert isinstance(read(FIELDS | {"connectorToken": "another"}, Rules()), Alert)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"percent": "500"}, "percent"),
        ({"action": "by"}, "action"),
        ({"notional": "5"}, "notional"),
        ({"delaySeconds": 61}, "delaySeconds"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], field: str) -> None:
    refusal = read(FIELDS | change)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, [problem.field for problem in refusal.problems]) == (400, [field])


def test_the_extra_fields_of_a_connector_are_let_through() -> None:
    assert isinstance(read(FIELDS | {"notional": "5"}, Rules(token_digest(TOKEN), ("notional",))), Alert)


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps(value).encode("utf-8", "replace"))
)
def test_every_request_gets_an_answer(body: bytes) -> None:
    answer = read_batch(body, Reading(lambda _connector: RULES, delay_max_s=60), NOW_MS)
    assert isinstance(answer, Refusal)
    assert answer.status in {400, 401}
    assert answer.problems


# ---- who may call ----

OFFICE = Callers((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")), (ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "allowed"),
    [
        ("203.0.113.7", [], True),
        ("198.51.100.1", [], False),
        ("2001:db8::1", [], True),
        ("::ffff:203.0.113.7", [], True),
        ("10.1.1.1", ["203.0.113.7"], True),
        ("10.1.1.1", ["198.51.100.1"], False),
        ("10.1.1.1", ["203.0.113.7, 198.51.100.1"], False),
        ("10.1.1.1", ["198.51.100.1, 203.0.113.7"], True),
        ("10.1.1.1", ["203.0.113.7, 10.2.2.2"], True),
        ("10.1.1.1", ["198.51.100.1", "203.0.113.7:4711"], True),
        ("10.1.1.1", ["[2001:db8::1]:4711"], True),
        ("10.1.1.1", ["unknown"], False),
        ("10.1.1.1", [], False),
        ("198.51.100.1", ["203.0.113.7"], False),
        ("", [], False),
        (None, ["203.0.113.7"], False),
    ],
)
def test_the_caller_is_the_nearest_address_that_is_no_proxy_of_ours(
    peer: str | None, forwarded_for: list[str], allowed: bool
) -> None:
    assert OFFICE.may_call(peer, forwarded_for) is allowed


def test_without_sources_everybody_may_call() -> None:
    assert Callers().may_call(None, ["anything"])


# ---- what is a repeat ----


def test_an_unanswered_alert_is_recognised_once_and_for_30_seconds() -> None:
    watch = Watch()
    unanswered = Unanswered(watch)
    first, second = Progress((Identity("1", 10),)), Progress((Identity("2", 20), Identity("3", 20)), confirmed=1)
    unanswered.keep(b"a", first)
    unanswered.keep(b"a", second)
    assert unanswered.take(b"b") is None
    assert unanswered.take(b"a") == first
    watch.now_s += UNANSWERED_S
    assert unanswered.take(b"a") == second
    assert unanswered.take(b"a") is None
    unanswered.keep(b"a", first)
    watch.now_s += UNANSWERED_S + 0.001
    assert unanswered.take(b"a") is None
    assert len(unanswered) == 0


def test_the_memory_of_unanswered_alerts_is_bounded() -> None:
    unanswered = Unanswered(Watch())
    for number in range(UNANSWERED_MAX + 100):
        unanswered.keep(str(number).encode(), Progress((Identity(str(number), number),)))
    assert len(unanswered) == UNANSWERED_MAX
    assert unanswered.take(b"99") is None
    assert unanswered.take(b"100") == Progress((Identity("100", 100),))


# ---- how many a second ----


def test_each_connector_has_one_seconds_worth_at_once_and_then_its_rate() -> None:
    watch = Watch()
    rates = Rates(4, watch)
    assert [rates.wait_s("a") for _ in range(4)] == [0, 0, 0, 0]
    assert rates.wait_s("a") == pytest.approx(0.25)
    assert rates.wait_s("b") == 0
    watch.now_s += 0.25
    assert rates.wait_s("a") == 0
    assert rates.wait_s("a") > 0


def test_a_rate_below_one_a_second_lets_one_pass_at_a_time() -> None:
    watch = Watch()
    rates = Rates(0.5, watch)
    assert rates.wait_s("a") == 0
    assert rates.wait_s("a") == pytest.approx(2)
    watch.now_s += 2
    assert rates.wait_s("a") == 0


def test_without_a_rate_no_alert_waits() -> None:
    rates = Rates(None)
    assert {rates.wait_s("a") for _ in range(1000)} == {0.0}
    assert rates.wait_s(*"abc" * 20) == 0


def test_the_orders_of_an_array_are_counted_each_and_pass_together_or_not_at_all() -> None:
    watch = Watch()
    rates = Rates(4, watch)
    assert rates.wait_s("a", "b", "a") == 0
    assert rates.over_s("a") == 0
    assert rates.wait_s("a", "a") == 0
    assert rates.wait_s("b", "a") == pytest.approx(0.25)
    assert [rates.wait_s("b") for _ in range(4)] == [0, 0, 0, pytest.approx(0.25)], "nothing was taken for b"


def test_an_array_larger_than_the_bucket_passes_and_the_next_order_waits_for_all_of_it() -> None:
    watch = Watch()
    rates = Rates(0.5, watch)
    assert rates.wait_s(*"a" * 20) == 0
    assert rates.wait_s("a") == pytest.approx(40)
    watch.now_s += 40
    assert rates.wait_s("a") == 0


# ---- docs ----

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")


def test_every_event_and_metric_of_the_gateway_is_documented_and_no_other() -> None:
    files = [ROOT / "ops" / "gateway.py", ROOT / "ops" / "terminal" / "service_traces.py"]
    code = "".join(path.read_text() for path in [*(ROOT / "producers" / "gateway").glob("*.py"), *files])
    events = set(re.findall(r'log\.\w+\(\s*"([a-z.]+_?[a-z_]*)"', code))
    assert set(re.findall(r"`((?:alert|gateway|request|traces)\.[a-z_]+)`", PAGE.split("Its log goes")[1])) == events
    names = {sample.name for metric in GatewayMetrics(bool).registry.collect() for sample in metric.samples}
    documented = set(re.findall(r"`(signalq_gateway_\w+)", PAGE))
    assert documented <= {re.sub("_(bucket|count|sum)$", "", name) for name in names} | {
        "signalq_gateway_requests_total",
        "signalq_gateway_orders_total",
    }
    assert {name for name in names if not name.endswith(("_created", "_bucket", "_count", "_sum"))} <= documented
