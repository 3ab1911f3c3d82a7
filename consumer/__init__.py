"""The consumer: one intent's way from the queue to the webhook, or to the dead letters."""
