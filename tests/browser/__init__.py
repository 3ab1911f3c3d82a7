"""The console in a real browser, over a real broker, ledger, consumer and webhook."""
