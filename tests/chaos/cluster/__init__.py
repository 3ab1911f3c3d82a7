"""Real failover: a RabbitMQ cluster, PostgreSQL, three consumers, and whatever of it is struck down under load.

.venv/bin/python -m tests.chaos.cluster --intents 5000 --version 4.3
"""
