"""`python -m tests.containers`: builds the images, plays compose.yaml and the chart.

Its status is 0 where all of it holds, 1 where it fails, and 2 where it can't be run.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from signalq.local import FetchFailed
from tests.containers import chart, compose, images, worlds
from tests.containers.desk import Desk
from tests.containers.podman import DRIVER, Failed, Podman
from tests.image.build import ROOT, Workshop
from tests.support.tools import HELM, PROGRAMS

PLAYS = {"compose": compose.play, "chart": chart.play}
WHOLE_TIMEOUT_S = 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a world, play in it, sweep up."""
    options = _parser().parse_args(arguments)
    if options.inside is not None:
        return _inside(options.inside, options.images or options.inside, options.part or tuple(PLAYS))
    why = worlds.missing() or tools_missing()
    if why is not None:
        print(f"containers: not run: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="signalq-containers-"))
    try:
        return worlds.enter(sys.executable, "-m", "tests.containers", "--inside", str(folder), *sys.argv[1:])
    finally:
        worlds.sweep_cgroups()
        shutil.rmtree(folder)
        say("nothing of it is left")


def tools_missing() -> str | None:
    """Which of our tools lack, as a sentence; None where they are all there."""
    lacking = [name for name in ("docker-compose", HELM["4"]) if not (PROGRAMS / name).is_file()]
    return f"there is no {' and no '.join(lacking)} of requirements-tools.lock here" if lacking else None


def say(words: str) -> None:
    """A line of progress."""
    print(f"containers: {words}", flush=True)


def _inside(folder: Path, kept: Path, parts: Sequence[str]) -> int:
    """All of it, in the world that was made; what went wrong is told with the end of the logs."""
    # What libraries say of connections that are cut on purpose.
    logging.basicConfig(filename=folder / "python.log")
    try:
        worlds.hide_the_machines_own()
        build(kept)
        worlds.leave_the_network(folder)
        asyncio.run(asyncio.wait_for(play(folder, kept, parts), WHOLE_TIMEOUT_S))
    except subprocess.CalledProcessError as error:
        print(f"containers: {error.cmd[0]} ended with {error.returncode}", file=sys.stderr)
        print((kept / "build.log").read_text("utf-8", errors="replace")[-3000:], file=sys.stderr)
        return 1
    except (FetchFailed, Failed, AssertionError, TimeoutError) as error:
        print(f"containers: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say("all of it holds")
    return 0


def build(folder: Path) -> None:
    """The images, unless an earlier run has left them here."""
    folder.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(folder, DRIVER)
    if images.are_built(workshop):
        say(f"the images of an earlier run are in {folder}")
        return
    began_s = time.monotonic()
    say("building the images: signalq, RabbitMQ, PostgreSQL, Prometheus (some minutes)")
    images.build(workshop)
    say(f"built in {time.monotonic() - began_s:.0f} s")


async def play(folder: Path, kept: Path, parts: Sequence[str]) -> None:
    """The parts, each with containers of its own."""
    for part in parts:
        own = folder / part
        own.mkdir()
        say(f"{part}:")
        async with Podman(own, kept) as podman:
            try:
                await PLAYS[part](podman, Desk(podman, own), own, say)
            except (AssertionError, Failed):
                for line in await podman.last_words():
                    print(line, file=sys.stderr)
                raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run test-containers", description=__doc__)
    parser.add_argument("--part", action="append", choices=PLAYS, help="play this alone (default: all)")
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="keep the images here, and take those that are there already"
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    if not ROOT.samefile("."):
        os.chdir(ROOT)
    sys.exit(main())
