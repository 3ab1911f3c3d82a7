"""The SDK: publishing intents, one or many, with asyncio and without."""
