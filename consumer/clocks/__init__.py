"""The time of this machine, and how far it is from others' time."""
