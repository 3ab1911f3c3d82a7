"""What users install, and what the code is held to."""
