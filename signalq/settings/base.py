"""The base of every section of the settings, and the bounds that several of them have."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from signalq.settings.secrets import read_secrets

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


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
