"""The reader of the dead letters: what it does not take stays, in its order, however it ends."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from pamqp.commands import Basic

from signalq.amqp.topology import Topology
from signalq.errors import BrokerUnreachable
from signalq.names import Names
from signalq.ops.dead_letters import reader
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.reader import LetterReader, open_letters
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from tests.support.amqp import depth, drain, publish_all
from tests.support.broker import Broker, through
from tests.support.proxy import Proxy

LETTERS = 700


@pytest.fixture
def settings(broker: Broker, topology: Topology, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of this test; few letters in a window, so that there are many windows."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", topology.names.prefix)
    monkeypatch.setattr(reader, "WINDOW_LETTERS_MIN", 10)
    return load_settings()


def letters(first: int, count: int) -> list[tuple[bytes, Basic.Properties]]:
    return [
        (
            b"{}",
            Basic.Properties(
                delivery_mode=2,
                message_id=f"{number}",
                headers={"signalq-intent-id": f"{number}", "signalq-reason": "rejected", "signalq-generation": 1},
            ),
        )
        for number in range(first, first + count)
    ]


def looking(settings: Settings) -> AbstractAsyncContextManager[LetterReader]:
    return open_letters(settings, on_wait=print)


def number(letter: Letter) -> int:
    return int(letter.intent_id or "")


async def rest(broker: Broker, names: Names) -> list[int]:
    return [int(message.properties.message_id or "") for message in await drain(broker.url, names.dead)]


async def test_looking_through_many_windows_keeps_the_order_even_of_letters_that_arrive_meanwhile(
    broker: Broker, names: Names, settings: Settings
) -> None:
    await publish_all(broker.url, "", names.dead, letters(0, LETTERS))
    for look in range(2):
        seen = []
        async with looking(settings) as found:
            assert found.ready == LETTERS + look * 50
            async for letter in found:
                if len(seen) == LETTERS // 2:
                    await publish_all(broker.url, "", names.dead, letters(LETTERS + look * 50, 50))
                seen.append(number(letter))
        assert seen == list(range(LETTERS + look * 50))
        assert await depth(broker.url, names.dead) == LETTERS + (look + 1) * 50
    assert await rest(broker, names) == list(range(LETTERS + 100))


async def test_a_reader_that_leaves_early_keeps_the_order_too(broker: Broker, names: Names, settings: Settings) -> None:
    await publish_all(broker.url, "", names.dead, letters(0, LETTERS))
    async with looking(settings) as found:
        assert [number(letter) async for letter in found] == list(range(LETTERS))
    for _ in range(2):
        async with looking(settings) as found:
            async for letter in found:
                if number(letter) == LETTERS // 3:
                    break
    async with looking(settings):
        pass
    assert await rest(broker, names) == list(range(LETTERS))


async def test_few_letters_are_in_memory_however_many_there_are(
    broker: Broker, names: Names, settings: Settings
) -> None:
    await publish_all(broker.url, "", names.dead, letters(0, LETTERS))
    async with looking(settings) as found:
        most = 0
        async for batch in found.batches():
            most = max(most, len(batch) + found._arrived.qsize())
    assert most <= -(-LETTERS // reader.WINDOWS_MAX)


async def test_taken_letters_are_gone_and_the_rest_is_in_order(
    broker: Broker, names: Names, settings: Settings
) -> None:
    await publish_all(broker.url, "", names.dead, letters(0, LETTERS))
    async with looking(settings) as found:
        async for batch in found.batches():
            for letter in batch:
                if number(letter) % 5:
                    await found.take(letter)
    assert await rest(broker, names) == list(range(0, LETTERS, 5))


async def test_all_that_is_taken_in_one_go_is_gone_at_the_end(
    broker: Broker, names: Names, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's acknowledgements may still be on their way when the channel closes."""
    monkeypatch.setattr(reader, "WINDOW_LETTERS_MIN", 1000)
    monkeypatch.setattr(reader, "BATCH_LETTERS_MAX", 1000)
    for _ in range(3):
        await publish_all(broker.url, "", names.dead, letters(0, LETTERS))
        async with looking(settings) as found:
            async for batch in found.batches():
                await asyncio.gather(*(found.take(letter) for letter in batch))
        assert await depth(broker.url, names.dead) == 0


async def test_foreign_letters_that_are_alike_are_told_apart_in_every_look_at_them(
    broker: Broker, names: Names, settings: Settings
) -> None:
    """They may have been asked about: one that comes in afterwards is not meant."""
    alike = (b"{}", Basic.Properties(delivery_mode=2, message_id="one"))
    marks: list[list[bytes]] = []
    for number_of_them in (2, 3):
        await publish_all(broker.url, "", names.dead, [alike] * (number_of_them - len(marks) * 2))
        async with looking(settings) as found:
            marks.append([letter.mark async for letter in found])
    assert [len(set(seen)) for seen in marks] == [2, 3]
    assert marks[1][:2] == marks[0]


async def test_a_foreign_letter_that_comes_in_while_one_like_it_is_taken_stays(
    broker: Broker, names: Names, settings: Settings
) -> None:
    alike = (b"{}", Basic.Properties(delivery_mode=2, message_id="one"))
    await publish_all(broker.url, "", names.dead, [alike])
    async with looking(settings) as found:
        async for batch in found.batches():
            for letter in batch:
                await found.take(letter)
        await publish_all(broker.url, "", names.dead, [alike])
    assert await depth(broker.url, names.dead) == 1


async def test_a_link_that_breaks_in_the_middle_is_said_at_once_and_keeps_the_order(
    broker: Broker, names: Names, settings: Settings, link: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_all(broker.url, "", names.dead, letters(0, LETTERS))
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))

    async def look() -> None:
        seen = 0
        async with asyncio.timeout(reader.IDLE_TIMEOUT_S), looking(load_settings()) as found:
            async for _letter in found:
                seen += 1
                if seen == LETTERS // 2:
                    await link.cut()

    with pytest.raises(BrokerUnreachable, match="broke after"):
        await look()
    async with looking(settings) as found:
        assert [number(letter) async for letter in found] == list(range(LETTERS))
    assert await rest(broker, names) == list(range(LETTERS))
