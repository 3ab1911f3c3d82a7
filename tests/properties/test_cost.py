"""The cost of a message before its sender is known is bounded, for any shape of it.

Measured as CPU time of this thread, the best of several tries, on a core of the usual pace: neither other work on the
machine nor how slow it is counts. The contract says 2 ms; a plain order takes about 0.03 ms.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from signalq.amqp.foreign_properties import handle_foreign_properties, read_properties
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Unreadable
from signalq.consumer.orders.read import read
from signalq.message.envelope import publish_properties, republish_properties
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.producers.gateway.alerts import Batch, Reading, Rules, read_batch, token_digest
from signalq.settings.sections import Settings
from tests.support.pace import cpu_s, paced_cpu_s

COST_S_MAX = 0.002
RATIO_MAX = 100
NOW_MS = 1_764_000_000_000
ORDER = {"connectorName": "main", "connectorToken": "t", "action": "openLong", "percent": "50", "log": "long"}
SETTINGS = Settings()


def check_bound(work: Callable[[], object]) -> float:
    """It takes no longer than the contract says; return how long, in seconds."""
    taken_s = cpu_s(work)
    if taken_s >= COST_S_MAX:
        taken_s = paced_cpu_s(work)
    assert taken_s < COST_S_MAX, f"{taken_s * 1000:.2f} ms"
    return taken_s


def judged(body: bytes, properties: Basic.Properties | None = None) -> object:
    chosen = properties or publish_properties(message_id="i", strategy_name="s", created_ms=NOW_MS)
    return read(Message(body, chosen, "main", redelivered=False), SETTINGS, NOW_MS)


def check_cost(body: bytes) -> None:
    """A body costs no more than the contract's bound, and not too many times a plain order."""
    assert len(body) <= BODY_BYTES_MAX
    taken_s = check_bound(lambda: judged(body))
    plain_s = cpu_s(lambda: judged(json.dumps(ORDER).encode()))
    assert taken_s < plain_s * RATIO_MAX, f"{taken_s / plain_s:.0f} times a plain order's"


def members(field: Callable[[int], str], *, rest: str = "") -> bytes:
    """The most members that there is room for, beside those of a plain order."""
    text = json.dumps(ORDER)[:-1] + rest
    for number in range(BODY_BYTES_MAX):
        added = "," + field(number)
        if len(text) + len(added) + 1 > BODY_BYTES_MAX:
            break
        text += added
    return (text + "}").encode()


def with_field(name: str, written: str, *, of: str = "") -> bytes:
    """A plain order with one field more (or another), of `written` or as often `of` as there is room for."""
    fields = {key: value for key, value in ORDER.items() if key != name}
    text = json.dumps(fields)[:-1] + f',"{name}":'
    if not of:
        return (text + written + "}").encode()
    opening, closing = written.split("…")
    room = BODY_BYTES_MAX - len((text + opening + closing + "}").encode())
    return (text + opening + of * (room // len(of.encode())) + closing + "}").encode()


SHAPES: dict[str, bytes] = {
    "unknown fields": members(lambda number: f'"f{number}":""'),
    "unknown fields that look like known ones": members(lambda number: f'"connectorTokne{number}":1'),
    "sixty unknown fields of long names": members(lambda number: f'"{"delaySecondsFilter" * 55}{number}":1')[: 2**16],
    "one key again and again": members(lambda _: '"action":"buy"'),
    "two keys again and again": members(lambda number: f'"k{number % 2}":0'),
    "numbers": with_field("a", "[…1]", of="1,"),
    "empty lists": with_field("a", "[…[]]", of="[],"),
    "empty objects": with_field("a", "[…{}]", of="{},"),
    "empty texts": with_field("a", '[…""]', of='"",'),
    "null": with_field("a", "[…null]", of="null,"),
    "lists in lists": with_field("a", "…", of="["),
    "lists in lists, closed": ("[" * 32_000 + "]" * 32_000).encode(),
    "objects in objects": with_field("a", "…", of='{"a":'),
    "a log of plain text": with_field("log", '"…"', of="x"),
    "a log of line ends": with_field("log", '"…"', of="\\n"),
    "a log of escaped quotes": with_field("log", '"…"', of='\\"'),
    "a log of escaped letters": with_field("log", '"…"', of="\\u0041"),
    "a log of escaped pairs": with_field("log", '"…"', of="\\ud83d\\ude80"),
    "a log of lone surrogates": with_field("log", '"…"', of="\\ud83d"),
    "a log of signs": with_field("log", '"…"', of=",[{"),
    "a log of escapes and signs": with_field("log", '"…"', of="\\n,"),
    "a log of emoji": with_field("log", '"…"', of="\U0001f680"),
    "a token of emoji": with_field("connectorToken", '"…"', of="\U0001f680"),
    "a connector's name of emoji": with_field("connectorName", '"…"', of="\U0001f680"),
    "a connector's name of blanks": with_field("connectorName", '"…"', of=" "),
    "a connector's name of control characters": with_field("connectorName", '"…"', of="\x7f"),
    "an order's id of letters": with_field("clientOrderId", '"…"', of="i"),
    "an action of letters": with_field("action", '"…"', of="b"),
    "a filter that is nearly there": with_field("log", '"…"', of="a")[:30_000]
    + b'","delaySeconds":1,"delaySecondsFilter":"'
    + b"a" * 15_000
    + b"b"
    + b"a" * 15_000
    + b'"}',
    "a name of 64 KiB": with_field("x" * 65_000, "1"),
    "a name of emoji": with_field("\U0001f680" * 16_000, "1"),
    "digits in a text": with_field("fixed", '"…"', of="9"),
    "nines in a percent": with_field("percent", '"99.…"', of="9"),
    "digits in a number": with_field("fixed", "…", of="9"),
    "digits of seconds": with_field("delaySeconds", '"…"', of="9"),
    "a fraction of seconds": with_field("delaySeconds", "0.…", of="3"),
    "a long exponent": with_field("fixed", "1e…", of="9"),
    "a list of long numbers": with_field("a", "[" + ",".join(["9" * 1000] * 60) + "]"),
    "blanks": b" " * 60_000 + json.dumps(ORDER).encode(),
    "blanks and no JSON": b"\n" * 65_000 + b"x",
    "quotes": b'"' * BODY_BYTES_MAX,
    "backslashes in quotes": b'{"' + b'\\"' * 32_000,
    "texts without commas": b'{"a":' + b'""' * 32_000,
    "colons": b":" * BODY_BYTES_MAX,
    "commas": b"," * BODY_BYTES_MAX,
    "no UTF-8": b'{"a":"' + b"\xff" * 65_000 + b'"}',
    "zeroes": b"\0" * BODY_BYTES_MAX,
    "CSV": b"connectorName,action\nmain,buy\n" * 2_000,
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
def test_no_shape_of_a_body_costs_more_than_2_ms_to_judge(body: bytes) -> None:
    check_cost(body[:BODY_BYTES_MAX])


pieces = st.sampled_from(
    [*'{}[]",:\\', "\\u0041", '""', '"a":', "null", "1", "1e9", " ", "\n", "\U0001f680", "[],", "{},"]
)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
mixtures = st.lists(texts | pieces, min_size=1, max_size=8).map("".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(['{"log":"', '{"a":[', '{"a":', "{", ""]), mixtures)
def test_no_mixture_of_signs_costs_more_than_2_ms_to_judge(opening: str, repeated: str) -> None:
    text = (opening + repeated * (BODY_BYTES_MAX // len(repeated))).encode()
    check_cost(text[:BODY_BYTES_MAX])


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def table(entries: bytes) -> bytes:
    return struct.pack(">I", len(entries)) + entries


def deep(kind: bytes, levels: int) -> bytes:
    inner = b""
    for _ in range(levels):
        inner = (short(b"a") if kind == b"F" else b"") + kind + table(inner)
    return short(b"a") + b"A" + table(inner) if kind == b"A" else inner


HEADERS_BYTES = 130_000
HEADERS = {
    "flags": b"".join(short(b"%04x" % number) + b"t\1" for number in range(HEADERS_BYTES // 7)),
    "nothings without a name": b"\0V" * (HEADERS_BYTES // 2),
    "an array of nothings": short(b"a") + b"A" + table(b"V" * HEADERS_BYTES),
    "tables in tables": deep(b"F", HEADERS_BYTES // 8),
    "arrays in arrays": deep(b"A", HEADERS_BYTES // 6),
    "a thousand short texts": b"".join(short(b"%04x" % n) + b"S" + table(b"x" * 50) for n in range(1_000)),
    "two hundred texts": b"".join(short(b"%04x" % n) + b"S" + table(b"x" * 300) for n in range(200)),
    "one long text": short(b"a") + b"S" + table("é".encode() * (HEADERS_BYTES // 2)),
    "bytes that are no text": short(b"a") + b"S" + table(b"\xff" * HEADERS_BYTES),
    "timestamps": b"".join(short(b"%04x" % number) + b"T" + b"\xff" * 8 for number in range(1_000)),
    "decimals": b"".join(short(b"%04x" % number) + b"D" + b"\xff" * 5 for number in range(1_000)),
}


@pytest.fixture
def _lenient() -> None:
    handle_foreign_properties()


def read_by_aiormq(written: bytes) -> Basic.Properties:
    header = ContentHeader()
    header.unmarshal(struct.pack(">HHQ", 60, 0, 2) + written)
    return header.properties


@pytest.mark.usefixtures("_lenient")
@pytest.mark.parametrize("read_written", [read_properties, read_by_aiormq])
@pytest.mark.parametrize("entries", HEADERS.values(), ids=HEADERS)
def test_no_table_of_headers_costs_more_than_2_ms_to_read_to_judge_and_to_pass_on(
    entries: bytes, read_written: Callable[[bytes], Basic.Properties]
) -> None:
    written = struct.pack(">H", 0x2000) + table(entries)

    def work() -> Any:
        properties = read_written(written)
        assert isinstance(judged(b"{}", properties), Unreadable)
        return republish_properties(properties, {"signalq-reason": "invalid"}, "i")

    check_bound(work)


# ---- several orders in one body, at the gateway ----

READING = Reading(
    lambda _connector: Rules(token_digest("t"), ("extra",)),
    delay_max_s=60,
    time_field="time",
)


def array(*orders: str, rest: str = "") -> bytes:
    return f"[{','.join(orders)}{rest}]".encode()


def order_with(more: str) -> str:
    return f"{json.dumps(ORDER)[:-1]},{more}}}"


VALID = order_with(
    '"fixed":1.5,"limit":2.25,"profit":"3","loss":"1","clientOrderId":"entry-1","delaySeconds":5.5,'
    '"delaySecondsFilter":"g","time":"2025-11-24T16:00:00Z","extra":[1,2,3,4,5,6,7,8,9,10,11]'
)
LONG_LOGS = [order_with(f'"delaySecondsFilter":"{"x" * 2_900}"')] * 20
ARRAYS: dict[str, bytes] = {
    "twenty valid orders with all fields": array(*[VALID] * 20),
    "twenty long ones": array(*LONG_LOGS),
    "twenty of 64 values": array(*[order_with(f'"extra":[{",".join("1" * 57)}]')] * 20),
    "twenty of 64 unknown fields": array(*[order_with(",".join(f'"connectorTokne{n}":1' for n in range(59)))] * 20),
    "the last one with unknown fields": array(
        *[json.dumps(ORDER)] * 19, order_with(",".join(f'"connectorTokne{n}":1' for n in range(59)))
    ),
    "the last one with a wrong token": array(*[VALID] * 19, VALID.replace('"t"', '"no"')),
    "one with as many values as there is room for": array(order_with(f'"extra":[{"1," * 32_000}1]')),
    "one with as many objects as there is room for": array(order_with(f'"extra":[{"{}," * 21_000}1]')),
    "one with as many constants as there is room for": array(order_with(f'"extra":[{"NaN," * 16_000}1]')),
    "one with as many fields as there is room for": array(members(lambda n: f'"f{n}":""').decode()[:-2] + '"}'),
    "one with a long number": array(order_with(f'"fixed":{"9" * 65_000}')),
    "one that is nested": array(order_with(f'"extra":{"[" * 65_000}')),
    "one that is nested, as deep as can be read": array(order_with(f'"extra":{"[" * 700}1{"]" * 700}')),
    "many empty objects": array(*["{}"] * 20_000),
    "blanks in between": array(json.dumps(ORDER), rest=" " * 64_000),
    "escapes": array(order_with('"delaySecondsFilter":"' + "\\u0041" * 10_000 + '"')),
}


@pytest.mark.parametrize("body", ARRAYS.values(), ids=ARRAYS)
def test_no_array_of_orders_costs_more_than_2_ms_to_judge(body: bytes) -> None:
    check_bound(lambda: read_batch(body[:BODY_BYTES_MAX], READING, NOW_MS))


def test_the_most_expensive_array_that_is_taken_is_taken() -> None:
    taken = read_batch(ARRAYS["twenty valid orders with all fields"], READING, NOW_MS)
    assert isinstance(taken, Batch)
    assert len(taken.alerts) == 20
