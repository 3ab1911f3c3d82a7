"""The check as a page: against a real broker, with findings that are right and wrong; on demand, one run at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq.amqp.topology import Topology
from signalq.ops.check import letters
from signalq.ops.check.finding import Finding
from signalq.ops.console import checks
from signalq.ops.console.checks import Checks, Run
from signalq.settings.sources import load_settings
from tests.support.amqp import depth, plain_channel, publish_all
from tests.support.broker import Broker
from tests.support.console_site import NOBODY, TOKEN, OpenConsole, open_console
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

NOWHERE = {"url": "http://127.0.0.1:1/"}
EVIL = "</td><script>alert(1)"


def rows(page: str) -> dict[str, tuple[str, str]]:
    """The state and the sentence of each finding."""
    found = re.findall(r'<span class="tag (\w+)">.*?<th[^>]*>([^<]*)</th>\s*<td[^>]*>\s*(.*?)\s*</td>', page, re.DOTALL)
    return {of: (state, sentence) for state, of, sentence in found}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "RUN_EVERY_S", 0.0)


async def test_a_broker_that_is_as_it_should_be_and_then_is_not(
    broker: Broker, topology: Topology, webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_reads(*_anything: object, **_more: object) -> None:
        raise AssertionError("the letters are read")

    monkeypatch.setattr(letters, "letters_on", nobody_reads)
    names = topology.names
    async with open_console(
        tmp_path, broker={"url": broker.url, "prefix": names.prefix}, webhook={"url": webhook.url}
    ) as console:
        carol = await console.browser("carol", role="view")
        page = (await carol.get("/check")).text
        found = rows(page)
        assert "Nothing is wrong; 2 things deserve a look." in page, found
        assert list(found)[2:] == [
            *("broker", "topology", "consumer", "dead letters", "ledger", "switch", "replicas", "producers", "clock"),
            "webhook",
        ]
        assert found["dead letters"] == ("ok", "<bdi>none</bdi>")
        assert found["broker"][1].startswith("<bdi>RabbitMQ ")
        old = {"signalq-intent-id": "x", "signalq-reason": "rejected", "signalq-dead-at": "2020-01-31T12:00:00.000Z"}
        await publish_all(broker.url, "", names.dead, [(b"{}", Basic.Properties(delivery_mode=2, headers=old))] * 2)
        async with plain_channel(broker.url) as channel:
            await channel.queue_delete(names.due)
            await channel.basic_consume(names.orders, lambda _message: None)
            page = (await carol.post("/check")).text
        found = rows(page)
        assert "1 thing is wrong." in page, found
        assert (found["topology"][0], names.due in found["topology"][1]) == ("bad", True)
        assert found["dead letters"][0] == "warn"
        assert f"2 dead letters in {names.dead}, none of the last 24 h" in found["dead letters"][1]
        assert "the queue has 2 letters more than the ledger knows" in found["dead letters"][1]
        assert await depth(broker.url, names.dead) == 2
        assert (await carol.get("/parts/check")).text.strip() in page
        assert webhook.orders == []


async def test_everything_foreign_is_text_and_no_secret_is_there(tmp_path: Path) -> None:
    connectors = {EVIL: {"url": "http://127.0.0.1:1/?key=s3cret-in-a-url", "token": "connector-t0ken-12"}}
    async with open_console(tmp_path, webhook=NOWHERE, connectors=connectors) as console:
        alice = await console.browser("alice")
        pages = [(await alice.get(path)).text for path in ("/check", "/parts/check", "/check?key=connectors")]
    for page in pages:
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
        for secret in ("topsecret", "s3cret", "t0ken", TOKEN):
            assert secret not in page
    assert rows(pages[0])["broker"][0] == "bad"
    assert "see <code>signalq help connection-refused</code>" in pages[0]


async def test_settings_are_found_by_the_beginning_of_their_name_and_a_long_table_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalq.ops.console.pages.check.SETTINGS_ROWS_MAX", 3)
    async with open_console(tmp_path, webhook=NOWHERE) as console:
        alice = await console.browser("alice")
        page = (await alice.get("/check?key=ops")).text
        assert set(re.findall(r"<bdi>(\w+)\.\w+</bdi>", page)) == {"ops"}
        assert "<bdi>***</bdi>" in page
        assert "2 more: name their beginning above" in page
        assert "No setting here is <bdi>op</bdi>" in (await alice.get("/check?key=op")).text
        for query in ("x=1", "key=a&key=b", "key=a%0ab"):
            await alice.get(f"/check?{query}", status=400)
        await alice.post("/check", x="1", status=400)
        monkeypatch.setenv("SIGNALQ_CONFIG", str(tmp_path / "none.toml"))
        page = (await alice.post("/check")).text
    assert "Where they come from can't be told now" in page
    assert "the settings as they are now are refused" in page


async def test_a_stranger_begins_no_run(console: OpenConsole) -> None:
    stranger = await console.browser()
    await stranger.post("/check", status=401, Accept="*/*")
    assert console.desk.checks.latest is None


# --- the runs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file without a broker, and nothing around it."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "signalq.toml"
    file.write_text(
        f'[broker]\nurl = "{NOBODY["url"]}"\n[webhook]\nurl = "{NOWHERE["url"]}"\n'
        f'[ledger]\nurl = "sqlite:///{tmp_path}/none.db"\n[connectors.main]\ntoken = "connector-t0ken-12"\n',
        "utf-8",
    )
    return file


def checks_of(file: Path, *, in_consumer: bool = False) -> Checks:
    settings = load_settings(file)
    return Checks(lambda: settings, config=file, in_consumer=in_consumer)


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text("utf-8") + text, "utf-8")


def of(run: Run, check: str) -> Finding:
    (found,) = (one for one in run.findings if one.check == check)
    return found


async def test_one_runs_at_a_time_and_no_other_begins_at_once_after_it(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = checks_of(settings_file)
    told: list[int] = []
    some.on_change = lambda: told.append(len(some.latest.findings) if some.latest else 0)
    first, same = await asyncio.gather(some.begun(), some.begun())
    assert first is same
    assert first.ended_ms is not None
    assert told == [*range(1, len(first.findings) + 1), len(first.findings)]
    assert await some.begun() is not first
    monkeypatch.setattr(checks, "RUN_EVERY_S", 3_600.0)
    latest = some.latest
    assert await some.begun() is latest
    await some.close()


async def test_a_person_who_looks_has_a_result_that_is_not_old(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = checks_of(settings_file)
    first = await some.fresh()
    assert await some.fresh() is first
    monkeypatch.setattr(checks, "FRESH_S", 0.0)
    assert await some.fresh() is not first
    await some.close()


async def test_a_run_says_where_each_setting_comes_from_and_how_the_file_differs_by_now(settings_file: Path) -> None:
    some = checks_of(settings_file)
    run = await some.begun()
    assert run.differs is None
    sources = {one.key: (one.text, one.source, one.where) for one in run.settings}
    assert sources["connectors.main.token"] == ("***", "file", str(settings_file))
    assert sources["broker.url"] == ("amqp://user:***@127.0.0.1:1/", "file", str(settings_file))
    assert sources["broker.heartbeat_s"] == (10, "default", None)
    add(settings_file, "[delivery]\nattempts_max = 3\n")
    run = await some.begun()
    assert run.differs == "read from the file, and not in force before a restart: delivery.attempts_max"
    assert run.settings
    add(settings_file, "crashes_max = -3\n")
    run = await some.begun()
    assert (run.differs or "").startswith("the settings as they are now are refused")
    assert "delivery.crashes_max" in (run.differs or "")
    assert (run.settings, of(run, "environment").state) == ((), "ok")
    await some.close()


async def test_a_webhook_that_this_console_does_not_reach_is_wrong_only_in_the_process_of_a_consumer(
    settings_file: Path,
) -> None:
    for in_consumer, state in ((True, "wrong"), (False, "note")):
        some = checks_of(settings_file, in_consumer=in_consumer)
        found = of(await some.begun(), "webhook")
        assert (found.state, "from where this console runs" in found.found) == (state, not in_consumer)
        await some.close()


async def test_a_run_that_takes_long_shows_what_it_has_and_is_broken_off_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(checks, "PATIENCE_S", 0.01)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        broker = {"url": f"amqp://u:topsecret@127.0.0.1:{port}/"}
        async with open_console(tmp_path, broker=broker, webhook=NOWHERE) as console:
            alice = await console.browser("alice")

            async def has_found_two() -> bool:
                page = (await alice.get("/check")).text
                return "Looking at everything since" in page and "2 findings so far" in page

            await wait_until(has_found_two, what="the findings before the broker's")
        run = console.desk.checks.latest
        assert run is not None
        assert run.ended_ms is not None, "the end of the console has ended it"


async def test_a_run_is_broken_off_after_its_time_and_a_failure_of_ours_is_a_finding(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_anything: object) -> object:
        async def found() -> object:
            yield Finding("settings", "ok", "none")
            await asyncio.sleep(3_600)

        return found()

    def failing(*_anything: object) -> object:
        raise RuntimeError("t0psecret")

    outcomes: list[tuple[Callable[..., object], str]] = [
        (endless, "it was broken off after 0.05 s, and not all was looked at"),
        (failing, "the console failed at this; its log says why, under the number"),
    ]
    monkeypatch.setattr(checks, "RUN_TIMEOUT_S", 0.05)
    some = checks_of(settings_file)
    with capture_logs() as logs:
        for found, sentence in outcomes:
            monkeypatch.setattr(checks, "findings_by", found)
            run = await some.begun()
            await wait_until(lambda run=run: run.ended_ms, what="the end of the run")
            last = of(run, "check")
            assert (last.state, last.found.startswith(sentence)) == ("wrong", True), last
    assert [(line["event"], last.found.endswith(f" {line['number']}")) for line in logs] == [("console.failed", True)]
    assert "t0psecret" not in last.found
    await some.close()
