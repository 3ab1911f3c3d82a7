"""`signalq schema`."""

from __future__ import annotations

import json

import click

from ops.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.schema import intent_schema


@click.command(cls=SignalqCommand, example="signalq schema > intent.schema.json")
@pass_invocation
def command(invocation: Invocation) -> None:
    """Print the JSON Schema of an order intent: the body of a message (draft 2020-12).

    The longest delay it allows is delivery.delay_max_s of the settings.
    """
    schema = intent_schema(delay_max_s=invocation.settings().delivery.delay_max_s)
    click.echo(json.dumps(schema, indent=2))
