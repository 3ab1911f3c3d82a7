"""The environment that orders go to: one word, by the URL alone, so that it can be said before anything is sent.

The platform's own host is `live`, in every spelling that leads there. The sandbox is told by its path, which it alone
serves and prints: an address on this machine would prove nothing, for a tunnel to the platform has one, too. Any other
environment has its host's name.
"""

from collections.abc import Mapping, Sequence

from yarl import URL

PLATFORM_HOST = "api.crypto-arsenal.io"
SANDBOX_PATH = "/sandbox/trading-signal/webhook"
LIVE, SANDBOX = "live", "sandbox"
NAMED_MAX = 4


def is_platform(url: str) -> bool:
    """Whether orders for this URL reach the platform itself. The URL is read as the consumer's HTTP client reads it."""
    return (URL(url).host or "").removesuffix(".") == PLATFORM_HOST


def environment_of(url: str) -> str:
    """`live`, `sandbox`, or the name of the URL's host."""
    if is_platform(url):
        return LIVE
    parts = URL(url)
    return SANDBOX if parts.raw_path == SANDBOX_PATH else parts.host or ""


def told(environments: Mapping[str, Sequence[str]]) -> str:
    """The environments of some settings, for people: `sandbox`, or `sandbox; live for main`."""
    first, *others = environments
    return "; ".join([first, *(f"{one} for {_named(environments[one])}" for one in others)])


def _named(connectors: Sequence[str]) -> str:
    more = len(connectors) - NAMED_MAX
    return ", ".join(connectors[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
