"""The demo: the main job on one machine, for a person to read. Everything in it is real; nothing of it stays."""
