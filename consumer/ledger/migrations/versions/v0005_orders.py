"""The fields of each order, for people: `ledger.keep_orders`."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add what the first four schemas did not keep."""
    op.add_column("intents", sa.Column("order_fields", sa.Text))
