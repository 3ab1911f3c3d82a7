"""Show texts without the secrets that they may hold."""
