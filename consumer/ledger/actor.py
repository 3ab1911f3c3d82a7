"""The actor on whose behalf a command acts: the name that the audit and the events of an intent keep."""

from dataclasses import dataclass

CLI = "cli"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person's name, the way by which the person acts (`cli`, `console`), and the address that the act comes from."""

    name: str
    via: str
    address: str

    def told(self, command: str) -> str:
        """Half a sentence for the event of an act: by whom, and with which command, or by which other way."""
        return f"by {self.name}, with {command}" if self.via == CLI else f"by {self.name}, in the {self.via}"
