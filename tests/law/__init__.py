"""The law, on a model: one intent, several intents, and a fault before and after every step that it takes."""
