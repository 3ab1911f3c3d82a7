"""The ledger's schema: a console works on that of its own version alone, for it both reads and acts."""

from sqlalchemy import Connection, text

from signalq.consumer.ledger.migrate import newest_schema
from signalq.errors import SettingsError
from signalq.kinds import Kind

_HAS = text("SELECT version_num FROM alembic_version")


def check_schema(connection: Connection) -> None:
    """Check it with each look: a newer consumer may upgrade the ledger while this console runs.

    Raises SettingsError, of the kind LEDGER_VERSION.
    """
    ours, theirs = newest_schema(), str(connection.execute(_HAS).scalar())
    if theirs != ours:
        advice = "use the newer `signalq console`" if theirs > ours else "run `signalq ledger upgrade` of this version"
        why = f"this console is of schema {ours}, the ledger of {theirs}: {advice}"
        raise SettingsError(why, kind=Kind.LEDGER_VERSION)
