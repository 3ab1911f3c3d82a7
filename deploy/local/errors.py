"""What can go wrong with a private broker: none to be had, or one that fails."""


class PrivateBrokerError(Exception):
    """The root of what `deploy.local` raises."""


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
