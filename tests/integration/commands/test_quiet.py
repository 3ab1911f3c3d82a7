"""`-q`: rows, warnings and errors alone; and the connector that was meant, where a listing finds nothing of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pamqp.commands import Basic

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import publish_all
from tests.support.broker import ExternalBroker
from tests.support.commands import Signalq
from tests.support.stores import ledger_at

LETTER = {
    "signalq-intent-id": "id-1",
    "signalq-generation": 0,
    "signalq-connector": "main",
    "signalq-reason": "rejected",
    "signalq-dead-at": "2026-01-31T12:00:00.000Z",
}
ONE = ("publish", "--connector=main", "--action=buy", "--fixed=1")


@pytest.fixture
async def letters(broker: PrivateRabbitMQ | ExternalBroker, topology: Topology, names: Names) -> None:
    """One dead letter."""
    body = b'{"connectorName":"main","connectorToken":"t","action":"openLong"}'
    properties = Basic.Properties(delivery_mode=2, message_id="id-1", headers=dict(LETTER))
    await publish_all(broker.url, "", names.dead, [(body, properties)])


@pytest.fixture
async def ledger(environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ledger."""
    url = f"sqlite+aiosqlite:///{tmp_path}/signalq.db"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url)
    async with ledger_at(url):
        pass


async def test_a_quiet_listing_shows_its_rows_alone(letters: None, ledger: None, signalq: Signalq) -> None:
    for arguments in (["dead", "list", "--queue"], ["orders", "list"], ["scheduled", "list"], ["orders", "stats"]):
        told, quiet = await signalq(*arguments), await signalq("-q", *arguments)
        assert told.err.count("\n") >= 1, arguments
        assert (quiet.status, quiet.out, quiet.err) == (told.status, told.out, ""), arguments
    assert "id-1" in (await signalq("dead", "list", "-q")).out


async def test_a_quiet_publish_says_what_was_published_and_shows_its_warnings(
    topology: Topology, signalq: Signalq, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[connectors.main]\nlane = "shared"\n', "utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("SIGNALQ_CONFIG", str(file))
    ran = await signalq(*ONE, "-q")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("published buy")
    tried = await signalq(*ONE, "-q", "--dry-run")
    assert (tried.status, tried.err) == (0, "")
    misspelt = await signalq("publish", "--connector=mian", "--action=buy", "--fixed=1", "-q")
    assert "the nearest is main" in misspelt.err, "a warning is about money"


async def test_a_quiet_discard_still_fails_aloud(letters: None, ledger: None, signalq: Signalq) -> None:
    ran = await signalq("dead", "discard", "--id", "id-2", "--yes", "-q")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("signalq: there is no dead letter id-2")


async def test_a_listing_that_finds_nothing_names_the_connector_that_was_meant(
    letters: None, ledger: None, signalq: Signalq, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[connectors.main]\nlane = "shared"\n', "utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("SIGNALQ_CONFIG", str(file))
    for listing in (["dead", "list"], ["orders", "list"], ["scheduled", "list"]):
        near = await signalq(*listing, "--connector", "mian")
        assert (near.status, near.out) == (0, "")
        assert "the settings name no connector mian, the nearest is main" in near.err
        for other in ("zebra", "main"):
            assert "nearest" not in (await signalq(*listing, "--connector", other)).err
