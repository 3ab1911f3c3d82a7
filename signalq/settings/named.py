"""The sections with a table for each name: connectors and strategies, with their rights and their limits."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from signalq.message.field_rules import connector_name
from signalq.settings.base import Seconds, Section
from signalq.settings.webhook_url import check_webhook_url

HttpStatus = Annotated[int, Field(ge=300, le=599)]
Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Action = Literal["buy", "sell", "openLong", "closeLong", "openShort", "closeShort", "cancel", "cancelAll"]
# A label in a message is cut to so many.
STRATEGY_CHARACTERS_MAX = 255


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


def check_urls(connectors: Mapping[str, Connector], *, allow_plain_http: bool) -> None:
    """Raise ValueError for a connector's URL that may not be."""
    for name, connector in connectors.items():
        if connector.url is not None:
            try:
                check_webhook_url(connector.url, allow_plain_http=allow_plain_http)
            except ValueError as error:
                raise ValueError(f"connectors.{name}.{error}") from None


def check_connector_names(connectors: Mapping[str, Connector]) -> None:
    """Raise ValueError for a name that no message can give."""
    for name in connectors:
        try:
            connector_name(name)
        except ValueError as error:
            raise ValueError(f"connectors.{name!r} {error}") from None


def check_strategies(strategies: Mapping[str, Strategy], connectors: Mapping[str, Connector]) -> None:
    """Raise ValueError for a name that no message can give, a user of two strategies, or a size that could hide."""
    users: dict[str, str] = {}
    for name, strategy in strategies.items():
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
        named = strategy.connectors or ()
        with_extra = [one for one in named if connectors.get(one, DEFAULT_CONNECTOR).extra_fields]
        if strategy.limits_size and with_extra:
            raise ValueError(
                f"strategies.{name} has fixed_max or percent_max, and its connector {with_extra[0]} has "
                "extra_fields, which might carry a size: take one of them out"
            )
