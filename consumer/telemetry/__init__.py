"""What is told of the consumer and of each intent: logs, metrics, health."""
