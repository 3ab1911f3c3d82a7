"""The errors of private servers: none can be had, or one fails."""


class PrivateBrokerError(Exception):
    """The root of the errors that `signalq.local` raises."""


class FetchFailed(PrivateBrokerError):
    """A server's packages could not be had, or do not run here; the message says why."""


class BrokerUnavailable(PrivateBrokerError):
    """No RabbitMQ server is on this machine, and none could be fetched; the message names the choices."""

    CHOICES = (
        "install RabbitMQ (on macOS: `brew install rabbitmq`), or run one with Docker "
        "(`docker run -p 5672:5672 rabbitmq`) and set SIGNALQ_BROKER__URL to it, or set that to any broker you have"
    )

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: {self.CHOICES}.")


class BrokerFailed(PrivateBrokerError):
    """The private node did not start, died, or refused a rabbitmqctl command; the message holds its words."""


class PostgresUnavailable(PrivateBrokerError):
    """No PostgreSQL server is on this machine, and none could be fetched; the message says what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: install PostgreSQL's server (on macOS: `brew install postgresql@17`).")


class PostgresFailed(PrivateBrokerError):
    """The private PostgreSQL did not start, or died; the message holds its words."""
