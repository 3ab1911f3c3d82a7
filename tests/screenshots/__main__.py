"""Takes the pictures of the console that the docs show: ten pages, two themes, two widths.

    ./run screenshots                into docs/images/console
    ./run screenshots FOLDER         elsewhere

They are looked at by a person, and compared with nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.async_api import Browser, expect

from signalq.local import PrivateRabbitMQ, ensure_installed
from tests.screenshots.scene import Pictured, replayed, scene
from tests.support.chromium import chromium, find_chromium
from tests.support.desk import OPS_TOKEN
from tests.support.person import LOOK_S, met

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "console"
SIZES = {"wide": (1280, 800), "phone": (390, 844)}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# A page has few colours: with so many of them a picture has a third of its bytes, and nobody sees the difference.
COLOURS = 96


def main() -> int:
    """Take them."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run screenshots",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, metavar="FOLDER")
    folder: Path = parser.parse_args().folder
    path = find_chromium()
    if path is None:
        sys.stderr.write("there is no Chromium here: ./run setup installs it\n")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with PrivateRabbitMQ(ensure_installed(_say)) as broker:
        asyncio.run(_take(broker.url, path, folder))
    return 0


async def _take(broker_url: str, path: str, folder: Path) -> None:
    expect.set_options(timeout=LOOK_S * 1000)
    async with chromium(path) as browser, scene(broker_url) as pictured:
        async with met(browser, pictured.world.url, "bob", OPS_TOKEN) as person:
            pages = {**pictured.pages, "job": await replayed(person, pictured.world)}
        for size, (width, height) in SIZES.items():
            for theme in THEMES:
                await _take_all(
                    browser, Pictured(pictured.world, pages), folder, f"{size}-{theme}", width, height, theme
                )


async def _take_all(
    browser: Browser, pictured: Pictured, folder: Path, kind: str, width: int, height: int, theme: str
) -> None:
    options = {"width": width, "height": height, "color_scheme": theme}
    async with met(browser, pictured.world.url, "bob", OPS_TOKEN, **options) as person:
        for name, page in pictured.pages.items():
            await person.open(page)
            await person.is_live()
            taken = await person.page.screenshot(animations="disabled", caret="hide")
            _save(taken, folder / f"{name}-{kind}.png")


def _save(taken: bytes, file: Path) -> None:
    with Image.open(io.BytesIO(taken)) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    _say(f"{file.name}: {file.stat().st_size // 1000} kB")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
