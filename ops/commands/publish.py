"""`signalq publish`: one intent from flags, or many from a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from signalq.message.identity import SHORT_STRING_BYTES_MAX
from signalq.ops.publish.file_run import FileRun
from signalq.ops.publish.one_intent import FLAGS, publish_one
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import LineSource, PublishOptions
from signalq.ops.terminal.invocation import Invocation, NearChoice, SignalqCommand, pass_invocation, utf8
from signalq.ops.terminal.traces import traced
from signalq.settings.sections import Settings

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
STANDARD_INPUT = "-"
WAIT = "--wait"
# An open lives for 60 s, and a POST lasts 13 s at most, unless the settings say otherwise.
WAIT_S = 90.0
WAIT_MAX_S = 604_800.0


class PublishCommand(SignalqCommand):
    """A command whose `--wait` may have a value, which then follows a `=`: the next word may be FILE."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them, with `--wait` alone as one that has its default."""
        takes_value = {
            name for one in self.params if isinstance(one, click.Option) and not one.is_flag for name in one.opts
        } - {WAIT}
        words: list[str] = []
        is_value = False
        for at, word in enumerate(args):
            if word == "--" and not is_value:
                words += args[at:]
                break
            words.append(f"{WAIT}={WAIT_S:g}" if word == WAIT and not is_value else word)
            is_value = word in takes_value and not is_value
        return super().parse_args(ctx, words)


def _label(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not 1 <= len(text.encode()) <= SHORT_STRING_BYTES_MAX:
        raise click.BadParameter(f"must have 1 to {SHORT_STRING_BYTES_MAX} bytes")
    return text


@click.command(
    cls=PublishCommand,
    params=[click.Option([flag, name], metavar="TEXT", help=says) for name, (flag, says) in FLAGS.items()],
    example=(
        "signalq publish --connector main --action openLong --percent 50 --token-env MAIN_TOKEN\n"
        "signalq publish --strategy momentum orders.csv\n"
        "signalq publish --resume --strategy momentum orders.csv\n"
        "signalq publish --dry-run orders.csv\n"
        "signalq publish --wait orders.csv            # what became of each\n"
        "signalq publish --rate 0.5 orders.jsonl      # one every two seconds\n"
        "other-program | signalq publish --batch 2026-01-31 -"
    ),
)
@click.option(
    "--message-id",
    metavar="TEXT",
    type=utf8,
    callback=_label,
    help="The intent's identity; a second one with the same is a duplicate.",
)
@click.option("--strategy", type=utf8, metavar="TEXT", callback=_label, help="The strategy that the orders come from.")
@click.option(
    "--format", "file_format", type=NearChoice(["jsonl", "csv"]), help="The format of FILE; else its name says it."
)
@click.option("--again", is_flag=True, help="Order the same file once more: its lines get new identities.")
@click.option(
    "--batch",
    metavar="NAME",
    type=utf8,
    callback=_label,
    help="A name for the lines, instead of the file's path: the same line of the same batch is ordered once.",
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
    WAIT,
    "wait_s",
    metavar="[=SECONDS]",
    type=click.FloatRange(0.1, WAIT_MAX_S),
    help=f"Wait for each outcome, for {WAIT_S:g} s or SECONDS, show it, and hold back what would come too late.",
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Check all of it, and send nothing.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One object an intent: line, message_id, connector, action; for a FILE, the summary ends standard error.",
)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> int:
    """Publish one intent from flags, or many from FILE (.jsonl, .csv, or - for JSON lines on standard input).

    It waits until the broker has confirmed each. A CSV file has the names of the fields in its first
    line; an empty cell means absent. A bad line is reported, and the rest are published.

    A line's identity is made of the file's absolute path (or of --batch NAME), the line's number and
    its bytes. So publishing the same file twice is safe: the consumer drops the duplicates, unless
    --again is given. An equal line of another file, or at another place of this one, is another order.
    Lines of standard input, or of any pipe, are new orders each time, unless --batch NAME names them.
    If a file was published before, or has changed since, a sentence says so before anything is sent.
    --resume sends no confirmed line again, even after --again. It refuses if the file has changed up to
    there; lines may be added at its end. The progress of each file is kept in the folder publish of the
    state folder, ~/.local/state/signalq.

    Before anything is sent it also warns of a connector whose orders could not be POSTed in time at
    five a second (or connectors.NAME.rate_per_s), of a name that looks like a misspelt connector of
    the settings, and of orders that these settings forbid.

    --wait waits for the outcome of each intent, shows it and counts all: delivered, dead, canceled,
    scheduled (a delayed one), duplicate. Of each connector only so many are on their way that none is
    too late, however long a POST lasts; the others are held back, and delayed ones are spread at five
    a second. SECONDS is the time for one outcome. If one does not come in time, or is dead, expired,
    nothing more is sent; --resume --wait goes on.

    --dry-run checks the settings, every line and its identity, the warnings, and that RabbitMQ is
    reachable and has the exchange (with --wait also that outcomes can be heard of). It sends nothing.

    Ctrl-C or SIGTERM ends it once all intents in flight are confirmed; it says how far it came and how
    to go on. The exit status is 1 if a line was bad or not confirmed, if there was no intent at all (an
    export that failed leaves such a file), or with --wait if not all are delivered, scheduled, or
    duplicates of such; and 130 if it was stopped.
    """
    settings = invocation.settings()
    # Exit status 1 would invite a second publish: confirmed intents are published, even if no output can be written.
    invocation.output_counts = False
    flags = {name: text for name in FLAGS if (text := given.pop(name)) is not None}
    options = PublishOptions(config=invocation.config, **given)
    if options.file is None:
        if any((options.again, options.batch, options.file_format, options.rate_per_s, options.resume)):
            raise click.UsageError("--again, --batch, --format, --rate and --resume go with a FILE")
        with traced(settings):
            return publish_one(settings, flags, options)
    if flags or options.message_id:
        flag = FLAGS[next(iter(flags))][0] if flags else "--message-id"
        raise click.UsageError(f"{flag} describes one intent: leave it out, or leave FILE out")
    with traced(settings):
        return _publish_file(settings, options.file, options)


def _publish_file(settings: Settings, file: str, options: PublishOptions) -> int:
    kind = options.file_format or ("jsonl" if file == STANDARD_INPUT else FORMATS.get(Path(file).suffix.lower()))
    if kind is None:
        raise click.UsageError("FILE is named neither .jsonl nor .csv: say what it is with --format")
    if options.resume and options.again:
        raise click.UsageError("--resume goes on with the run before, --again begins a new one: give one of them")
    with _opened(file) as stream:
        is_pipe = file == STANDARD_INPUT or not stream.seekable()
        if options.resume and is_pipe:
            raise click.UsageError("--resume needs a file that can be read again from its beginning, not a pipe")
        source = LineSource.of_pipe(kind, options) if is_pipe else LineSource(file, kind, options.batch)
        waits = options.wait_s is not None and not options.is_dry_run
        run = FileRun(settings, options, source, PublishReport(as_json=options.as_json, waits=waits))
        return run.check(stream) if options.is_dry_run else run.publish(stream)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    # Not sys.stdin: a thread of ours may still wait in a read of it when the interpreter shuts down.
    stream = os.fdopen(0, "rb", closefd=False) if file == STANDARD_INPUT else Path(file).open("rb")  # noqa: SIM115
    if not stream.seekable():
        # A pipe is left open: closing it would wait for the read that waits for the other end.
        yield stream
        return
    with stream:
        yield stream
