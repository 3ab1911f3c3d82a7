"""The command line: help, one sentence for an error, exit statuses, nothing secret."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from signalq import __version__
from signalq.ops.__main__ import main
from signalq.ops.terminal.cli import cli
from signalq.settings import sources
from signalq.version import how_to_install
from tests.support.stores import ledger_at

ROOT = Path(__file__).parents[3]
# Port 1 of loopback: nobody listens, connecting is refused at once.
NOBODY = "amqp://user:topsecret@127.0.0.1:1/"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Signalq = Callable[..., Ran]


@pytest.fixture
def signalq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Signalq:
    """Runs the command line in this process, with a broker that nobody runs."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", NOBODY)

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["signalq", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


def in_a_process(*command: str) -> Ran:
    """Where the interpreter's start or its end matters."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_python_runs_it_as_a_module_too() -> None:
    ran = in_a_process(sys.executable, "-m", "signalq", "--version")
    assert (ran.status, ran.out, ran.err) == (0, f"signalq {__version__}\n", "")


def every_command(group: click.Group = cli, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        below = (*path, name)
        found += every_command(command, below) if isinstance(command, click.Group) else [below]
    return found


async def made(url: str) -> None:
    """Make a ledger there."""
    async with ledger_at(url):
        pass


def texts_of(path: tuple[str, ...]) -> list[click.Parameter]:
    """The options and arguments of a command that take any text."""
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or command
    return [
        one for one in command.params if isinstance(one.type, (click.types.StringParamType, click.types.FuncParamType))
    ]


@pytest.mark.parametrize("path", [path for path in every_command() if texts_of(path)], ids=" ".join)
def test_a_text_that_is_no_utf8_is_refused_in_a_sentence_or_taken_as_it_is_kept(
    path: tuple[str, ...], signalq: Signalq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/signalq.db"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url)
    asyncio.run(made(url))
    for one in texts_of(path):
        (flag,) = one.opts[:1] if isinstance(one, click.Option) else ("--",)
        ran = signalq(*path, flag, "\udcff")
        assert "unexpected" not in ran.err, (flag, ran.err)
        if one.name in {"connector", "strategy", "ids", "intent_ids", "intent_id"} and path[0] not in {
            "publish",
            "lanes",
        }:
            assert one.type.convert("\udcff", None, None) == "\\xff", "it could never be found"


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_explains_itself_and_ends_with_an_example(path: tuple[str, ...], signalq: Signalq) -> None:
    ran = signalq(*path, "--help")
    assert ran.status == 0
    explanation, _, example = ran.out.partition("Example:")
    assert len(explanation.split("Options:")[0].split()) > 8
    assert "signalq" in example


def test_all_the_commands_of_this_version_are_there(signalq: Signalq) -> None:
    shown = signalq("--help").out.split("Commands:")[1]
    for name in (
        *("consume", "check", "topology", "publish", "sandbox", "dead", "schema", "demo", "dev", "init", "settings"),
    ):
        assert f"\n  {name} " in shown


def test_help_is_fast_because_it_imports_no_broker_no_model_and_no_table() -> None:
    script = (
        "import sys; sys.argv = ['signalq', '--help']\n"
        "from signalq.ops.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'aio_pika', 'aiohttp', 'rich', 'consumer'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ran = in_a_process(sys.executable, "-c", script)
    assert ran.status == 0, ran.err


# Modules that a publish does not use, and the programs and rooms that it must not wait for.
NOT_FOR_A_PUBLISH = (
    "aiohttp", "alembic", "apprise", "prometheus_client", "rich", "sqlalchemy", "structlog", "uvloop",
    "signalq.consumer.ledger", "signalq.consumer.webhook", "signalq.documents", "signalq.ops.publish.dry_run",
    "signalq.ops.publish.hold_back", "signalq.ops.publish.waiting", "signalq.ops.terminal.render",
    "signalq.publishing.sync",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [["--connector", "main", "--action", "buy"], ["FILE"]], ids=" ".join)
def test_a_publish_imports_nothing_that_it_does_not_use(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It gets as far as the connection."""
    file = tmp_path / "orders.jsonl"
    file.write_text('{"connectorName":"main","action":"buy"}\n', encoding="utf-8")
    given = [str(file) if one == "FILE" else one for one in arguments]
    script = (
        f"import sys; sys.argv = ['signalq', 'publish', *{given!r}]\n"
        "from signalq.ops.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted(set({NOT_FOR_A_PUBLISH!r}) & set(sys.modules)))"
    )
    monkeypatch.setenv("SIGNALQ_BROKER__URL", NOBODY)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    ran = in_a_process(sys.executable, "-c", script)
    assert "no connection to RabbitMQ" in ran.err
    assert ran.out == "[]\n"


WRONG = {
    "an unknown command": (["dedd"], "the nearest is dead"),
    "an unknown command of a group": (["dead", "shwo"], "the nearest is show"),
    "a command like no other": (["xyzzy"], "there is no command xyzzy (see"),
    "a reason like no other": (["dead", "list", "--reason", "xyzzy"], "xyzzy is no reason: it is one of"),
    "an unknown option": (["check", "--jsno"], "--json"),
    "no settings file": (["check", "--config", "/nowhere/signalq.toml"], "/nowhere/signalq.toml can't be read"),
    "consume without its settings file": (["--config", "/nowhere.toml", "consume"], "/nowhere.toml"),
    "topology apply without its settings file": (["topology", "apply", "--config", "/nowhere.toml"], "/nowhere.toml"),
    "topology show with an argument": (["topology", "show", "this"], "this"),
    "publish without anything": (["publish"], "--connector is missing; --action is missing"),
    "publish with an impossible share": (
        ["publish", "--connector=a", "--action=buy", "--percent=500"],
        "--percent must",
    ),
    "publish with an unknown action": (["publish", "--connector=a", "--action=bye"], "--action must be one of buy"),
    "publish with two tokens": (
        ["publish", "--connector=a", "--action=buy", "--token=a", "--token-env=B"],
        "give at most one",
    ),
    "publish with a token that is not there": (
        ["publish", "--connector=a", "--action=buy", "--token-env=SURELY_NOT_SET"],
        "SURELY_NOT_SET is empty or not set",
    ),
    "publish with a file that is not there": (["publish", "/nowhere/orders.jsonl"], "does not exist"),
    "publish with a file of no known kind": (["publish", __file__], "--format"),
    "publish with a file and a flag": (["publish", "-", "--fixed", "1"], "--fixed describes one intent"),
    "publish with an empty identity": (["publish", "--message-id", "", "--connector=a"], "1 to 255 bytes"),
    "publish one intent again": (["publish", "--again", "--connector=a", "--action=buy"], "--again"),
    "publish one intent at a pace": (["publish", "--rate", "1", "--connector=a", "--action=buy"], "go with a FILE"),
    "publish at no pace": (["publish", "--rate", "0", "-"], "--rate"),
    "publish and wait for no time": (["publish", "--wait=0", "-"], "--wait"),
    "publish and wait for a word": (["publish", "--wait=long", "-"], "--wait"),
    "publish and wait for a file that is not there": (["publish", "--wait", "/nowhere/orders.csv"], "does not exist"),
    "publish and wait with nothing to publish": (["publish", "--wait"], "--connector is missing"),
    "publish one intent that is wrong, as a trial": (
        ["publish", "--dry-run", "--action=buy"],
        "--connector is missing",
    ),
    "publish going on and again": (["publish", "--resume", "--again", __file__, "--format=csv"], "give one of them"),
    "publish going on with a pipe": (["publish", "--resume", "-"], "not a pipe"),
    "dead list with no rows": (["dead", "list", "--limit", "0"], "--limit"),
    "dead list all and limited": (["dead", "list", "--limit", "5", "--all"], "contradict"),
    "dead list of no reason": (["dead", "list", "--reason", "foo"], "foo is no reason"),
    "dead replay of no reason": (["dead", "replay", "--reason", "rejectd"], "the nearest is rejected"),
    "dead discard of no reason": (["dead", "discard", "--reason", "\x1b[2J"], "\\x1b[2J is no reason"),
    "outcomes of no status": (["outcomes", "--status", "foo"], "'foo' is not one of"),
    "dead show of nothing": (["dead", "show"], "ID"),
    "sandbox with a status that is none": (["sandbox", "--fail", "99"], "--fail"),
    "sandbox with two moods": (["sandbox", "--fail", "503", "--hang", "3"], "at most one"),
    "schema with an argument": (["schema", "this"], "this"),
    "demo with an option it has not": (["demo", "--fast"], "--fast"),
    "dev with a settings file": (["dev", "--config", __file__], "--config is not for dev"),
    "dev on no port": (["dev", "--port", "0"], "--port"),
    "dev on a port with no room above it": (["dev", "--port", "65518"], "--port"),
    "dev in a file": (["dev", "--folder", __file__], "is a file"),
    "dev with an argument": (["dev", "here"], "here"),
    "init with an argument": (["init", "here.toml"], "here.toml"),
    "settings of no such name": (["settings", "webhok.url"], "the nearest is webhook.url"),
    "settings of no such section": (["settings", "xyzzy"], "xyzzy is no setting here (see"),
    "settings without its file": (["settings", "--config", "/nowhere.toml"], "/nowhere.toml"),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_sentence_and_exit_status_2(arguments: list[str], says: str, signalq: Signalq) -> None:
    ran = signalq(*arguments)
    assert ran.status == 2
    assert says in ran.err
    assert ran.err.startswith("signalq: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_a_misspelt_variable_is_wrong_usage_for_every_command_that_has_settings(
    signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_BROKER__PREFXI", "x")
    for arguments in (["check"], ["topology", "show"], ["dead", "list"], ["schema"], ["consume"]):
        ran = signalq(*arguments)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "broker.prefix" in ran.err


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_settings_file_may_be_named_before_or_after_the_command(
    place: str, signalq: Signalq, tmp_path: Path
) -> None:
    path = tmp_path / "signalq.toml"
    path.write_text("[delivery]\ndelay_max_s = 77\n", encoding="utf-8")
    option = ["--config", str(path)]
    ran = signalq(*option, "schema") if place == "before" else signalq("schema", *option)
    assert ran.status == 0
    assert '"maximum": 77' in ran.out


@pytest.mark.parametrize(
    "arguments", [["--debug", "dead", "list"], ["dead", "--debug", "list"], ["dead", "list", "--debug"]]
)
def test_debug_shows_the_traceback_wherever_it_stands(arguments: list[str], signalq: Signalq) -> None:
    ran = signalq(*arguments)
    assert ran.status == 1
    assert "Traceback (most recent call last)" in ran.err
    assert "topsecret" not in ran.err


def test_a_traceback_is_escaped_and_shows_no_secret(signalq: Signalq, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: object, **_options: object) -> None:
        raise ValueError("bad \x1b[31m\u202e at amqp://u:abc@topsecret@h/")

    monkeypatch.setattr(sources, "load_settings", broken)
    ran = signalq("--debug", "dead", "list")
    assert "ValueError: bad \\x1b[31m\\u202e at amqp://***@h/" in ran.err
    assert all(line.isprintable() for line in ran.err.splitlines())
    assert "topsecret" not in ran.err


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_settings_file_that_nobody_named_is_said_once_and_one_that_is_named_is_not(
    signalq: Signalq, empty_folder: Path
) -> None:
    assert signalq("schema").err == ""
    file = empty_folder / "signalq.toml"
    file.write_text("[delivery]\ndelay_max_s = 77\n", encoding="utf-8")
    file.chmod(0o600)
    said = f"signalq: the settings are those of {file}\n"
    for arguments in (["schema"], ["settings"], ["probe", "--timeout", "0.1"]):
        assert signalq(*arguments).err.count(said) == 1
    assert '"maximum": 77' in signalq("schema").out
    assert signalq("schema", "--config", "signalq.toml").err == ""


def test_init_writes_a_file_of_its_users_alone_that_changes_nothing_and_never_writes_over_one(
    signalq: Signalq, empty_folder: Path
) -> None:
    before = signalq("settings", "--json").out
    ran = signalq("init")
    assert (ran.status, ran.err) == (0, "")
    file = empty_folder / "signalq.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert signalq("settings", "--json").out == before
    file.write_text("# mine\n", encoding="utf-8")
    again = signalq("init")
    assert (again.status, "is there already" in again.err) == (1, True)
    assert file.read_text("utf-8") == "# mine\n"
    named = empty_folder / "other.toml"
    named.symlink_to(empty_folder / "elsewhere.toml")
    assert signalq("--config", str(named), "init").status == 1, "a link is there, and is not followed"
    assert not (empty_folder / "elsewhere.toml").exists()


def test_init_says_so_if_another_file_goes_before_the_new_one(
    signalq: Signalq, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_CONFIG", "/etc/signalq.toml")
    ran = signalq("init")
    assert ran.status == 0
    assert "/etc/signalq.toml, which goes before it" in ran.err


def test_every_line_that_init_comments_out_shows_the_default_or_a_value_that_is_taken(
    signalq: Signalq, empty_folder: Path
) -> None:
    defaults = {row["key"]: row["value"] for row in map(json.loads, signalq("settings", "--json").out.splitlines())}
    signalq("init")
    file = empty_folder / "signalq.toml"
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", file.read_text("utf-8"), flags=re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    file.write_text(text, encoding="utf-8")
    rows = {row["key"]: row for row in map(json.loads, signalq("settings", "--json").out.splitlines())}
    taken = {key: row for key, row in rows.items() if row["source"] != "default"}
    assert len(taken) > 20
    differing = {key for key, row in taken.items() if key in defaults and row["value"] != defaults[key]}
    assert differing == {"webhook.environment", "ledger.url"}, "examples; all the rest are defaults"


def test_settings_are_a_table_that_can_be_narrowed(signalq: Signalq, empty_folder: Path) -> None:
    lines = signalq("settings", "webhook.url", "log").out.splitlines()
    assert [line.split() for line in lines] == [
        ["SETTING", "VALUE", "FROM"],
        ["webhook.url", "https://api.crypto-arsenal.io/trading-signal/webhook", "default"],
        ["log.format", "-", "default"],
        ["log.level", "info", "default"],
    ]
    assert signalq("settings", "broker.url").out.splitlines()[1].split() == [
        *("broker.url", "amqp://user:***@127.0.0.1:1/", "SIGNALQ_BROKER__URL"),
    ]
    (empty_folder / "signalq.toml").write_text("[connectors.main]\nfixed_max = 2\nspot_sell_is_exit = true\n", "utf-8")
    out = signalq("settings", "connectors.main").out
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["connectors.main.fixed_max", "2", "signalq.toml"],
        ["connectors.main.lane", "own", "default"],
        ["connectors.main.spot_sell_is_exit", "true", "signalq.toml"],
    ]


def test_an_argument_too_many_is_not_quoted_if_it_may_be_a_token(signalq: Signalq) -> None:
    ran = signalq("dead", "list", "t0ps3cret-9f8e")
    assert ran.status == 2
    assert "an argument too many" in ran.err
    assert "t0ps3cret" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["dead", "list", "--queue"],
        ["dead", "show", "x"],
        ["topology", "apply"],
        ["publish", "--connector=a", "--action=buy"],
    ],
    ids=" ".join,
)
def test_a_broker_that_is_not_there_is_one_sentence_without_its_password(
    arguments: list[str], signalq: Signalq
) -> None:
    ran = signalq(*arguments)
    assert ran.status == 1
    assert ran.err.startswith("signalq: no connection to RabbitMQ at amqp://user:***@127.0.0.1:1/ (connection refused")
    assert ran.err.count("\n") == 1


def test_an_unexpected_error_is_one_sentence_that_quotes_nothing(
    signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: object, **_options: object) -> None:
        raise KeyError("s3cret")

    monkeypatch.setattr(sources, "load_settings", broken)
    ran = signalq("schema")
    assert ran.status == 1
    assert ran.err == (
        "signalq: something unexpected went wrong (KeyError): run with --debug for the traceback; see `signalq help "
        "unexpected`\n"
    )


def test_ctrl_c_is_quiet_and_exit_status_130(signalq: Signalq, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_path: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "load_settings", interrupted)
    ran = signalq("schema")
    assert (ran.status, ran.out, ran.err.strip()) == (130, "", "")


@pytest.mark.parametrize(("package", "arguments"), [("click", "--help"), ("rich", "check"), ("structlog", "consume")])
def test_without_the_extras_the_error_names_the_extra_to_install(package: str, arguments: str) -> None:
    script = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {package!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        f"sys.argv = ['signalq', {arguments!r}]\n"
        "from signalq.ops.__main__ import main; main()"
    )
    ran = in_a_process(sys.executable, "-c", script)
    assert ran.status == 2
    # Without click there is no `signalq help` either.
    address = "" if package == "click" else "; see `signalq help package-missing`"
    assert ran.err == f"signalq: the package {package} is not installed: {how_to_install('all')}{address}\n"


def test_tls_keys_are_written_nowhere_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import os, sys\n"
        "import signalq.ops.__main__\n"
        "assert not {'ssl', 'aiohttp'} & set(sys.modules)\n"
        "sys.argv = ['signalq', '--version']\n"
        "try: signalq.ops.__main__.main()\n"
        "finally:\n"
        "    import ssl, aiohttp.connector as c\n"
        "    print(ssl.create_default_context().keylog_filename, c._SSL_CONTEXT_VERIFIED.keylog_filename)"
    )
    monkeypatch.setenv("SSLKEYLOGFILE", "/dev/null")
    assert in_a_process(sys.executable, "-c", script).out.splitlines()[-1] == "None None"


@pytest.mark.parametrize("start", ["consumer", "strategy"])
def test_no_other_way_to_start_us_writes_tls_keys(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TLS was imported before, too: a context that was made by then is not used."""
    script = (
        "import asyncio, os, ssl, sys\n"
        "from aiohttp import connector\n"
        "from signalq.consumer.webhook.client import Webhook\n"
        "from signalq.consumer import __main__ as consumer\n"
        "from signalq.producers.strategies import command_line as line, desk\n"
        "assert connector._SSL_CONTEXT_VERIFIED.keylog_filename == '/dev/null'\n"
        f"started = consumer.main() if {start!r} == 'consumer' else line.run(desk.main, ['x'])\n"
        "assert started == 2, started\n"
        f"assert os.umask(0) == 0o077 or {start!r} != 'consumer'\n"
        "async def look():\n"
        "    async with Webhook(connect_s=1, total_s=2) as webhook:\n"
        "        context = webhook._connector._ssl\n"
        "        made_now = ssl.create_default_context()\n"
        "        print(made_now.keylog_filename, context.keylog_filename, int(context.verify_mode))\n"
        "asyncio.run(look())\n"
    )
    monkeypatch.setenv("SSLKEYLOGFILE", "/dev/null")
    monkeypatch.setenv("SIGNALQ_OPS__PORT", "none")
    out = in_a_process(sys.executable, "-c", script).out.splitlines()[-1]
    assert out == "None None 2"


TOKEN = "kQ7vX2mN-9pL4wR8s.Zt3hB6yD"


@pytest.mark.parametrize(
    "arguments",
    [
        ("TOKEN",),
        ("publish", "TOKEN"),
        ("publish", "--connector", "main", "TOKEN", "--action", "buy"),
        ("publish", "--token:TOKEN"),
        ("publish", "--tokne=TOKEN"),
        ("publish", "--rate", "TOKEN", "x.csv"),
        ("--config", "TOKEN", "check"),
        ("dead", "list", "--reason", "TOKEN"),
        ("dead", "list", "--limit=TOKEN"),
        ("consume", "TOKEN"),
    ],
)
def test_no_token_in_the_wrong_place_of_the_command_line_is_repeated(
    arguments: tuple[str, ...], signalq: Signalq
) -> None:
    ran = signalq(*(one.replace("TOKEN", TOKEN) for one in arguments))
    assert ran.status == 2
    assert TOKEN[:8] not in ran.out + ran.err
    assert ran.err.startswith("signalq: ")


def test_a_reader_that_went_away_is_no_error() -> None:
    assert in_a_process("sh", "-c", f"{sys.executable} -m signalq schema | true").err == ""


def test_the_version_is_the_librarys(signalq: Signalq) -> None:
    assert signalq("--version").out == f"signalq {__version__}\n"


@pytest.mark.parametrize("command", ["check", "ledger upgrade", "orders list", "dead list", "topology show"])
def test_a_user_without_a_password_is_shown_nowhere_it_may_be_a_token(
    command: str, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_BROKER__URL", f"amqp://{TOKEN}@127.0.0.1:1/")
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", f"postgresql://{TOKEN}@127.0.0.1:1/d")
    ran = signalq(*command.split(), "--debug")
    assert ran.status == 1
    assert TOKEN[:8] not in ran.out + ran.err


def test_a_traceback_is_without_logins_and_control_characters(
    signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError(f"at amqp://u:{TOKEN}@h/ \x1b[31m")

    monkeypatch.setattr(sources, "load_settings", fail)
    ran = signalq("check", "--debug")
    assert ran.status == 1
    assert "Traceback" in ran.err
    assert TOKEN[:8] not in ran.err
    assert "\x1b" not in ran.err
