"""Numbers on the command lines of the storms."""

from __future__ import annotations

import argparse


def zero_or_more(text: str) -> int:
    """A whole number, 0 or more."""
    return _at_least(0, text)


def one_or_more(text: str) -> int:
    """A whole number, 1 or more."""
    return _at_least(1, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more")
    return number
