"""Callers and their addresses, also behind a proxy."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
# The smallest network that one customer of a provider has.
IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Callers:
    """The networks that may call (`sources`; all if empty), and the proxies whose X-Forwarded-For is believed."""

    sources: tuple[IpNetwork, ...] = ()
    proxies: tuple[IpNetwork, ...] = ()

    def may_call(self, peer: str | None, forwarded_for: Sequence[str]) -> bool:
        """Whether this request is let in; `peer` is its connection's address, `forwarded_for` its X-Forwarded-For."""
        if not self.sources:
            return True
        caller = self.caller(peer, forwarded_for)
        return caller is not None and _is_in(caller, self.sources)

    def caller(self, peer: str | None, forwarded_for: Sequence[str]) -> IpAddress | None:
        """The nearest address that is no proxy of ours: any sender may have written the addresses left of it.

        None if it is not known.
        """
        written = [part for value in forwarded_for for part in value.split(",")]
        for text in [peer or "", *reversed(written)]:
            address = _address(text)
            if address is None or not _is_in(address, self.proxies):
                return address
        return _address(written[0] if written else peer or "")


def counted_as(address: IpAddress | None) -> str:
    """The sender that an address counts as: an IPv6 address as its /64, in which one machine has any number."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_PREFIX), strict=False))
    return str(address or "unknown")


def _is_in(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> IpAddress | None:
    """An address as peers and proxies write it: with a port, in brackets, or an IPv4 one in IPv6 clothes."""
    bare = text.strip().strip("[]")
    if "]:" in text:
        bare = text.strip().partition("]")[0].removeprefix("[")
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
