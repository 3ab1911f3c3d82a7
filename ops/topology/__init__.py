"""What is on the broker under our prefix, and what should be."""
