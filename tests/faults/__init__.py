"""Everything that can break, broken; each test ends with the accountant (tests/support/accountant.py)."""
