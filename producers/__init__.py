"""Programs that produce order intents."""
