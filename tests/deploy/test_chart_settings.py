"""The settings that the chart makes of its values are those that a pod reads: the file, its variables, its mounts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from signalq.errors import SettingsError
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from tests.support.chart import VALUE_FILES, rendered, settings_of, the
from tests.support.chart_rules import Manifests
from tests.support.chart_settings import SCHEMA, settings_schema
from tests.support.manifests import pod_spec


def loaded(manifests: Manifests, component: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as a pod's process reads them: its file, its environment, its mounts, all below `folder`."""
    pod = pod_spec(the(manifests, "Deployment", component))
    assert pod is not None
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        place = folder / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        for item in volumes[mount["name"]].get("secret", {}).get("items", []):
            (place / item["path"]).write_text(SECRETS.get(mount["name"], "a-secret-of-ours"), encoding="utf-8")
    text = the(manifests, "ConfigMap")["data"]["signalq.toml"].replace("/run/secrets", f"{folder}/run/secrets")
    for connector in settings_of(manifests).get("connectors", {}).values():
        if "token_file" in connector:
            # The folder is there only if the pod mounts this Secret.
            (folder / connector["token_file"].lstrip("/")).write_text("a token", encoding="utf-8")
    (folder / "etc/signalq/signalq.toml").write_text(text, encoding="utf-8")
    for variable in container["env"]:
        if variable["name"].startswith("SIGNALQ_"):
            # What the cluster knows of a pod: its UID.
            value = re.sub(r"^(?=/(run|etc)/)", str(folder), variable.get("value", "a-uid-of-a-pod"))
            monkeypatch.setenv(variable["name"], value)
    return load_settings()


SECRETS = {
    "broker": "amqps://user:password@rabbitmq:5671/signalq",
    "console-broker": "amqps://operator:password@rabbitmq:5671/signalq",
    "ledger": "postgresql+asyncpg://user:password@postgres/signalq?ssl=verify-full",
    "ops-view-token": "a-token-to-look-by",
    "webhook-proxy": "http://user:password@proxy.example.com:3128",
    "notify-urls": "tgram://BOT_TOKEN/CHAT_ID\nmailto://user:password@example.com\n",
}
# Which value file makes which pod.
COMPONENTS = [
    ("sqlite", "consumer"),
    ("postgresql", "consumer"),
    ("everything", "consumer"),
    ("everything", "gateway"),
    ("gateway", "gateway"),
    ("notify", "notify"),
    ("everything", "notify"),
    ("console", "console"),
    ("everything", "console"),
    ("console", "consumer"),
    ("notify", "consumer"),
]


@pytest.mark.parametrize(("values", "component"), COMPONENTS)
def test_a_pod_reads_the_settings_that_the_values_say(
    values: str, component: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = rendered("4", values)
    monkeypatch.delenv("SIGNALQ_BROKER__URL", raising=False)
    settings = loaded(manifests, component, tmp_path, monkeypatch)
    given = yaml.safe_load(VALUE_FILES[values].read_text(encoding="utf-8")).get("settings", {})
    for section in ("connectors", "strategies"):
        assert getattr(settings, section).keys() == given.get(section, {}).keys()
        for name, table in given.get(section, {}).items():
            assert_says(
                getattr(settings, section)[name], {key: said for key, said in table.items() if key != "tokenSecret"}
            )
    serves = component == "console" or (component == "consumer" and settings.ops.console)
    for section, table in given.items():
        if section == "console" and not serves:
            # Its names need a token that this pod does not have; but it may know where the console is.
            assert settings.console.model_fields_set <= {"url"}
        elif section not in {"connectors", "strategies"}:
            assert_says(getattr(settings, section), table)
    assert settings.broker.url.get_secret_value() == SECRETS["broker"]
    proxy = settings.webhook.proxy.get_secret_value() if settings.webhook.proxy else None
    looks_at_webhooks = values == "everything" and component in {"consumer", "console"}
    assert proxy == (SECRETS["webhook-proxy"] if looks_at_webhooks else None)
    if component == "notify":
        assert len(settings.notify.each_url) == 2
        return
    listens, port = {
        "consumer": (settings.ops, 8080),
        "gateway": (settings.gateway, 8081),
        "console": (settings.console, 8082),
    }[component]
    assert (listens.host in {"0.0.0.0", "::"}, listens.port) == (True, port)  # noqa: S104


@pytest.mark.parametrize(
    ("values", "component", "serves", "url"),
    [
        ("sqlite", "consumer", False, None),
        ("notify", "consumer", True, None),
        ("postgresql", "consumer", True, None),
        ("console", "consumer", False, "https://signalq.example.com/console"),
        ("console", "console", True, "https://signalq.example.com/console"),
        ("everything", "consumer", False, "https://signalq.example.com"),
        ("everything", "console", True, "https://signalq.example.com"),
    ],
)
def test_one_pod_of_a_release_serves_the_console_and_each_knows_where_it_is(
    values: str, component: str, serves: bool, url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNALQ_BROKER__URL", raising=False)
    settings = loaded(rendered("4", values), component, tmp_path, monkeypatch)
    assert (component == "console" or settings.ops.console) is serves
    assert settings.console.url == url
    # Where the consumer serves it and the console has a user of its own, it acts as that one.
    operator = settings.console.broker_url.get_secret_value() if settings.console.broker_url else None
    assert operator == (SECRETS["console-broker"] if values == "notify" else None)
    view_token = settings.ops.view_token.get_secret_value() if settings.ops.view_token else None
    assert view_token == (SECRETS["ops-view-token"] if values == "everything" else None)
    if serves:
        assert settings.ops.token is not None
        assert settings.ops.token.get_secret_value() == "a-secret-of-ours"


@pytest.mark.parametrize("allowed", [True, False])
def test_the_job_before_an_upgrade_takes_the_database_without_tls_that_the_consumers_take(allowed: bool) -> None:
    """It has no settings file: that is still the one of the release before."""
    manifests = rendered("4", "postgresql", "--set", f"settings.ledger.allow_plain={str(allowed).lower()}")
    assert settings_of(manifests).get("ledger", {}).get("allow_plain", False) is allowed
    pod = pod_spec(the(manifests, "Job"))
    assert pod is not None
    variables = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert variables.get("SIGNALQ_LEDGER__ALLOW_PLAIN") == ("true" if allowed else None)


def test_settings_that_signalq_would_refuse_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = rendered("4", "sqlite")
    the(manifests, "ConfigMap")["data"]["signalq.toml"] += "[delivery]\natempts_max = 1\n"
    with pytest.raises(SettingsError, match=r"atempts_max is not a setting, the nearest is delivery\.attempts_max"):
        loaded(manifests, "consumer", tmp_path, monkeypatch)


def assert_says(section: Any, table: dict[str, Any]) -> None:
    for key, said in table.items():
        has = getattr(section, key)
        if isinstance(said, list):
            assert sorted(map(str, has)) in (
                sorted(map(str, said)),
                sorted(f"{one}/32" if "/" not in str(one) else one for one in said),
            )
        else:
            assert has == said or float(has) == float(said), key


def test_the_schema_of_the_settings_is_that_of_the_settings() -> None:
    written = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]["settings"]
    assert written == settings_schema(), "python -m tests.support.chart_settings writes it anew"
