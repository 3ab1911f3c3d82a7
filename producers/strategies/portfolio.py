"""The rebalancer's input: target weights and present weights. Put your own source in their place."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path

from signalq.message.field_rules import connector_name
from signalq.producers.strategies.command_line import WrongInput
from signalq.producers.strategies.rebalancing import Target


def current_weights(file: Path) -> dict[str, Decimal]:
    """The present weights: a JSON object of assets and their percent. An exchange knows them better: ask it instead.

    Raises WrongInput.
    """
    try:
        weights = json.loads(file.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        raise WrongInput(f"{file} is no JSON") from None
    if not isinstance(weights, dict) or not all(isinstance(percent, Decimal) for percent in weights.values()):
        raise WrongInput(f'{file}: needs the percent of each asset, as in {{"btc": 55.5, "eth": 30}}')
    _check(list(weights.values()), file)
    return weights


def read_targets(file: Path) -> dict[str, Target]:
    """The target weights: a TOML table for each asset, with its `connector` and its `percent`. Raises WrongInput."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
        targets = {
            asset: Target(connector_name(table["connector"]), Decimal(table["percent"]))
            for asset, table in tables.items()
        }
    except tomllib.TOMLDecodeError as error:
        raise WrongInput(f"{file} is no TOML: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation):
        raise WrongInput(f"{file}: each asset needs a table with a connector and a percent") from None
    if len({target.connector for target in targets.values()}) < len(targets):
        raise WrongInput(f"{file}: each asset needs a connector of its own")
    _check([target.percent for target in targets.values()], file)
    return targets


def _check(percents: list[Decimal], file: Path) -> None:
    is_share = all(percent.is_finite() and 0 <= percent <= 100 for percent in percents)
    if not is_share or sum(percents) > 100:
        raise WrongInput(f"{file}: weights are from 0 to 100 percent each, and at most 100 together")
