"""Order intents from files: JSON lines and CSV."""
