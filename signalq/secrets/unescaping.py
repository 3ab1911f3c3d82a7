"""Decode the escapes in a foreign text: those of JSON and Python, percent-encoding, and those of HTML."""

import html
import json
import re
import sys
from collections.abc import Iterator
from urllib.parse import unquote

_ESCAPED = re.compile(
    r"""
    (?P<pair> \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2} )
    | \\(?: u(?P<four>[0-9a-fA-F]{4}) | x(?P<two>[0-9a-fA-F]{2}) | U(?P<eight>000[0-9a-fA-F]{5}) )
    | \\(?P<sign> ["'\\/] )
    | (?P<percent> (?:%[0-9a-fA-F]{2})+ )
    | (?P<html> &(?: \#[0-9]{1,7} | \#[xX][0-9a-fA-F]{1,6} | [A-Za-z]{2,8} ); )
    """,
    re.VERBOSE,
)
# JSON in JSON, or in a URL.
_DECODINGS_MAX = 3


def may_be_escaped(text: str) -> bool:
    """Whether the text may hold an escape; quick."""
    return "\\" in text or "%" in text or "&" in text


def views(text: str) -> Iterator[tuple[str, list[tuple[int, int]] | None]]:
    """The text as it is, and with its escapes decoded once, twice and so on.

    With each decoded text come the places, from and to, of its characters in the first one; None with the first one.
    """
    yield text, None
    if not may_be_escaped(text):
        return
    places = [(at, at + 1) for at in range(len(text))]
    for _ in range(_DECODINGS_MAX):
        if _ESCAPED.search(text) is None:
            return
        text, places = _decoded(text, places)
        yield text, places


def _decoded(text: str, places: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    parts: list[str] = []
    decoded: list[tuple[int, int]] = []
    done = 0
    for found in _ESCAPED.finditer(text):
        start, end = found.span()
        meant = _meaning(found)
        parts += [text[done:start], meant]
        decoded += places[done:start]
        decoded += [(places[start][0], places[end - 1][1])] * len(meant)
        done = end
    return "".join([*parts, text[done:]]), decoded + places[done:]


def _meaning(found: re.Match[str]) -> str:
    kind, escaped = found.lastgroup, found[0]
    match kind:
        case "pair":
            return str(json.loads(f'"{escaped}"'))
        case "percent":
            return unquote(escaped)
        case "html":
            return html.unescape(escaped)
        case "sign":
            return found["sign"]
        case _:
            code = int(found[kind or 0], 16)
            return chr(code) if code <= sys.maxunicode else escaped
