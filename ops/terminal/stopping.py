"""The signals that end a command which runs until it is asked to stop."""

import asyncio
import signal


def stop_event() -> asyncio.Event:
    """An event of the running loop that SIGTERM and SIGINT (Ctrl-C) set."""
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    return asked_to_stop
