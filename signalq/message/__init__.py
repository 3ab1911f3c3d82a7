"""A message: the intent in its body, its properties, and the event of its outcome."""
