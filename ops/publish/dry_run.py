"""`signalq publish --dry-run`: everything is checked that can be without sending, and nothing is sent."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from signalq.amqp.connection import connect
from signalq.amqp.inspect import Inspector
from signalq.errors import BrokerError
from signalq.message.outcome import at
from signalq.names import Names
from signalq.ops.publish.line_publisher import publisher_of
from signalq.ops.publish.report import PublishReport, named
from signalq.ops.publish.source import PublishOptions
from signalq.ops.terminal.errors import DONE, FAILED
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import is_quiet
from signalq.ops.terminal.plain import ascii_json, json_line, plural
from signalq.producers.files.reader import BadLine, IntentLine
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings
from signalq.times import iso_utc

# So many connectors are named one by one.
NAMED_MAX = 5


class DryRun:
    """Counts and shows the lines that would be published; then asks the broker whether it could take them."""

    def __init__(self, settings: Settings, options: PublishOptions, report: PublishReport) -> None:
        self._settings = settings
        self._options = options
        self._report = report
        self._connectors: Counter[str] = Counter()

    def line(self, line: IntentLine | BadLine, *, is_duplicate: bool = False, is_skipped: bool = False) -> None:
        """Count and show a line."""
        tally = self._report.tally
        if is_skipped:
            return
        if isinstance(line, BadLine):
            self._report.bad(line)
            return
        tally.published += 1
        if tally.duplicates is not None:
            tally.duplicates += is_duplicate
        self._connectors[line.intent.connector_name] += 1
        if self._options.as_json:
            self._report.write(json_line(self._report.row(line) | {"due_at": None}))
        elif self._options.file is None:
            self._report.write(f"would publish {named(line)}{_due(line)}")

    def finish(self) -> int:
        """Show the summary, and what the broker says; returns the exit status."""
        tally = self._report.tally
        problem = asyncio.run(broker_problem(self._settings, self._options))
        is_empty = self._options.file is not None and not (tally.published or tally.bad or tally.skipped)
        if self._options.file is not None and not self._options.as_json:
            self._report.write(self._summary())
        if is_empty:
            self._report.say("the input holds no intent: nothing would be published")
        if problem is not None:
            self._report.say(problem)
        elif not self._options.as_json and not is_quiet():
            url = masked(self._settings.broker.url.get_secret_value())
            heard = "" if self._options.wait_s is None else ", and outcomes can be heard of"
            self._report.say(f"RabbitMQ at {url} could take them{heard}; nothing was sent")
        if self._options.file is not None and self._options.as_json:
            self._report.bar.print(ascii_json(self._row(problem)))
        return FAILED if tally.bad or is_empty or problem is not None else DONE

    def _summary(self) -> str:
        tally = self._report.tally
        shares = [f"{escaped(name)} {count:,}" for name, count in self._connectors.most_common(NAMED_MAX)]
        if len(self._connectors) > NAMED_MAX:
            shares.append(f"{len(self._connectors) - NAMED_MAX:,} connectors more")
        parts = [f"would publish {plural(tally.published, 'intent')}" + (f" ({', '.join(shares)})" if shares else "")]
        if tally.duplicates:
            parts.append(f"{tally.duplicates:,} of them published before, and dropped as duplicates")
        if tally.bad:
            parts.append(plural(tally.bad, "line is bad", "lines are bad"))
        if tally.skipped:
            parts.append(f"{plural(tally.skipped, 'intent')} skipped: confirmed before")
        return ", ".join(parts)

    def _row(self, problem: str | None) -> dict[str, object]:
        tally = self._report.tally
        return {
            "would_publish": tally.published,
            "bad": tally.bad,
            "skipped_lines": tally.skipped,
            "duplicates": tally.duplicates,
            "connectors": dict(self._connectors),
            "broker": "ok" if problem is None else problem,
        }


async def broker_problem(settings: Settings, options: PublishOptions) -> str | None:
    """Why RabbitMQ could not take the orders, as far as can be known without sending one; None if it could."""
    names = Names(settings.broker.prefix)
    try:
        connection = await connect(
            settings.broker.url.get_secret_value(),
            name="signalq publish --dry-run",
            heartbeat_s=settings.broker.heartbeat_s,
        )
        async with connection:
            if not await Inspector(connection).has_exchange(names.orders):
                return f"there is no exchange {names.orders}: start the consumer once, or run `signalq topology apply`"
        if options.wait_s is None:
            return None
        async with publisher_of(settings, options) as orders:
            return orders.why_no_outcomes
    except BrokerError as error:
        return str(error)


def _due(line: IntentLine) -> str:
    """When it would fall due, if it were published now."""
    due_at = at(time.time_ns() // 1_000_000 + line.intent.delay_ms)
    return f", due at {iso_utc(due_at)} if it went now" if line.intent.delay_ms and due_at is not None else ""
