"""The long form of tests/faults: thousands of orders, random kills, one account at the end.

.venv/bin/python -m tests.chaos --intents 10000 --consumer-kills 20 --broker-kills 5
"""
