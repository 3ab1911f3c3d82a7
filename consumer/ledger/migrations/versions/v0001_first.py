"""The first schema: who the ledger is, lanes with their epochs, intents with their histories."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
UNNAMED = sa.text("NOT has_message_id")
SENDING = sa.text("status = 'sending'")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ledger",
        sa.Column("ledger_id", sa.String(36), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("ledger_id", name="pk_ledger"),
    )
    op.create_table(
        "lanes",
        sa.Column("lane", sa.String(255), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("alive_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("lane", name="pk_lanes"),
    )
    op.create_table(
        "intents",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("strategy", sa.String(1020), nullable=False),
        sa.Column("intent_id", sa.String(1020), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("has_message_id", sa.Boolean, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("connector", sa.String(255), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("client_order_id", sa.String(1020)),
        sa.Column("origin_user", sa.String(1020)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("detail", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("attempts_counted", sa.Integer, nullable=False),
        sa.Column("first_post_ms", sa.BigInteger),
        sa.Column("next_attempt_ms", sa.BigInteger, nullable=False),
        sa.Column("in_doubt", sa.Boolean, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("http_status", sa.Integer),
        sa.Column("age_from_ms", sa.BigInteger, nullable=False),
        sa.Column("delay_from_ms", sa.BigInteger, nullable=False),
        sa.Column("created_from", sa.String(32), nullable=False),
        sa.Column("due_ms", sa.BigInteger),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("owner", sa.String(64)),
        sa.Column("lease_until_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("number", name="pk_intents"),
        sa.UniqueConstraint("strategy", "intent_id", name="uq_intents_strategy_intent_id"),
    )
    op.create_index("ix_intents_digest", "intents", ["digest"], sqlite_where=UNNAMED, postgresql_where=UNNAMED)
    op.create_index("ix_intents_ended_ms", "intents", ["ended_ms"])
    op.create_index("ix_intents_owner", "intents", ["owner"], sqlite_where=SENDING, postgresql_where=SENDING)
