"""`signalq check`: what is right, what is wrong, and what to do about it."""
