"""The HTTP way in: takes what the platform's webhook takes, and answers `ok` once the broker has it."""
