"""The collector that takes spans by OTLP over HTTP, as the standard's variables name it.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/. The SDK's own exporter takes no request that is encoded
already (see encoding.py), and says to its log alone what became of it.

Only export.py imports this module, where traces are on: it loads OpenTelemetry and requests.
"""

from __future__ import annotations

import gzip
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping

import requests
from opentelemetry.util.re import parse_env_headers

from signalq.causes import plain_words
from signalq.errors import SettingsError
from signalq.traces.environment import DEFAULT_ENDPOINT, ENDPOINTS, first_of
from signalq.version import __version__

PATH = "v1/traces"
# In seconds, as OpenTelemetry has it in Python. Other languages take ms: who gives those is told.
TIMEOUT_S, TIMEOUT_MAX_S = 10.0, 600.0
# The statuses after which the protocol lets a request be sent again: https://opentelemetry.io/docs/specs/otlp/#failures-1.
RETRIED = frozenset({429, 502, 503, 504})
# Before each try but the first. A connection that was kept may have been closed meanwhile: that is tried at once.
PAUSES_S = (0.0, 1.0, 2.0, 4.0)
COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


class Collector:
    """One collector, for one thread at a time. Raises SettingsError where a variable can't be taken."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._url = _url(environment)
        self._timeout_s = _timeout_s(environment)
        self._session = requests.Session()
        self._session.headers.update({"Content-Type": "application/x-protobuf", "User-Agent": f"signalq/{__version__}"})
        name, self._compress = _compression(environment)
        if self._compress is not None:
            self._session.headers["Content-Encoding"] = name
        self._session.headers.update(parse_env_headers(_said(environment, "HEADERS"), liberal=True))
        self._session.verify = _said(environment, "CERTIFICATE") or True
        certificate, key = _said(environment, "CLIENT_CERTIFICATE"), _said(environment, "CLIENT_KEY")
        self._session.cert = (certificate, key) if certificate and key else certificate or None
        self._hurries = threading.Event()

    def take(self, request: bytes) -> str | None:
        """Send a request, again where that may help and there is time; return why it was not taken."""
        body = self._compress(request) if self._compress is not None else request
        until_s = time.monotonic() + self._timeout_s
        why, helps = self._try(body, self._timeout_s)
        for pause_s in PAUSES_S:
            left_s = until_s - time.monotonic() - pause_s
            if not helps or left_s <= 0 or (pause_s and self._hurries.wait(pause_s)):
                break
            why, helps = self._try(body, left_s)
        return why

    def hurry(self) -> None:
        """Wait no more before something is sent again; any thread may say so."""
        self._hurries.set()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _try(self, body: bytes, timeout_s: float) -> tuple[str | None, bool]:
        """Send it once; return why it was not taken, and whether it may help to send it again."""
        try:
            answer = self._session.post(self._url, data=body, timeout=timeout_s, allow_redirects=False)
        except requests.RequestException as error:
            return plain_words(_innermost(error)), isinstance(error, requests.ConnectionError)
        if 200 <= answer.status_code < 300:
            return None, False
        return f"HTTP {answer.status_code}", answer.status_code in RETRIED


def _url(environment: Mapping[str, str]) -> str:
    """The one for traces is the whole URL; the one for all signals gets a path."""
    for_traces, _ = ENDPOINTS
    variable = first_of(environment, ENDPOINTS)
    given = environment.get(variable, "").strip() or DEFAULT_ENDPOINT
    return given if variable == for_traces else f"{given.removesuffix('/')}/{PATH}"


def _timeout_s(environment: Mapping[str, str]) -> float:
    given = _said(environment, "TIMEOUT")
    try:
        timeout_s = float(given or TIMEOUT_S)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s <= TIMEOUT_MAX_S:
        variable = _variable(environment, "TIMEOUT")
        raise SettingsError(f"{variable} must be a number of seconds above 0, and at most {TIMEOUT_MAX_S:g}")
    return timeout_s


def _compression(environment: Mapping[str, str]) -> tuple[str, Callable[[bytes], bytes] | None]:
    given = _said(environment, "COMPRESSION").lower() or "none"
    if given != "none" and given not in COMPRESSIONS:
        raise SettingsError(f"{_variable(environment, 'COMPRESSION')} must be gzip, deflate or none")
    return given, COMPRESSIONS.get(given)


def _variable(environment: Mapping[str, str], what: str) -> str:
    """The variable that says it: the one for traces, else the one for all signals; empty where none does."""
    return first_of(environment, (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"))


def _said(environment: Mapping[str, str], what: str) -> str:
    return environment.get(_variable(environment, what), "").strip()


def _innermost(error: BaseException) -> BaseException:
    """The error below those that wrap it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
