"""How little lanes disturb each other, and what a thousand of them cost."""
