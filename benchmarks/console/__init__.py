"""How fast the console's pages are over a large ledger, what they cost the consumer, and what they ask the broker."""
