"""The state and the timeline of each intent, for people."""
