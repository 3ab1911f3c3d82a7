"""What traces cost: ./run bench-traces."""
