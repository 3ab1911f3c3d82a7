"""The refusals of the console: each becomes a page, or a sentence, with a status."""

from signalq.errors import SignalQError


class Refused(SignalQError):
    """A request that is refused, with its HTTP status; the sentence says why, and what to do."""

    status = 400

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = self.status if status is None else status


class NotFound(Refused):
    """There is no such page or thing."""

    status = 404


class NotAllowed(Refused):
    """Who asks may not do that."""

    status = 403
