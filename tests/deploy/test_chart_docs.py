"""What is written beside the chart says what it is: its README, docs/kubernetes.md, its version, its alerts."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from signalq import __version__
from tests.support.chart import CHART, VALUE_FILES, helm, rendered, the
from tests.support.chart_links import found
from tests.support.manifests import documents

ROOT = Path(__file__).parents[2]
RULES_FILE = CHART / "files" / "signalq.rules.yaml"
ALERTS = ROOT / "deploy" / "alerts" / "signalq.rules.yaml"


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
    assert chart["version"] == __version__


def test_the_charts_alerts_are_those_that_are_tested() -> None:
    rules = the(rendered("4", "sqlite", "--set", "prometheusRule.enabled=true"), "PrometheusRule")["spec"]
    assert rules == yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    assert RULES_FILE.read_bytes() == ALERTS.read_bytes(), "copy deploy/alerts/signalq.rules.yaml into the chart"


@pytest.mark.parametrize(
    ("values", "console"),
    [("everything", "https://signalq.example.com"), ("console", "https://signalq.example.com/console")],
)
def test_an_alert_of_the_chart_leads_to_its_page_of_the_console_that_people_open(values: str, console: str) -> None:
    rules = the(rendered("4", values), "PrometheusRule")["spec"]
    wanted = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    told = [rule.get("annotations", {}) for group in wanted["groups"] for rule in group["rules"]]
    for one in told:
        if "console" in one:
            one["console"] = console + one["console"]
    assert rules == wanted


def leaves(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Every value that has a row in the chart's README; what Kubernetes' own lists and objects hold is not cut up."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and key not in {"requests", "limits"}:
            found |= leaves(value, f"{name}.")
        else:
            found[name] = value
    return found


def test_the_readme_has_a_row_for_every_value_with_its_default_and_no_other() -> None:
    rows = {}
    for line in (CHART / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and re.fullmatch(r"`[a-z][A-Za-z.]*`", cells[0]):
            rows[cells[0].strip("`")] = cells[1]
    values = leaves(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))
    assert list(rows) == list(values)
    for name, default in values.items():
        shown = "see values.yaml" if isinstance(default, (list, dict)) and default else f"`{json.dumps(default)}`"
        assert rows[name] == shown, name


@pytest.mark.parametrize("page", [CHART / "README.md", ROOT / "docs" / "kubernetes.md"], ids=["chart", "docs"])
def test_the_documented_values_are_ones_that_it_takes(page: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    file = tmp_path / "signalq.yaml"
    file.write_text(example, encoding="utf-8")
    ran = helm("4", "template", "signalq", str(CHART), "-f", str(file))
    assert ran.returncode == 0, ran.stderr
    manifests = documents(ran.stdout)
    assert found(manifests) == []
    # The name by which the page's commands call it.
    assert the(manifests, "Deployment")["metadata"]["name"] == "signalq-consumer"


def test_a_consumer_runs_after_nine_commands() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    commands = text.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()
    assert len(commands) == 9
    assert [command.split()[0] for command in commands] == ["docker"] * 2 + ["kubectl"] * 5 + ["helm"] * 2


@pytest.mark.parametrize("page", [CHART / "README.md", ROOT / "docs" / "kubernetes.md"], ids=["chart", "docs"])
def test_the_page_has_a_line_to_make_each_secret_that_its_example_names(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    named = set(re.findall(r"\{name: (signalq-[a-z]+)", example))
    assert named >= {"signalq-broker", "signalq-tokens"}
    assert {name for name in named if f"create secret generic {name} " not in lines} == set()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("console", "\n  https://signalq.example.com/console\n"),
        ("notify", "port-forward deployment/desk-signalq-consumer 8080 "),
        ("sqlite", "There is no console: set ops.tokenSecret"),
    ],
)
def test_the_notes_say_how_to_open_the_console(values: str, said: str) -> None:
    ran = helm(
        "4", "install", "--dry-run=client", "desk", str(CHART), "--namespace", "trading", "-f", str(VALUE_FILES[values])
    )
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout.split("\nNOTES:\n", 1)[1]


def test_every_relative_link_of_the_readme_leads_somewhere() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert targets
    assert [target for target in targets if not (CHART / target).exists()] == []


def test_the_package_holds_the_rules_and_no_values_of_the_checks(tmp_path: Path) -> None:
    ran = helm("4", "package", str(CHART), "--destination", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    with tarfile.open(tmp_path / f"signalq-{__version__}.tgz") as package:
        names = package.getnames()
    assert "signalq/files/signalq.rules.yaml" in names
    assert not [name for name in names if "/ci/" in name]
