"""All sections of the settings together, and what must hold among them.

Every tunable is there once, in its section: its unit in its name, its bounds, its default; docs/settings.md tells the
same. connections.py, processes.py and named.py hold the sections, sources.py reads them and says what is wrong with
them, secrets.py reads a secret from its `_file` or `_env` twin.
"""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from signalq.errors import SettingsError
from signalq.message.near_names import NearNames
from signalq.secrets.blanking import Blanker, hold_token
from signalq.secrets.masking import login_name, login_secrets, service_secrets
from signalq.settings.base import Section
from signalq.settings.connections import Broker, Delivery, LedgerSettings, Webhook
from signalq.settings.environment import environment_of
from signalq.settings.named import (
    DEFAULT_CONNECTOR,
    Connector,
    Strategy,
    check_connector_names,
    check_strategies,
    check_urls,
)
from signalq.settings.processes import Console, Gateway, Log, Notify, Ops, Traces

ENV_PREFIX = "SIGNALQ_"
# RabbitMQ opens at most 2,047 channels on a connection, and each lane has one.
OWN_LANES_MAX = 1_900

SECTIONS: dict[str, type[Section]] = {
    "broker": Broker,
    "webhook": Webhook,
    "delivery": Delivery,
    "ledger": LedgerSettings,
    "ops": Ops,
    "gateway": Gateway,
    "console": Console,
    "notify": Notify,
    "traces": Traces,
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
    console: Console = Console()
    notify: Notify = Notify()
    traces: Traces = Traces()
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
        self.console.check_beside(has_token=self.ops.token is not None, allow_plain=self.broker.allow_plain)
        check_urls(self.connectors, allow_plain_http=self.webhook.allow_plain_http)
        for name, connector in self.connectors.items():
            if self.gateway.time_field in connector.extra_fields:
                raise ValueError(
                    f"gateway.time_field is in connectors.{name}.extra_fields, too: the gateway takes it out of an "
                    "order, so it can't be let through; use two names"
                )
        if self.delivery.connectors == "named" and not self.connectors:
            raise ValueError('delivery.connectors is "named", and no connector is: every order would be dead')
        check_connector_names(self.connectors)
        if len(self.own_lanes()) > OWN_LANES_MAX:
            raise ValueError(
                f'at most {OWN_LANES_MAX} connectors can have a lane of their own: give some lane = "shared"'
            )
        check_strategies(self.strategies, self.connectors)
        return self

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

    def environments(self) -> dict[str, list[str]]:
        """Each environment that orders go to, and the connectors that go there by a URL of their own.

        The first one is that of webhook.url, for all other connectors.
        """
        found: dict[str, list[str]] = {self.webhook.environment or environment_of(self.webhook.url): []}
        for name, connector in self.connectors.items():
            if connector.url is not None and connector.url != self.webhook.url:
                found.setdefault(environment_of(connector.url), []).append(name)
        return found

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
        users = [*map(login_name, self._urls_with_logins()), *self.strategy_by_user]
        return [self.broker.prefix, *self.connectors, *self.strategies, *filter(None, users)]

    def secret_values(self) -> list[str]:
        """Every configured secret, for logs to blank."""
        tokens = [connector.token for connector in self.connectors.values()]
        webhooks = [self.webhook.url, *(connector.url for connector in self.connectors.values() if connector.url)]
        given = [value for url in webhooks for _, value in parse_qsl(urlsplit(url).query)]
        found = [
            *(secret for url in self._urls_with_logins() for secret in login_secrets(url)),
            *(secret for url in self.notify.each_url for secret in service_secrets(url)),
            *(value for value in given if len(value) >= UNLIKE_A_NAME_CHARACTERS_MIN),
            *(
                secret.get_secret_value()
                for secret in [self.ops.token, self.ops.view_token, self.gateway.path_secret, *tokens]
                if secret
            ),
        ]
        return list(filter(None, found))

    def _urls_with_logins(self) -> list[str]:
        return [url.get_secret_value() for url in self._login_urls() if url]

    def _login_urls(self) -> tuple[SecretStr | None, ...]:
        return self.broker.url, self.console.broker_url, self.ledger.url, self.webhook.proxy
