"""`-h`, `signalq help`, `--quiet`, the address at the end of an error, and suggestions that are near."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from signalq.errors import BrokerUnreachable, SettingsError
from signalq.kinds import Kind
from signalq.ops.__main__ import main
from signalq.ops.terminal.cli import cli
from signalq.ops.terminal.error_page import sections
from signalq.ops.terminal.errors import CommandFailed, failure_of
from signalq.ops.terminal.invocation import Invocation, is_quiet
from signalq.ops.terminal.render import note, say
from tests.unit.ops.test_cli import Ran, every_command

Signalq = Callable[..., Ran]
NOBODY = "amqp://user:topsecret@127.0.0.1:1/"


@pytest.fixture
def signalq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Signalq:
    """Runs the command line in this process, in an empty folder, with a broker that nobody runs."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", NOBODY)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["signalq", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_a_command_explains_itself_by_three_ways_in_the_same_words(path: tuple[str, ...], signalq: Signalq) -> None:
    long = signalq(*path, "--help")
    assert (long.status, long.err) == (0, "")
    assert signalq(*path, "-h") == long
    assert signalq("help", *path) == long
    assert "  -h, --help" in long.out
    assert "  -q, --quiet" in long.out


def test_no_kind_of_error_has_the_name_of_a_command() -> None:
    assert {path[0] for path in every_command() if path} & set(Kind) == set()


def test_help_of_an_error_is_its_entry(signalq: Signalq) -> None:
    for kind in Kind:
        ran = signalq("help", kind)
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.startswith(f"{kind}\n\n")
        assert max(map(len, ran.out.splitlines())) <= 80
    assert "start it, and look at its log" in " ".join(signalq("help", "connection-refused").out.split())


def test_help_lists_all_kinds_of_errors_by_what_they_are_about(signalq: Signalq) -> None:
    ran = signalq("help", "errors")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines() if line[:2] == "  " and line[2] != " "] == list(Kind)
    assert [line for line in ran.out.splitlines() if line.endswith(":") and line[0] != " "] == [
        f"{title}:" for title in sections()
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["publsh"], "no command and no kind of error is publsh, the nearest is publish (see signalq --help)"),
        (["conection-refused"], "the nearest is connection-refused (see signalq --help)"),
        (["xyzzy"], "no command and no kind of error is xyzzy (see signalq --help)"),
        (["dead", "shwo"], "there is no command shwo, the nearest is show (see signalq dead --help)"),
        (["dead", "xyzzy"], "there is no command xyzzy (see signalq dead --help)"),
        (["check", "it"], "signalq check has no commands of its own (see signalq check --help)"),
        (["connection-refused", "x"], "no command and no kind of error is connection-refused"),
        (["\x1b[31m"], "no command and no kind of error is \\x1b[31m ("),
    ],
)
def test_help_of_nothing_that_there_is_is_wrong_usage(words: list[str], says: str, signalq: Signalq) -> None:
    ran = signalq("help", *words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err


# --- the address of an error -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["dead", "list", "--queue"], 1, "connection-refused"),
        (["--config", "/nowhere.toml", "schema"], 2, "settings-file"),
        (["ledger", "upgrade"], 1, "no-ledger"),
        (["orders", "show", "x"], 1, "no-ledger"),
        (["init", "--config", "/nowhere/signalq.toml"], 1, "file-missing"),
    ],
)
def test_the_sentence_of_an_error_ends_with_where_to_read_on(
    arguments: list[str], status: int, kind: str, signalq: Signalq, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", f"sqlite:///{tmp_path}/none.db")
    ran = signalq(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (status, "", 1)
    assert ran.err.endswith(f"; see `signalq help {kind}`\n")
    assert signalq("help", kind).status == 0


def test_a_misspelt_setting_has_the_address_of_its_kind(signalq: Signalq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALQ_BROKER__PREFXI", "x")
    ran = signalq("schema")
    assert ran.status == 2
    assert ran.err.endswith("the nearest is broker.prefix; see `signalq help wrong-setting`\n")


def test_a_command_that_failed_for_a_reason_of_its_own_has_no_address() -> None:
    assert failure_of(CommandFailed("it failed")).with_address == "it failed"


@pytest.mark.parametrize(
    ("error", "sentence", "kind", "status"),
    [
        (BrokerUnreachable("no", "do"), "no: do", Kind.BROKER_UNREACHABLE, 1),
        (SettingsError("no", kind=Kind.NO_LEDGER), "no", Kind.NO_LEDGER, 2),
        (PermissionError(13, "x", "/a"), "/a: permission denied: this user may not; give", Kind.PERMISSION_DENIED, 1),
        (OSError(28, "x", "/a"), "/a: the disk is full; make room", Kind.DISK_FULL, 1),
        (ConnectionRefusedError(111, "x"), "connection refused: nothing listens there; ", Kind.CONNECTION_REFUSED, 1),
        (OSError(39, "Directory not empty", "/a"), "/a: Directory not empty: a file, ", Kind.FILE_UNUSABLE, 1),
        (ModuleNotFoundError("x", name="structlog"), "the package structlog is not", Kind.PACKAGE_MISSING, 2),
        (ModuleNotFoundError("x", name="mine"), "something unexpected went wrong (Module", Kind.UNEXPECTED, 1),
        (KeyError("s3cret"), "something unexpected went wrong (KeyError)", Kind.UNEXPECTED, 1),
    ],
)
def test_any_error_is_a_sentence_a_kind_and_a_status(error: Exception, sentence: str, kind: Kind, status: int) -> None:
    failure = failure_of(error)
    assert failure.sentence.startswith(sentence)
    assert (failure.kind, failure.status) == (kind, status)
    assert "s3cret" not in failure.sentence


# --- quiet -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["-q", "schema"], ["schema", "-q"], ["schema", "--quiet"]])
def test_quiet_leaves_the_remark_on_the_settings_file_out_wherever_it_stands(
    arguments: list[str], signalq: Signalq, tmp_path: Path
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text("[delivery]\ndelay_max_s = 77\n", encoding="utf-8")
    file.chmod(0o600)
    said = signalq("schema")
    assert said.err == f"signalq: the settings are those of {file}\n"
    quiet = signalq(*arguments)
    assert (quiet.status, quiet.out, quiet.err) == (0, said.out, "")


@pytest.mark.parametrize(
    "arguments",
    [["-q", "dead", "list", "--queue"], ["dead", "-q", "list", "--queue"], ["dead", "list", "--queue", "-q"]],
)
def test_quiet_silences_no_error(arguments: list[str], signalq: Signalq) -> None:
    ran = signalq(*arguments)
    assert (ran.status, ran.out) == (1, "")
    assert "no connection to RabbitMQ" in ran.err


def test_quiet_silences_a_summary_and_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*, quiet: bool) -> str:
        with click.Context(cli, obj=Invocation(quiet=quiet)):
            assert is_quiet() is quiet
            note("2 dead letters")
            say("1 more was not read")
        return capsys.readouterr().err

    assert said(quiet=False) == "2 dead letters\n1 more was not read\n"
    assert said(quiet=True) == "1 more was not read\n"
    assert not is_quiet(), "without a command nothing is silenced"


# --- suggestions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["outcomes", "--status", "deliverd"], "'canceled', 'duplicate', the nearest is delivered (see"),
        (["outcomes", "--status", "xyzzy"], "'duplicate' (see signalq outcomes --help)"),
        (["publish", "--format", "json", "x"], "the nearest is jsonl (see"),
        (["sandbox", "--cut", "befor"], "the nearest is before (see"),
        (["sandbox", "--cut", "now"], "'after' (see"),
        (["orders", "lsit"], "there is no command lsit, the nearest is list (see"),
        (["orders", "help"], "there is no command help (see"),
        (["zzz"], "there is no command zzz (see"),
        (["settings", "broker.ulr"], "the nearest is broker.url (see"),
    ],
)
def test_a_suggestion_is_made_where_one_is_near(arguments: list[str], says: str, signalq: Signalq) -> None:
    ran = signalq(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err
