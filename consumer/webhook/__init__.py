"""One POST, and how certain we are that the order was taken."""
