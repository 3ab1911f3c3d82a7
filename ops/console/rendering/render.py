"""Templates to HTML: the environment, and how foreign text, times, durations and numbers are written.

A cell is written in one template, for the page and for its live update. All text is escaped; a name that somebody else
has chosen is also isolated (`<bdi>`): a right-to-left override in it must not turn round the sentence around it.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from signalq.ops.console.orders.search import quoted
from signalq.ops.console.rendering import charts, frame, lane_list
from signalq.ops.orders.timeline_view import lasted
from signalq.ops.terminal.escaping import escaped
from signalq.times import iso_ms
from signalq.version import __version__

if TYPE_CHECKING:
    from signalq.ops.console.view import View

ROOM = Path(__file__).parents[1]
STATIC = ROOM / "static"
NAME_CHARACTERS = 32
THIN_SPACE = "\u2009"
UNKNOWN = Markup("—")
DIGEST_BYTES = 6


def render(template: str, view: "View", context: Mapping[str, Any]) -> str:
    """The HTML of a template for one view."""
    return (
        environment()
        .get_template(template)
        .render(view=view, snapshot=view.snapshot, viewer=view.viewer, settings=view.settings, **context)
    )


@cache
def environment() -> Environment:
    """The environment, made once."""
    made = Environment(
        loader=FileSystemLoader(ROOM / "templates"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "foreign": foreign,
        "plain": plain,
        "quoted": quoted,
        "clock": clock,
        "ago": ago,
        "until": until,
        "lasted": lasted,
        "grouped": grouped,
        "iso": iso_ms,
    }
    made.globals |= {
        "url": url,
        "static": static_path,
        "ident": ident,
        "charts": charts,
        "frame": frame,
        "lane_list": lane_list,
        "version": __version__,
        "unknown": UNKNOWN,
    }
    return made


def foreign(value: object, characters: int = NAME_CHARACTERS) -> Markup:
    """A name or sentence of somebody else: escaped, isolated, and cut in its middle if it is long."""
    if value is None:
        return UNKNOWN
    shown = escaped(str(value))
    if len(shown) <= characters:
        return Markup("<bdi>{}</bdi>").format(shown)
    half = (characters - 1) // 2
    return Markup('<bdi title="{}">{}…{}</bdi>').format(shown, shown[: characters - 1 - half], shown[-half:])


def plain(value: object, characters: int = NAME_CHARACTERS) -> str:
    """The same for where no tag may stand: a title, an attribute."""
    shown = escaped(str(value))
    return shown if len(shown) <= characters else f"{shown[: characters - 1]}…"


def ident(kind: str, *names: str | None) -> str:
    """The id of an element that stands for foreign names: the same for the same ones, and safe in every place."""
    told = "\0".join("" if name is None else f"={name}" for name in names)
    return f"{kind}-{hashlib.blake2b(told.encode('utf-8', 'surrogatepass'), digest_size=DIGEST_BYTES).hexdigest()}"


@pass_context
def clock(context: Context, at_ms: int | None) -> Markup:
    """A moment as the time of day in UTC, with the day if it is another one, and the whole in its title.

    The page's script knows other zones.
    """
    snapshot = context.get("snapshot")
    today = iso_ms(snapshot.now_ms)[:10] if snapshot is not None else ""
    return _time(at_ms, "clock", lambda iso: iso[11:19] if iso[:10] == today else f"{iso[5:10]} {iso[11:19]}")


def ago(at_ms: int | None, now_ms: int) -> Markup:
    """How long ago a moment was; it goes on by itself in the browser."""
    return _time(at_ms, "ago", lambda _iso: briefly(now_ms - (at_ms or 0)))


def until(at_ms: int | None, now_ms: int) -> Markup:
    """How long until a moment."""
    return _time(at_ms, "in", lambda _iso: briefly((at_ms or 0) - now_ms))


def _time(at_ms: int | None, show: str, words: Any) -> Markup:
    if at_ms is None:
        return UNKNOWN
    iso = iso_ms(at_ms)
    return Markup('<time datetime="{}" data-show="{}" title="{} UTC">{}</time>').format(
        iso, show, iso[:23].replace("T", " "), words(iso)
    )


def briefly(ms: int) -> str:
    """A duration in its largest units: `0.4 s`, `41 s`, `4 min`, `2 h 3 min`, `3 d 2 h`; `0.0 s` for a negative one.

    The page's script writes durations alike.
    """
    ms = max(0, ms)
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if not minutes:
        return f"{seconds} s"
    if not hours:
        return f"{minutes} min" if minutes >= 10 or not seconds else f"{minutes} min {seconds} s"
    if not days:
        return f"{hours} h {minutes_left} min"
    return f"{days} d {hours_left} h"


def grouped(number: int | None) -> str:
    """A number with a thin space between thousands; `—` where it is not known, which is not 0."""
    return UNKNOWN if number is None else f"{number:,}".replace(",", THIN_SPACE)


def url(base: str, path: str, *parts: str, **parameters: object) -> str:
    """A link of ours: the path, parts of it that are foreign, and the parameters that are not None."""
    whole = "/".join([f"{base}{path}", *(quote(part, safe="") for part in parts)])
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{whole}?{urlencode(given)}" if given else whole


@cache
def static_path(name: str) -> str:
    """The path of a static file, with a digest of it: another file has another path, so it may be kept for ever."""
    digest = hashlib.blake2b((STATIC / name).read_bytes(), digest_size=DIGEST_BYTES).hexdigest()
    return f"/static/{digest}/{name}"
