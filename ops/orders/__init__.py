"""What became of each intent, for people."""
