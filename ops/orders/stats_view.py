"""The view of statistics: a table by connector, one by hour or day with small bars, or JSON."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from signalq.ops.orders.stats import HOUR_MS, Group, Stats
from signalq.ops.terminal.moments import clock_time, span
from signalq.ops.terminal.plain import Row
from signalq.ops.terminal.render import Column, console, note, print_rows

BAR_COLUMNS = 12
SECOND_MS = 1_000
# More hours are told by the day.
HOURS_SHOWN_MAX = 48
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_stats(stats: Stats, *, as_json: bool) -> None:
    """Show all rows."""
    rows: Sequence[Row] = stats.rows()
    if as_json:
        print_rows((), rows, as_json=True)
        return
    if not stats.all.statuses:
        note("the ledger knows no intent that fits")
        return
    connectors = [row for row in rows if row["by"] == "connector"]
    total = {**rows[0], "connector": "(all)"}
    print_rows(_CONNECTORS, [*connectors, total] if len(connectors) > 1 else connectors, as_json=False)
    console().print()
    times = [row for row in rows if row["by"] == "hour"]
    column = _HOUR
    if len(times) > HOURS_SHOWN_MAX:
        times, column = _days(stats), _DAY
    print_rows([column, _ORDERS, _DEAD, *_TIMES, _bars(times)], times, as_json=False)
    note("queued: creation to first POST; post: one attempt; late: due time to first POST; each p50/p99")


def _days(stats: Stats) -> list[Row]:
    """A row for each local day, the earliest first: hundreds of hours are no glance."""
    days: defaultdict[str, Group] = defaultdict(Group)
    for hour, group in sorted(stats.by_hour.items()):
        at = datetime.fromtimestamp(hour * HOUR_MS / SECOND_MS, UTC).astimezone()
        days[f"{at:%Y-%m-%d}"].join(group)
    return [{"day": at} | group.row() for at, group in days.items()]


def lasts(ms: object) -> str:
    """A duration in few characters: `12ms`, `1.5s`, `75s`, `5m`."""
    if not isinstance(ms, int):
        return "-"
    if ms < 10 * SECOND_MS:
        return f"{ms}ms" if ms < SECOND_MS else f"{ms / SECOND_MS:.1f}s"
    return span(ms / SECOND_MS)


def bar(part: float) -> str:
    """A bar of at most BAR_COLUMNS, drawn to an eighth of a column; never nothing for something."""
    eighths = max(round(part * BAR_COLUMNS * 8), 1 if part else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _p50_p99(name: str) -> Callable[[Row], object]:
    p50, p99 = f"{name}_p50_ms", f"{name}_p99_ms"
    return lambda row: f"{lasts(row[p50])}/{lasts(row[p99])}" if row[p50] is not None else None


def _bars(rows: Sequence[Row]) -> Column:
    most = max(int(str(row["orders"])) for row in rows)
    return Column("bar", "", style="cyan", rank=9, value=lambda row: bar(int(str(row["orders"])) / most))


_ORDERS = Column("orders", "ORDERS", right=True)
_DEAD = Column("dead", "DEAD", right=True, style=lambda value: "red" if value else "dim")
_COUNTS = [
    _ORDERS,
    Column("delivered", "DELIVERED", right=True, style=lambda value: "green" if value else "dim"),
    _DEAD,
    Column("canceled", "CANCELED", right=True, rank=2, style=lambda value: "yellow" if value else "dim"),
    Column("open", "OPEN", right=True, rank=1, style=lambda value: "cyan" if value else "dim"),
]
_TIMES = [
    Column("queued", "QUEUED", right=True, value=_p50_p99("queued")),
    Column("post", "POST", right=True, value=_p50_p99("post")),
    Column("late", "LATE", right=True, value=_p50_p99("late")),
]
_CONNECTORS = [Column("connector", "CONNECTOR", style="bold", least=10, is_name=True), *_COUNTS, *_TIMES]
_HOUR, _DAY = Column("hour", "HOUR", style="dim", short=clock_time), Column("day", "DAY", style="dim")
