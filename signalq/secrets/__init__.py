"""What may be shown of a text that may hold a secret."""
