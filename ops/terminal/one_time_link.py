"""The secret of a console's one-time link: made, or handed over where one process shows it and another has the console.

`signalq dev` and `signalq demo` make it, and tell a person the link; the console gets it by its environment, which none
but its user can read. So the link is in no log and in no file.
"""

import os
import secrets

# Not with the prefix of the settings: it is none.
VARIABLE = "_SIGNALQ_CONSOLE_LINK"
LINK_BYTES = 24


def new_secret() -> str:
    """A secret that can't be guessed."""
    return secrets.token_urlsafe(LINK_BYTES)


def take_secret() -> str:
    """The secret that was handed over, which is then in the environment no more; else a new one."""
    return os.environ.pop(VARIABLE, "") or new_secret()


def link_at(address: str, secret: str) -> str:
    """The link at the address of a console."""
    return f"{address.rstrip('/')}/link/{secret}"
