"""The settings of every process, and their reloading."""
