"""Every tunable, once: its unit in its name, its bounds and its default here. docs/settings.md tells the same.

A TOML file, the environment on top (`SIGNALQ_BROKER__URL` sets `broker.url`), and for secrets a `_file` or `_env`
twin that names where to read the value. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnparsableVariable

from signalq.amqp.address import check_url, is_loopback
from signalq.errors import SettingsError
from signalq.message.field_rules import connector_name
from signalq.message.near_names import NearNames, nearest_clause
from signalq.names import LADDER_MAX_S
from signalq.secrets.blanking import Blanker, hold_token
from signalq.secrets.masking import login_name, login_secrets, shown_path, shown_words
from signalq.settings.ledger_url import SQLITE_SCHEME, check_ledger_url

ENV_PREFIX = "SIGNALQ_"
CONFIG_ENV = "SIGNALQ_CONFIG"
# Kubernetes sets these in every pod for a service whose name begins with signalq; they are no settings of ours. Told by
# the name and what it holds: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_IP = r"[0-9a-fA-F.:]+"
_SERVICE_URL = r"(?:tcp|udp|sctp)://\S+"
KUBERNETES_SERVICE_VARIABLES = re.compile(
    rf"""SIGNALQ(?:_[A-Z0-9]+)*?_(?:
        SERVICE_HOST={_IP} | SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+
        | PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO=\w+|PORT=\d+|ADDR={_IP})
        | (?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)={_SERVICE_URL}
    )""",
    re.VERBOSE,
)
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# Short ones can be found by trying.
PATH_SECRET = re.compile(r"[A-Za-z0-9_.~-]{16,128}")

# An address counts as a network of itself alone.
Network = IPv4Network | IPv6Network
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
HttpStatus = Annotated[int, Field(ge=300, le=599)]
Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Action = Literal["buy", "sell", "openLong", "closeLong", "openShort", "closeShort", "cancel", "cancelAll"]
# What a label in a message is cut to.
STRATEGY_CHARACTERS_MAX = 255
# RabbitMQ opens at most 2,047 channels on a connection, and each lane has one.
OWN_LANES_MAX = 1_900


class Section(BaseModel):
    """A table of the settings file: frozen, nothing unknown, values never shown in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_twins(cls, values: Any) -> Any:
        """Fill `token` from `token_file` or `token_env`, where the section has such a field; at most one may be set."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for secret in cls.secrets():
            given = [name for name in (secret, f"{secret}_file", f"{secret}_env") if filled.get(name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} are both set: keep one")
            if given and given[0] != secret:
                filled[secret] = _read_twin(given[0], str(filled.pop(given[0])))
        return filled

    @classmethod
    def secrets(cls) -> list[str]:
        """The fields that have `_file` and `_env` twins."""
        return [name for name, field in cls.model_fields.items() if "SecretStr" in str(field.annotation)]


def _read_twin(name: str, source: str) -> str:
    if name.endswith("_env"):
        value = os.environ.get(source)
        if not value:
            raise ValueError(f"{name} names the environment variable {shown_words(source)}, which is not set")
        return value
    try:
        value = _text_of(Path(source)).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} names {shown_path(source)}, which can't be read ({type(error).__name__})") from None
    if not value:
        raise ValueError(f"{name} names {source}, which is empty")
    return value


_files: ContextVar[dict[Path, bytes | None] | None] = ContextVar("the files that are read for settings", default=None)


@contextmanager
def noting_files() -> Iterator[dict[Path, bytes | None]]:
    """Note the files that are read for settings within the block, each with a digest of what was found in it."""
    files: dict[Path, bytes | None] = {}
    token = _files.set(files)
    try:
        yield files
    finally:
        _files.reset(token)


def digest_of_file(path: Path) -> bytes | None:
    """As noted for a file of this content; None for one that can't be read."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return None


def _text_of(path: Path) -> str:
    """Raises OSError or UnicodeDecodeError."""
    files = _files.get()
    if files is None or is_read_once(path):
        return path.read_bytes().decode("utf-8")
    files[path] = None
    content = path.read_bytes()
    files[path] = _digest(content)
    return content.decode("utf-8")


def is_read_once(path: Path) -> bool:
    """Whether it is a pipe or the like: there is nothing in it when it is read again."""
    return path.exists() and not path.is_file()


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


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
    """Where orders are POSTed."""

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


def _parts_of(url: str) -> SplitResult:
    """The parts of a URL, its port looked at too. Raises ValueError, without quoting anything of it."""
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("url has a port that is no number from 0 to 65535") from None
    return parts


def check_webhook_url(url: str, *, allow_plain_http: bool) -> None:
    """Orders carry tokens: plain http only to this machine, unless it is allowed. Raises ValueError."""
    parts = _parts_of(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("url must be an https:// URL with a host")
    if parts.username or parts.password:
        raise ValueError("url must not hold a user name or a password")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_plain_http:
        raise ValueError("url is plain http to another machine: use https, or set webhook.allow_plain_http")


class Delivery(Section):
    """How an intent is tried, held and given up."""

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
    url: SecretStr = Field(default_factory=lambda: SecretStr(default_ledger_url()))
    retention_days: Annotated[float, Field(gt=0, le=3650)] = 7.0

    @field_validator("url")
    @classmethod
    def _is_durable_and_safe(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        check_ledger_url(value.get_secret_value(), allow_plain=info.data.get("allow_plain", False))
        return value


def default_ledger_url() -> str:
    """The file signalq.db in the state folder."""
    return f"{SQLITE_SCHEME}:///{state_folder() / 'signalq.db'}"


def state_folder() -> Path:
    """The folder signalq below $STATE_DIRECTORY, $XDG_STATE_HOME or ~/.local/state; it need not be there."""
    # systemd gives several folders separated by colons; ours is the first.
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_STATE_HOME")
    state = Path(given) if given else Path.home() / ".local" / "state"
    return (state / "signalq").absolute()


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
    """The HTTP way in: where it listens, and whom it lets in."""

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
    """What is logged, and in which form; the default form is console on a terminal, else json."""

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
    """What one connector does otherwise; None means as everywhere."""

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
    """Who may do what: `user` is the RabbitMQ user that the strategy publishes as; None means all connectors."""

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
# One that is shorter may be equal to a name by chance, and is blanked in the log alone.
SECRET_CHARACTERS_MIN = 8
# Stands for a token that was not looked for.
UNREAD = "unread"
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
        self._check_names()
        return self

    def _check_names(self) -> None:
        """Names that could not be those of a connector, users of two strategies, more lanes than channels."""
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

    def _check_strategies(self) -> None:
        """Names that no message could give, users of two strategies, sizes that could hide in an extra field."""
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
        """As pydantic's, without what was worked out from the values that are replaced."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def with_names(self, connectors: Mapping[str, Connector], strategies: Mapping[str, Strategy]) -> Self:
        """These settings with other connectors and strategies. Raises SettingsError where they don't go together."""
        changed = self.model_copy(update={"connectors": dict(connectors), "strategies": dict(strategies)})
        try:
            changed._relations()  # type: ignore[operator]  # pydantic leaves it a method
        except ValueError as error:
            raise SettingsError(str(error)) from None
        return changed

    @cached_property
    def near_connectors(self) -> NearNames:
        """Says of a connector that no setting names whether it looks like one that a setting names."""
        return NearNames(self.connectors)

    @cached_property
    def strategy_by_user(self) -> Mapping[str, str]:
        """The strategies that are known by their user."""
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
        """Every token that is configured, and long enough to be no name by chance."""
        given = (connector.token.get_secret_value() for connector in self.connectors.values() if connector.token)
        return frozenset(token for token in given if len(token) >= SECRET_CHARACTERS_MIN)

    def hold_token(self, texts: Collection[str]) -> bool:
        """Whether one of the texts holds a token that is configured, as a whole. Quick to say no."""
        if not self.blanker.finds(" ".join(texts), characters_min=SECRET_CHARACTERS_MIN):
            return False
        held = [text for text in texts if self.blanker.holds(text, characters_min=SECRET_CHARACTERS_MIN)]
        return bool(held) and any(hold_token(held, token) for token in self.tokens)

    def shown_names(self) -> list[str]:
        """The names that are configured and shown: a part of a secret that stands in one is none."""
        urls = (self.broker.url.get_secret_value(), self.ledger.url.get_secret_value())
        users = [*map(login_name, urls), *self.strategy_by_user]
        return [self.broker.prefix, *self.connectors, *self.strategies, *filter(None, users)]

    def secret_values(self) -> list[str]:
        """Every secret that is configured, so that logs can blank them."""
        tokens = [connector.token for connector in self.connectors.values()]
        urls = (self.broker.url.get_secret_value(), self.ledger.url.get_secret_value())
        webhooks = [self.webhook.url, *(connector.url for connector in self.connectors.values() if connector.url)]
        given = [value for url in webhooks for _, value in parse_qsl(urlsplit(url).query)]
        found = [
            *(secret for url in urls for secret in login_secrets(url)),
            *(value for value in given if len(value) >= SECRET_CHARACTERS_MIN),
            *(secret.get_secret_value() for secret in [self.ops.token, self.gateway.path_secret, *tokens] if secret),
        ]
        return list(filter(None, found))


def load_settings(path: Path | None = None, *, with_secrets: bool = True) -> Settings:
    """The settings from `path` (else the file that SIGNALQ_CONFIG names, else none) and the environment.

    Without secrets, a secret that the file has elsewhere (`*_file`, `*_env`) is not looked for: a token is some text
    then, a URL its default. Raises SettingsError: one sentence that names the key and, for an unknown one, the nearest
    known.
    """
    named = settings_file(path)
    _refuse_unknown_variables(os.environ)
    try:
        values = _without_overridden_secrets(_read_file(named), os.environ) if named else {}
        return Settings(**(values if with_secrets else _with_secrets_unread(values)))
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None
    except UnparsableVariable as error:
        raise SettingsError(f"{error}: in the environment, lists and tables are written as JSON") from None


def settings_file(path: Path | None = None) -> Path | None:
    """The file that the settings come from: `path`, else the one that SIGNALQ_CONFIG names, else none."""
    return path or (Path(os.environ[CONFIG_ENV]) if os.environ.get(CONFIG_ENV) else None)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text_of(path))
    except OSError as error:
        raise SettingsError(f"the settings file {shown_path(str(path))} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from None


def _without_overridden_secrets(values: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The file without the secrets that the environment gives, in whichever of their three forms either has them."""
    given = {variable.upper() for variable in environ}
    kept = dict(values)
    for section, model in SECTIONS.items():
        table = values.get(section)
        if not isinstance(table, dict):
            continue
        if section in NAMED_SECTIONS:
            # The environment's names are in lower case: another spelling in the file is another connector.
            kept[section] = {
                name: _without_given(own, model, f"{ENV_PREFIX}{section}__{name}__", given)
                if isinstance(own, dict) and name == name.lower()
                else own
                for name, own in table.items()
            }
        else:
            kept[section] = _without_given(table, model, f"{ENV_PREFIX}{section}__", given)
    return kept


def _without_given(table: dict[str, Any], model: type[Section], prefix: str, given: set[str]) -> dict[str, Any]:
    dropped: set[str] = set()
    for secret in model.secrets():
        forms = (secret, f"{secret}_file", f"{secret}_env")
        if any(f"{prefix}{form}".upper() in given for form in forms):
            dropped.update(forms)
    return {key: value for key, value in table.items() if key not in dropped}


def _with_secrets_unread(values: dict[str, Any]) -> dict[str, Any]:
    """The file, with UNREAD where it names a file or a variable that holds a token."""
    unread = dict(values)
    for section, model in SECTIONS.items():
        table = values.get(section)
        if not isinstance(table, dict):
            continue
        if section in NAMED_SECTIONS:
            unread[section] = {n: _unread(one, model) if isinstance(one, dict) else one for n, one in table.items()}
        else:
            unread[section] = _unread(table, model)
    return unread


def _unread(table: dict[str, Any], model: type[Section]) -> dict[str, Any]:
    kept = dict(table)
    for secret in model.secrets():
        elsewhere = [form for form in (f"{secret}_file", f"{secret}_env") if kept.pop(form, None) is not None]
        if elsewhere and model.model_fields[secret].get_default(call_default_factory=True) is None:
            kept[secret] = UNREAD
    return kept


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """A misspelt variable would be ignored in silence; the sections below check their own keys."""
    sections = {name.upper() for name in SECTIONS}
    for variable, value in environ.items():
        upper = variable.upper()
        if not upper.startswith(ENV_PREFIX) or upper == CONFIG_ENV:
            continue
        section, _, key = upper.removeprefix(ENV_PREFIX).partition("__")
        if (section in sections and key) or KUBERNETES_SERVICE_VARIABLES.fullmatch(f"{upper}={value}"):
            continue
        # Without the prefix, which would make any two alike.
        known = [CONFIG_ENV.removeprefix(ENV_PREFIX), *(path.upper().replace(".", "__") for path in known_keys())]
        nearest = nearest_clause(upper.removeprefix(ENV_PREFIX), known, before=ENV_PREFIX)
        raise SettingsError(f"{shown_words(variable)} is not a setting{nearest}")


def known_keys() -> list[str]:
    """Every key as `section.key`, secret twins included; those of a name as `connectors.<name>.key`."""
    keys = []
    for section, model in SECTIONS.items():
        path = f"{section}.<name>" if section in NAMED_SECTIONS else section
        keys += [f"{path}.{name}" for name in model.model_fields]
        keys += [f"{path}.{name}_{twin}" for name in model.secrets() for twin in ("file", "env")]
    return keys


def _sentence(error: ValidationError) -> str:
    return "; ".join(_problem(details) for details in error.errors(include_url=False, include_input=False))


def _problem(details: Any) -> str:
    location = [str(part) for part in details["loc"]]
    if details["type"] == "extra_forbidden":
        key = ".".join([*location[:-1], shown_words(location[-1])])
        return f"{key} is not a setting{_nearest_key(location)}"
    key = ".".join(location)
    message = details["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _nearest_key(location: list[str]) -> str:
    section, *rest = location
    if section in NAMED_SECTIONS and len(rest) > 1:
        known = [path.rsplit(".", 1)[1] for path in known_keys() if path.startswith(f"{section}.")]
        return nearest_clause(rest[-1], known, before=f"{section}.{rest[0]}.")
    return nearest_clause(".".join(location), [*known_keys(), *SECTIONS])
