"""AMQP: nothing else of the consumer speaks it."""
