"""The spans of our own processes on their way to a collector, where the environment asks for that."""
