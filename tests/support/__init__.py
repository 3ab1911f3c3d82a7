"""What the tests share: a broker, plain AMQP, and a webhook that can misbehave."""
