"""What an order costs as there is more of everything: connectors, waiting orders, rows in the ledger, parked orders."""
