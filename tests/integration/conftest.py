"""What the tests of the commands share."""

from __future__ import annotations

import pytest

from deploy.local import PrivateRabbitMQ
from tests.support.broker import ExternalBroker
from tests.support.commands import Signalq, run
from tests.support.consumer import ledger_url


@pytest.fixture
def environment(broker: PrivateRabbitMQ | ExternalBroker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this test, for this process and those it starts."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", prefix)
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", ledger_url(prefix))


@pytest.fixture
def signalq(environment: None) -> Signalq:
    """Runs a command to its end."""
    return run
