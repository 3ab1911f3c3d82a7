"""Text that others choose, as an attacker would choose it; and secrets, each planted in one place alone.

The markup would set `planted` on the page where it acted. Names that an order brings hold no control characters, by the
contract; what only the broker limits holds them, too.
"""

from __future__ import annotations

import secrets

ACT = "window.planted=1"
IMAGE = f"<img src=x onerror={ACT}>"
SCRIPT = f"</title></script><script>{ACT}</script>"
ATTRIBUTE = f"'\" onfocus={ACT} autofocus x='"
TEMPLATE = "{{ 7 * 7 }}{% raw %}"
# Turns round what follows it, and hides itself.
BIDI = "\u202eevil\u200b"
SHORT_STRING_BYTES = 255

CONNECTOR = f"{IMAGE}&amp;{TEMPLATE}"
OTHER_CONNECTOR = f"{SCRIPT}../../%2e"
CLIENT_ORDER_ID = f"javascript:{ACT}//{ATTRIBUTE}"
STRATEGY = f"{BIDI}{SCRIPT}"
WHY = f"{IMAGE}{BIDI.rstrip(chr(0x200B))}"


def filled_up(text: str) -> str:
    """As long as the broker takes a name."""
    return text + "w" * (SHORT_STRING_BYTES - len(text.encode()))


INTENT_ID = filled_up(f"{ATTRIBUTE}{IMAGE}{BIDI}")
# What is never in a page as it is, whoever wrote it; and what nobody is ever shown.
NEVER = ("<img src=x", "<script>window")
UNSEEN = ("\u202e", "\u200b")
# Elements that only the markup would make.
TRACES = "img[src='x'], [onerror], [onload], [onfocus], script:not([src])"


def secret() -> str:
    """A secret that is easily found, and whose parts are nobody's words."""
    return secrets.token_hex(16)
