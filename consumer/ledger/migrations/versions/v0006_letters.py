"""The letters, the acts and notes of people, the facts of lanes, and indexes for people."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
FOREIGN = sa.String(1020)
RETRYING = sa.text("status IN ('retrying', 'dying')")
DEAD = sa.text("status = 'dead'")
NAMED = sa.text("client_order_id IS NOT NULL")
OPEN_LETTER = sa.text("settled_ms IS NULL")
SETTLED_LETTER = sa.text("settled_ms IS NOT NULL")
STANDING_NOTE = sa.text("struck_ms IS NULL")


def upgrade() -> None:
    """Add what the first five schemas did not keep."""
    # The columns first: PostgreSQL locks a table for them, and the indexes are then built under the same lock.
    op.add_column("intents", sa.Column("trace_id", sa.LargeBinary(16)))
    op.add_column("replicas", sa.Column("lanes", sa.Text))
    for name, columns, where in (
        ("ix_intents_retrying", ["connector", "age_from_ms"], RETRYING),
        ("ix_intents_dead", ["reason", "connector", "ended_ms"], DEAD),
        ("ix_intents_client_order_id", ["client_order_id"], NAMED),
    ):
        op.create_index(name, "intents", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "letters",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("mark", sa.LargeBinary(16), nullable=False),
        sa.Column("strategy", FOREIGN, nullable=False),
        sa.Column("intent_id", FOREIGN),
        sa.Column("generation", sa.Integer),
        sa.Column("connector", FOREIGN),
        sa.Column("action", sa.String(32)),
        sa.Column("client_order_id", FOREIGN),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text),
        sa.Column("cause", sa.Text),
        sa.Column("attempts", sa.Integer),
        sa.Column("http_status", sa.Integer),
        sa.Column("dead_ms", sa.BigInteger),
        sa.Column("body_bytes", sa.BigInteger, nullable=False),
        sa.Column("order_fields", sa.Text),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("settled_ms", sa.BigInteger),
        sa.Column("settled_how", sa.String(16)),
        sa.Column("settled_by", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_letters"),
        sa.UniqueConstraint("mark", name="uq_letters_mark"),
    )
    op.create_index(
        "ix_letters_open",
        "letters",
        ["since_ms", "number", "messages"],
        sqlite_where=OPEN_LETTER,
        postgresql_where=OPEN_LETTER,
    )
    op.create_index(
        "ix_letters_settled_ms",
        "letters",
        ["settled_ms"],
        sqlite_where=SETTLED_LETTER,
        postgresql_where=SETTLED_LETTER,
    )
    op.create_table(
        "audit",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_at_ms", "audit", ["at_ms", "number"])
    op.create_table(
        "group_notes",
        sa.Column("mark", sa.LargeBinary(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("connector", FOREIGN),
        sa.Column("cause", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("mark", name="pk_group_notes"),
    )
    op.create_table(
        "shift_notes",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("struck_ms", sa.BigInteger),
        sa.Column("struck_by", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_shift_notes"),
    )
    op.create_index(
        "ix_shift_notes_standing",
        "shift_notes",
        ["number"],
        sqlite_where=STANDING_NOTE,
        postgresql_where=STANDING_NOTE,
    )
