"""The statements of the ledger, each inside one transaction: synchronous, alike on SQLite and PostgreSQL.

Every function takes the open connection, and the ledger's clock (`now_ms`) where it needs one. None raises on a lost
race: it says so, so that the other works of the same transaction are not undone.
"""
