"""Many consumers, many connectors: who runs, the switch, and what is counted for limits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add what the first two schemas did not keep."""
    op.create_table(
        "replicas",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("alive_ms", sa.BigInteger, nullable=False),
        sa.Column("switch_seen", sa.BigInteger, nullable=False),
        sa.Column("unacked", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_replicas"),
    )
    op.create_table(
        "switches",
        sa.Column("connector", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("connector", name="pk_switches"),
    )
    op.create_table(
        "switch_changes",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("connector", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_switch_changes"),
    )
    op.create_table(
        "posted_opens",
        sa.Column("number", ROW_NUMBER, nullable=False, autoincrement=True),
        sa.Column("scope", sa.String(1020), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_posted_opens"),
    )
    op.create_index("ix_posted_opens_scope", "posted_opens", ["scope", "at_ms"])
