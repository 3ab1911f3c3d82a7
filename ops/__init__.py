"""What people do with signalq: the command line and the functions behind it."""
