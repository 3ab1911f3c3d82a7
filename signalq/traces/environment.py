"""The standard variables that switch traces on: which of their values we take, and which are refused with a sentence.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. An empty value counts as none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from signalq.errors import SettingsError

DISABLED, EXPORTER = "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
SAMPLER, SAMPLER_ARG = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
# Of each two the first wins.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OFF = "set OTEL_TRACES_EXPORTER=none to leave traces off"

EXPORTERS = frozenset({"otlp", "otlp_proto_http"})
PROTOCOL = "http/protobuf"
RATIOS = frozenset({"traceidratio", "parentbased_traceidratio"})
SAMPLERS = RATIOS | {"always_on", "always_off", "parentbased_always_on", "parentbased_always_off"}
# Where the standard leads to without an endpoint.
DEFAULT_ENDPOINT = "http://localhost:4318"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Traces are asked for: by which variable, and where they go, without a path, a query or a login."""

    variable: str
    shown_endpoint: str


def wanted_by(environment: Mapping[str, str]) -> Wanted | None:
    """Return what the environment asks for; None where traces are off. Raises SettingsError, which quotes no value."""
    if _said(environment, DISABLED).lower() == "true":
        return None
    exporter = _said(environment, EXPORTER).lower()
    endpoint = first_of(environment, ENDPOINTS)
    if exporter == "none" or not (exporter or endpoint):
        return None
    if exporter and exporter not in EXPORTERS:
        raise SettingsError(f"{EXPORTER} must be otlp or none: signalq exports by OTLP alone")
    if (protocol := first_of(environment, PROTOCOLS)) and _said(environment, protocol) != PROTOCOL:
        raise SettingsError(f"{protocol} must be {PROTOCOL} (a collector takes that at port 4318), or {OFF}")
    _check_sampler(environment)
    return Wanted(endpoint or EXPORTER, _shown(endpoint, _said(environment, endpoint) or DEFAULT_ENDPOINT))


def first_of(environment: Mapping[str, str], variables: tuple[str, ...]) -> str:
    """The first of these variables that says anything; empty where none does."""
    return next((name for name in variables if _said(environment, name)), "")


def _check_sampler(environment: Mapping[str, str]) -> None:
    """Refuse what the SDK would take for "everything": a misspelt ratio costs money."""
    sampler = _said(environment, SAMPLER).lower()
    if sampler and sampler not in SAMPLERS:
        raise SettingsError(f"{SAMPLER} must be one of {', '.join(sorted(SAMPLERS))}")
    if sampler in RATIOS and not _is_ratio(_said(environment, SAMPLER_ARG)):
        raise SettingsError(f"{SAMPLER_ARG} must be a number from 0 to 1, for {SAMPLER}={sampler}")


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _shown(variable: str, endpoint: str) -> str:
    try:
        url = URL(endpoint)
        is_http, shown = url.scheme in {"http", "https"} and bool(url.host), f"{url.scheme}://{url.host}:{url.port}"
    except ValueError:
        is_http, shown = False, ""
    if not is_http:
        raise SettingsError(f"{variable} must be an http:// or https:// URL with a host, or {OFF}")
    return shown


def _said(environment: Mapping[str, str], variable: str) -> str:
    return environment.get(variable, "").strip()
