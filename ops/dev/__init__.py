"""`signalq dev`: a world of its own on this machine, which stays from one start to the next."""
