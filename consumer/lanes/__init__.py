"""Waiting: whose turn it is, and when."""
