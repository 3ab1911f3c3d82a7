"""Ports of loopback for private servers: free ones, which no two servers of ours choose."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections (32768 and up): while a killed node is
# down, a client that keeps trying to connect could otherwise be given the node's own port, and talk to itself.
PORT_MIN, PORT_MAX = 20_000, 32_767


def free_ports(count: int) -> list[int]:
    """Free ports that nobody holds. Another program may take one before the server does, whose start reports that."""
    chosen: list[int] = []
    candidates = random.sample(range(PORT_MIN, PORT_MAX + 1), k=200)
    for port in candidates:
        if len(chosen) < count and (held := hold(port)) is not None:
            held.close()
            chosen.append(port)
    return chosen


def hold(port: int) -> socket.socket | None:
    """Keep other processes that choose ports from this one until the socket is closed; None where it is taken.

    It is bound, but not listened at: so a server, which binds with SO_REUSEADDR, can listen there all the same (Linux,
    socket(7)). Elsewhere it could not, and nothing is to be held.
    """
    holding = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holding.bind((LOOPBACK, port))
    except OSError:
        holding.close()
        return None
    holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holding


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of one that has just ended may linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
