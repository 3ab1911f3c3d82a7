"""Every tunable, once: its unit in its name, its bounds and its default here. docs/settings.md tells the same.

sources.py reads them and says what is wrong with them, secrets.py reads a secret from its `_file` or `_env` twin.
"""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from signalq.amqp.address import check_url, is_loopback
from signalq.errors import SettingsError
from signalq.message.field_rules import connector_name
from signalq.message.near_names import NearNames
from signalq.names import LADDER_MAX_S
from signalq.secrets.blanking import Blanker, hold_token
from signalq.secrets.masking import login_name, login_secrets
from signalq.settings.ledger_url import SQLITE_SCHEME, check_ledger_url
from signalq.settings.private_files import state_folder
from signalq.settings.secrets import read_secrets

ENV_PREFIX = "SIGNALQ_"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# A short secret can be found by trying.
PATH_SECRET = re.compile(r"[A-Za-z0-9_.~-]{16,128}")

# An address counts as a network of itself alone.
Network = IPv4Network | IPv6Network
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
HttpStatus = Annotated[int, Field(ge=300, le=599)]
Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Action = Literal["buy", "sell", "openLong", "closeLong", "openShort", "closeShort", "cancel", "cancelAll"]
# A label in a message is cut to so many.
STRATEGY_CHARACTERS_MAX = 255
# RabbitMQ opens at most 2,047 channels on a connection, and each lane has one.
OWN_LANES_MAX = 1_900


class Section(BaseModel):
    """A table of the settings file: frozen, nothing unknown, values never shown in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, values: Any) -> Any:
        return read_secrets(values, cls.secrets()) if isinstance(values, Mapping) else values

    @classmethod
    def secrets(cls) -> list[str]:
        """The fields that have `_file` and `_env` twins."""
        return [name for name, field in cls.model_fields.items() if "SecretStr" in str(field.annotation)]


class Broker(Section):
    """The RabbitMQ that intents come from."""

    # Before the URL, which is judged by it.
    allow_plain: bool = False
    url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")] = "signalq"
    heartbeat_s: Annotated[int, Field(ge=1, le=600)] = 10
    topology: Literal["declare", "passive"] = "declare"

    @field_validator("url")
    @classmethod
    def _is_safe(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        check_url(value.get_secret_value(), allow_plain=info.data.get("allow_plain", False))
        return value


class Webhook(Section):
    """The webhook that orders are POSTed to."""

    url: str = "https://api.crypto-arsenal.io/trading-signal/webhook"
    allow_plain_http: bool = False
    connect_timeout_s: Seconds = 3.0
    timeout_s: Seconds = 10.0
    success_body: Annotated[str, Field(max_length=1024)] = "ok"
    cancel_all_spelling: Literal["cancelAll", "cancellAll", "cancel_all"] | None = None

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        check_webhook_url(self.url, allow_plain_http=self.allow_plain_http)
        return self


def check_webhook_url(url: str, *, allow_plain_http: bool) -> None:
    """Raise ValueError, which quotes nothing of the URL. Orders carry tokens: plain http is for this machine alone."""
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("url has a port that is no number from 0 to 65535") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("url must be an https:// URL with a host")
    if parts.username or parts.password:
        raise ValueError("url must not hold a user name or a password")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_plain_http:
        raise ValueError("url is plain http to another machine: use https, or set webhook.allow_plain_http")


class Delivery(Section):
    """The ways in which an intent is tried, held and given up."""

    attempts_max: Annotated[int, Field(ge=1, le=1000)] = 8
    crashes_max: Annotated[int, Field(ge=1, le=100)] = 3
    backoff_base_s: Seconds = 0.5
    backoff_max_s: Seconds = 30.0
    retry_after_max_s: Seconds = 300.0
    open_max_age_s: Seconds = 60.0
    exit_max_age_s: Seconds = 3600.0
    repeat_window_s: Seconds = 60.0
    delay_max_s: Annotated[int, Field(ge=0, le=LADDER_MAX_S)] = 604_800
    undated: Literal["accept", "refuse"] = "accept"
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    shared_window: Annotated[int, Field(ge=1, le=60_000)] = 1000
    connectors: Literal["any", "named"] = "any"
    drain_timeout_s: Seconds = 20.0

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.backoff_base_s > self.backoff_max_s:
            raise ValueError("backoff_base_s must not be above backoff_max_s")
        return self


class LedgerSettings(Section):
    """The memory behind "never twice": a SQLite file for consumers on one machine, PostgreSQL for replicas."""

    # Before the URL, which is judged by it.
    allow_plain: bool = False
    url: SecretStr = Field(default_factory=lambda: SecretStr(f"{SQLITE_SCHEME}:///{state_folder() / 'signalq.db'}"))
    retention_days: Annotated[float, Field(gt=0, le=3650)] = 7.0

    @field_validator("url")
    @classmethod
    def _is_durable_and_safe(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        check_ledger_url(value.get_secret_value(), allow_plain=info.data.get("allow_plain", False))
        return value


class Ops(Section):
    """The consumer's own HTTP: health, readiness, metrics."""

    host: str = "127.0.0.1"
    port: Port = 8080
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _token_off_loopback(self) -> Self:
        if self.host not in LOOPBACK_HOSTS and self.token is None:
            raise ValueError("token is needed to bind anywhere but loopback")
        return self


class Gateway(Section):
    """The HTTP way in: where it listens, and which callers it lets in."""

    host: str = "127.0.0.1"
    port: Port = 8081
    path_secret: SecretStr | None = None
    sources: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()
    connectors: Literal["named", "any"] = "named"
    rate_per_s: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None

    @field_validator("path_secret")
    @classmethod
    def _fits_a_path(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not PATH_SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 16 to 128 of A-Z a-z 0-9 _ . ~ -")
        return value


class Log(Section):
    """The log's level and form; the default form is console on a terminal, else json."""

    format: Literal["json", "console"] | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"


class Limits(Section):
    """Pre-trade limits, of a connector or of a strategy; None means no limit."""

    actions: tuple[Action, ...] | None = None
    fixed_max: Amount | None = None
    percent_max: Annotated[Amount, Field(le=100)] | None = None
    orders_per_minute_max: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    limits: Literal["enforce", "report"] = "enforce"

    @property
    def limits_size(self) -> bool:
        """Whether a size limit is in force: then every open must carry a size that has a maximum."""
        return self.fixed_max is not None or self.percent_max is not None


class Connector(Limits):
    """The settings of one connector, over the general ones; None means as everywhere."""

    token: SecretStr | None = None
    url: str | None = None
    lane: Literal["own", "shared"] = "own"
    ordering: Literal["strict", "none"] = "strict"
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    rate_per_s: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    resend_when_unknown: Literal["never", "with-client-order-id", "always"] = "never"
    not_taken_statuses: frozenset[HttpStatus] = frozenset()
    extra_fields: tuple[str, ...] = ()
    spot_sell_is_exit: bool = False
    success_body: Annotated[str, Field(max_length=1024)] | None = None
    open_max_age_s: Seconds | None = None
    exit_max_age_s: Seconds | None = None

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.ordering == "none" and self.lane == "shared":
            raise ValueError('ordering = "none" needs a lane of its own: take lane = "shared" out')
        if self.concurrency is not None and self.ordering == "strict":
            raise ValueError('concurrency is for ordering = "none": a strict lane sends one at a time')
        if self.limits_size and self.extra_fields:
            raise ValueError("extra_fields can't be used with fixed_max or percent_max: they might carry a size")
        return self


class Strategy(Limits):
    """The rights of one strategy. It publishes as the RabbitMQ `user`; None means all connectors."""

    user: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    connectors: tuple[str, ...] | None = None


# A connector that no setting names: it has no lane of its own.
DEFAULT_CONNECTOR = Connector(lane="shared")
SECTIONS: dict[str, type[Section]] = {
    "broker": Broker,
    "webhook": Webhook,
    "delivery": Delivery,
    "ledger": LedgerSettings,
    "ops": Ops,
    "gateway": Gateway,
    "log": Log,
    "connectors": Connector,
    "strategies": Strategy,
}
# A shorter secret may be equal to a name by chance, and is blanked in the log alone.
UNLIKE_A_NAME_CHARACTERS_MIN = 8
# Sections with a table for each name.
NAMED_SECTIONS = ("connectors", "strategies")


class Settings(BaseSettings):
    """All settings, frozen; build them with load_settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        case_sensitive=False,
    )

    broker: Broker = Broker()
    webhook: Webhook = Webhook()
    delivery: Delivery = Delivery()
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    ops: Ops = Ops()
    gateway: Gateway = Gateway()
    log: Log = Log()
    connectors: dict[str, Connector] = Field(default_factory=dict)
    strategies: dict[str, Strategy] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment above the file; no .env file and no secrets folder are read unasked."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _relations(self) -> Self:
        slowest_post_s = self.webhook.connect_timeout_s + self.webhook.timeout_s
        if self.delivery.drain_timeout_s <= slowest_post_s:
            raise ValueError(
                f"delivery.drain_timeout_s must be above webhook.connect_timeout_s + webhook.timeout_s "
                f"({slowest_post_s:g})"
            )
        for name, connector in self.connectors.items():
            if connector.url is not None:
                try:
                    check_webhook_url(connector.url, allow_plain_http=self.webhook.allow_plain_http)
                except ValueError as error:
                    raise ValueError(f"connectors.{name}.{error}") from None
        if self.delivery.connectors == "named" and not self.connectors:
            raise ValueError('delivery.connectors is "named", and no connector is: every order would be dead')
        for name in self.connectors:
            try:
                connector_name(name)
            except ValueError as error:
                raise ValueError(f"connectors.{name!r} {error}") from None
        if len(self.own_lanes()) > OWN_LANES_MAX:
            raise ValueError(
                f'at most {OWN_LANES_MAX} connectors can have a lane of their own: give some lane = "shared"'
            )
        self._check_strategies()
        return self

    def _check_strategies(self) -> None:
        """Raise ValueError for a name that no message can give, a user of two strategies, or a size that could hide."""
        users: dict[str, str] = {}
        for name, strategy in self.strategies.items():
            if not 1 <= len(name) <= STRATEGY_CHARACTERS_MAX or not name.isprintable() or name == "-":
                raise ValueError(
                    f"strategies.{name!r} must be a name of 1 to {STRATEGY_CHARACTERS_MAX} printable characters, "
                    "and not -, which stands for none"
                )
            if strategy.user is not None and users.setdefault(strategy.user, name) != name:
                raise ValueError(
                    f"strategies.{users[strategy.user]} and strategies.{name} have the same user: "
                    "give each strategy a RabbitMQ user of its own"
                )
            with_extra = [one for one in strategy.connectors or () if self.connector(one).extra_fields]
            if strategy.limits_size and with_extra:
                raise ValueError(
                    f"strategies.{name} has fixed_max or percent_max, and its connector {with_extra[0]} has "
                    "extra_fields, which might carry a size: take one of them out"
                )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as pydantic does, without the properties that were cached from replaced values."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def with_names(self, connectors: Mapping[str, Connector], strategies: Mapping[str, Strategy]) -> Self:
        """The settings with other connectors and strategies. Raises SettingsError where they don't go together."""
        changed = self.model_copy(update={"connectors": dict(connectors), "strategies": dict(strategies)})
        try:
            changed._relations()  # type: ignore[operator]  # pydantic leaves it a method
        except ValueError as error:
            raise SettingsError(str(error)) from None
        return changed

    @cached_property
    def near_connectors(self) -> NearNames:
        """The configured connectors, to tell whether another name looks like one of them."""
        return NearNames(self.connectors)

    @cached_property
    def strategy_by_user(self) -> Mapping[str, str]:
        """The strategies that have a user, by that."""
        return {one.user: name for name, one in self.strategies.items() if one.user is not None}

    def own_lanes(self) -> list[str]:
        """The connectors that have a lane of their own."""
        return [name for name, connector in self.connectors.items() if connector.lane == "own"]

    def connector(self, name: str) -> Connector:
        """The settings of a connector, named in the file or not."""
        return self.connectors.get(name, DEFAULT_CONNECTOR)

    @cached_property
    def blanker(self) -> Blanker:
        """Blanks every secret that is configured."""
        return Blanker(self.secret_values(), names=self.shown_names())

    @cached_property
    def tokens(self) -> frozenset[str]:
        """Every configured token that is long enough to be no name by chance."""
        given = (connector.token.get_secret_value() for connector in self.connectors.values() if connector.token)
        return frozenset(token for token in given if len(token) >= UNLIKE_A_NAME_CHARACTERS_MIN)

    def hold_token(self, texts: Collection[str]) -> bool:
        """Whether one of the texts holds a configured token as a whole. Quick to say no."""
        if not self.tokens or not self.blanker.finds(" ".join(texts), characters_min=UNLIKE_A_NAME_CHARACTERS_MIN):
            return False
        held = [text for text in texts if self.blanker.holds(text, characters_min=UNLIKE_A_NAME_CHARACTERS_MIN)]
        return bool(held) and any(hold_token(held, token) for token in self.tokens)

    def shown_names(self) -> list[str]:
        """The configured names, which are shown: a part of a secret that stands in one is no secret."""
        urls = (self.broker.url.get_secret_value(), self.ledger.url.get_secret_value())
        users = [*map(login_name, urls), *self.strategy_by_user]
        return [self.broker.prefix, *self.connectors, *self.strategies, *filter(None, users)]

    def secret_values(self) -> list[str]:
        """Every configured secret, for logs to blank."""
        tokens = [connector.token for connector in self.connectors.values()]
        urls = (self.broker.url.get_secret_value(), self.ledger.url.get_secret_value())
        webhooks = [self.webhook.url, *(connector.url for connector in self.connectors.values() if connector.url)]
        given = [value for url in webhooks for _, value in parse_qsl(urlsplit(url).query)]
        found = [
            *(secret for url in urls for secret in login_secrets(url)),
            *(value for value in given if len(value) >= UNLIKE_A_NAME_CHARACTERS_MIN),
            *(secret.get_secret_value() for secret in [self.ops.token, self.gateway.path_secret, *tokens] if secret),
        ]
        return list(filter(None, found))
