"""A search for orders as a person writes it: each text means one thing, or is refused with a sentence that helps."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.ledger.queries.orders import STATUSES, Filter
from signalq.ops.console.orders.search import (
    COMPLETED_CONNECTORS_MAX,
    READERS,
    BadSearch,
    Search,
    asking,
    completions,
    is_short_id,
    parse,
    quoted,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT, BEGINS = "the client order id", "an id that begins so"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", {}),
        ("   ", {}),
        ("co-118", {"word": "co-118"}),
        ("  co-118 ", {"word": "co-118"}),
        ("Long Entry", {"word": "Long Entry"}),
        ('"Long  Entry"', {"word": "Long  Entry"}),
        ('"order:1"', {"word": "order:1"}),
        ("我的單-1", {"word": "我的單-1"}),
        ("3b61…b526", {"word": "3b61…b526"}),
        ("connector:main", {"connector": "main"}),
        ('connector:"a b"', {"connector": "a b"}),
        (r'strategy:"say \"hi\" \\o/"', {"strategy": r'say "hi" \o/'}),
        ("status:dead reason:outcome-unknown", {"status": "dead", "reason": "outcome-unknown"}),
        ("action:cancellAll", {"action": "cancellAll"}),
        ("http:401", {"http": 401}),
        ("client:co-118", {"client": "co-118"}),
        ("client:a:b", {"client": "a:b"}),
        (f"trace:{TRACE}", {"trace": bytes.fromhex(TRACE)}),
        (f"trace:{TRACE.upper()}", {"trace": bytes.fromhex(TRACE)}),
        ("since:2h", {"since": timedelta(hours=2)}),
        ("since:2026-01-31T12:00", {"since": datetime(2026, 1, 31, 12, tzinfo=UTC)}),
        ("connector:main 3b61a2 status:dead", {"word": "3b61a2", "connector": "main", "status": "dead"}),
    ],
)
def test_a_text_means(text: str, meant: dict[str, Any]) -> None:
    assert parse(text) == Search(**meant)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("conector:main", "there is no qualifier conector:, the nearest is connector:"),
        ("Status:dead", "there is no qualifier Status:, the nearest is status:"),
        ("order:1", 'there is no qualifier order:; an id with a colon in it stands in quotes, "order:…"'),
        (":x", "there is no qualifier :"),
        ("status:", "status: has no value"),
        ('status:""', "status: has no value"),
        ("status:ded", "status: there is no status ded, the nearest is dead"),
        ("status:duplicate", "status: a duplicate has no row of its own"),
        ("reason:unknown-outcome", "reason: there is no reason unknown-outcome"),
        ("action:openLnog", "action: there is no action openLnog, the nearest is openLong"),
        ("http:99", "http: an HTTP status is a number from 100 to 599"),
        ("http:\uff14\uff10\uff11", "http: an HTTP status is a number from 100 to 599"),
        ("http:4xx", "http: an HTTP status is a number from 100 to 599"),
        ("trace:0af7", "trace: the id of a trace has 32 hexadecimal digits"),
        ("since:soon", "since: soon is neither a duration like 15m"),
        ("since:99999999999999999999d", "since: 99999999999999999999d is neither"),
        ("connector:a connector:b", "connector: is there twice"),
        ('"a', "a quote is not closed"),
        ('a"b"', "a quote is not closed, or touches a word"),
        ('connector:"a"b', "a quote is not closed, or touches a word"),
    ],
)
def test_a_text_that_means_nothing_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadSearch) as refused:
        parse(text)
    assert str(refused.value).startswith(sentence)


@given(st.text(alphabet=st.sampled_from('ab:"\\ …\n\t0status'), max_size=40))
def test_any_text_is_a_search_or_refused_and_one_that_is_refused_is_not_completed(text: str) -> None:
    offered = completions(text, ["main"])
    try:
        found = parse(text)
    except BadSearch:
        assert offered == []
    else:
        assert offered
        assert all(parse(one) != found for one in offered)


@given(st.dictionaries(st.sampled_from(["connector", "strategy", "client"]), st.text(min_size=1), max_size=3))
def test_a_link_asks_for_exactly_the_names_that_it_is_made_of(names: dict[str, str]) -> None:
    assert parse(asking(**names)) == Search(**names)


def test_there_is_a_qualifier_for_every_condition_and_a_documented_example_of_each() -> None:
    assert ["word", *READERS] == list(Search.__dataclass_fields__)
    page = (Path(__file__).parents[3] / "docs" / "operate" / "orders.md").read_text(encoding="utf-8")
    examples = re.findall(r"^\| `(\w+:\S+)` \|", page, re.MULTILINE)
    assert [example.partition(":")[0] for example in examples] == list(READERS)
    for example in examples:
        assert parse(example) != Search()


@pytest.mark.parametrize(
    ("word", "meanings"),
    [
        ("co-11", ["the id", CLIENT]),
        ("co-118", ["the id", CLIENT, BEGINS]),
        ("3b6…26", ["the id", CLIENT]),
        ("3b61…26", ["the id", CLIENT, BEGINS]),
        (TRACE, ["the id", CLIENT, BEGINS, "the trace id"]),
        (TRACE[:-1], ["the id", CLIENT, BEGINS]),
    ],
)
def test_a_word_is_tried_as_an_id_of_each_kind_the_most_exact_first(word: str, meanings: list[str]) -> None:
    assert [meaning for meaning, _ in parse(quoted(word)).meanings()] == meanings


def test_a_word_that_was_cut_is_looked_for_by_its_two_ends() -> None:
    *_, (_, wanted) = parse("3b61a2…25cb526").meanings()
    assert (wanted.begins, wanted.ends) == ("3b61a2", "25cb526")
    assert not is_short_id("3b61…")


def test_conditions_hold_for_each_meaning_of_the_word_and_alone_for_no_word() -> None:
    found = list(parse("connector:main co-118").meanings())
    assert [wanted.connector for _, wanted in found] == ["main"] * 3
    assert list(parse("connector:main").meanings()) == [("", Filter(connector="main"))]
    # A client's id that is given is not looked for in a second place.
    assert [meaning for meaning, _ in parse("client:a word").meanings()] == ["the id"]


def test_a_reason_is_that_of_a_dead_letter_unless_a_status_is_given() -> None:
    assert parse("reason:expired").conditions() == Filter(status="dead", reason="expired")
    assert parse("reason:expired status:retrying").conditions() == Filter(status="retrying", reason="expired")


def test_names_are_looked_for_as_the_ledger_has_them() -> None:
    assert Search(connector="a\x00b", client="\x00").conditions() == Filter(
        connector="a\\x00b", client_order_id="\\x00"
    )


def test_the_box_offers_the_search_with_one_more_qualifier_each() -> None:
    offered = completions("status:dead", ["b c", "a"])
    assert "status:dead reason:expired" in offered
    assert "status:dead connector:a" in offered
    assert 'status:dead connector:"b c"' in offered
    assert not any(text.count("status:") > 1 for text in offered)
    assert set(completions("", ())) >= {f"status:{status}" for status in STATUSES}
    many = [f"c{number}" for number in range(5_000)]
    assert len([text for text in completions("", many) if "connector:" in text]) == COMPLETED_CONNECTORS_MAX
