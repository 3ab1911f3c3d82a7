"""Each act and event is told in a sentence of words and links, whatever the ledger has of it."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from signalq.consumer.ledger.queries.activity import Entry, Place
from signalq.ops.console.desk import Desk, Host
from signalq.ops.console.gate.access import Viewer
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.console.pages.activity import ROWS_MAX, moment, place
from signalq.ops.console.rendering.render import render
from signalq.ops.console.view import View
from signalq.settings.sections import Settings

AT_MS = 1_796_047_351_412
LINK = re.compile(r'<a [^>]*href="([^"]*)"')
FOREIGN = "</td><script>alert(1)</script>\u202e\x1b[31m\"'&"
NOTHING: dict[str, Any] = {"who": None, "kind": None, "since": None, "until": None}


def entry(kind: str, *, about: dict[str, Any] | None = None, number: int = 1, **more: Any) -> Entry:
    usual = {"who": "alice", "via": "console", "address": "10.2.0.7", "done": 1}
    return Entry(Place(AT_MS, 3, number), kind, about=about or {}, **usual | more)


def shown(*entries: Entry, **context: Any) -> str:
    """The part of the page that these are in."""
    desk = Desk(Settings, Host(is_consumer=False, host="127.0.0.1", port=1))
    view = View(make_mocked_request("GET", "/activity"), desk, Viewer(None, "view", "::1"), {}, Snapshot(now_ms=AT_MS))
    usual = {"entries": entries, "filters": NOTHING, "before": None, "older": None}
    return render("parts/activity.html", view, usual | context)


def cells(*entries: Entry) -> list[list[str]]:
    """The text of each cell of each entry, as a person reads it."""
    rows = re.findall(r'<tr id="act-[^"]*">(.*?)</tr>', shown(*entries), re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] for row in rows]


def text_of(markup: str) -> str:
    return re.sub(r"[ \n]+", " ", html.unescape(re.sub("<[^>]*>", "", markup))).strip(" ")


@pytest.mark.parametrize(
    ("one", "what", "of"),
    [
        (entry("switch", about={"connector": "main", "state": "paused"}), "paused main", ""),
        (entry("switch", about={"state": "paused"}, why="odd fills"), "paused all connectors", "“odd fills”"),
        (entry("switch", about={"connector": "main", "state": "open"}), "resumed main", ""),
        (entry("switch", about={"state": "open"}), "resumed all connectors", ""),
        (entry("switch", about={"connector": "a", "state": "close-only"}), "set a to close-only", ""),
        (
            entry("replay", about={"reason": "rejected", "connector": "beta"}, done=1_728, refused=1),
            "replayed 1\u2009728 letters, 1 refused",
            "reason rejected connector beta letters",
        ),
        (entry("replay", about={"all": True}, done=0), "replayed nothing", "all of them letters"),
        (
            entry("discard", about={"ids": ["a", "b", "c", "d"], "more_ids": 5, "force": True}),
            "discarded 1 letter",
            "a b c and 6 more forced",
        ),
        (
            entry("replay", about={"groups": 2, "reasons": ["expired", "rejected"], "job": "7f-2"}, done=2),
            "replayed 2 letters",
            "2 groups: expired, rejected the job letters",
        ),
        (
            entry("cancel", about={"strategy": "momentum"}, done=2, refused=1),
            "canceled 2 delayed orders, 1 too late",
            "strategy momentum schedule",
        ),
        (
            entry("adopt-ledger", about={"ledger": "sqlite:///new", "before": "sqlite:///old"}),
            "gave the lanes to the ledger sqlite:///new; they belonged to sqlite:///old",
            "",
        ),
        (entry("adopt-ledger", about={"ledger": "sqlite:///new"}), "gave the lanes to the ledger sqlite:///new", ""),
        (entry("note", about={"shift_note": 4}, why="call the desk"), "left a shift note", "“call the desk”"),
        (entry("note", about={"shift_note": 4, "struck": True}), "struck out a shift note", ""),
        (entry("note"), "note, 1 done, 0 refused", ""),
        (entry("of a later version", about={"x": "y"}, done=3), "of a later version, 3 done, 0 refused", ""),
        (
            entry(
                "letters",
                about={"reason": "rejected", "connector": "main", "last_ms": AT_MS + 9_000, "settled": 0},
                who=None,
                done=31,
            ),
            "rejected: 31 letters of main",
            "the last 14:02:40 letters",
        ),
        (
            entry(
                "letters", about={"reason": None, "connector": None, "last_ms": AT_MS, "settled": 1}, who=None, done=1
            ),
            "dead without a reason of ours: 1 letter",
            "the last 14:02:31; 1 of them are gone letters",
        ),
        (entry("consumer", about={"name": "host-a:411"}, who=None), "consumer host-a:411 came", ""),
        (
            entry("consumer", about={"name": "host-a:411", "silent": True}, who=None),
            "consumer host-a:411 was last heard of",
            "",
        ),
        (entry("switch"), "set all connectors to —", ""),
        (entry("cancel", about={"ids": "no list"}), "canceled 1 delayed order", "schedule"),
    ],
    ids=lambda value: value.kind if isinstance(value, Entry) else None,
)
def test_an_act_is_told_in_a_sentence_and_on_what_it_was(one: Entry, what: str, of: str) -> None:
    ((when, who, *rest),) = cells(one)
    assert (when, rest) == ("14:02:31", [what, of])
    assert who == ("signalq" if one.who is None else "alice console 10.2.0.7")


def test_an_act_leads_to_its_connector_its_letters_its_job_and_its_person() -> None:
    about = {"reason": "rejected", "connector": "a/b c", "strategy": "m&m", "job": "7f/2"}
    links = [html.unescape(link) for link in LINK.findall(shown(entry("replay", about=about)))]
    assert links == [
        "/activity?who=alice",
        "/jobs/7f%2F2",
        "/dead?reason=rejected&connector=a%2Fb+c&strategy=m%26m",
    ]
    links = LINK.findall(shown(entry("switch", about={"connector": "a/b c", "state": "open"}, via="")))
    assert links == ["/activity?who=alice", "/lanes/a%2Fb%20c"]
    links = LINK.findall(shown(entry("note", about={"shift_note": 4}), entry("discard", about={"ids": ["a/b"]})))
    assert links == ["/activity?who=alice", "/notes/4", "/activity?who=alice", "/orders/a%2Fb"]


def test_anything_in_a_foreign_field_is_text() -> None:
    fields = ("connector", "state", "reason", "strategy", "cause", "ledger", "before", "name", "job", "shift_note")
    about: dict[str, Any] = dict.fromkeys(fields, FOREIGN) | {"ids": [FOREIGN], "last_ms": AT_MS, "settled": 1}
    kinds = ("switch", "replay", "discard", "cancel", "adopt-ledger", "note", "letters", "consumer", FOREIGN)
    page = shown(
        *(
            entry(kind, about=about, number=number, who=FOREIGN, via=FOREIGN, address=FOREIGN, why=FOREIGN)
            for number, kind in enumerate(kinds)
        )
    )
    assert "<script" not in page
    assert "alert(1)" in page
    assert not set("\u202e\x1b") & set(page)
    assert page.count("</td>") == 4 * len(kinds)


def test_days_stand_over_their_acts_the_latest_first() -> None:
    day_ms = 86_400_000
    some = [Entry(Place(AT_MS - days * day_ms, 3, 9 - n), "cancel", who="a") for n, days in enumerate((0, 0, 1, 3))]
    days = re.findall(r'<tr id="(day|act)-([^"]*)"', shown(*some))
    assert [(what, name[:10]) for what, name in days] == [
        ("day", "2026-11-30"),
        ("act", f"{AT_MS}"[:10]),
        ("act", f"{AT_MS}"[:10]),
        ("day", "2026-11-29"),
        ("act", f"{AT_MS - day_ms}"[:10]),
        ("day", "2026-11-27"),
        ("act", f"{AT_MS - 3 * day_ms}"[:10]),
    ]


def test_an_empty_page_says_how_far_it_looked_and_others_lead_on() -> None:
    assert "Nobody has done anything here yet" in shown()
    assert "All that the ledger has was looked at" in shown(filters=NOTHING | {"who": "bob"})
    assert "Older" not in shown(entry("cancel"))
    page = shown(entry("cancel"), before=Place(9, 3, 1), older="8.3.1", filters=NOTHING | {"kind": "cancel"})
    assert 'href="/activity?before=8.3.1&amp;kind=cancel"' in page
    assert 'href="/activity?kind=cancel"' in page
    assert ROWS_MAX == 100


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00", "25:00", "9" * 30, "0001-01-01T00:00+23:59"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is a time such as"):
        moment(text)


def test_a_time_is_in_utc_unless_it_says_otherwise() -> None:
    assert moment("2026-11-30T14:02") == moment("2026-11-30T14:02Z") == moment("2026-11-30T22:02+08:00")
    assert moment("2026-11-30T14:02") == 1_796_047_320_000
    assert moment("2026-11-30") == 1_795_996_800_000


@pytest.mark.parametrize("text", ["", "1.2", "1.2.3.4", "-1.2.3", "a.b.c", "1.2.³", f"{'9' * 19}.1.1"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is the place of an entry"):
        place(text)


def test_a_place_is_read_as_it_is_written() -> None:
    assert place("1796047351412.3.17") == Place(1796047351412, 3, 17)
