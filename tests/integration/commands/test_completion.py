"""Completion with real ledgers and in real shells: ids, and whatever is in them, reach the command as one word."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import replays
from signalq.consumer.orders.state import Attempt
from signalq.ops.completion.place import Candidate, place_of
from signalq.ops.completion.values import CANDIDATES_MAX, candidates
from tests.support.graveyard import dead, record
from tests.support.orders import STRATEGY, body, order
from tests.support.shells import in_fish, on_a_terminal
from tests.support.stores import Store, file_of

LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
# A producer chooses its message ids.
HOSTILE = "evil$(touch pwned)`touch pwned`;touch pwned|'\"*~!#"
CONFIG = '[connectors.main]\n[connectors."my bot"]\n[connectors."我的機器人"]\n'


async def deliver(ledger: Ledger, *names: str) -> None:
    """Write orders of these ids into the ledger, as delivered."""
    epoch = await ledger.open_lane(LANE)
    for name in names:
        known = await ledger.recall(order(body(log=name), message_id=name), epoch)
        claimed = await ledger.claim(known.order, known.state.claimed(1_000), epoch, attempt=None)
        concluded = claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered()
        await ledger.record(claimed.order, concluded, attempt=ACCEPTED)


async def delay(ledger: Ledger, **seconds: int) -> None:
    """Write delayed orders of these ids into the ledger."""
    epoch = await ledger.open_lane(LANE)
    now_ms = time.time_ns() // 1_000_000
    for name, delay_s in seconds.items():
        content = body(log=name, delaySeconds=delay_s)
        await ledger.recall(order(content, message_id=name, created_ms=now_ms, received_ms=now_ms), epoch)


async def completed(line: str) -> list[Candidate]:
    """The candidates for the end of a line. In a thread: at a Tab there is no loop yet."""
    return await asyncio.to_thread(lambda: candidates(place_of(line.split(" "))))


@pytest.fixture
def settings(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this test: the store's ledger, and no file."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", store.url)
    monkeypatch.chdir(tmp_path)


# ---- ids, of both kinds of ledger ----


async def test_each_command_is_offered_the_ids_that_it_can_do_something_with(
    store: Store, ledger: Ledger, settings: None
) -> None:
    await deliver(ledger, "went-out-1", "went-out-2")
    await delay(ledger, later=600, sooner=60)
    await record(store.url, [dead(1, reason="expired"), dead(2)])
    for command in ("orders show ", "orders list --id ", "orders list --id=", "orders list --id x --id "):
        found = [text.removeprefix("--id=") for text, _ in await completed(command)]
        assert set(found[:2]) == {"id-1", "id-2"}
        assert found[2:] == ["sooner", "later", "went-out-2", "went-out-1"], "the newest first"
    for command in ("dead show ", "dead list --id ", "dead replay --id ", "dead discard --id "):
        assert {text for text, _ in await completed(command)} == {"id-1", "id-2"}
    for command in ("scheduled list --id ", "scheduled cancel --id "):
        assert [text for text, _ in await completed(command)] == ["sooner", "later"], "the soonest first"
    assert [text for text, _ in await completed("orders show WENT-OUT-2")] == ["went-out-2"]


async def test_an_id_is_offered_with_a_few_words_about_it(store: Store, ledger: Ledger, settings: None) -> None:
    await deliver(ledger, "went-out")
    await delay(ledger, waits=600)
    await record(store.url, [dead(1)])
    about = dict(await completed("orders show "))
    assert about["went-out"].startswith("openLong main, delivered ")
    assert about["waits"].startswith(("openLong main, received ", "openLong main, scheduled "))
    assert dict(await completed("dead show "))["id-1"].startswith("openLong main, rejected ")
    assert dict(await completed("scheduled cancel --id "))["waits"] in {"openLong main, due in 10m", *(
        f"openLong main, due in {minutes}m" for minutes in range(7, 10)
    )}  # fmt: skip


async def test_a_letter_that_was_discarded_is_not_offered_any_more(
    store: Store, ledger: Ledger, settings: None
) -> None:
    await record(store.url, [dead(1), dead(2)])

    def discard(connection: Connection) -> None:
        standing = replays.find(connection, STRATEGY, "id-1")
        assert standing is not None
        replays.note_discarded(connection, clock_ms(connection), standing, standing.generation, "by a test")

    await ledger._writer.ask(lambda now: discard(now.connection))
    assert [text for text, _ in await completed("dead show ")] == ["id-2"]


async def test_ids_are_offered_up_to_a_limit_and_the_others_by_their_beginning(ledger: Ledger, settings: None) -> None:
    await deliver(ledger, *(f"id-{number:03}" for number in range(CANDIDATES_MAX + 20)))
    found = [text for text, _ in await completed("orders show ")]
    assert found == [f"id-{number:03}" for number in reversed(range(20, CANDIDATES_MAX + 20))]
    assert [text for text, _ in await completed("orders show id-00")] == [f"id-00{n}" for n in reversed(range(10))]


async def test_an_id_that_can_not_be_typed_is_not_offered(ledger: Ledger, settings: None) -> None:
    await deliver(ledger, "a\x1b[31mb", "c\nd", "e\u202ef", "plain")
    assert [text for text, _ in await completed("orders show ")] == ["plain"]


# ---- a file: nothing is written ----


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_tab_leaves_a_file_as_it_is_beside_a_consumer_and_without_one(store: Store, settings: None) -> None:
    ledger = await store.ledger()
    await deliver(ledger, "went-out")
    folder = file_of(store.url).parent

    def files() -> dict[str, tuple[int, bytes]]:
        return {
            one.name: (one.stat().st_mtime_ns, one.read_bytes()) for one in folder.iterdir() if "shm" not in one.name
        }

    beside = files()
    assert [text for text, _ in await completed("orders show ")] == ["went-out"], "what is in the log alone"
    assert files() == beside
    await store.close(ledger)
    alone = files()
    assert [text for text, _ in await completed("orders show ")] == ["went-out"]
    assert files() == alone
    assert list(alone) == [file_of(store.url).name]


# ---- shells ----


@pytest.fixture
async def desk(tmp_path: Path, settings: None, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings; the ledger knows some orders."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "signalq.toml").write_text(CONFIG, encoding="utf-8")
    (folder / "signalq.toml").chmod(0o600)
    monkeypatch.setenv("SIGNALQ_CONFIG", str(folder / "signalq.toml"))
    await deliver(ledger, HOSTILE, "file:7:a=b", "0123456789abcdef")
    return folder


# The keys that are pressed before a Tab, and the words that the command gets.
KEYS = {
    "signalq dea": ["dead"],
    "signalq dead li": ["dead", "list"],
    "signalq dead list --rea": ["dead", "list", "--reason"],
    "signalq dead list --reason re": ["dead", "list", "--reason", "rejected"],
    "signalq dead list --reason=re": ["dead", "list", "--reason=rejected"],
    "signalq publish --action openl": ["publish", "--action", "openLong"],
    "signalq orders list --status del": ["orders", "list", "--status", "delivered"],
    "signalq lanes pause ma": ["lanes", "pause", "main"],
    "signalq lanes pause my": ["lanes", "pause", "my bot"],
    "signalq lanes pause 'my": ["lanes", "pause", "my bot"],
    'signalq lanes pause "my': ["lanes", "pause", "my bot"],
    "signalq lanes pause 我": ["lanes", "pause", "我的機器人"],
    "signalq settings connectors.my": ["settings", "connectors.my bot"],
    "signalq --config signalq.t": ["--config", "signalq.toml"],
    "true; FOO=1 signalq orders show 012": ["orders", "show", "0123456789abcdef"],
    "signalq orders show file:7": ["orders", "show", "file:7:a=b"],
    "signalq orders list --id=file:": ["orders", "list", "--id=file:7:a=b"],
    "signalq orders show ev": ["orders", "show", HOSTILE],
}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["bash", "zsh"])
async def test_a_tab_completes_the_word_that_the_command_then_gets(name: str, desk: Path) -> None:
    async with on_a_terminal(name, desk) as terminal:
        for keys, words in KEYS.items():
            assert await terminal.run(f"{keys}\t") == words, terminal.shown
        # Two Tabs show which there are, each with a few words about it.
        await terminal.is_ready()
        terminal.press("signalq dead \t\t")
        await terminal.shows("Throw dead letters away for good")
    assert not (desk / "pwned").exists()
    assert "rror" not in terminal.shown


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_fish_has_the_same_candidates(desk: Path) -> None:
    assert await in_fish("signalq dead li", desk) == ["list\tList the dead letters, oldest first"]
    assert await in_fish("signalq dead list --reason re", desk) == ["rejected"]
    assert await in_fish("signalq dead list --reason=re", desk) == ["--reason=rejected"]
    assert await in_fish("signalq lanes pause ", desk) == ["main", "my bot", "我的機器人"]
    assert await in_fish("signalq --config signalq.t", desk) == ["signalq.toml"]
    (found,) = await in_fish("signalq orders show ev", desk)
    assert found.split("\t")[0] == HOSTILE
    assert not (desk / "pwned").exists()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_command_that_is_gone_disturbs_no_shell(desk: Path) -> None:
    async with on_a_terminal("bash", desk) as terminal:
        assert await terminal.run("signalq dea\t") == ["dead"]
        (desk / "signalq").rename(desk / "elsewhere")
        await terminal.is_ready()
        before = terminal.shown
        terminal.press("signalq dea\t\x15echo still $((40 + 2))\r")
        await terminal.shows("still 42")
        shown = terminal.shown.removeprefix(before)
        assert "not found" not in shown
        assert "No such file" not in shown
