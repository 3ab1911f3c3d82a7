"""The Dockerfile, read without building it: by hadolint, and for what hadolint does not know."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from signalq.ops.terminal.cli import COMMANDS
from tests.support.tools import tool

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
TIMEOUT_S = 60.0


def hadolint(text: str) -> tuple[int, str]:
    """Its exit status and what it found in a Dockerfile."""
    command = [tool("hadolint"), "--no-color", "-"]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)  # noqa: S603 - our own tool
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def text() -> str:
    return DOCKERFILE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def last_stage(text: str) -> str:
    return text.rpartition("\nFROM ")[2]


def test_hadolint_finds_nothing_in_the_dockerfile(text: str) -> None:
    assert hadolint(text) == (0, "")


@pytest.mark.parametrize(
    ("good", "bad", "rule"),
    [
        ("FROM ${BASE}\nARG VERSION", "FROM python\nARG VERSION", "DL3006"),
        ("FROM ${BASE}\nARG VERSION", "FROM python:latest\nARG VERSION", "DL3007"),
        ("RUN groupadd", "RUN cd /tmp && groupadd", "DL3003"),
        ("WORKDIR /var/lib/signalq", "WORKDIR signalq", "DL3000"),
        ('CMD ["--help"]', "CMD --help", "DL3025"),
    ],
)
def test_hadolint_finds_a_planted_mistake(text: str, good: str, bad: str, rule: str) -> None:
    assert good in text
    status, found = hadolint(text.replace(good, bad))
    assert status == 1
    assert rule in found


def problems(text: str) -> list[str]:
    """What is wrong with a Dockerfile, of what we promise of the image."""
    base = re.search(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    build, _, final = text.rpartition("\nFROM ")
    wanted = {
        "a base with a version": bool(base and re.fullmatch(r"\w+:\d+\.\d+\S*-slim-\w+", base[1])),
        "one base for all": set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"},
        "hashes": "--require-hashes" in build and "--only-binary :all:" in build,
        "one index": all("--no-index" in line for line in re.findall(r"\bpip .*?\b(?:install|wheel)\b.*", build)),
        "no installing in what runs": not re.search(r"\bpip\b.* install|apt-get", final),
        "the numeric user": "\nUSER 10001:10001\n" in final,
        "a health check": f'CMD ["signalq", "{"probe" if "probe" in COMMANDS else ""}"]' in final,
        "the entry": '\nENTRYPOINT ["signalq"]\n' in final,
        "the signal of a drain": "\nSTOPSIGNAL SIGTERM\n" in final,
        "nothing written by Python": "PYTHONDONTWRITEBYTECODE=1" in final,
    }
    return [what for what, holds in wanted.items() if not holds]


def test_the_dockerfile_keeps_what_the_docs_promise_of_the_image(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("good", "bad", "what"),
    [
        ("BASE=python:3.11-slim-bookworm", "BASE=python:slim", "a base with a version"),
        ("FROM ${BASE} AS build", "FROM debian:12 AS build", "one base for all"),
        ("--require-hashes ", "", "hashes"),
        ("install --quiet --no-index", "install --quiet", "one index"),
        ("USER 10001:10001", "USER signalq", "the numeric user"),
        ('"probe"]', '"consume"]', "a health check"),
    ],
)
def test_a_broken_promise_is_found(text: str, good: str, bad: str, what: str) -> None:
    assert good in text
    assert what in problems(text.replace(good, bad))


def test_the_labels_say_what_the_project_says(last_stage: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last_stage))
    assert {name: labels[name] for name in ("title", "description", "licenses")} == {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
    }
    assert {"version", "revision", "source"} <= set(labels)


def test_the_build_gets_the_files_that_the_wheel_is_made_of() -> None:
    """An allow-list: a ledger, a token or .git that lies in the folder never gets into a build."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["signalq"]
    # Its parts lie beside it, and are links in it.
    links = [path for path in (ROOT / "signalq").iterdir() if path.is_symlink()]
    packages = ["signalq", *(str(link.resolve().relative_to(ROOT)) for link in links)]
    files = ["LICENSE", "README.md", "pyproject.toml", "requirements.lock"]
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted([*packages, *files])
