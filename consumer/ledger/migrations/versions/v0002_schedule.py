"""The schedule, the steps of each order, and replays."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PENDING = sa.text("due_ms IS NOT NULL AND status IN ('received', 'scheduled')")


def upgrade() -> None:
    """Add what the first schema did not keep."""
    op.add_column("intents", sa.Column("replayed_ms", sa.BigInteger))
    op.create_index(
        "ix_intents_pending", "intents", ["connector", "due_ms"], sqlite_where=PENDING, postgresql_where=PENDING
    )
    op.create_table(
        "steps",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("intent", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("certainty", sa.String(16)),
        sa.Column("http_status", sa.Integer),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_steps"),
    )
    op.create_index("ix_steps_intent", "steps", ["intent"])
