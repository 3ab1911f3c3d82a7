"""Orders, and the rules for them: pure."""
