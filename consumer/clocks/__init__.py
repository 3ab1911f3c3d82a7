"""The time: of this machine, and how far that is from others' time."""
