"""How fast the gateway answers, and what it keeps of its word when the broker dies."""
