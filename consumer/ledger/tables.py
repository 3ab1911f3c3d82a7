"""The ledger's tables. Times are ms since the epoch, on the ledger's clock or as the message says.

A change here needs a migration beside it (migrations/versions), and a test holds the two against each other.
"""

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, String, Text, text
from sqlalchemy.schema import Column, Index, MetaData, Table, UniqueConstraint

metadata = MetaData(naming_convention={"uq": "uq_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"})

# SQLite numbers rows by itself only in a column of exactly this type.
RowNumber = BigInteger().with_variant(Integer, "sqlite")
# The 255 bytes of an AMQP short string, each of them shown as \xff where they are no UTF-8 (or \x00).
FOREIGN_CHARACTERS_MAX = 1020
UNNAMED = text("NOT has_message_id")
SENDING = text("status = 'sending'")
PENDING = text("due_ms IS NOT NULL AND status IN ('received', 'scheduled')")
# The indexes of these are for people: no order pays for them but one that is tried again, dies, or has a client's id.
RETRYING = text("status IN ('retrying', 'dying')")
DEAD = text("status = 'dead'")
NAMED = text("client_order_id IS NOT NULL")
OPEN_LETTER = text("settled_ms IS NULL")
SETTLED_LETTER = text("settled_ms IS NOT NULL")
STANDING_NOTE = text("struck_ms IS NULL")

# This ledger's identity, one row. The broker remembers it, so that no consumer comes with another ledger.
identity = Table(
    "ledger",
    metadata,
    Column("ledger_id", String(36), primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
)

# A row a lane: its fencing token, and when an active consumer was last known to live. `left_epoch` is the last epoch
# that left no doubt: all that ended in it was acknowledged. `settled_after` is the intents' highest number when the
# unbroken row of such epochs began.
lanes = Table(
    "lanes",
    metadata,
    Column("lane", String(255), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("alive_ms", BigInteger, nullable=False),
    Column("left_epoch", BigInteger),
    Column("settled_after", BigInteger),
)

# A connector's waits, for its lane's next consumer: how often its webhook failed in a row, and that from `noted_ms` on
# it waits `wait_ms`; and where it is paced, when it was POSTed to last. On the ledger's clock.
paces = Table(
    "paces",
    metadata,
    Column("connector", String(255), primary_key=True),
    Column("lane", String(255), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("noted_ms", BigInteger, nullable=False),
    Column("wait_ms", BigInteger, nullable=False),
    Column("posted_ms", BigInteger),
    Index("ix_paces_lane", "lane"),
)

# How far the clock of a machine was ahead of the time since its start, from `since_ms` on (by that clock): a row for
# the first look, and one for each step of the clock. `machine` is another after each start of the machine.
clock_steps = Table(
    "clock_steps",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("machine", String(64), nullable=False),
    Column("offset_ms", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Index("ix_clock_steps_machine", "machine", "number"),
)

# A row a consumer that runs, or that ended without saying so. `switch_seen` is the last change of the switch that it
# acts by, `unacked` a JSON object: how many messages it holds, by queue, without zeros. `lanes` is one of what it knows
# of each of these queues, see LaneFacts; null from a consumer of an earlier version.
replicas = Table(
    "replicas",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("alive_ms", BigInteger, nullable=False),
    Column("switch_seen", BigInteger, nullable=False),
    Column("unacked", Text, nullable=False),
    Column("lanes", Text),
)

# The switch: a row for each connector that is not open, and for all of them under the empty name.
switches = Table(
    "switches",
    metadata,
    Column("connector", String(255), primary_key=True),
    Column("state", String(16), nullable=False),
)

# The changes of the switch: when, by whom, and why; the highest number is the switch's version.
switch_changes = Table(
    "switch_changes",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("connector", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
)

# When opens were first POSTed, for each `orders_per_minute_max` that counts them: kept for a minute.
posted_opens = Table(
    "posted_opens",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    # `connector` or `strategy`, a colon, and the name.
    Column("scope", String(FOREIGN_CHARACTERS_MAX), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_posted_opens_scope", "scope", "at_ms"),
)

# A row an intent, by identity: `strategy` and `intent_id`.
intents = Table(
    "intents",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("strategy", String(FOREIGN_CHARACTERS_MAX), nullable=False),
    Column("intent_id", String(FOREIGN_CHARACTERS_MAX), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("has_message_id", Boolean, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("connector", String(255), nullable=False),
    Column("action", String(32), nullable=False),
    Column("client_order_id", String(FOREIGN_CHARACTERS_MAX)),
    Column("origin_user", String(FOREIGN_CHARACTERS_MAX)),
    Column("status", String(16), nullable=False),
    Column("reason", String(32)),
    Column("detail", Text),
    Column("attempts", Integer, nullable=False),
    Column("attempts_counted", Integer, nullable=False),
    Column("first_post_ms", BigInteger),
    Column("next_attempt_ms", BigInteger, nullable=False),
    Column("in_doubt", Boolean, nullable=False),
    Column("why", Text),
    Column("http_status", Integer),
    Column("age_from_ms", BigInteger, nullable=False),
    Column("delay_from_ms", BigInteger, nullable=False),
    Column("created_from", String(32), nullable=False),
    Column("due_ms", BigInteger),
    Column("received_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("owner", String(64)),
    Column("lease_until_ms", BigInteger),
    # When the present generation began, of an intent that was replayed: its deadline counts from here.
    Column("replayed_ms", BigInteger),
    # How long the next attempt was to wait when it was put off: no reading of a clock makes that longer.
    Column("wait_ms", BigInteger),
    # The beginning of the last answer that was not the expected one, without any known secret.
    Column("answer", Text),
    # The order's fields that have no column of their own, as JSON, without any known secret; null where not kept.
    Column("order_fields", Text),
    # The trace that its producer's `traceparent` names.
    Column("trace_id", LargeBinary(16)),
    UniqueConstraint("strategy", "intent_id"),
    # Intents without a message_id are told by their bytes.
    Index("ix_intents_digest", "digest", sqlite_where=UNNAMED, postgresql_where=UNNAMED),
    # Pruning walks along this one.
    Index("ix_intents_ended_ms", "ended_ms"),
    # The intents that are being POSTed: leases are renewed here.
    Index("ix_intents_owner", "owner", sqlite_where=SENDING, postgresql_where=SENDING),
    # The schedule: what is delayed and was not claimed yet.
    Index("ix_intents_pending", "connector", "due_ms", sqlite_where=PENDING, postgresql_where=PENDING),
    Index("ix_intents_retrying", "connector", "age_from_ms", sqlite_where=RETRYING, postgresql_where=RETRYING),
    Index("ix_intents_dead", "reason", "connector", "ended_ms", sqlite_where=DEAD, postgresql_where=DEAD),
    Index("ix_intents_client_order_id", "client_order_id", sqlite_where=NAMED, postgresql_where=NAMED),
)

# The events of an intent beyond its first receipt and its ending: its attempts, its cancellation, its replays.
events = Table(
    "steps",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    # intents.number
    Column("intent", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("what", String(16), nullable=False),
    Column("certainty", String(16)),
    Column("http_status", Integer),
    Column("duration_ms", Integer),
    # A sentence without any foreign text.
    Column("detail", Text),
    # As in `intents`.
    Column("answer", Text),
    Index("ix_steps_intent", "intent"),
)

# A row a dead letter, also of a message that could not be read: written with its ending, or when a full read of the
# queue finds it. The queue is the truth, and this table is what can be looked at without reading it. `mark` is the same
# for the copies that a crash leaves of one letter, of which `messages` is the number, as last counted.
letters = Table(
    "letters",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("mark", LargeBinary(16), nullable=False),
    Column("strategy", String(FOREIGN_CHARACTERS_MAX), nullable=False),
    Column("intent_id", String(FOREIGN_CHARACTERS_MAX)),
    Column("generation", Integer),
    Column("connector", String(FOREIGN_CHARACTERS_MAX)),
    Column("action", String(32)),
    Column("client_order_id", String(FOREIGN_CHARACTERS_MAX)),
    Column("reason", String(64)),
    Column("detail", Text),
    # The detail without what differs from letter to letter: what a group of letters shares.
    Column("cause", Text),
    Column("attempts", Integer),
    Column("http_status", Integer),
    # As the letter says; null where it does not say so.
    Column("dead_ms", BigInteger),
    Column("body_bytes", BigInteger, nullable=False),
    # As in `intents`; null of a message that is no order.
    Column("order_fields", Text),
    # When it died, or was first met: letters are listed in this order.
    Column("since_ms", BigInteger, nullable=False),
    Column("messages", Integer, nullable=False),
    # When it left the queue, how (`replayed`, `discarded`, `gone`), and by whom; null of one that is there.
    Column("settled_ms", BigInteger),
    Column("settled_how", String(16)),
    Column("settled_by", Text),
    UniqueConstraint("mark"),
    # A listing walks along this one, and it has all that is needed to count.
    Index(
        "ix_letters_open",
        *("since_ms", "number", "messages"),
        sqlite_where=OPEN_LETTER,
        postgresql_where=OPEN_LETTER,
    ),
    # Pruning walks along this one.
    Index("ix_letters_settled_ms", "settled_ms", sqlite_where=SETTLED_LETTER, postgresql_where=SETTLED_LETTER),
)

# The acts of people, a row a command, kept for ever: who did what, by which way, on what, and to how many.
audit = Table(
    "audit",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    # `cli` or `console`, and the machine or the address that the act came from.
    Column("via", String(16), nullable=False),
    Column("address", Text, nullable=False),
    Column("what", String(32), nullable=False),
    # A JSON object: the filter, the connector, and the like.
    Column("about", Text, nullable=False),
    Column("done", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("why", Text, nullable=False),
    # The activity is told by time, together with what has no row here.
    Index("ix_audit_at_ms", "at_ms", "number"),
)

# A person's note on the letters of one reason, connector and cause. `mark` is the digest of the three: a cause can be
# longer than what an index of PostgreSQL takes.
group_notes = Table(
    "group_notes",
    metadata,
    Column("mark", LargeBinary(16), primary_key=True),
    Column("reason", String(64)),
    Column("connector", String(FOREIGN_CHARACTERS_MAX)),
    Column("cause", Text),
    Column("note", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# A person's note for the next shift, shown until somebody strikes it out.
shift_notes = Table(
    "shift_notes",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("note", Text, nullable=False),
    # When it was struck out, and by whom; null of one that stands.
    Column("struck_ms", BigInteger),
    Column("struck_by", Text),
    Index("ix_shift_notes_standing", "number", sqlite_where=STANDING_NOTE, postgresql_where=STANDING_NOTE),
)
