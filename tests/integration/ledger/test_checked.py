"""What `check` and the console find in a ledger: its schema, and who acts by the switch; on SQLite and PostgreSQL."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replicas, switches
from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.ops.check.finding import Finding
from signalq.ops.check.ledger import check_by_ledger, check_ledger
from signalq.ops.console.moment.schema import check_schema
from signalq.settings.connections import LedgerSettings
from signalq.settings.sections import Settings
from tests.support.stores import Store


async def client_of(store: Store) -> LedgerClient:
    await store.close(await store.ledger())
    return await store.stack.enter_async_context(LedgerClient(store.url))


async def found(visit: LedgerClient) -> Finding:
    return await check_by_ledger(visit, "replicas")


async def test_consumers_are_named_with_those_that_are_silent_or_act_by_an_older_change_of_the_switch(
    store: Store,
) -> None:
    visit = await client_of(store)

    def lives(connection: Connection, owner: str, seen: int, ago_ms: int = 0) -> None:
        replicas.note_alive(connection, clock_ms(connection) - ago_ms, owner, f"host-{owner}:1", seen, {})

    none = await found(visit)
    assert (none.state, none.found) == ("note", "no consumer gives a sign of life")
    await visit.transact(lambda now: lives(now, "a", 0))
    one = await found(visit)
    assert (one.state, one.found, one.advice) == ("ok", "host-a:1 lives", None)
    change = await visit.transact(lambda now: switches.change(now, 1, "main", "paused", who="bob", why=""))
    await visit.transact(lambda now: lives(now, "b", change.number))
    await visit.transact(lambda now: lives(now, "c\x1b", change.number, 40_000))
    all_of_them = await found(visit)
    assert all_of_them.state == "note"
    assert re.sub(r"\d+ s$", "… s", all_of_them.found) == (
        f"host-a:1, host-b:1 live; host-a:1 acts by change 0 of the switch, and {change.number} is the latest; "
        "host-c\\x1b:1 is silent for … s"
    )


async def test_the_finding_on_a_ledger_names_its_schema(store: Store) -> None:
    visit = await client_of(store)
    settings = Settings(ledger=LedgerSettings.model_validate({"url": store.url}))
    there = await check_ledger(settings, visit, None)
    assert (there.state, there.found) == ("ok", f"{visit.shown} is there, of schema 0006")
    away = SettingsError("the package asyncpg is not installed: pip install it", kind=Kind.PACKAGE_MISSING)
    missing = await check_ledger(settings, away, visit.mark)
    assert (missing.state, missing.found, missing.advice) == (
        "wrong",
        "the package asyncpg is not installed",
        "pip install it",
    )


async def test_a_console_refuses_a_ledger_of_another_schema_and_says_which_of_the_two_is_newer(store: Store) -> None:
    visit = await client_of(store)
    await visit.read(check_schema)
    for schema, advice in (("9999", "use the newer `signalq console`"), ("0001", "run `signalq ledger upgrade`")):
        await store.run(f"UPDATE alembic_version SET version_num = '{schema}'")  # noqa: S608 - our own number
        said = f"this console is of schema 0006, the ledger of {schema}: {advice}"
        with pytest.raises(SettingsError, match=said) as refused:
            await visit.read(check_schema)
        assert refused.value.kind is Kind.LEDGER_VERSION
