"""The sections of single processes: where each listens, whom it lets in or tells, and its log."""

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from signalq.amqp.address import check_url
from signalq.message.intent import FIELD_NAMES
from signalq.settings.base import Seconds, Section
from signalq.settings.secrets import UNREAD

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# A short secret can be found by trying.
PATH_SECRET = re.compile(r"[A-Za-z0-9_.~-]{16,128}")

# A service for messages, as apprise writes it: https://appriseit.com/services/
SERVICE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
NOTIFY_URLS_MAX = 20

# A Host as a browser sends it: a name or an address, and perhaps a port.
HostName = Annotated[str, Field(pattern=r"^[a-z0-9._-]+(:\d{1,5})?$|^\[[0-9a-f:.]+\](:\d{1,5})?$")]
WEB_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?(\?[^\s#]*)?(#\S*)?")
# The console's own: its path stands before each of our links.
PLACE = re.compile(r"https?://[^\s/?#@]+(/[A-Za-z0-9._~-]+)*/?")

# An address counts as a network of itself alone.
Network = IPv4Network | IPv6Network
Port = Annotated[int, Field(ge=0, le=65_535)]


class Ops(Section):
    """The consumer's own HTTP: health, readiness, metrics."""

    host: str = "127.0.0.1"
    port: Port = 8080
    token: SecretStr | None = None
    view_token: SecretStr | None = None
    console: bool = True

    @model_validator(mode="after")
    def _token_off_loopback(self) -> Self:
        if self.host not in LOOPBACK_HOSTS and self.token is None:
            raise ValueError("token is needed to bind anywhere but loopback")
        return self

    @model_validator(mode="after")
    def _view_token_beside_a_token(self) -> Self:
        if self.view_token is not None and (self.token is None or self.token == self.view_token):
            raise ValueError("view_token needs a token beside it, and another one: without, everybody may look")
        return self


class Console(Section):
    """The console: where it listens when it is a process of its own, by which names it is reached, and who may act."""

    host: str = "127.0.0.1"
    port: Port = 8082
    url: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    hosts: tuple[HostName, ...] = ()
    proxies: tuple[Network, ...] = ()
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    operators: tuple[Annotated[str, Field(min_length=1, max_length=254)], ...] = ()
    read_only: bool = False
    broker_url: SecretStr | None = None
    trace_url: str | None = None

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, value: str | None) -> str | None:
        if value is not None and not (PLACE.fullmatch(value) and _has_port_in_bounds(value)):
            raise ValueError("must be https:// or http:// with a host, and perhaps a path of A-Z a-z 0-9 . _ ~ -")
        return value

    @field_validator("trace_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not (WEB_URL.fullmatch(value) and _has_port_in_bounds(value)):
            raise ValueError("must be https:// or http:// with a host")
        return value

    @field_validator("hosts", mode="before")
    @classmethod
    def _as_browsers_send_them(cls, value: Any) -> Any:
        is_list = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        return tuple(one.lower() for one in value) if is_list else value

    @model_validator(mode="after")
    def _names_go_together(self) -> Self:
        if self.user_header is not None and not self.proxies:
            raise ValueError("user_header needs proxies: anybody could send that header")
        if self.operators and self.user_header is None:
            raise ValueError("operators are names that user_header brings: set it")
        if self.trace_url is not None and "{trace_id}" not in self.trace_url:
            raise ValueError("trace_url needs {trace_id} in the place of the id")
        return self

    @property
    def base(self) -> str:
        """The path under which browsers reach it, without a slash at its end."""
        return "" if self.url is None else URL(self.url).raw_path.rstrip("/")

    def check_beside(self, *, has_token: bool, allow_plain: bool) -> None:
        """Check what must hold beside ops.token and broker.allow_plain. Raises ValueError."""
        if self.host not in LOOPBACK_HOSTS and not has_token:
            raise ValueError("ops.token is needed for console.host to be anything but loopback")
        if self.user_header is not None and not has_token:
            raise ValueError("ops.token is needed beside console.user_header: without one, no proxy is let in")
        if self.broker_url is not None:
            try:
                check_url(self.broker_url.get_secret_value(), allow_plain=allow_plain)
            except ValueError as error:
                raise ValueError(f"console.broker_url {error}") from None


def _has_port_in_bounds(url: str) -> bool:
    try:
        return URL(url).port is not None
    except ValueError:
        return False


class Gateway(Section):
    """The HTTP way in: where it listens, and which callers it lets in."""

    host: str = "127.0.0.1"
    port: Port = 8081
    path_secret: SecretStr | None = None
    sources: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()
    connectors: Literal["named", "any"] = "named"
    rate_per_s: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None
    time_field: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] | None = None

    @field_validator("time_field")
    @classmethod
    def _is_a_name_of_its_own(cls, value: str | None) -> str | None:
        if value in FIELD_NAMES:
            raise ValueError(f"{value} is a field of an order: the time needs a field of its own")
        return value

    @field_validator("path_secret")
    @classmethod
    def _fits_a_path(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not PATH_SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 16 to 128 of A-Z a-z 0-9 _ . ~ -")
        return value


class Notify(Section):
    """The services that `signalq notify` sends to, and how often at most it sends to each."""

    urls: SecretStr | None = None
    every_s: Seconds = 60.0

    @field_validator("urls", mode="before")
    @classmethod
    def _one_a_line(cls, value: Any) -> Any:
        is_list = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        return "\n".join(value) if is_list else value

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, value: SecretStr | None) -> SecretStr | None:
        urls = cls._each(value)
        if value is not None and not 1 <= len(urls) <= NOTIFY_URLS_MAX:
            raise ValueError(f"must be 1 to {NOTIFY_URLS_MAX} URLs, a list or one a line")
        if not all(SERVICE_URL.fullmatch(url) or url == UNREAD for url in urls):
            raise ValueError("must be URLs of apprise, such as tgram://BOT_TOKEN/CHAT_ID, a list or one a line")
        return value

    @staticmethod
    def _each(urls: SecretStr | None) -> list[str]:
        return urls.get_secret_value().split() if urls is not None else []

    @property
    def each_url(self) -> list[str]:
        """The URLs one by one."""
        return self._each(self.urls)


class Traces(Section):
    """The spans of orders; whether there are any, and where they go, the standard OTEL_ variables say."""

    delayed: Literal["link", "continue"] = "link"
    keep_failures: bool = False


class Log(Section):
    """The log's level and form; the default form is console on a terminal, else json."""

    format: Literal["json", "console"] | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"
