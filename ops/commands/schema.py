"""`signalq schema`."""

import json
from typing import get_args

import click

from signalq.consumer.orders.state import Reason
from signalq.documents.asyncapi import asyncapi_document
from signalq.documents.json_schema import intent_schema
from signalq.names import Names
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.producers.gateway.openapi import openapi_document


@click.command(
    cls=SignalqCommand,
    example="signalq schema > intent.schema.json\n"
    "signalq schema --asyncapi > signalq.documents.asyncapi.json\n"
    "signalq schema --openapi > gateway.openapi.json",
)
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="The AsyncAPI 3.0 document of all channels instead.")
@click.option("--openapi", "as_openapi", is_flag=True, help="The OpenAPI 3.1 document of the gateway instead.")
@pass_invocation
def command(invocation: Invocation, *, as_asyncapi: bool, as_openapi: bool) -> None:
    """Print the JSON Schema of an order intent: the body of a message (draft 2020-12).

    The longest delay it allows is delivery.delay_max_s of the settings. With --asyncapi: orders in, outcomes and dead
    letters out, under broker.prefix, for other programs' tools. With --openapi: the requests and answers of
    `signalq gateway`, at gateway.host and gateway.port; the path secret is a parameter.
    """
    if as_asyncapi and as_openapi:
        raise click.UsageError("--asyncapi and --openapi are two documents: ask for one")
    settings = invocation.settings()
    delay_max_s, gateway = settings.delivery.delay_max_s, settings.gateway
    if as_openapi:
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        url, with_path_secret = f"http://{host}:{gateway.port}", gateway.path_secret is not None
        document = openapi_document(
            url=url, with_path_secret=with_path_secret, delay_max_s=delay_max_s, time_field=gateway.time_field
        )
    elif as_asyncapi:
        document = asyncapi_document(Names(settings.broker.prefix), reasons=get_args(Reason), delay_max_s=delay_max_s)
    else:
        document = intent_schema(delay_max_s=delay_max_s)
    click.echo(json.dumps(document, indent=2))
