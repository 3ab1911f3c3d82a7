"""The memory for the next consumer: its lanes' backoff and pace, how it left them, the clock's steps, answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add what the first three schemas did not keep."""
    op.add_column("intents", sa.Column("wait_ms", sa.BigInteger))
    op.add_column("intents", sa.Column("answer", sa.Text))
    op.add_column("steps", sa.Column("answer", sa.Text))
    op.add_column("lanes", sa.Column("left_epoch", sa.BigInteger))
    op.add_column("lanes", sa.Column("settled_after", sa.BigInteger))
    op.create_table(
        "paces",
        sa.Column("connector", sa.String(255), nullable=False),
        sa.Column("lane", sa.String(255), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("noted_ms", sa.BigInteger, nullable=False),
        sa.Column("wait_ms", sa.BigInteger, nullable=False),
        sa.Column("posted_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("connector", name="pk_paces"),
    )
    op.create_index("ix_paces_lane", "paces", ["lane"])
    op.create_table(
        "clock_steps",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("offset_ms", sa.BigInteger, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_clock_steps"),
    )
    op.create_index("ix_clock_steps_machine", "clock_steps", ["machine", "number"])
