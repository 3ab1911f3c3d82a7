"""`signalq schema`."""

from __future__ import annotations

import json
from typing import get_args

import click

from ops.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.asyncapi import asyncapi_document
from signalq.names import Names
from signalq.schema import intent_schema


@click.command(
    cls=SignalqCommand,
    example="signalq schema > intent.schema.json\nsignalq schema --asyncapi > signalq.asyncapi.json",
)
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="The AsyncAPI 3.0 document of all channels instead.")
@pass_invocation
def command(invocation: Invocation, *, as_asyncapi: bool) -> None:
    """Print the JSON Schema of an order intent: the body of a message (draft 2020-12).

    The longest delay it allows is delivery.delay_max_s of the settings. With --asyncapi: orders in, outcomes and dead
    letters out, under broker.prefix, as other programs' tools read it.
    """
    from consumer.history import Reason  # noqa: PLC0415

    settings = invocation.settings()
    delay_max_s = settings.delivery.delay_max_s
    if as_asyncapi:
        document = asyncapi_document(Names(settings.broker.prefix), reasons=get_args(Reason), delay_max_s=delay_max_s)
    else:
        document = intent_schema(delay_max_s=delay_max_s)
    click.echo(json.dumps(document, indent=2))
