"""The ends that a process connects to: the RabbitMQ, the webhook, the ledger; and how orders are tried there."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from signalq.amqp.address import check_url
from signalq.names import LADDER_MAX_S
from signalq.settings.base import Seconds, Section
from signalq.settings.environment import PLATFORM_HOST, SANDBOX, is_platform
from signalq.settings.ledger_url import SQLITE_SCHEME, check_ledger_url
from signalq.settings.private_files import state_folder
from signalq.settings.proxy_url import check_proxy_url
from signalq.settings.webhook_url import check_webhook_url


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

    url: str = f"https://{PLATFORM_HOST}/trading-signal/webhook"
    environment: Annotated[str, Field(pattern=r"^[\w.-]{1,32}$")] | None = None
    allow_plain_http: bool = False
    connect_timeout_s: Seconds = 3.0
    timeout_s: Seconds = 10.0
    proxy: SecretStr | None = None
    send_traceparent: bool = False
    success_body: Annotated[str, Field(max_length=1024)] = "ok"
    cancel_all_spelling: Literal["cancelAll", "cancellAll", "cancel_all"] | None = None

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_proxy_url(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        check_webhook_url(self.url, allow_plain_http=self.allow_plain_http)
        if self.environment == SANDBOX and is_platform(self.url):
            raise ValueError(f'environment is "{SANDBOX}", and url is the platform itself: take one of them out')
        return self


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
    keep_orders: bool = True

    @field_validator("url")
    @classmethod
    def _is_durable_and_safe(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        check_ledger_url(value.get_secret_value(), allow_plain=info.data.get("allow_plain", False))
        return value
