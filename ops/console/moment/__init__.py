"""The present moment: one look at the ledger and the broker for all who look, and what it says needs a person."""
