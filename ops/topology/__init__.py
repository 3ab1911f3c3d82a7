"""The objects on the broker under our prefix, as they are and as they should be."""
