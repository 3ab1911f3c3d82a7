"""A message: what the broker delivered, before anything of it is read."""

from dataclasses import dataclass, field

from pamqp.commands import Basic

from signalq.message.identity import new_message_id


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker delivered it; `queue` is where it lay, empty for one that never lay anywhere.

    `given_id` is its identity where it brings none: given once, so that handling the same delivery again after an
    unforeseen error finds what the ledger knows of it.
    """

    body: bytes = field(repr=False)
    properties: Basic.Properties = field(repr=False)
    routing_key: str
    redelivered: bool
    given_id: str = field(default_factory=new_message_id, compare=False)
    unattended_since_ms: int | None = None
    queue: str = ""
    # Where it was published, as the broker says; empty for what went straight into a queue.
    exchange: str = ""
    # How long the body was, where less of it was kept.
    sent_bytes: int | None = None
    # Handling this very delivery has failed before: what the ledger knows of it may be its own.
    handled_before: bool = False

    @property
    def body_bytes(self) -> int:
        """How long the body was when it came."""
        return len(self.body) if self.sent_bytes is None else self.sent_bytes

    @property
    def is_cut(self) -> bool:
        """Whether only its beginning was kept."""
        return self.body_bytes > len(self.body)
