"""One intent from the flags of `signalq publish`."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import click

from signalq.causes import plain_words
from signalq.errors import InvalidIntent
from signalq.message.identity import new_message_id
from signalq.message.intent import OrderIntent, intent_from_fields
from signalq.ops.publish.forecast import Forecast
from signalq.ops.publish.line_publisher import LinePublisher
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import PublishOptions
from signalq.ops.terminal.escaping import secrets
from signalq.producers.files.reader import IntentLine
from signalq.settings.sections import Settings

# The fields of an intent, their flags and their help.
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
    "connectorToken": ("--token", "The connector's token; other users of this machine can see it: prefer --token-env."),
    "tokenEnv": ("--token-env", "The environment variable that holds the token."),
    "tokenFile": ("--token-file", "The file that holds the token."),
}


def publish_one(settings: Settings, given: Mapping[str, str], options: PublishOptions) -> int:
    """Publish the intent of these flags; returns the exit status. Raises UsageError, naming the flags."""
    line = IntentLine(1, options.message_id or new_message_id(), _from_flags(settings, given))
    report = PublishReport(
        as_json=options.as_json, message_id=line.message_id, waits=options.wait_s is not None and not options.is_dry_run
    )
    for sentence in Forecast(settings, rate_per_s=None, strategy=options.strategy).take(line.intent):
        report.say(sentence)
    if options.is_dry_run:
        # Imported here: a publish needs none of it.
        from signalq.ops.publish.dry_run import DryRun  # noqa: PLC0415

        dry_run = DryRun(settings, options, report)
        dry_run.line(line)
        return dry_run.finish()
    asyncio.run(LinePublisher(settings, options, report).publish([(line, None)]))
    return report.finish()


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
            raise click.UsageError(f"--token-file {named} can't be read ({plain_words(error)})") from None
    if not token:
        raise click.UsageError(f"{FLAGS[sources[0]][0]} {named} is empty or not set")
    return token
