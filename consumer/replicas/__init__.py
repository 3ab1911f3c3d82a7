"""Several consumers side by side: which of them has which lane."""
