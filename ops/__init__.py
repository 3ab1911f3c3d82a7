"""The command line of signalq, and the functions behind it."""
