"""What a play of the model is made of: what is published, what the webhook answers, what breaks and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from signalq.settings.sections import Settings

# Faults that can strike at any gate, and those of one kind of gate.
ANYWHERE = ("crash", "lose", "takeover", "drain")
AT_A_PUBLISH = ("publish lost", "bug")
AT_AN_ARRIVAL = ("confirm lost",)
BEFORE_A_COMMIT = ("unwritable", "bug")
AFTER_A_COMMIT = ("commit unheard",)
BEFORE_A_POST = ("bug",)
BEFORE_AN_ACK = ("bug",)

# What the webhook does: status, Retry-After, body; and whether it took the order.
ANSWERS: dict[str, tuple[int, str | None, bytes, bool]] = {
    "ok": (200, None, b"ok", True),
    "429": (429, "1", b"", False),
    "503 later": (503, "2", b"", False),
    "400": (400, None, b"", False),
    "500": (500, None, b"", False),
    "500 taken": (500, None, b"", True),
    "200 odd": (200, None, b"queued", True),
}
BROKEN = {"refused": False, "time-out": False, "time-out taken": True}
# The connector that has a lane of its own, where anything is published for it.
OWN = "own"


@dataclass(frozen=True)
class Fault:
    """`kind` strikes at the first gate from number `step` on where it can. After a crash or a drain the next consumer
    starts `after_s` later; a process that was taken over from goes on `after_s` later, `deaf`: before it hears that
    its session is lost. A ledger can't be written for `after_s`. A bug strikes `times` times at gates of this kind.
    """

    step: int
    kind: str
    after_s: float = 1.0
    deaf: bool = False
    times: int = 3


@dataclass(frozen=True)
class Publish:
    """What a producer publishes, `at_s` after the beginning; `uid` tells bodies apart, and is in their `log`."""

    uid: str
    action: str = "openLong"
    connector: str = "never"
    message_id: str | None = None
    delay_s: float = 0
    at_s: float = 0.0
    dated: str = "ms"
    percent: str = "100"
    limit: str | None = None
    client_order_id: str | None = None
    unreadable: bool = False
    forged: bool = False
    # Published straight to the queue of the shared lane; the connector `own` has a lane of its own.
    astray: bool = False

    @property
    def body(self) -> bytes:
        """The bytes: a change of uid changes them, and nothing else need."""
        if self.unreadable:
            return f"not JSON: {self.uid}".encode()
        fields: dict[str, object] = {
            "connectorName": self.connector,
            "connectorToken": "t",
            "action": self.action,
            "log": self.uid,
            "percent": self.percent,
            "limit": self.limit,
            "clientOrderId": self.client_order_id,
            "delaySeconds": self.delay_s or None,
        }
        return _json({name: value for name, value in fields.items() if value is not None})


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode()


@dataclass(frozen=True)
class Published:
    """It is on the broker since `at_ms`."""

    publish: Publish
    at_ms: int


@dataclass(frozen=True)
class Scenario:
    """What is published, what the webhook answers to each body in turn (then `ok`), and what breaks."""

    publishes: tuple[Publish, ...]
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    window: int = 1000
    concurrency: int = 4
    jitter: float = 0.5

    @property
    def settings(self) -> Settings:
        """The settings of its consumers."""
        return settings(self.window, self.concurrency, own=any(one.connector == OWN for one in self.publishes))

    def struck_by(self, *faults: Fault) -> Scenario:
        """The same, but with these faults."""
        return replace(self, faults=faults)


@cache
def settings(window: int, concurrency: int, *, own: bool = False) -> Settings:
    """Short times, so that deadlines and windows matter."""
    return Settings.model_validate(
        {
            "delivery": {
                "attempts_max": 3,
                "backoff_base_s": 0.5,
                "backoff_max_s": 4,
                "retry_after_max_s": 10,
                "open_max_age_s": 30,
                "exit_max_age_s": 90,
                "repeat_window_s": 20,
                "shared_window": window,
                "concurrency": concurrency,
            },
            "connectors": {
                "never": {"lane": "shared"},
                "always": {"lane": "shared", "resend_when_unknown": "always"},
                "by-id": {"lane": "shared", "resend_when_unknown": "with-client-order-id"},
            }
            | ({OWN: {}} if own else {}),
        }
    )
