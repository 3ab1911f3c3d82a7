"""The message formats as published documents: JSON Schema and AsyncAPI."""
