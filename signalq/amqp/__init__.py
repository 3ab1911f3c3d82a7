"""RabbitMQ: connections, the topology, and confirmed publishing."""
