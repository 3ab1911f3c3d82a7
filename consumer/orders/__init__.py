"""What an order is, and what to do with it: pure."""
