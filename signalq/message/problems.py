"""The faults that pydantic found in an intent, in our words: each bad field by its name, no value quoted."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from signalq.errors import Problem
from signalq.message.field_rules import Action
from signalq.message.near_names import nearest_name
from signalq.secrets.masking import looks_like_a_name, shown_name

# Looking for the nearest of a name takes up to 0.15 ms, and no body may cost more than 2 ms.
SUGGESTIONS_MAX = 5


def problems_of(error: ValidationError, names: Mapping[str, str]) -> list[Problem]:
    """One Problem for each bad field. `names` maps every spelling of a known field to the spelling to show."""
    found = error.errors(include_url=False, include_input=False)
    return [_problem(details, names, suggest=number < SUGGESTIONS_MAX) for number, details in enumerate(found)]


def _problem(details: Any, names: Mapping[str, str], *, suggest: bool) -> Problem:
    given = str(details["loc"][0]) if details["loc"] else None
    name = names.get(given, given) if given is not None else None
    match details["type"]:
        case "missing":
            return Problem(name, "is missing")
        case "extra_forbidden":
            return _unknown(given or "", names, suggest=suggest)
        case "literal_error":
            return Problem(name, "must be one of " + ", ".join(get_args(Action)))
        case "string_type":
            return Problem(name, "must be a string")
        case _:
            return Problem(name, details["msg"].removeprefix("Value error, "))


def _unknown(given: str, names: Mapping[str, str], *, suggest: bool) -> Problem:
    if names.get(given) == given:
        return Problem(given, "is there twice, under its name here and under the JSON's")
    nearest = ""
    if suggest and looks_like_a_name(given):
        nearest = f", the nearest is {nearest_name(given, tuple(dict.fromkeys(names.values())))}"
    return Problem(shown_name(given), f"is not a field of an intent{nearest}")
