"""`signalq publish`: one intent from flags, or many from a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from consumer.settings import Settings
from ops.invocation import Invocation, SignalqCommand, pass_invocation
from ops.line_feed import LineFeed, intents_of
from ops.publish_report import Report
from ops.publishing import IN_FLIGHT_MAX, IntentPublisher, Tally
from producers.files.reader import BadLine, Identities, IntentLine, bounded_lines, read_csv, read_jsonl
from signalq.envelope import SHORT_STRING_BYTES_MAX, new_message_id
from signalq.errors import InvalidIntent
from signalq.intent import OrderIntent, intent_from_fields

# The fields of an intent, their flags and what their help says.
FLAGS = {
    "connectorName": ("--connector", "The connector."),
    "action": ("--action", "buy, sell, openLong, closeLong, openShort, closeShort, cancel or cancelAll."),
    "fixed": ("--fixed", "The amount; wins over --percent."),
    "percent": ("--percent", "A share in percent, above 0 and at most 100."),
    "limit": ("--limit", "The limit price; without one it is a market order."),
    "profit": ("--profit", "The take-profit price (futures only)."),
    "loss": ("--loss", "The stop-loss price (futures only)."),
    "log": ("--log", "A message to print in the log."),
    "clientOrderId": ("--client-order-id", "The order's id; needed with cancel."),
    "delaySeconds": ("--delay-seconds", "Wait so long before the order goes out."),
    "delaySecondsFilter": ("--delay-seconds-filter", "Wait only if --log contains this text."),
    "connectorToken": ("--token", "The connector's token; others on this machine can see it: better are the next two."),
    "tokenEnv": ("--token-env", "The environment variable that holds the token."),
    "tokenFile": ("--token-file", "The file that holds the token."),
}
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
STANDARD_INPUT = "-"


def _label(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not 1 <= len(text.encode()) <= SHORT_STRING_BYTES_MAX:
        raise click.BadParameter(f"must have 1 to {SHORT_STRING_BYTES_MAX} bytes")
    return text


@click.command(
    cls=SignalqCommand,
    params=[click.Option([flag, name], metavar="TEXT", help=says) for name, (flag, says) in FLAGS.items()],
    example=(
        "signalq publish --connector main --action openLong --percent 50 --token-env MAIN_TOKEN\n"
        "signalq publish --strategy momentum orders.csv\n"
        "other-program | signalq publish -"
    ),
)
@click.option(
    "--message-id", metavar="TEXT", callback=_label, help="Its identity; the same again is dropped as a duplicate."
)
@click.option("--strategy", metavar="TEXT", callback=_label, help="The strategy that the orders come from.")
@click.option("--format", "file_format", type=click.Choice(["jsonl", "csv"]), help="What FILE is; else by its name.")
@click.option("--again", is_flag=True, help="Order the same file once more: its lines get new identities.")
@click.option("--json", "as_json", is_flag=True, help="One object an intent: line, message_id, connector, action.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@pass_invocation
def command(
    invocation: Invocation,
    /,
    *,
    file: str | None,
    strategy: str | None,
    message_id: str | None,
    file_format: str | None,
    again: bool,
    as_json: bool,
    **flags: str | None,
) -> int:
    """Publish one intent from flags, or many from FILE (.jsonl, .csv, or - for JSON lines on standard input).

    It waits until the broker has confirmed each. A CSV file has the names of the fields in its first
    line; an empty cell means absent. A bad line is reported, and the rest go on.

    Publishing the same file twice is safe: its lines keep their identities, and the consumer drops
    those it has seen, unless --again is given. The exit status is 1 if a line was bad or not confirmed.
    """
    settings = invocation.settings()
    given = {name: value for name, value in flags.items() if value is not None}
    if file is None:
        if again or file_format:
            raise click.UsageError("--again and --format go with a FILE")
        one = IntentLine(1, message_id or new_message_id(), _from_flags(settings, given))
        report = Report(as_json=as_json, from_file=False)
        return report.finish(asyncio.run(_publish(settings, [one], strategy, report)), again=False)
    if given or message_id:
        flag = FLAGS[next(iter(given))][0] if given else "--message-id"
        raise click.UsageError(f"{flag} describes one intent: leave it out, or leave FILE out")
    kind = file_format or ("jsonl" if file == STANDARD_INPUT else FORMATS.get(Path(file).suffix.lower()))
    if kind is None:
        raise click.UsageError("FILE is named neither .jsonl nor .csv: say what it is with --format")
    with _opened(file) as (stream, lines_total):
        report = Report(as_json=as_json, from_file=True, lines_total=lines_total)
        lines = _lines(settings, stream, kind, Identities(fresh=again))
        return report.finish(asyncio.run(_publish(settings, lines, strategy, report)), again=again)


async def _publish(
    settings: Settings, lines: Iterable[IntentLine | BadLine], strategy: str | None, report: Report
) -> Tally:
    async with IntentPublisher(settings, strategy=strategy, on_published=report.published) as publisher:
        with report:
            await publisher.publish_all(intents_of(LineFeed(lines).rounds(IN_FLIGHT_MAX), report.bad))
        return publisher.tally


def _from_flags(settings: Settings, given: Mapping[str, str]) -> OrderIntent:
    """The intent; its problems are named by flag."""
    fields: dict[str, object] = {name: value for name, value in given.items() if not name.startswith("token")}
    if token := _token(given):
        fields["connectorToken"] = token
    try:
        return intent_from_fields(fields, delay_max_s=settings.delivery.delay_max_s)
    except InvalidIntent as error:
        problems = [f"{FLAGS[problem.field or ''][0]} {problem.message}" for problem in error.problems]
        raise click.UsageError("; ".join(problems)) from None


def _token(given: Mapping[str, str]) -> str | None:
    sources = [name for name in ("connectorToken", "tokenEnv", "tokenFile") if name in given]
    if len(sources) > 1:
        raise click.UsageError("of --token, --token-env and --token-file give at most one")
    if not sources or sources == ["connectorToken"]:
        return given.get("connectorToken")
    named = given[sources[0]]
    if sources == ["tokenEnv"]:
        token = os.environ.get(named, "")
    else:
        try:
            token = Path(named).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"--token-file {named} can't be read ({type(error).__name__})") from None
    if not token:
        raise click.UsageError(f"{FLAGS[sources[0]][0]} {named} is empty or not set")
    return token


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The stream, and how many lines it has (None: nobody knows)."""
    # Not sys.stdin: a thread of ours may still wait in a read of it when the interpreter shuts down.
    stream = os.fdopen(0, "rb", closefd=False) if file == STANDARD_INPUT else Path(file).open("rb")  # noqa: SIM115
    if not stream.seekable():
        # A pipe is left open: closing it would wait for the read that waits for the other end.
        yield stream, None
        return
    with stream:
        start = stream.tell()
        lines_total = sum(1 for _ in bounded_lines(stream))
        stream.seek(start)
        yield stream, lines_total


def _lines(settings: Settings, stream: BinaryIO, kind: str, identities: Identities) -> Iterator[IntentLine | BadLine]:
    def make_intent(fields: Mapping[str, object]) -> OrderIntent:
        connector = fields.get("connectorName")
        extra_fields = settings.connector(connector).extra_fields if isinstance(connector, str) else ()
        return intent_from_fields(fields, extra_fields=extra_fields, delay_max_s=settings.delivery.delay_max_s)

    lines = bounded_lines(stream)
    if kind == "jsonl":
        return read_jsonl(lines, identities=identities, make_intent=make_intent)
    extra_fields = {name for connector in settings.connectors.values() for name in connector.extra_fields}
    return read_csv(lines, identities=identities, make_intent=make_intent, extra_fields=extra_fields)
