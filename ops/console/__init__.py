"""The console: pages for people over the ledger and the broker, in a process of its own or in the consumer's."""
