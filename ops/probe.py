"""A health check of the process at an address. It runs every few seconds, so it must start fast.

Nothing here imports pydantic, aiohttp or the settings' model, which take half a second of CPU. It reads the two keys
that it needs by hand, by the rules of signalq.settings.sources; a test holds the two against each other.
"""

import http.client
import os
import socket
import threading
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from click import UsageError

from signalq.causes import plain_words
from signalq.settings.config_file import settings_file

DEFAULTS: dict[str, tuple[str, int]] = {"ops": ("127.0.0.1", 8080), "gateway": ("127.0.0.1", 8081)}
"""The host and port of each section by default."""

# Addresses to listen at that can't be asked.
_ON_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - nothing listens there
_PORT_MAX = 65_535
# So much of an answer is read and shown: a reason, not a page.
_ANSWER_BYTES_MAX = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """The result; `sentence` is for a person."""

    is_well: bool
    sentence: str


def base_url(section: str, config: Path | None, environ: Mapping[str, str] = os.environ) -> str:
    """The URL of `section` (`ops` or `gateway`), by the file and the environment, as load_settings reads them.

    Raises UsageError or SettingsError, in one sentence, where they can't be read or say port 0.
    """
    values: dict[str, Any] = dict(zip(("host", "port"), DEFAULTS[section], strict=True))
    file = settings_file(config, environ)
    if file is not None:
        values |= _table(file, section)
    given = {variable.upper(): value for variable, value in environ.items()}
    for key in ("host", "port"):
        values[key] = given.get(f"SIGNALQ_{section}__{key}".upper(), values[key])
    host = str(values["host"])
    host = _ON_LOOPBACK.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{_port(section, values['port'])}"


def ask(url: str, *, timeout_s: float) -> Answer:
    """GET a URL; well is a whole 2xx answer within `timeout_s`. Raises UsageError for a text that is no URL."""
    connection, target = _connection(url, timeout_s)
    late = threading.Event()
    # A socket's time-out counts anew with each byte; the timer is for all of them.
    timer = threading.Timer(timeout_s, _cut, [connection, late])
    timer.daemon = True
    timer.start()
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        response = connection.getresponse()
        said = response.read(_ANSWER_BYTES_MAX).decode("utf-8", "replace").strip().split("\n", 1)[0]
    except (OSError, http.client.HTTPException) as error:
        if not isinstance(error, TimeoutError) and not late.is_set():
            return Answer(is_well=False, sentence=f"{url} gives no answer ({_why(error)})")
        late.set()
    finally:
        timer.cancel()
        connection.close()
    if late.is_set():
        return Answer(is_well=False, sentence=f"{url} did not answer within {timeout_s:g} s")
    shown = ": " + "".join(c if c.isprintable() else "?" for c in said) if said else ""
    return Answer(is_well=200 <= response.status < 300, sentence=f"{url} answered {response.status}{shown}")


def _connection(url: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in {"http", "https"} or not url.isascii() or not url.isprintable():
        raise UsageError("--url must be an http:// or https:// URL with a host")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    if parts.username or parts.password:
        raise UsageError("--url must not hold a user name or a password")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return kind(host, port, timeout=timeout_s), target


def _why(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
        return "it speaks no HTTP"
    return plain_words(error)


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    """Wake the reader that waits for bytes; closing alone would not."""
    late.set()
    # Asked once: the thread that reads may close the connection at this moment, and then there is none any more.
    open_one: socket.socket | None = connection.sock
    if open_one is not None:
        with suppress(OSError):
            open_one.shutdown(socket.SHUT_RDWR)


def _table(file: Path, section: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get(section, {})
    except OSError as error:
        raise UsageError(f"the settings file {file} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {file} is not TOML: {error}") from None
    return table if isinstance(table, dict) else {}


def _port(section: str, value: object) -> int:
    try:
        port = int(str(value))
    except ValueError:
        port = -1
    if not 0 <= port <= _PORT_MAX:
        raise UsageError(f"{section}.port must be a whole number from 0 to {_PORT_MAX}")
    if port == 0:
        raise UsageError(f"{section}.port is 0, a free one that only the log of the start tells: give --url")
    return port
