"""The news of a service and the one message that tells them; the URLs in the settings; the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from signalq.consumer.ledger.queries.orders import Death
from signalq.consumer.orders.switch import ALL, Change, Switch
from signalq.errors import SettingsError
from signalq.message.outcome import Outcome
from signalq.ops.notify import watch as watch_module
from signalq.ops.notify.outbox import BODY_CHARACTERS_MAX, KINDS_MAX, OTHERS, TITLE_CHARACTERS_MAX, Message, Outbox
from signalq.ops.notify.services import load_services
from signalq.ops.notify.trouble import (
    ADVICE,
    NO_CONSUMER,
    Trouble,
    no_broker,
    no_ledger,
    shown_connector,
    switched,
    unread,
)
from signalq.ops.notify.watch import Watch
from signalq.ops.terminal.escaping import secrets
from signalq.secrets.masking import service_secrets
from signalq.settings.processes import Notify
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from tests.unit.docs.test_docs import DEAD_LETTERS, OPERATE, quoted, rows

T0 = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
T1 = datetime(2026, 1, 31, 12, 5, tzinfo=UTC)
TOKEN = "AAbbCCddEEffGG1hhIIjj2KKllMM"


def outbox(letters: Mapping[tuple[str, str], int] | None = None) -> Outbox:
    made = Outbox("desk", T0)
    for (reason, connector), count in (letters or {}).items():
        for _ in range(count):
            made.add(reason, connector)
    return made


def message(made: Outbox, troubles: Mapping[str, Trouble] | None = None) -> Message:
    found = made.message(troubles or {})
    assert found is not None
    return found


# ---- what a message says ----


def test_without_news_there_is_no_message() -> None:
    assert outbox().message({}) is None


def test_letters_are_grouped_by_reason_and_connector_and_those_in_doubt_come_first() -> None:
    said = message(outbox({("rejected", "alt"): 4, ("rejected", "main"): 1, ("outcome-unknown", "main"): 2}))
    assert said.title == "signalq desk: 2 in doubt, 5 dead letters"
    assert said.body.splitlines() == [
        f"2 in doubt (main 2); {ADVICE['outcome-unknown']}",
        f"5 dead, rejected (alt 4, main 1); {ADVICE['rejected']}",
        "Since 2026-01-31 12:00 UTC. `signalq dead list` shows the letters.",
    ]
    assert said.level == "failure"


def test_the_kinds_of_news_have_their_levels() -> None:
    paused = {"switch:main": switched("main", "paused", None, ["main"])}
    assert message(outbox(), {"consumers": NO_CONSUMER}).level == "failure"
    assert message(outbox(), paused).level == "warning"
    assert message(outbox({("expired", "main"): 1})).level == "warning"
    made = outbox()
    made.taken(message(made, paused), T1)
    assert message(made).level == "success"


def test_a_state_is_told_once_and_its_end_once() -> None:
    made, there = outbox(), {"consumers": NO_CONSUMER}
    first = message(made, there)
    assert (first.title, first.body.splitlines()[0]) == (
        "signalq desk: no consumer is at work",
        "no consumer is at work: orders wait in their queues, and grow too old",
    )
    made.taken(first, T1)
    assert made.message(there) is None
    last = message(made)
    assert (last.title, last.body.splitlines()) == (
        "signalq desk: consumers are at work again",
        ["consumers are at work again", "Since 2026-01-31 12:05 UTC."],
    )
    made.taken(last, T1)
    assert made.message({}) is None


def test_a_state_that_was_over_before_it_was_told_is_not_told() -> None:
    made = outbox()
    message(made, {"consumers": NO_CONSUMER})
    assert made.message({}) is None


def test_another_cause_of_the_same_state_is_no_news_and_another_state_is() -> None:
    made = outbox()
    made.taken(message(made, {"broker": no_broker("connection refused")}), T1)
    assert made.message({"broker": no_broker("no answer")}) is None
    made.taken(message(made, {"switch:main": switched("main", "close-only", None, [])}), T1)
    assert message(made, {"switch:main": switched("main", "paused", None, [])}).title.endswith("main is paused")


def test_another_lane_that_is_not_read_is_news_and_the_message_names_all_of_them() -> None:
    made = outbox()
    made.taken(message(made, {"lanes": unread(["main"])}), T1)
    assert made.message({"lanes": unread(["main"])}) is None
    more = message(made, {"lanes": unread(["main", "alt"])})
    assert more.body.startswith("lanes are not read: main, alt; ")
    made.taken(more, T1)
    made.taken(message(made, {"lanes": unread(["main"])}), T1)
    assert message(made, {"lanes": unread([None])}).body.startswith("lanes are not read: the shared lane; ")


def test_a_service_that_did_not_take_a_message_gets_one_with_all_of_it() -> None:
    made = outbox({("rejected", "main"): 3})
    lost = message(made)
    made.add("rejected", "main")
    made.add("expired", "alt")
    assert message(made).letters.total() == lost.letters.total() + 2
    made.taken(lost, T1)
    assert message(made).letters == {("rejected", "main"): 1, ("expired", "alt"): 1}


# ---- limits ----


def test_a_message_is_short_and_cut_at_whole_lines_with_a_count_of_the_others() -> None:
    troubles = {f"switch:{n}": switched(f"main-{n}", "paused", change("x" * 500), [f"main-{n}"]) for n in range(50)}
    said = message(outbox({("outcome-unknown", "main"): 1}), troubles)
    assert len(said.body) <= BODY_CHARACTERS_MAX
    assert len(said.title) <= TITLE_CHARACTERS_MAX
    first, *_, more, end = said.body.splitlines()
    assert first.startswith("1 in doubt")
    assert more == f"… and {51 - (len(said.body.splitlines()) - 2)} lines more"
    assert end.startswith("Since ")


def test_of_many_connectors_some_are_named_and_the_others_counted() -> None:
    said = message(outbox({("invalid", f"bot-{n:02}"): 1 for n in range(10)}))
    assert (
        "10 dead, invalid (bot-00 1, bot-01 1, bot-02 1, bot-03 1, bot-04 1, bot-05 1 and 4 more connectors)"
        in said.body
    )


def test_made_up_connectors_cost_no_memory_without_end() -> None:
    made = outbox({("invalid", f"bot-{n}"): 1 for n in range(KINDS_MAX + 1_000)})
    letters = message(made).letters
    assert len(letters) == KINDS_MAX + 1
    assert letters.total() == KINDS_MAX + 1_000
    assert letters["invalid", OTHERS] == 1_000


# ---- what may be shown ----


def change(why: str, who: str = "anna") -> Change:
    return Change(1, "main", "paused", 0, who, why)


def test_a_pause_is_told_with_its_author_and_the_reason() -> None:
    paused = switched("main", "paused", change("exchange maintenance until 14:00"), ["main"])
    assert (paused.name, paused.detail) == ("main is paused", "by anna: exchange maintenance until 14:00")
    assert paused.over == "main is open again"
    assert switched(ALL, "close-only", None, []).name == "all connectors are close-only"
    assert switched(ALL, "close-only", None, []).over == "all connectors are open again"


def test_words_that_may_be_secrets_are_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_blanker", None)
    secrets.learn(["correct horse battery"])
    paused = switched("main", "paused", change(f"token={TOKEN} is bad", who=TOKEN), ["main"])
    assert paused.detail == "by ***: *** is bad"
    assert shown_connector(TOKEN, ["main"]) == f"(a name of {len(TOKEN)} characters, not shown)"
    for trouble in (no_broker("the correct horse battery failed"), no_ledger("the correct horse battery failed")):
        assert trouble.detail == "the *** failed"
    assert switched("main", "paused", change("correct horse battery"), ["main"]).detail == "by anna: ***"


@pytest.mark.parametrize("name", ["@everyone", "<!channel>", "a\nb", "main\u202e", "\x1b[2J"])
def test_a_name_calls_nobody_and_breaks_no_line(name: str) -> None:
    assert not set(shown_connector(name, [])) & set("@<>\n\u202e\x1b")


ACTING = [
    "@everyone",
    "<!channel>",
    "[click](https://evil.example/login)",
    "<https://evil.example|click>",
    "https://evil.example/login",
    "evil.example",
    "*bold*",
    "~gone~",
    "||hidden||",
    "`code`",
]


@pytest.mark.parametrize("text", ACTING)
def test_nothing_in_a_foreign_text_acts(text: str) -> None:
    """It calls nobody, is no link, not even one that a service makes of it by itself, and is set like the rest."""
    name = shown_connector(text, [])
    paused = switched("main", "paused", change(f"look {text} now", who=text), ["main"])
    for shown in (name, paused.detail):
        assert not re.search(r"[@<>`\[\]*~|]|://|\w\.[a-z]", shown), shown
    assert "look" in paused.detail


def test_a_reason_in_plain_words_is_shown_as_it_is() -> None:
    why = "v1.2 is out, see ticket #7 (or ask bob); back at 14:00 - maybe."
    assert switched("main", "paused", change(why), ["main"]).detail == f"by anna: {why}"


def test_a_configured_name_is_shown_as_it_is_and_a_long_one_is_cut() -> None:
    assert shown_connector("Übung-1/x", ["Übung-1/x"]) == "Übung-1/x"
    assert shown_connector("long " * 20, ["long " * 20]) == ("long " * 8)[:39] + "…"


def test_each_reason_has_an_advice() -> None:
    assert set(ADVICE) == {name for row in rows(DEAD_LETTERS, "## Reasons") if len(row) == 3 for name in quoted(row[0])}


# ---- what is counted ----

DEAD = Outcome("id", 1, "main", "m", "buy", None, "dead", "rejected", 1, 400, T0, None, T0)
DUPLICATE = replace(DEAD, status="duplicate", reason=None, updated_at=T1)
DEATH = Death("m", "id", 1, "main", "rejected", round(T0.timestamp() * 1000))


def watched(*heard: Outcome | Death) -> int:
    """How many dead letters are counted of events and of what the ledger has, as they come."""
    counted: list[tuple[str, str]] = []
    watch = Watch(Settings(), on_letter=lambda *letter: counted.append(letter), lane_s=15)
    for one in heard:
        if isinstance(one, Death):
            watch._take(watch_module._Look(0, 1, {}, Switch(), {}, [one]))
        else:
            watch._hear(one)
    return len(counted)


def test_an_ending_is_counted_once_by_its_event_and_by_the_ledger() -> None:
    assert watched(DEAD, DEAD, DEATH, DEAD, DEATH) == watched(DEATH, DEAD) == 1
    assert watched(DEAD, replace(DEAD, generation=2), replace(DEAD, strategy="n"), replace(DEAD, intent_id="i")) == 4


def test_an_ending_of_last_week_that_a_duplicate_repeats_is_no_news() -> None:
    assert watched(DUPLICATE, DEAD) == 0


def test_an_ending_whose_event_was_missed_is_counted_although_a_duplicate_was_heard_first() -> None:
    """The connection was away when it died; then somebody published it again, before the next look at the ledger."""
    assert watched(DUPLICATE, DEAD, DEATH, DEAD, DEATH) == 1


def test_only_so_many_endings_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "ENDINGS_MAX", 2)
    others = [replace(DEAD, intent_id=f"{number}") for number in range(2)]
    assert watched(DEAD, *others, DEAD, others[1]) == 4


# ---- settings ----

TELEGRAM = f"tgram://123456789:{TOKEN}/987654321"
MAIL = "mailtos://desk:pass%40word@mail.example.com:587/?from=desk@example.com&to=anna@example.com,bob@example.com"


def test_urls_are_a_list_or_one_a_line_and_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "signalq.toml"
    for text in (f'urls = ["{TELEGRAM}", "{MAIL}"]', f'urls = """\n{TELEGRAM}\n{MAIL}\n"""'):
        file.write_text(f"[notify]\n{text}\n", "utf-8")
        assert load_settings(file).notify.each_url == [TELEGRAM, MAIL]
    (tmp_path / "urls").write_text(f"{TELEGRAM}\n{MAIL}\n", "utf-8")
    file.write_text(f'[notify]\nurls_file = "{tmp_path}/urls"\n', "utf-8")
    assert load_settings(file).notify.each_url == [TELEGRAM, MAIL]
    monkeypatch.setenv("SIGNALQ_NOTIFY__URLS", TELEGRAM)
    assert load_settings(file).notify.each_url == [TELEGRAM]


@pytest.mark.parametrize(
    ("urls", "says"),
    [
        (TOKEN, "must be URLs of apprise"),
        (f"https//{TOKEN}", "must be URLs of apprise"),
        (f"{TELEGRAM} and {TOKEN}", "must be URLs of apprise"),
        ([TELEGRAM] * 21, "must be 1 to 20 URLs"),
        (" ", "must be 1 to 20 URLs"),
        ([1], "urls"),
    ],
)
def test_a_url_that_is_none_is_refused_and_not_shown(urls: object, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        Notify(urls=urls)  # type: ignore[arg-type]
    assert TOKEN not in str(refused.value)


def test_a_misspelt_key_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALQ_NOTIFY__URL", TELEGRAM)
    with pytest.raises(SettingsError, match=r"notify\.url is not a setting, the nearest is notify\.urls"):
        load_settings()


def test_urls_that_lie_elsewhere_are_not_needed_for_manifests(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[notify]\nurls_file = "/nowhere"\n', "utf-8")
    assert load_settings(file, with_secrets=False).notify.urls is not None


@pytest.mark.parametrize(
    ("url", "hidden", "shown"),
    [
        (TELEGRAM, TOKEN, "987654321"),
        (MAIL, "pass@word", "mail.example.com"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "TIiajkdnlazkcOXrIdevi7FQ", "slack"),
        (f"json://127.0.0.1:8080/hook?+Authorization=Bearer%20{TOKEN}", TOKEN, "127.0.0.1"),
        ("mailto://u:x9@example.com", "x9", "example.com"),
    ],
)
def test_the_secrets_of_a_url_are_blanked_everywhere_and_its_plain_words_are_not(
    url: str, hidden: str, shown: str
) -> None:
    assert hidden in service_secrets(url)
    settings = Settings(notify=Notify(urls=SecretStr(url)))
    blanked = settings.blanker(f"it said {hidden} of {shown}")
    assert hidden not in blanked
    assert shown in blanked


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("ntfy://opensesame", "topic 'opensesame' failed: 500", "topic '***' failed: 500"),
        (f"tgram://123456789:{TOKEN}/987654321", f"bot{TOKEN} to 987654321 failed", "bot*** to *** failed"),
        (MAIL, "ANNA@example.com refused, from desk", "***@*** refused, from ***"),
        (MAIL, "to send by mailtos failed, unexampled", "to send by mailtos failed, unexampled"),
        ("mailto://u:pass%40word@example.org/", "pass@word pass%40word", "***@*** ***"),
        ("json://h", "a JSON h failed", "a JSON h failed"),
    ],
)
def test_the_words_of_a_service_are_shown_without_a_part_of_its_url(url: str, said: str, shown: str) -> None:
    (service,) = load_services([url])
    assert service._hide(said) == shown


# ---- the page ----

PAGE = OPERATE / "notify.md"
ROOM = Path(__file__).parents[3] / "ops" / "notify"


def test_every_log_event_is_documented_and_no_other() -> None:
    code = "".join(file.read_text("utf-8") for file in ROOM.glob("*.py"))
    events = set(re.findall(r'log\.\w+\(\s*"([a-z._]+)"', code))
    assert {name for row in rows(PAGE, "## Log events") for name in quoted(row[0])} == events


def test_a_message_holds_nothing_of_an_outcome_but_its_reason_and_connector() -> None:
    """What comes of an event goes through one call with two texts."""
    (call,) = re.findall(r"self\._on_letter\((.*)\)\n", (ROOM / "watch.py").read_text("utf-8"))
    fields = set(re.findall(r"outcome\.(\w+)", call)) | {"reason"}
    assert fields == {"reason", "connector"} <= set(Outcome.__dataclass_fields__)
