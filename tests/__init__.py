"""The tests: unit, properties, integration (a real RabbitMQ), packaging; support is what they share."""
