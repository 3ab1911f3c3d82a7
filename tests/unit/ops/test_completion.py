"""Completion: what may stand at a place of a command line, quickly, and in silence whatever is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click
import pytest

from signalq.consumer.orders.state import REASONS
from signalq.ops.completion import ASKS, table
from signalq.ops.completion.answer import BOUND_S
from signalq.ops.completion.ledger_ids import ids
from signalq.ops.completion.place import COMMAND, COMMANDS_FILE, FILE, FOLDER, Place, place_of
from signalq.ops.completion.shells import SHELLS, asked, script
from signalq.ops.completion.values import CANDIDATES_MAX, candidates, tables
from signalq.ops.terminal.cli import COMMANDS, cli
from signalq.settings.named import Action
from signalq.settings.sources import load_settings
from tests.support.commands_page import COMMAND as WRITES

ROOT = Path(__file__).parents[3]
BREAKS = " \t\n\"'@><=;|&(:"
LISTING, COMPLETING = "63", "9"
CONFIG = """
[connectors.main]
token = "a-secret-token"
[connectors."my bot"]
[connectors."我的機器人"]
[strategies.momentum]
"""
# Nothing of this is imported at a Tab, but for ids of a PostgreSQL.
HEAVY = ("aio_pika", "aiormq", "alembic", "asyncpg", "click", "pydantic", "pydantic_settings", "rich", "sqlalchemy")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working folder and a state folder of the test's own, and no settings of the environment."""
    for name in list(os.environ):
        if name.startswith("SIGNALQ_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "signalq.toml"
    file.write_text(CONFIG, encoding="utf-8")
    file.chmod(0o600)
    return file


def completed(line: str) -> list[str]:
    """The candidates for the last word of a line, which is split at single spaces."""
    return [text for text, _ in candidates(place_of(line.split(" ")[1:]))]


# ---- the table ----


def test_the_table_is_what_the_commands_say() -> None:
    assert COMMANDS_FILE.read_text("utf-8") == table.as_json(table.table_of(cli)), f"`{WRITES}` writes it anew"


def test_a_new_parameter_must_say_what_completes_it() -> None:
    group = click.Group("signalq", commands=[click.Command("new", params=[click.Option(["--shape"])])])
    with pytest.raises(LookupError, match="say in VALUES what completes shape of `signalq new`"):
        table.table_of(group)


def test_the_values_that_are_named_are_those_of_parameters_that_are_there() -> None:
    def parameters(command: click.Command, context: click.Context, path: str) -> Iterator[str]:
        for one in command.get_params(context):
            yield str(one.name)
            yield f"{path} {one.name}"
        for name in command.list_commands(context) if isinstance(command, click.Group) else ():
            below = command.get_command(context, name)  # type: ignore[attr-defined]
            yield from parameters(below, click.Context(below, context, name), f"{path} {name}".strip())

    assert set(table.VALUES) <= set(parameters(cli, click.Context(cli, info_name="signalq"), ""))


# ---- places ----

PLACES = {
    "signalq dea": ["dead"],
    "signalq dead re": ["replay"],
    "signalq --debug dead sh": ["show"],
    "signalq nonsense ": [],
    "signalq dead nonsense ": [],
    "signalq dead list --rea": ["--reason"],
    "signalq dead list --reason ": list(REASONS),
    "signalq dead list --reason RE": ["rejected"],
    "signalq dead list --reason=ex": ["--reason=expired", "--reason=exhausted"],
    "signalq dead list --json --js": [],
    "signalq orders list --status de": ["delivered", "dead"],
    "signalq orders list --columns intent_id,order,st": ["intent_id,order,status", "intent_id,order,strategy"],
    "signalq orders list --sort -up": ["-updated_at"],
    "signalq orders list --since ": ["15m", "1h", "24h", "7d"],
    "signalq orders list --limit ": [],
    "signalq orders list --watch --so": ["--sort"],
    "signalq outcomes --status d": ["delivered", "dead", "duplicate"],
    "signalq publish --action ": list(get_args(Action)),
    "signalq publish --action openl": ["openLong"],
    "signalq publish --wait --form": ["--format"],
    "signalq publish --format ": ["jsonl", "csv"],
    "signalq publish -- --action": [],
    "signalq completion ": list(SHELLS),
    "signalq completion bash ": ["--config", "--debug", "--quiet", "--help"],
    "signalq settings webhook.p": ["webhook.proxy"],
    "signalq settings broker.url broker.p": ["broker.prefix"],
    "signalq sandbox --cut ": ["before", "during", "after"],
    "signalq --config settings che": ["check"],
    "signalq lanes pause --connector=ma": [],
}


@pytest.mark.parametrize("line", PLACES)
def test_a_place_has_the_words_that_may_stand_there(line: str) -> None:
    assert completed(line) == PLACES[line]


def test_all_commands_are_offered_in_the_order_of_the_help() -> None:
    assert completed("signalq ") == list(COMMANDS)


def test_an_option_that_may_be_repeated_is_offered_again() -> None:
    assert "--id" in completed("signalq dead list --id x --")
    assert "--reason" not in completed("signalq dead list --reason expired --")


def test_commands_are_completed_as_the_arguments_of_another_one() -> None:
    """As `signalq help COMMAND` takes them."""
    for arguments, typed, wanted in (([], "dea", ["dead"]), (["dead"], "re", ["replay"]), (["xyzzy"], "", [])):
        place = Place("help", typed, sources=[COMMAND], arguments=arguments)
        assert [text for text, _ in candidates(place)] == wanted


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("signalq --config ", FILE),
        ("signalq publish --connector main ", FILE),
        ("signalq publish --token-file ", FILE),
        ("signalq dev --folder ", FOLDER),
    ],
)
def test_the_shell_itself_completes_files_and_folders(line: str, source: str) -> None:
    place = place_of(line.split(" ")[1:])
    assert list(place.sources) == [source]
    for shell in SHELLS:
        question = asked(shell, [line, BREAKS, COMPLETING] if shell == "bash" else line.split(" "))
        assert question.answer(place, []) == {FILE: "files\n", FOLDER: "folders\n"}[source]


# ---- names of the settings ----


def test_connectors_and_strategies_are_those_of_the_settings_in_force(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed("signalq lanes pause ") == ["main", "my bot", "我的機器人"]
    assert completed("signalq publish --connector m") == ["main", "my bot"]
    assert completed("signalq sandbox --refuse ma") == ["main"]
    assert completed("signalq orders list --strategy ") == ["momentum"]
    assert completed("signalq settings connectors.ma") == ["connectors.main"]
    monkeypatch.setenv("SIGNALQ_CONNECTORS__OTHER__TOKEN", "a-secret-token")
    monkeypatch.setenv("signalq_strategies__Grid__connectors", '["main"]')
    assert completed("signalq lanes pause ") == ["main", "my bot", "我的機器人", "other"]
    assert completed("signalq orders list --strategy ") == ["momentum", "grid"]
    assert sorted(load_settings().connectors) == sorted(completed("signalq lanes pause "))
    assert sorted(load_settings().strategies) == sorted(completed("signalq orders list --strategy "))


def test_a_settings_file_on_the_command_line_goes_before_the_one_of_the_folder(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text("[connectors.spot]\n", encoding="utf-8")
    monkeypatch.setenv("HERE", str(tmp_path))
    for named in ("--config other.toml lanes", "--config=other.toml lanes", "lanes --config $HERE/other.toml"):
        assert completed(f"signalq {named} pause ") == ["spot"], named
    monkeypatch.setenv("HOME", str(tmp_path))
    assert completed("signalq lanes pause --config ~/other.toml ") == ["spot"]
    monkeypatch.setenv("SIGNALQ_CONFIG", "other.toml")
    assert completed("signalq lanes pause ") == ["spot"]


def test_a_file_that_another_user_may_have_written_is_not_read(config: Path) -> None:
    config.chmod(0o666)
    assert completed("signalq lanes pause ") == []


def test_the_ledgers_address_is_the_environments_however_each_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signalq.toml").write_text('[ledger]\nurl_file = "/nowhere"\nretention_days = 3\n', encoding="utf-8")
    (tmp_path / "signalq.toml").chmod(0o600)
    assert tables(None)["ledger"] == {"url_file": "/nowhere", "retention_days": 3}
    monkeypatch.setenv("SIGNALQ_LEDGER__URL_ENV", "MINE")
    assert tables(None)["ledger"] == {"url_env": "MINE", "retention_days": 3}


def test_more_names_than_a_person_looks_at_are_cut(config: Path) -> None:
    config.write_text("".join(f"[connectors.c{number}]\n" for number in range(CANDIDATES_MAX + 50)), "utf-8")
    assert len(completed("signalq lanes pause ")) == CANDIDATES_MAX


def test_a_name_that_can_not_be_typed_is_not_offered(config: Path) -> None:
    config.write_text('[connectors."a\\u0007b"]\n[connectors.ab]\n[strategies."\\u202eab"]\n', encoding="utf-8")
    assert completed("signalq lanes pause ") == ["ab"]
    assert completed("signalq orders list --strategy ") == []


def test_names_of_variables_are_offered_for_a_token_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_TOKEN", "a-secret-token")
    assert candidates(place_of(["publish", "--token-env", "MAIN_T"])) == [("MAIN_TOKEN", "")]


# ---- the shells ----


@pytest.mark.parametrize(
    ("line", "words", "kept", "quote"),
    [
        ("signalq ", [""], 0, ""),
        ("signalq dead  list --re", ["dead", "list", "--re"], 0, ""),
        ("signalq dead list --reason=re", ["dead", "list", "--reason=re"], 9, ""),
        ("signalq orders show a:b:c", ["orders", "show", "a:b:c"], 4, ""),
        (r"signalq lanes pause my\ b", ["lanes", "pause", "my b"], 0, ""),
        ("signalq lanes pause 'my b", ["lanes", "pause", "my b"], 0, "'"),
        ('signalq lanes pause "my \\"b', ["lanes", "pause", 'my "b'], 0, '"'),
        ('signalq lanes pause "my\\b', ["lanes", "pause", "my\\b"], 0, '"'),
        ("signalq lanes pause 'my bot' --w", ["lanes", "pause", "my bot", "--w"], 0, ""),
        ('signalq dead list --reason="re', ["dead", "list", "--reason=re"], 9, '"'),
        ("signalq lanes pause '' ", ["lanes", "pause", "", ""], 0, ""),
        ("signalq lanes pause my\\", ["lanes", "pause", "my"], 0, ""),
    ],
)
def test_a_line_of_bash_is_split_as_bash_does_it(line: str, words: list[str], kept: int, quote: str) -> None:
    question = asked("bash", [line, BREAKS, COMPLETING])
    assert (question.words, question.kept, question.quote) == (words, kept, quote)


# The value, and the part of it that bash puts into the line behind what was typed, without and within quotes.
IN_BASH = {
    "my bot": (r"my\ bot", "my bot", "my bot"),
    "我的": ("我的", "我的", "我的"),
    "$(touch x)": (r"\$\(touch\ x\)", "$(touch x)", r"\$(touch x)"),
    "`x`;|&<>*?[~#!": (r"\`x\`\;\|\&\<\>\*\?\[\~\#\!", "`x`;|&<>*?[~#!", None),
    "it's": (r"it\'s", None, "it's"),
    'a"b\\c': (r"a\"b\\c", 'a"b\\c', r"a\"b\\c"),
}


@pytest.mark.parametrize("value", IN_BASH)
def test_a_value_reaches_bash_as_one_word_that_means_itself(value: str) -> None:
    for quote, wanted in zip(("", "'", '"'), IN_BASH[value], strict=True):
        question = asked("bash", [f"signalq lanes pause {quote}", BREAKS, COMPLETING])
        answer = question.answer(place_of(question.words), [(value, "")])
        assert answer.splitlines() == ["values"] + ([wanted] if wanted is not None else [])


def test_bash_shows_what_a_candidate_is_where_it_only_lists_several() -> None:
    found = [("list", "List them"), ("replay", "Once more")]
    for kind, shown in ((LISTING, ["list    -- List them", "replay  -- Once more"]), (COMPLETING, ["list", "replay"])):
        question = asked("bash", ["signalq dead ", BREAKS, kind])
        assert question.answer(place_of(["dead", ""]), found).splitlines() == ["values", *shown]
    question = asked("bash", ["signalq dead l", BREAKS, LISTING])
    assert question.answer(place_of(["dead", "l"]), found[:1]).splitlines() == ["values", "list"]


def test_zsh_gets_its_colons_escaped_and_no_option_before_a_value() -> None:
    question = asked("zsh", ["signalq", "orders", "list", "--id=a"])
    answer = question.answer(place_of(question.words), [("--id=a:b\\c", "buy main: dead"), ("--id=ab", "")])
    assert answer.splitlines() == ["values", r"a\:b\\c:buy main: dead", "ab"]


def test_fish_gets_whole_words_with_their_descriptions() -> None:
    question = asked("fish", ["signalq", "orders", "list", "--id=a"])
    assert question.answer(place_of(question.words), [("--id=a:b", "buy")]) == "values\n--id=a:b\tbuy\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(["completion", shell], standalone_mode=False)
    assert capsys.readouterr().out == script(shell)
    assert f"{ASKS}={shell} command " in script(shell)


# ---- a Tab, as a process ----


@dataclass(frozen=True)
class Told:
    status: int
    out: str
    err: str


Tab = Callable[..., Told]


@pytest.fixture
def tab() -> Tab:
    """Asks as bash does, in a cold process."""

    def ask(line: str, *, shell: str = "bash", arguments: list[str] | None = None, **given: object) -> Told:
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "signalq", *([line, BREAKS, COMPLETING] if arguments is None else arguments)],
            env={**os.environ, ASKS: shell, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **given,  # type: ignore[call-overload]
        )
        return Told(ran.returncode, ran.stdout, ran.stderr)

    return ask


def test_a_tab_answers_and_says_nothing_else(tab: Tab, config: Path) -> None:
    assert tab("signalq dead list --reason re") == Told(0, "values\nrejected\n", "")
    assert tab("signalq lanes pause my") == Told(0, "values\nmy\\ bot\n", "")
    assert "a-secret-token" not in tab("signalq lanes pause ").out + tab("signalq settings ").out


@pytest.mark.parametrize(
    "line",
    ["signalq ", "signalq dead list --reason ", "signalq lanes pause ", "signalq orders show "],
)
def test_a_tab_imports_nothing_heavy(line: str, config: Path, tmp_path: Path) -> None:
    program = (
        "import atexit, os, sys\n"
        f"sys.argv = ['signalq', {line!r}, {BREAKS!r}, '9']\n"
        "from signalq.ops.__main__ import main\n"
        "end = os._exit\n"
        f"os._exit = lambda status: (print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr), end(status))\n"
        "sys.stderr.reconfigure(line_buffering=True)\n"
        "main()\n"
    )
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        env={**os.environ, ASKS: "bash", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.stderr, ran.stdout[:7]) == ("[]\n", "values\n")


BAD = {
    "a settings file that is not TOML": ("signalq.toml", b"[connectors.main\n"),
    "a settings file of other bytes": ("signalq.toml", b"\xff\xfe"),
    "connectors that are no table": ("signalq.toml", b"connectors = 3\n"),
    "a ledger that is no database": ("state/signalq/signalq.db", b"no database at all" * 100),
    "an empty ledger": ("state/signalq/signalq.db", b""),
}


@pytest.mark.parametrize("why", BAD)
def test_a_tab_is_silent_about(why: str, tab: Tab, tmp_path: Path) -> None:
    name, content = BAD[why]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o600)
    for line in ("signalq lanes pause ", "signalq orders show "):
        assert tab(line) == Told(0, "values\n", "")
    assert tab("signalq settings ops.h") == Told(0, "values\nops.host\n", "")
    assert sorted(one.name for one in file.parent.iterdir()) == [file.name]


@pytest.mark.parametrize(
    ("shell", "arguments"),
    [("tcsh", ["a"]), ("", []), ("bash", []), ("bash", ["signalq", "", "9"]), ("zsh", []), ("bash_source", ["x"])],
)
def test_a_question_that_is_none_is_answered_with_nothing(shell: str, arguments: list[str], tab: Tab) -> None:
    assert tab("", shell=shell, arguments=arguments) == Told(0, "", "")


def test_a_tab_makes_no_file_and_no_folder(tab: Tab, tmp_path: Path) -> None:
    for line in (
        "signalq orders show ",
        "signalq dead show ",
        "signalq scheduled cancel --id ",
        "signalq lanes pause ",
    ):
        assert tab(line) == Told(0, "values\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_holds_up_no_tab(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SIGNALQ_LEDGER__URL", f"postgresql://u:topsecret@127.0.0.1:{silent.getsockname()[1]}/x")
        assert tab("signalq orders show ") == Told(0, "", "")
        # It was asked, and nobody waits for it any more.
        asker, _ = silent.accept()
        with asker:
            asker.settimeout(BOUND_S * 60)
            while asker.recv(1024):
                pass


def test_a_server_elsewhere_is_not_asked_in_plain_text(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every other command refuses it: the password would be on the wire."""
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", "postgresql://u:topsecret@192.0.2.1/x")
    assert tab("signalq orders show ") == Told(0, "values\n", "")
    for ledger in (tables(None)["ledger"], tables(None)["ledger"] | {"allow_plain": "no"}):
        with pytest.raises(ValueError, match="may go in plain text"):
            list(ids("orders", ledger))


@pytest.mark.parametrize("stream", ["stdout", "stderr", "stdin"])
def test_a_closed_stream_disturbs_nothing(stream: str, tmp_path: Path) -> None:
    closing = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-"}[stream]
    line = f'{sys.executable} -m signalq "signalq dea" "" 9 {closing}; echo "status $?"'
    ran = subprocess.run(  # noqa: S603 - our own program
        ["/bin/sh", "-c", line],
        env={**os.environ, ASKS: "bash", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout.splitlines() == (["status 0"] if stream == "stdout" else ["values", "dead", "status 0"])
    assert ran.stderr == ""
