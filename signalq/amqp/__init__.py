"""RabbitMQ: how to connect, what must be there, and how to publish so that it counts."""
