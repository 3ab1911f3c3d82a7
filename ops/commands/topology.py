"""`signalq topology`: apply, adopt-ledger, show, manifests."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import click

from signalq.ops.ledger import this_user
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, pass_invocation, utf8
from signalq.ops.terminal.plain import plural
from signalq.ops.terminal.render import Column, console, print_json, print_rows, say
from signalq.ops.topology import objects

# Their names in deploy/kubernetes/rabbitmq.
CLUSTER, VHOST = "signalq-rabbitmq", "signalq"
PRINTED_BY = "Printed by `signalq topology manifests`: change the settings and print it again, never this."
COLUMNS = [
    Column("object", "OBJECT"),
    Column("name", "NAME", least=16, is_name=True),
    Column("type", "TYPE", style="dim", rank=1),
    Column("ready", "READY", right=True),
    Column("consumers", "CONSUMERS", right=True),
    Column("state", "STATE", style=lambda state: "green" if state == "present" else "bold red"),
    Column("routing_key", "ROUTING KEY", style="dim", least=11),
]


@click.group(cls=SignalqGroup, example="signalq topology show")
def command() -> None:
    """Declare or show the exchanges, queues and bindings under broker.prefix."""


@command.command("apply", example="signalq topology apply")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: objects, bindings, added.")
@pass_invocation
def apply(invocation: Invocation, *, as_json: bool) -> None:
    """Declare every exchange, queue and binding; queues that are there keep their messages.

    An object that is there with other arguments is named, and never forced. The consumer does the same
    at its start, unless broker.topology is passive.
    """
    settings = invocation.settings()
    applied = asyncio.run(objects.apply(settings))
    if as_json:
        print_json({"objects": applied.objects, "bindings": applied.bindings, "added": applied.added})
        return
    prefix = settings.broker.prefix
    if applied.added:
        said = f"declared {applied.objects} exchanges and queues under {prefix}, {len(applied.added)} of them new"
    else:
        said = f"all {applied.objects} exchanges and queues under {prefix} were there already"
    console().print(f"{said}; {plural(applied.bindings, 'binding')} in place")


@command.command("adopt-ledger", example="signalq --config signalq.toml topology adopt-ledger")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ledger_id, ledger.")
@pass_invocation
def adopt_ledger(invocation: Invocation, *, as_json: bool) -> None:
    """Let the lanes on the broker belong to the ledger of these settings from now on.

    The broker remembers its ledger, and a consumer with another ledger refuses to start: it would know
    nothing of the orders that were placed, and could place them again. Adopt a ledger only when no consumer
    runs and the other ledger is gone for good, or was moved here.
    """
    mark = asyncio.run(objects.adopt_ledger(invocation.settings(), this_user()))
    if as_json:
        print_json({"ledger_id": mark.ledger_id, "ledger": mark.ledger})
        return
    console().print(f"the lanes belong to {mark.ledger} ({mark.ledger_id}) from now on")


@command.command("show", example="signalq topology show --all")
@click.option("--all", "show_all", is_flag=True, help="Every level of the delay ladder, on a row of its own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every object.")
@pass_invocation
def show(invocation: Invocation, *, show_all: bool, as_json: bool) -> int:
    """Show the objects that are there, are missing or differ; the exit status is 1 unless all are as they should be.

    An object differs if it has other arguments or another type than `signalq topology apply` would give it; sentences
    below the table say how. The levels of the delay ladder share a row if all of them are there.
    """
    settings = invocation.settings()
    rows = asyncio.run(objects.rows(settings))
    if not as_json and not show_all:
        rows = list(_folded(rows, f"{settings.broker.prefix}.delay."))
    print_rows(COLUMNS, rows, as_json=as_json)
    if not as_json:
        for row in rows:
            if "why" in row:
                say(row["why"])
    return 0 if all(row["state"] == "present" for row in rows) else 1


@command.command("manifests", example="signalq --config signalq.toml topology manifests > topology.yaml")
@click.option(
    "--cluster",
    type=utf8,
    metavar="NAME",
    default=CLUSTER,
    show_default=True,
    help="The RabbitmqCluster of the resources.",
)
@click.option(
    "--vhost", type=utf8, metavar="NAME", default=VHOST, show_default=True, help="The virtual host of all objects."
)
@pass_invocation
def manifests(invocation: Invocation, *, cluster: str, vhost: str) -> None:
    """Print the topology as resources for RabbitMQ on Kubernetes, with each user's rights.

    For its messaging topology operator: the virtual host, the exchanges, queues and bindings, with a lane for
    each connector of the settings; users for the consumer, for its operator, and for each strategy that has
    one, with just the rights that they need. It needs no broker, and none of the secrets that the settings
    name. Set broker.topology to passive with it.
    """
    # Imported here: the gateway's packages take a tenth of a second, and no other command here needs them.
    from signalq.ops.topology.manifests import Manifests, yaml_stream  # noqa: PLC0415

    settings = invocation.settings(with_secrets=False)
    click.echo(f"# {PRINTED_BY}\n{yaml_stream(Manifests(settings, cluster=cluster, vhost=vhost).all())}", nl=False)


def _folded(rows: Iterable[dict[str, Any]], ladder: str) -> Iterator[dict[str, Any]]:
    """Fold the ladder's objects that differ only in their level into one row."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        is_level = row["name"].startswith(ladder)
        key = (ladder, row["object"], row["type"], row["state"]) if is_level else (row["object"], row["name"])
        alike.setdefault(key, []).append(row)
    for (kind, *_), levels in alike.items():
        folded = dict(levels[0])
        if kind == ladder:
            folded["name"] = f"{ladder}* ({len(levels)})"
            folded.pop("routing_key", None)
            if folded["object"] == "queue" and folded["state"] == "present":
                folded |= {count: sum(level[count] or 0 for level in levels) for count in ("ready", "consumers")}
        yield folded
