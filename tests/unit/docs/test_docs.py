"""The docs say what the code does: nothing undocumented, nothing documented that isn't there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr

import signalq
from signalq import names
from signalq.consumer.orders.state import Reason
from signalq.consumer.telemetry.metrics import Metrics
from signalq.message.intent import FIELD_NAMES, intent_from_body
from signalq.message.outcome import STATUSES, Outcome
from signalq.ops.console.metrics import ConsoleMetrics
from signalq.settings.sections import SECTIONS
from signalq.settings.sources import known_keys, load_settings

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# All that people read, in folders of the code as well.
LINKED = PAGES + sorted(
    page
    for folder in ("deploy", "examples", "tests")
    for page in (ROOT / folder).rglob("*.md")
    if "node_modules" not in page.parts
)
CODE = sorted([*(ROOT / "consumer").rglob("*.py"), *(ROOT / "signalq" / "settings").rglob("*.py")])
# The log events of which are on the page for all processes.
LOGGING = [*CODE, *sorted((ROOT / "ops" / "console").rglob("*.py"))]

INTENT, SETTINGS, OUTCOMES = DOCS / "intent.md", DOCS / "settings.md", DOCS / "outcomes.md"
SEMANTICS = DOCS / "delivery-semantics.md"
OPERATE = DOCS / "operate"
DEAD_LETTERS, METRICS, LOG_EVENTS = (
    OPERATE / "dead-letters.md",
    OPERATE / "health-and-metrics.md",
    OPERATE / "log-events.md",
)
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
EVENT = re.compile(r"[a-z]+\.[a-z]+(?:_[a-z]+)*")
COLUMNS_MAX = 130
# A row of the crash table: its step, and what fails there.
CRASH_ROW = re.compile(r"\b\d+a?[CBLT]\b")
# The table of fields is the one with this many columns.
FIELD_COLUMNS = 4
# What `**_facts(order)` in a log call stands for, and what `log.exception` adds.
FACTS = {"intent_id", "connector", "strategy", "action"}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def rows(page: Path, heading: str) -> Iterator[list[str]]:
    """The cells of every table row below a heading, down to the next one of its kind or above."""
    text = "\n" + page.read_text(encoding="utf-8")
    assert f"\n{heading}\n" in text, f"{page_id(page)} has no heading {heading}"
    level = heading.split(" ", 1)[0]
    section = re.split(rf"^#{{1,{len(level)}}} ", text.split(f"\n{heading}\n", 1)[1], flags=re.MULTILINE)[0]
    for line in section.splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def quoted(cell: str) -> list[str]:
    """The names in backticks."""
    return re.findall(r"`([^`]*)`", cell)


def first_names(page: Path, heading: str) -> list[str]:
    """The names in backticks in the first column."""
    return [name for row in rows(page, heading) for name in quoted(row[0])]


# ---- settings ----


def setting_rows() -> dict[str, list[str]]:
    return {quoted(row[0])[0]: row for section in SECTIONS for row in rows(SETTINGS, f"## {section}") if quoted(row[0])}


def shown_default(key: str) -> str:
    """A key's default as the docs write it."""
    section, name = key.split(".", 1)[0], key.rsplit(".", 1)[1]
    field = SECTIONS[section].model_fields.get(name)
    default = field.get_default(call_default_factory=True) if field is not None else None
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, (tuple, frozenset)):
        return f"`{list(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_every_setting_is_documented_and_no_other() -> None:
    assert sorted(setting_rows()) == sorted(known_keys())


@pytest.mark.parametrize("key", known_keys())
def test_a_settings_default_is_the_documented_one(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/<state>")
    assert setting_rows()[key][2].replace("<state>", "/<state>") == shown_default(key)


@pytest.mark.parametrize("page", [README, SETTINGS, DOCS / "console.md", OPERATE / "notify.md"], ids=page_id)
def test_every_settings_example_can_be_loaded(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main-token").write_text("a token", encoding="utf-8")
    (tmp_path / "ops-token").write_text("another token", encoding="utf-8")
    (tmp_path / "notify-urls").write_text("tgram://BOT_TOKEN/CHAT_ID", encoding="utf-8")
    for variable in ("MAIN_TOKEN", "SPOT_BOT_TOKEN"):
        monkeypatch.setenv(variable, "a token")
    monkeypatch.setenv("RABBITMQ_URL", "amqps://user:password@broker/")
    monkeypatch.delenv("SIGNALQ_BROKER__URL", raising=False)
    examples = blocks(page, "toml")
    assert examples
    for example in examples:
        file = tmp_path / "signalq.toml"
        file.write_text(example.replace("/run/secrets", str(tmp_path)), encoding="utf-8")
        load_settings(file)


# ---- fields, headers, reasons ----


def header_names() -> set[str]:
    return {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}


def test_every_field_of_an_intent_is_documented_and_no_other() -> None:
    fields = [quoted(row[0])[0] for row in rows(INTENT, "## The body") if len(row) == FIELD_COLUMNS and quoted(row[0])]
    assert sorted(fields) == sorted(FIELD_NAMES)


def test_every_example_body_is_a_valid_intent() -> None:
    examples = blocks(INTENT, "json")
    assert examples
    for example in examples:
        assert intent_from_body(example.encode()).connector_name == json.loads(example)["connectorName"]


def dead_letter_headers() -> set[str]:
    """The headers that are put on a dead letter."""
    tree = ast.parse((ROOT / "consumer" / "settling.py").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    publish = next(function for function in functions if function.name == "_publish_letter")
    used = [node for node in ast.walk(publish) if isinstance(node, ast.Attribute) and node.attr.isupper()]
    return {getattr(names, node.attr) for node in used}


def test_the_headers_of_a_producer_and_those_of_a_dead_letter_are_documented_and_no_others() -> None:
    producers = first_names(INTENT, "## Headers a producer may set")
    assert producers == [names.CREATED_MS, names.STRATEGY, names.TRACEPARENT]
    letters = {quoted(row[0])[0] for row in rows(DEAD_LETTERS, "## Headers") if row[0].startswith("`signalq-")}
    assert letters == dead_letter_headers()


def test_every_header_is_documented() -> None:
    text = INTENT.read_text(encoding="utf-8") + DEAD_LETTERS.read_text(encoding="utf-8")
    assert {header for header in header_names() if f"`{header}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_names_a_header_that_is_not_there(page: Path) -> None:
    named = set(re.findall(r"`(signalq-[a-z-]+)`", page.read_text(encoding="utf-8")))
    assert named - header_names() == set()


def test_the_documented_reasons_are_reasons() -> None:
    reasons = set(re.findall(r"[a-z-]+", str(Reason).replace("typing.Literal", "")))
    documented = {name for row in rows(DEAD_LETTERS, "## Reasons") if len(row) == 3 for name in quoted(row[0])}
    assert documented <= reasons
    used = {reason for reason in reasons if any(f'"{reason}"' in text for text in code_beside_history())}
    assert documented == used


def code_beside_history() -> list[str]:
    return [file.read_text(encoding="utf-8") for file in CODE if file.name != "history.py"]


# ---- outcomes ----


def test_the_documented_event_is_one_and_every_field_of_it_is_documented() -> None:
    (example,) = blocks(OUTCOMES, "json")
    event = Outcome.from_event(example.encode())
    assert event.to_event() == example.strip().encode()
    documented = first_names(OUTCOMES, "## The event")
    assert documented == list(event.row())
    (statuses,) = [row[1] for row in rows(OUTCOMES, "## The event") if row[0] == "`status`"]
    assert quoted(statuses) == list(STATUSES)


# ---- metrics ----


# Whose metrics stand below which heading.
METRICS_OF = {"## Metrics": lambda: Metrics([]), "## The console's own": ConsoleMetrics}


def collectors(heading: str) -> dict[str, MetricWrapperBase]:
    """Every metric that belongs below a heading, by the name that Prometheus shows."""
    found = {}
    for collector in vars(METRICS_OF[heading]()).values():
        if isinstance(collector, MetricWrapperBase):
            family = next(iter(collector.describe()))
            found[f"{family.name}_total" if family.type == "counter" else family.name] = collector
    return found


def documented_metrics(heading: str) -> dict[str, tuple[str, list[str]]]:
    """The kind and the labels, by name."""
    found = {}
    for row in rows(METRICS, heading):
        for name, _, labels in (quoted_name.partition("{") for quoted_name in quoted(row[0])):
            found[name] = (row[1], labels.removesuffix("}").split(",") if labels else [])
    return found


@pytest.mark.parametrize("heading", METRICS_OF)
def test_every_metric_is_documented_with_its_kind_and_no_other(heading: str) -> None:
    kinds = {name: next(iter(collector.describe())).type for name, collector in collectors(heading).items()}
    assert {name: kind for name, (kind, _) in documented_metrics(heading).items()} == kinds


@pytest.mark.parametrize("heading", METRICS_OF)
def test_the_documented_labels_are_those_of_the_metric(heading: str) -> None:
    metrics = collectors(heading)
    for name, (_, labels) in documented_metrics(heading).items():
        if labels:
            metrics[name].labels(**dict.fromkeys(labels, "x"))
        else:
            assert next(iter(metrics[name].collect())).samples, f"{name} has labels that are not documented"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_names_a_metric_that_is_not_there(page: Path) -> None:
    named = set(re.findall(r"\bsignalq_[a-z_]+", page.read_text(encoding="utf-8")))
    # Those of the gateway are held against its page in test_gateway_parts.py.
    known = {name for heading in METRICS_OF for name in collectors(heading)}
    assert {name for name in named if not name.startswith("signalq_gateway_")} - known == set()


# ---- log events ----


def log_calls() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Event, level and fields of every log call in the consumer and the console."""
    for file in LOGGING:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                fields |= FACTS if any(keyword.arg is None for keyword in node.keywords) else set()
                fields |= {"exception"} if node.func.attr == "exception" else set()
                for event in events_in(node.args[:1]):
                    yield event, LEVELS[node.func.attr], frozenset(fields)


def events_in(arguments: list[ast.expr]) -> list[str]:
    """The event's name, or both of one that is chosen between two."""
    texts = [node.value for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and EVENT.fullmatch(text)]


def documented_events() -> set[tuple[str, str, frozenset[str]]]:
    return {
        (event, row[1], frozenset(quoted(row[2])))
        for row in rows(LOG_EVENTS, "# Log events")
        for event in quoted(row[0])
    }


def test_every_log_event_is_documented_with_its_level_and_fields_and_no_other() -> None:
    assert documented_events() == set(log_calls())


# ---- pages ----


def prose(page: Path) -> str:
    """A page without its code, where nothing is a link or a heading."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda code: re.sub(r"[\[\]()]", "", code[0]), text)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links write them; of equal ones, the second ends in -1."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.append(re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-"))
    return {f"{one}-{before}" if (before := found[:number].count(one)) else one for number, one in enumerate(found)}


def dead_links(page: Path) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of it."""
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", prose(page), re.MULTILINE)
    dead = []
    for target in (inline or reference for inline, reference in targets):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        if re.match(r"[a-z]+:", target) or (linked.exists() and (not anchor or anchor in anchors(linked))):
            continue
        dead.append(target)
    return dead


@pytest.mark.parametrize("page", LINKED, ids=page_id)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n## `again`\n\n## Again\n\n```sh\n# no heading\n[no](link.md)\n```\n\n`[nor](this.md)`\n"
        "[here](#a-page) [twice](#again-1) [there](other.md) [gone](page.md#no-heading) [thrice](#again-2)\n"
        "[elsewhere](https://example.org/x) [by name][name]\n\n[name]: missing.md\n",
        encoding="utf-8",
    )
    assert dead_links(page) == ["other.md", "page.md#no-heading", "#again-2", "missing.md"]


def test_the_index_has_every_page_and_no_page_has_two_entries() -> None:
    index = DOCS / "README.md"
    linked = re.findall(r"\]\(([^)#]+\.md)\)", index.read_text(encoding="utf-8"))
    pages = [*DOCS.glob("*.md"), *(DOCS / "operate").glob("*.md")]
    wanted = {str(page.relative_to(DOCS)) for page in pages} - {"README.md"} | {"decisions/README.md"}
    assert {target for target in linked if not target.startswith("../")} == wanted
    assert len(linked) == len(set(linked))


@cache
def names_of_tests() -> frozenset[str]:
    """The names of all tests."""
    files = (ROOT / "tests").rglob("test_*.py")
    return frozenset(name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text("utf-8")))


def test_every_test_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert named <= names_of_tests()


def test_no_test_has_a_subject_without_a_name() -> None:
    nameless = re.compile("test_(?:what|whatever|who|whoever|whose|those|it|they|its|he|she)_")
    assert [name for name in sorted(names_of_tests()) if nameless.match(name)] == []


def crash_rows() -> list[list[str]]:
    """The rows of the crash table that have a key, such as 4C: step 4, the consumer fails."""
    return [row for row in rows(SEMANTICS, "## Crash table") if CRASH_ROW.fullmatch(row[0])]


def test_every_step_of_the_crash_table_has_a_row_for_each_thing_that_can_fail() -> None:
    keys = [row[0] for row in crash_rows()]
    assert all(knows and then for _, knows, then in crash_rows())
    steps = [row[0].strip("*") for row in rows(SEMANTICS, "## Crash table") if re.fullmatch(r"\*\*\d+a?\*\*", row[0])]
    assert keys == [f"{step}{failing}" for step in steps for failing in "CBLT"]
    assert len(keys) > 70


def test_every_row_of_the_crash_table_names_tests_that_prove_it() -> None:
    proofs = {row[0]: quoted(row[1]) for row in rows(SEMANTICS, "## Proof of each row") if CRASH_ROW.fullmatch(row[0])}
    assert list(proofs) == [row[0] for row in crash_rows()]
    assert [key for key, tests in proofs.items() if not tests] == []
    assert {name for tests in proofs.values() for name in tests} <= names_of_tests()


def test_the_crash_table_refers_to_rows_that_are_there() -> None:
    keys = {row[0] for row in crash_rows()}
    assert {key for row in crash_rows() for key in CRASH_ROW.findall(" ".join(row[1:]))} <= keys


def test_the_crash_table_can_be_read_as_it_stands() -> None:
    """Without a renderer: no line of it is wider than a wide terminal."""
    table = SEMANTICS.read_text(encoding="utf-8").split("## Crash table\n")[1].split("\n## ")[0].split("| row ")[1]
    assert [line for line in table.splitlines() if len(line) > COLUMNS_MAX] == []


@pytest.mark.parametrize("page", [DOCS / "architecture.md", CONTRIBUTING], ids=page_id)
def test_every_path_that_a_page_on_the_code_names_is_there(page: Path) -> None:
    paths = re.findall(r"`([a-z_]+/[\w./-]*)`", page.read_text(encoding="utf-8"))
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_each_place_for_a_change_holds_the_function_or_class_that_is_named_with_it() -> None:
    places = [row for row in rows(CONTRIBUTING, "## Where to make a change") if row[0].endswith(("ed", "read"))]
    assert len(places) == 10
    for thing, rooms, done_by in places:
        files = [file for room in map(ROOT.joinpath, quoted(rooms)) for file in (room, *room.rglob("*.py"))]
        code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        for name in quoted(done_by):
            is_there = (ROOT / name).is_dir() or re.search(
                rf"^(?: *(?:async def|def|class) )?{name}\b", code, re.MULTILINE
            )
            assert is_there, f"{thing}: {name} is not in {rooms}"


def test_the_readmes_first_screen_publishes_an_order() -> None:
    first = README.read_text(encoding="utf-8").splitlines()[:40]
    assert any("await orders.publish(" in line for line in first)


def test_the_readme_names_the_two_commands_that_set_everything_up() -> None:
    text = README.read_text(encoding="utf-8")
    assert "./run demo" in text
    assert "./run test" in text


def test_every_run_command_that_a_page_names_is_there() -> None:
    commands = set(re.findall(r"^ {8}([a-z-]+)\)", (ROOT / "run").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\./run ([a-z][a-z-]*)", page.read_text(encoding="utf-8"))}
    assert {"demo", "test"} <= named <= commands


@pytest.mark.parametrize("page", [README, INTENT], ids=page_id)
def test_the_python_examples_compile_and_import_what_is_there(page: Path) -> None:
    examples = blocks(page, "python")
    assert examples
    for example in examples:
        tree = ast.parse(example)
        compile(tree, page.name, "exec")
        wanted = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "signalq"]
        assert all(hasattr(signalq, alias.name) for node in wanted for alias in node.names)


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = [int(page.name.split("-", 1)[0]) for page in sorted((DOCS / "decisions").glob("0*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
