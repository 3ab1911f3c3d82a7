"""`signalq publish`: one intent from flags, or many from a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from signalq.errors import InvalidIntent
from signalq.message.identity import SHORT_STRING_BYTES_MAX, new_message_id
from signalq.message.intent import OrderIntent, intent_from_fields
from signalq.ops.publish.file_run import FileRun
from signalq.ops.publish.forecast import Forecast
from signalq.ops.publish.line_publisher import LinePublisher, Tally
from signalq.ops.publish.progress import Progress
from signalq.ops.publish.report import Report
from signalq.ops.terminal.escaping import secrets
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.producers.files.reader import IntentLine, bounded_lines
from signalq.settings.sections import Settings

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
        "signalq publish --resume --strategy momentum orders.csv\n"
        "signalq publish --rate 0.5 orders.jsonl      # one every two seconds\n"
        "other-program | signalq publish --batch 2026-01-31 -"
    ),
)
@click.option(
    "--message-id", metavar="TEXT", callback=_label, help="Its identity; the same again is dropped as a duplicate."
)
@click.option("--strategy", metavar="TEXT", callback=_label, help="The strategy that the orders come from.")
@click.option("--format", "file_format", type=click.Choice(["jsonl", "csv"]), help="What FILE is; else by its name.")
@click.option("--again", is_flag=True, help="Order the same file once more: its lines get new identities.")
@click.option(
    "--batch",
    metavar="NAME",
    callback=_label,
    help="What the lines are known by, instead of the file: the same line of the same batch is ordered once.",
)
@click.option("--resume", is_flag=True, help="Go on behind the last line of FILE that an earlier run saw confirmed.")
@click.option(
    "--rate",
    "rate_per_s",
    metavar="NUMBER",
    type=click.FloatRange(0.0001, 100_000),
    help="At most so many intents a second, evenly; 0.5 is one every two seconds.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One object an intent: line, message_id, connector, action; for a FILE, the summary ends standard error.",
)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@pass_invocation
def command(  # noqa: PLR0913 - an argument for each option
    invocation: Invocation,
    /,
    *,
    file: str | None,
    strategy: str | None,
    message_id: str | None,
    file_format: str | None,
    again: bool,
    batch: str | None,
    resume: bool,
    rate_per_s: float | None,
    as_json: bool,
    **flags: str | None,
) -> int:
    """Publish one intent from flags, or many from FILE (.jsonl, .csv, or - for JSON lines on standard input).

    It waits until the broker has confirmed each. A CSV file has the names of the fields in its first
    line; an empty cell means absent. A bad line is reported, and the rest go on.

    A line's identity is made of the file's absolute path (or of --batch NAME), the line's number and
    its bytes. So publishing the same file twice is safe: the consumer drops what it has seen, unless
    --again is given. An equal line of another file, or at another place of this one, is another order.
    Lines of standard input, or of any pipe, are orders of their own each time, unless --batch NAME says
    what they are. A file that was published before, or has changed since, is told before anything is
    sent. --resume sends nothing again that was confirmed, also after --again. It refuses if the file
    has changed up to there; lines may be added at its end. How far a file came is kept in the folder
    publish of the state folder, ~/.local/state/signalq.

    Before anything is sent it also tells of a connector whose orders could not be POSTed in time,
    if five a second are (or connectors.NAME.rate_per_s), and of one that looks like a misspelling of a
    connector of the settings.

    Ctrl-C or SIGTERM ends it once what is in flight is confirmed, and says how far it came and how
    to go on. The exit status is 1 if a line was bad or not confirmed, or if there was no intent at all
    (an export that failed leaves such a file), and 130 if it was stopped.
    """
    settings = invocation.settings()
    # Exit 1 would have it published once more: what is confirmed is done, wherever it could be said.
    invocation.output_counts = False
    given = {name: value for name, value in flags.items() if value is not None}
    if file is None:
        if again or file_format or resume or batch is not None or rate_per_s is not None:
            raise click.UsageError("--again, --batch, --format, --rate and --resume go with a FILE")
        return _publish_one(settings, given, message_id or new_message_id(), strategy, as_json=as_json)
    if given or message_id:
        flag = FLAGS[next(iter(given))][0] if given else "--message-id"
        raise click.UsageError(f"{flag} describes one intent: leave it out, or leave FILE out")
    kind = file_format or ("jsonl" if file == STANDARD_INPUT else FORMATS.get(Path(file).suffix.lower()))
    if kind is None:
        raise click.UsageError("FILE is named neither .jsonl nor .csv: say what it is with --format")
    if resume and again:
        raise click.UsageError("--resume goes on with the run before, --again begins a new one: give one of them")
    with _opened(file) as (stream, lines_total):
        is_kept = lines_total is not None and file != STANDARD_INPUT
        if resume and not is_kept:
            raise click.UsageError("--resume needs a file that can be read again from its beginning, not a pipe")
        options = {
            "--config": invocation.config,
            "--batch": batch,
            "--strategy": strategy,
            "--format": file_format,
            "--rate": rate_per_s,
        }
        progress = Progress(settings, file if is_kept else "-", strategy=strategy, kind=kind, batch=batch)
        if is_kept:
            run = FileRun(file, kind, progress, batch, is_again=again, is_resumed=resume, options=options)
        else:
            run = FileRun.of_pipe(file, kind, progress, batch=batch, is_again=again, options=options)
        report = Report(as_json=as_json, lines_total=lines_total)
        return run.publish(settings, stream, report, strategy=strategy, rate_per_s=rate_per_s)


def _publish_one(
    settings: Settings, given: Mapping[str, str], message_id: str, strategy: str | None, *, as_json: bool
) -> int:
    line = IntentLine(1, message_id, _from_flags(settings, given))
    report = Report(as_json=as_json, message_id=message_id)
    for sentence in Forecast(settings, rate_per_s=None).take(line.intent):
        report.say(sentence)

    async def publish() -> Tally:
        return await LinePublisher(settings, strategy=strategy, report=report).publish([(line, None)])

    return report.finish(asyncio.run(publish()))


def _from_flags(settings: Settings, given: Mapping[str, str]) -> OrderIntent:
    """The intent; its problems are named by flag."""
    fields: dict[str, object] = {name: value for name, value in given.items() if not name.startswith("token")}
    if token := _token(given):
        secrets.learn([token])
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
