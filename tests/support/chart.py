"""The Helm chart, rendered: once for each version of Helm and each of its value files."""

from __future__ import annotations

import subprocess
import tomllib
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.manifests import Manifest, documents
from tests.support.tools import HELM, tool

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "signalq"
VALUE_FILES = {file.name.removesuffix("-values.yaml"): file for file in sorted(CHART.glob("ci/*-values.yaml"))}
TIMEOUT_S = 60.0


def helm(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Helm to its end."""
    command = [tool(HELM[version]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)  # noqa: S603


def template(version: str, values: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`helm template` with one of the chart's value files."""
    return helm(
        version, "template", "desk", str(CHART), "--namespace", "trading", "-f", str(VALUE_FILES[values]), *arguments
    )


@cache
def _rendered(version: str, values: str, *arguments: str) -> list[Manifest]:
    ran = template(version, values, *arguments)
    assert ran.returncode == 0, ran.stderr
    return documents(ran.stdout)


def rendered(version: str, values: str, *arguments: str) -> list[Manifest]:
    """What it makes, as a copy of one's own."""
    return deepcopy(_rendered(version, values, *arguments))


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def the(manifests: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """The one of this kind whose name ends so."""
    (found,) = [one for one in of_kind(manifests, kind) if one["metadata"]["name"].endswith(ending)]
    return found


def settings_of(manifests: list[Manifest]) -> dict[str, Any]:
    """signalq.toml, as the ConfigMap has it."""
    return tomllib.loads(the(manifests, "ConfigMap")["data"]["signalq.toml"])
