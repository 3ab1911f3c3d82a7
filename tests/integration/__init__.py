"""The parts against a real RabbitMQ."""
