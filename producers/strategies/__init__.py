"""Three small strategies to copy your own from; docs/writing-strategies.md goes through them."""
