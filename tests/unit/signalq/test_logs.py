"""Logs that tell no secret and draw on no terminal (contract 4 and 6)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from signalq.logs import Lines, configure_logging
from signalq.secrets.blanking import Blanker


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("aio_pika", "aiormq")}
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, its_level in levels.items():
        logging.getLogger(name).setLevel(its_level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    output, errors = capsys.readouterr()
    assert output == "", "logs go to stderr"
    return [json.loads(line) for line in errors.splitlines()]


def test_a_line_is_one_json_object_with_event_level_and_timestamp(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="info", blanker=Blanker())
    structlog.get_logger().info("intent.settled", connector="é", attempts=2)
    (line,) = lines(capsys)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "intent.settled", "level": "info", "connector": "é", "attempts": 2}


def test_without_a_terminal_the_form_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form=None, level="info", blanker=Blanker())
    structlog.get_logger().info("service.started")
    assert lines(capsys)[0]["event"] == "service.started"


def test_a_line_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="warning", blanker=Blanker())
    structlog.get_logger().info("intent.settled")
    structlog.get_logger().warning("broker.lane_lost")
    assert [line["event"] for line in lines(capsys)] == ["broker.lane_lost"]


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\nb", r"a\nb"),
        ("a\r\tb", r"a\r\tb"),
        ("\u202e evil", r"\u202e evil"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_control_characters_of_foreign_text_are_escaped(
    form: str, foreign: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(form=form, level="info", blanker=Blanker())
    structlog.get_logger().info("intent.received", strategy=foreign)
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1, "one line, whatever it tells of"
    assert errors.rstrip("\n").isprintable()
    assert (json.loads(errors)["strategy"] if form == "json" else errors).find(shown) >= 0


def test_printable_foreign_text_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="info", blanker=Blanker())
    structlog.get_logger().info("intent.received", strategy="plain 'words' \\ é 🚀")
    assert lines(capsys)[0]["strategy"] == "plain 'words' \\ é 🚀"


def fail(words: str) -> None:
    raise ValueError(words)


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_blanked_in_every_field_in_exceptions_and_in_lines_of_libraries(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(form=form, level="debug", blanker=Blanker(["s3cret", "s3cret-and-more", ""]))
    log = structlog.get_logger()
    log.info("s3cret in the event", why="amqp://user:s3cret@host/", longer="s3cret-and-more")
    try:
        fail("s3cret in an error")
    except ValueError:
        log.exception("intent.handling_failed")
    logging.getLogger("some.library").error("it says %s", "s3cret")
    errors = capsys.readouterr().err
    assert "s3cret" not in errors
    assert "and-more" not in errors, "of two secrets that begin alike, the longer one is blanked whole"
    assert errors.count("***") >= 5


def test_a_secret_of_a_single_letter_hides_no_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="info", blanker=Blanker(["t"]))
    structlog.get_logger().info("service.started", told="that")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["told"]) == ("service.started", "info", "***ha***")
    assert line["timestamp"].endswith("Z")


def test_an_exception_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="info", blanker=Blanker())
    try:
        fail("reason")
    except ValueError:
        structlog.get_logger().exception("intent.handling_failed")
    (line,) = lines(capsys)
    assert str(line["exception"]).startswith("Traceback (most recent call last):\n")
    assert line["level"] == "error"


def test_libraries_log_no_frames_and_no_bodies_whatever_our_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="debug", blanker=Blanker())
    for library in ("aiormq.connection", "aio_pika.channel", "aiohttp.client", "asyncio"):
        logging.getLogger(library).debug("frame with a body")
        logging.getLogger(library).info("frame with a body")
    assert lines(capsys) == []


def test_secrets_that_become_known_later_are_blanked_and_the_old_ones_stay_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    masker = configure_logging(form="json", level="info", blanker=Blanker(["s3cret"]))
    masker.blank(["s3cret-and-more", ""])
    structlog.get_logger().info("intent.settled", first="s3cret", second="s3cret-and-more")
    (line,) = lines(capsys)
    assert (line["first"], line["second"]) == ("***", "***")


class Stream(io.StringIO):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


async def test_the_lines_of_one_step_of_the_loop_are_written_at_once_behind_it() -> None:
    lines = Lines(stream := Stream())
    lines.info("one")
    lines.debug("two")
    assert stream.writes == []
    await asyncio.sleep(0)
    lines.info("three")
    await asyncio.sleep(0)
    assert stream.writes == ["one\ntwo\n", "three\n"]


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
async def test_a_warning_or_an_error_is_written_before_anything_else_happens_behind_the_lines_before_it(
    level: str,
) -> None:
    lines = Lines(stream := Stream())
    lines.info("one")
    getattr(lines, level)("two")
    assert "".join(stream.writes) == "one\ntwo\n"
    lines.info("three")
    await asyncio.sleep(0)
    assert "".join(stream.writes) == "one\ntwo\nthree\n"


async def test_lines_of_a_library_and_of_other_threads_come_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(form="json", level="info", blanker=Blanker())
    log = structlog.get_logger()
    log.info("service.started")
    logging.getLogger("some.library").warning("so it is")
    log.info("service.draining")
    await asyncio.to_thread(log.info, "ledger.upgraded")
    log.info("service.stopped")
    await asyncio.sleep(0)
    events = [line["event"] for line in lines(capsys)]
    assert events == ["service.started", "so it is", "service.draining", "ledger.upgraded", "service.stopped"]


def test_lines_that_a_loop_left_when_it_ended_come_with_the_next_one() -> None:
    lines = Lines(stream := Stream())
    for event in ("one", "two"):
        loop = asyncio.new_event_loop()
        loop.call_soon(loop.stop)
        loop.call_soon(lines.info, event)
        loop.run_forever()
        loop.close()
    assert stream.writes == []
    lines.flush()
    assert stream.writes == ["one\ntwo\n"]


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise KeyError", "1 / 0", "signal.raise_signal(signal.SIGINT)"])
def test_a_process_that_ends_in_the_same_step_writes_its_last_lines(end: str) -> None:
    script = (
        "import asyncio, signal, sys, structlog\n"
        "from signalq.logs import configure_logging\n"
        "from signalq.secrets.blanking import Blanker\n"
        "configure_logging(form='json', level='info', blanker=Blanker())\n"
        "def step():\n"
        "    structlog.get_logger().info('intent.settled')\n"
        f"    {end}\n"
        "async def main():\n"
        "    step()\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert '"event": "intent.settled"' in ended.stderr
