"""The pictures of the console that the docs show."""
