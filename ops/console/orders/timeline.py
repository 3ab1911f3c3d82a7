"""The timeline of an order, as a drawing and as steps: pure, from the entries that `signalq orders show` has.

A bar is something that lasts: a wait, a delay, a POST; a dot is something that happens. Each generation has a drawing
of its own. Its shapes lie within its frame, whatever the clocks said, and their number has a limit, whatever happened.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from signalq.consumer.orders.state import ENDINGS
from signalq.ops.console.orders.axis import Tick, ticks
from signalq.ops.orders.records import Story, TimelineEntry
from signalq.ops.orders.timeline_view import lasted, says

# Of a drawing, in units of its own: a browser scales it. The words of a row stand left of the plot.
WIDTH, WORDS_WIDTH, MARGIN = 960, 300, 24
PLOT_WIDTH = WIDTH - WORDS_WIDTH - MARGIN
ROW_HEIGHT, AXIS_HEIGHT = 20, 40
BAR_WIDTH_MIN = 2
# Of more rows, those in the middle are drawn as one.
FIRST_ROWS, LAST_ROWS = 8, 15
# Of more steps, those in the middle are not told.
FIRST_STEPS, LAST_STEPS = 50, 250

UNTIL = "until "
IN_DOUBT = "in doubt"
# A death for these follows an attempt at once: nothing was waited for.
AT_ONCE = frozenset({"rejected", "exhausted", "outcome-unknown"})
# The present state of an order, as its last entry.
OUTLOOKS = frozenset({"sending", "next attempt", "dead-lettering"})
WAITS = {
    "broker": "on the broker",
    "delay": "for its due time",
    "lane": "in its lane",
    "backoff": "for another attempt",
}
SIGNS = {
    "created": "◆",
    "received": "●",
    "scheduled": "◷",
    "forwarded": "→",
    "expiration": "!",
    "replayed": "↻",
    "delivered": "✓",
    "dead": "✕",
    "canceled": "⊘",
    "accepted": "✓",
    "not taken": "↻",
    "refused": "✕",
    "unknown": "?",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasts, or with `until_ms` None happens; in ms since the epoch. `is_open`: it goes on.

    `kind` is its class, and `sign` says the same without a colour.
    """

    kind: str
    from_ms: int
    until_ms: int | None
    words: str
    sign: str = ""
    is_open: bool = False

    @property
    def end_ms(self) -> int:
        """Its end."""
        return self.from_ms if self.until_ms is None else self.until_ms


@dataclass(frozen=True, slots=True)
class Shape:
    """A bar, or with `width` 0 a dot, in the row whose middle is at `y`."""

    kind: str
    sign: str
    x: float
    y: int
    width: float
    words: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """The shapes of a generation, the words of each row with its `y`, and the marks of the axis at `axis_y`."""

    height: int
    axis_y: int
    shapes: Sequence[Shape]
    words: Sequence[tuple[int, str]]
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class Step:
    """An entry as text: `after` is the time since the entry before it."""

    at_ms: int
    after: str
    kind: str
    what: str
    says: str
    is_ahead: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A generation: its drawing, and its first and last steps, with the number of those between that are not told."""

    generation: int
    drawing: Drawing
    first: Sequence[Step]
    untold: int
    last: Sequence[Step]


def sections(story: Story) -> list[Section]:
    """The generations of an order, the newest first."""
    told = list(zip(story.timeline, steps(story.timeline, story.now_ms), strict=True))
    found = []
    for generation, group in groupby(sorted(told, key=_generation), key=_generation):
        own = list(group)
        due_ms = story.one.delayed_until_ms if generation == story.one.generation else None
        drawing = drawn(spans([entry for entry, _ in own], due_ms, story.now_ms))
        texts = [step for _, step in own]
        untold = max(0, len(texts) - FIRST_STEPS - LAST_STEPS)
        found.append(
            Section(generation, drawing, texts[:FIRST_STEPS], untold, texts[FIRST_STEPS:][untold:]),
        )
    return found[::-1]


def _generation(told: tuple[TimelineEntry, Step]) -> int:
    return int(str(told[0]["generation"]))


def steps(entries: Sequence[TimelineEntry], now_ms: int) -> Iterator[Step]:
    """The entries as text."""
    before_ms: int | None = None
    for entry in entries:
        at_ms = at(entry)
        after = "" if before_ms is None else lasted(at_ms - before_ms)
        number = f" {entry['attempt']}" if "attempt" in entry else ""
        kind = str(entry.get("certainty") or entry["what"]).replace(" ", "-")
        yield Step(at_ms, after, kind, f"{entry['what']}{number}", says(entry), at_ms > now_ms)
        before_ms = at_ms


def at(entry: TimelineEntry) -> int:
    """The time of an entry, in ms since the epoch."""
    return round(datetime.fromisoformat(str(entry["at"])).timestamp() * 1000)


def spans(entries: Sequence[TimelineEntry], due_ms: int | None, now_ms: int) -> list[Span]:
    """All that lasts and all that happens in one generation, until `now_ms`, or until a later time that it waits for.

    `due_ms`: the due time of the present generation; an earlier one has noted its own.
    """
    if not entries:
        return []
    story = _Spans(at(entries[0]), due_ms if due_ms is not None else _noted_due_ms(entries))
    for entry in entries:
        story.add(entry, now_ms)
    whats = {str(entry["what"]) for entry in entries}
    if not whats & (ENDINGS | OUTLOOKS):
        story.wait(max(now_ms, story.due_ms or now_ms), is_open=True)
    return story.found


def _noted_due_ms(entries: Iterable[TimelineEntry]) -> int | None:
    for entry in entries:
        detail = str(entry.get("detail"))
        if entry["what"] == "scheduled" and detail.startswith(UNTIL):
            return at({"at": detail.removeprefix(UNTIL)})
    return None


class _Spans:
    """The spans of a story, which has come as far as `at_ms`."""

    def __init__(self, begin_ms: int, due_ms: int | None) -> None:
        self.found: list[Span] = []
        self.at_ms = begin_ms
        self.due_ms = due_ms
        self._has_tried = False

    def add(self, entry: TimelineEntry, now_ms: int) -> None:
        """Go on with the next entry."""
        what, at_ms = str(entry["what"]), at(entry)
        if what == "received":
            self._last("broker", at_ms)
        elif what == "attempt":
            self._attempt(entry, at_ms)
            return
        elif what == "next attempt":
            self.wait(max(at_ms, now_ms), is_open=True)
            return
        elif what in ENDINGS | OUTLOOKS and not (self._has_tried and entry.get("reason") in AT_ONCE):
            self.wait(at_ms)
        if what in OUTLOOKS:
            self._present(entry, at_ms, max(at_ms, now_ms))
        elif what in SIGNS:
            self.found.append(Span(what, at_ms, None, what, SIGNS[what]))

    def wait(self, until_ms: int, *, is_open: bool = False) -> None:
        """Wait until then: for the due time, then for a turn in the lane, or for another attempt."""
        if self.due_ms is not None and self.at_ms < self.due_ms:
            end_ms = min(self.due_ms, until_ms)
            self._last("delay", end_ms, is_open=is_open and end_ms == until_ms)
        self._last("backoff" if self._has_tried else "lane", until_ms, is_open=is_open)

    def _last(self, kind: str, until_ms: int, *, is_open: bool = False) -> None:
        """Let it wait until then; a time that has passed, by another clock, is no wait."""
        if until_ms > self.at_ms:
            words = f"waits {WAITS[kind]}" if is_open else f"waited {WAITS[kind]}, {lasted(until_ms - self.at_ms)}"
            self.found.append(Span(kind, self.at_ms, until_ms, words, is_open=is_open))
            self.at_ms = until_ms

    def _attempt(self, entry: TimelineEntry, at_ms: int) -> None:
        duration_ms, certainty = entry.get("duration_ms"), str(entry.get("certainty"))
        took_ms = duration_ms if isinstance(duration_ms, int) else 0
        self.wait(at_ms - took_ms)
        words = f"attempt {entry.get('attempt')}, {certainty}" + (f", {lasted(took_ms)}" if took_ms else "")
        until_ms = at_ms if took_ms else None
        kind = f"post {certainty.replace(' ', '-')}"
        self.found.append(Span(kind, at_ms - took_ms, until_ms, words, SIGNS.get(certainty, "•")))
        self.at_ms = max(self.at_ms, at_ms)
        self._has_tried = True

    def _present(self, entry: TimelineEntry, at_ms: int, until_ms: int) -> None:
        """An attempt, or a dead letter, that is on its way now; where it stands still, somebody must go on with it."""
        is_in_doubt = str(entry.get("detail")).startswith(IN_DOUBT)
        if entry["what"] == "sending":
            words = f"attempt {entry.get('attempt')}, {IN_DOUBT if is_in_doubt else 'on its way'}"
        else:
            words = "its dead letter is on its way"
        kind = "post unknown" if is_in_doubt else "post sending"
        self.found.append(Span(kind, at_ms, until_ms, words, "?" if is_in_doubt else "", is_open=True))


def drawn(found: Sequence[Span]) -> Drawing:
    """The drawing: a row a span, in their order; of very many those in the middle share one."""
    begin_ms = min((one.from_ms for one in found), default=0)
    lasts_ms = max(1, max((one.end_ms for one in found), default=0) - begin_ms)
    scale = PLOT_WIDTH / lasts_ms
    between = max(0, len(found) - FIRST_ROWS - LAST_ROWS)
    shapes: list[Shape] = []
    words: list[tuple[int, str]] = []
    for number, one in enumerate(found):
        is_between = between > 1 and FIRST_ROWS <= number < FIRST_ROWS + between
        row = FIRST_ROWS if is_between else number - max(0, between - 1) * (number >= FIRST_ROWS + between)
        y = row * ROW_HEIGHT + ROW_HEIGHT // 2
        shapes.append(_shape(one, (one.from_ms - begin_ms) * scale, (one.end_ms - begin_ms) * scale, y))
        if not is_between:
            words.append((y, one.words))
        elif number == FIRST_ROWS:
            words.append((y, f"… {between:,} more"))
    axis_y = len(words) * ROW_HEIGHT
    marks = [replace(one, x=round(WORDS_WIDTH + one.x, 1)) for one in ticks(begin_ms, lasts_ms, PLOT_WIDTH)]
    return Drawing(axis_y + AXIS_HEIGHT, axis_y, list(_thinned(shapes)), words, marks)


def _shape(one: Span, from_x: float, to_x: float, y: int) -> Shape:
    """The shape of a span; a bar can be seen however short it is, and stays in the frame."""
    width = 0.0 if one.until_ms is None else max(BAR_WIDTH_MIN, round(to_x - from_x, 1))
    x = WORDS_WIDTH + min(max(0.0, round(from_x, 1)), PLOT_WIDTH - width)
    return Shape(one.kind, one.sign, round(x, 1), y, width, one.words, one.is_open)


def _thinned(shapes: Iterable[Shape]) -> Iterator[Shape]:
    """The shapes without those that would lie exactly on another one: of thousands in a row most do."""
    there = set()
    for one in shapes:
        place = one.kind, one.y, round(one.x), round(one.width)
        if place not in there:
            there.add(place)
            yield one
