"""compose.yaml as docker-compose resolves it: nothing open, nothing unlimited, no secret but in files."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from signalq.amqp.permissions import operator_permissions
from signalq.names import Names
from signalq.ops.terminal.cli import COMMANDS
from signalq.settings.connections import Delivery
from signalq.settings.sources import known_keys, load_settings
from tests.support.tools import tool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "container"
TIMEOUT_S = 60.0
# Prometheus asks these for metrics, by the service's name.
SCRAPED = {"consumer": 8080, "gateway": 8081, "console": 8082, "rabbitmq": 15692}
USERS = ("consumer", "strategies", "operator", "notify")
OURS = ("consumer", "console", "gateway", "notify", "sandbox")

Json = dict[str, Any]


def resolved(env_file: Path, *profiles: str) -> subprocess.CompletedProcess[str]:
    """`docker-compose config`, with what an .env file says and nothing else."""
    command = [tool("docker-compose"), "--env-file", str(env_file), "-f", str(FOLDER / "compose.yaml")]
    command += [word for profile in profiles for word in ("--profile", profile)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(env_file.parent)}
    return subprocess.run(  # noqa: S603 - our own tool
        [*command, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment,
    )


@pytest.fixture(scope="module")
def with_notify() -> Json:
    """All of it, and what tells people."""
    ran = resolved(FOLDER / ".env.example", "notify", "sandbox")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def compose() -> Json:
    """All of it, as .env.example has it."""
    ran = resolved(FOLDER / ".env.example")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def problems(compose: Json) -> list[str]:
    """What is wrong, each as `service: what`."""
    found = []
    for name, service in compose["services"].items():
        found += [f"{name}: {what}" for what, holds in _rules(service).items() if not holds]
    used = {one["source"] for service in compose["services"].values() for one in service.get("secrets", [])}
    found += [f"secret {name}: nobody uses it" for name in sorted(set(compose["secrets"]) - used)]
    found += [f"secret {name}: not a file" for name, one in compose["secrets"].items() if not one.get("file")]
    return found


def _rules(service: Json) -> dict[str, bool]:
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    environment = service.get("environment") or {}
    _, _, tag = service["image"].rpartition(":")
    return {
        "an image without a version": bool(tag) and "/" not in tag and tag != "latest" and ":" in service["image"],
        "a port that is open to others": all(port.get("host_ip") == "127.0.0.1" for port in service.get("ports", [])),
        "no health check": bool(service.get("healthcheck", {}).get("test")),
        "no limits": {"cpus", "memory", "pids"} <= set(limits),
        "a root that can be written": service.get("read_only") is True,
        "capabilities": service.get("cap_drop") == ["ALL"] and not service.get("cap_add"),
        "new privileges": "no-new-privileges:true" in service.get("security_opt", []),
        "root": bool(re.fullmatch(r"[1-9]\d*:\d+", service.get("user", ""))),
        "no restart": service.get("restart") == "unless-stopped",
        "logs without an end": {"max-size", "max-file"} <= set(service.get("logging", {}).get("options", {})),
        "a secret in the environment": not any(_is_secret(key, value or "") for key, value in environment.items()),
        "the host's own": not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service),
        "a folder of the host": all(mount["type"] == "volume" for mount in service.get("volumes", [])),
    }


def _is_secret(key: str, value: str) -> bool:
    named = re.search(r"TOKEN|PASS|SECRET|BROKER__URL|LEDGER__URL", key.upper()) and not key.upper().endswith("_FILE")
    return bool(named) or "@" in value


def test_the_compose_file_resolves_and_nothing_is_wrong_with_it(compose: Json) -> None:
    services = {"consumer", "console", "gateway", "sandbox", "rabbitmq", "postgres", "prometheus", "grafana"}
    assert set(compose["services"]) == services
    assert problems(compose) == []


def planted(service: str, key: str, value: object) -> Callable[[Json], None]:
    return lambda compose: compose["services"][service].update({key: value})


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (planted("grafana", "image", "grafana/grafana:latest"), "grafana: an image without a version"),
        (planted("grafana", "image", "localhost:5000/grafana"), "grafana: an image without a version"),
        (planted("rabbitmq", "ports", [{"target": 5672}]), "rabbitmq: a port that is open to others"),
        (planted("postgres", "healthcheck", {}), "postgres: no health check"),
        (planted("consumer", "deploy", {"replicas": 2}), "consumer: no limits"),
        (planted("consumer", "read_only", False), "consumer: a root that can be written"),
        (planted("gateway", "cap_add", ["NET_RAW"]), "gateway: capabilities"),
        (planted("gateway", "security_opt", []), "gateway: new privileges"),
        (planted("postgres", "user", "0:0"), "postgres: root"),
        (planted("sandbox", "restart", "no"), "sandbox: no restart"),
        (planted("sandbox", "logging", {"driver": "json-file"}), "sandbox: logs without an end"),
        (planted("postgres", "environment", {"POSTGRES_PASSWORD": "x"}), "postgres: a secret in the environment"),
        (planted("consumer", "environment", {"ANY": "amqp://a:b@c/"}), "consumer: a secret in the environment"),
        (planted("consumer", "network_mode", "host"), "consumer: the host's own"),
        (planted("grafana", "volumes", [{"type": "bind"}]), "grafana: a folder of the host"),
        (lambda compose: compose["secrets"].update(other={"file": "x"}), "secret other: nobody uses it"),
    ],
)
def test_a_planted_mistake_is_found(compose: Json, plant: Callable[[Json], None], found: str) -> None:
    broken = copy.deepcopy(compose)
    plant(broken)
    assert found in problems(broken)


def test_without_a_webhook_that_is_named_nothing_starts(tmp_path: Path) -> None:
    """Orders that go to a sandbox by oversight, or to the platform, are both worse."""
    empty = tmp_path / ".env"
    empty.write_text("", encoding="utf-8")
    ran = resolved(empty)
    assert ran.returncode != 0
    assert "see .env.example" in ran.stderr


def test_for_real_there_is_no_sandbox_and_no_plain_http(tmp_path: Path) -> None:
    lines = (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
    (real,) = [line.removeprefix("# ") for line in lines if line.startswith("# SIGNALQ_WEBHOOK_URL=")]
    env = tmp_path / ".env"
    env.write_text(real + "\n", encoding="utf-8")
    services = json.loads(resolved(env).stdout)["services"]
    assert "sandbox" not in services
    for name in ("consumer", "gateway"):
        assert services[name]["environment"]["SIGNALQ_WEBHOOK__URL"] == real.partition("=")[2]
        assert services[name]["environment"]["SIGNALQ_WEBHOOK__ALLOW_PLAIN_HTTP"] == "false"


def test_the_database_is_reached_by_the_consumers_alone(compose: Json) -> None:
    assert compose["networks"]["memory"]["internal"] is True
    members = [name for name, service in compose["services"].items() if "memory" in service["networks"]]
    assert sorted(members) == ["console", "consumer", "postgres"]
    assert list(compose["services"]["postgres"]["networks"]) == ["memory"]


def test_nobody_is_told_anything_until_the_profile_is_on(compose: Json, with_notify: Json) -> None:
    assert "notify" not in compose["services"]
    # It serves nothing that could be asked, and the image's own check asks a consumer.
    assert with_notify["services"]["notify"]["healthcheck"] == {"disable": True}
    assert problems(with_notify) == ["notify: no health check"]
    members = [name for name, service in with_notify["services"].items() if "memory" in service["networks"]]
    assert sorted(members) == ["console", "consumer", "notify", "postgres"]


def test_two_consumers_run_and_a_drain_has_its_time(compose: Json) -> None:
    consumer = compose["services"]["consumer"]
    assert consumer["deploy"]["replicas"] == 2
    drain_s = Delivery().drain_timeout_s
    assert int(consumer["stop_grace_period"].removesuffix("s")) >= drain_s + 20


def test_the_console_needs_neither_a_consumer_nor_the_broker_to_start_and_is_the_only_one(compose: Json) -> None:
    console, consumer = compose["services"]["console"], compose["services"]["consumer"]
    assert set(console["depends_on"]) == {"postgres"}
    assert [(port["host_ip"], port["published"]) for port in console["ports"]] == [("127.0.0.1", "8082")]
    assert consumer["environment"]["SIGNALQ_OPS__CONSOLE"] == "false"
    tokens = {service["environment"]["SIGNALQ_OPS__TOKEN_FILE"] for service in (console, consumer)}
    assert tokens == {"/run/secrets/ops-token"}


def test_a_service_that_others_wait_for_has_a_health_check(compose: Json) -> None:
    for name, service in compose["services"].items():
        for other, condition in service.get("depends_on", {}).items():
            assert condition["condition"] == "service_healthy", name
            assert "healthcheck" in compose["services"][other]
    assert set(compose["services"]["consumer"]["depends_on"]) == {"rabbitmq", "postgres"}


def test_prometheus_asks_every_service_that_has_metrics_and_grafana_asks_prometheus(compose: Json) -> None:
    config = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    asked = {}
    for job in config["scrape_configs"]:
        for one in job.get("dns_sd_configs", []):
            asked.update(dict.fromkeys(one["names"], one["port"]))
        for one in job.get("static_configs", []):
            asked.update({target.partition(":")[0]: int(target.partition(":")[2]) for target in one["targets"]})
    assert asked == SCRAPED
    for name in SCRAPED:
        assert set(compose["services"][name]["networks"]) & set(compose["services"]["prometheus"]["networks"])
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasource.yaml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]


def test_every_file_it_mounts_is_there(compose: Json) -> None:
    files = {name: Path(one["file"]) for name, one in compose["configs"].items()}
    assert files["alerts"] == ROOT / "deploy" / "alerts" / "signalq.rules.yaml"
    assert [name for name, file in files.items() if not file.is_file()] == []
    targets = {one["target"] for one in compose["services"]["prometheus"]["configs"]}
    (pattern,) = yaml.safe_load(files["prometheus"].read_text(encoding="utf-8"))["rule_files"]
    assert any(Path(target).match(pattern) for target in targets)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that make-secrets fills, somewhere else."""
    folder = tmp_path_factory.mktemp("desk")
    script = folder / "make-secrets"
    script.write_bytes((FOLDER / "make-secrets").read_bytes())
    script.chmod(0o755)
    first = make(script)
    assert first.count("made ") == len(list((folder / "secrets").iterdir()))
    assert make(script) == ""
    return folder / "secrets"


def make(script: Path) -> str:
    ran = subprocess.run([script], capture_output=True, text=True, check=True, timeout=TIMEOUT_S)  # noqa: S603 - our own script
    return ran.stdout


def test_make_secrets_makes_each_once_and_keeps_others_out(compose: Json, with_notify: Json, secrets: Path) -> None:
    """All but where to send messages to, which a person writes."""
    wanted = {*with_notify["secrets"], "rabbitmq-admin"} - {"notify-urls"}
    assert sorted(file.name for file in secrets.iterdir()) == sorted(wanted)
    assert {one["file"] for one in compose["secrets"].values()} == {
        str(FOLDER / "secrets" / name) for name in compose["secrets"]
    }
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    # Their readers are users inside the containers, each another.
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()}
    assert modes.pop("rabbitmq-admin") == 0o600, "for a person alone"
    assert set(modes.values()) == {0o644}
    assert (secrets / "postgres-password").read_text(encoding="utf-8").strip() in (secrets / "ledger-url").read_text()


def test_no_service_has_the_brokers_administrator_and_the_broker_has_digests_of_passwords(
    with_notify: Json, secrets: Path
) -> None:
    text = (secrets / "rabbitmq-definitions").read_text(encoding="utf-8")
    users = {one["name"]: one for one in json.loads(text)["users"]}
    assert {name: one["tags"] for name, one in users.items()} == {
        "signalq-consumer": [],
        "signalq-strategies": [],
        "signalq-notify": [],
        "signalq-operator": [],
        "admin": ["administrator"],
    }
    services = {"consumer": "consumer", "console": "operator", "gateway": "strategies", "notify": "notify"}
    for service, user in services.items():
        url = urlsplit((secrets / f"{user}-broker-url").read_text(encoding="utf-8").strip())
        assert (url.scheme, url.username, url.hostname, url.port) == ("amqp", f"signalq-{user}", "rabbitmq", 5672)
        assert url.password is not None
        raw = b64decode(users[f"signalq-{user}"]["password_hash"])
        assert raw[4:] == sha256(raw[:4] + url.password.encode()).digest()
        assert url.password not in text
        environment = with_notify["services"][service]["environment"]
        assert environment["SIGNALQ_BROKER__URL_FILE"] == f"/run/secrets/{user}-broker-url"
    used = {one["source"] for service in with_notify["services"].values() for one in service.get("secrets", [])}
    assert "rabbitmq-admin" not in used


def test_the_console_has_the_rights_of_an_operator_and_no_other(secrets: Path) -> None:
    said = json.loads((secrets / "rabbitmq-definitions").read_text(encoding="utf-8"))
    (rights,) = [one for one in said["permissions"] if one["user"] == "signalq-operator"]
    (keys,) = [one for one in said["topic_permissions"] if one["user"] == "signalq-operator"]
    wanted = operator_permissions(Names())
    assert (rights["configure"], rights["write"], rights["read"]) == (wanted.configure, wanted.write, wanted.read)
    assert (keys["exchange"], keys["write"], keys["read"]) == (
        Names().outcomes,
        wanted.outcome_keys_written,
        wanted.outcome_keys_read,
    )


def test_an_older_desk_gets_the_user_that_it_lacks_and_keeps_its_passwords(secrets: Path, tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    shutil.copy(FOLDER / "make-secrets", script)
    older = tmp_path / "secrets"
    shutil.copytree(secrets, older)
    before = {file.name: file.read_text(encoding="utf-8") for file in older.iterdir()}
    (older / "operator-broker-url").unlink()
    assert make(script).splitlines() == ["made secrets/operator-broker-url", "made secrets/rabbitmq-definitions"]
    after = {file.name: file.read_text(encoding="utf-8") for file in older.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"operator-broker-url", "rabbitmq-definitions"}
    users = {one["name"]: one["password_hash"] for one in json.loads(after["rabbitmq-definitions"])["users"]}
    passwords = {f"signalq-{user}": urlsplit(after[f"{user}-broker-url"]).password for user in USERS}
    passwords["admin"] = after["rabbitmq-admin"].strip().removeprefix("admin:")
    assert users.keys() == passwords.keys()
    for name, password in passwords.items():
        raw = b64decode(users[name])
        assert raw[4:] == sha256(raw[:4] + str(password).encode()).digest()


def test_the_broker_takes_its_users_from_a_file_and_no_message_much_larger_than_an_order(compose: Json) -> None:
    lines = (FOLDER / "rabbitmq.conf").read_text(encoding="utf-8").splitlines()
    targets = {one["target"] for one in compose["services"]["rabbitmq"]["secrets"]}
    (definitions,) = [line.partition(" = ")[2] for line in lines if line.startswith("load_definitions")]
    assert definitions in targets
    assert "max_message_size = 131072" in lines


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_each_service_can_be_loaded(
    name: str, with_notify: Json, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = with_notify["services"][name]
    assert service["command"][0] in COMMANDS
    file = tmp_path / "signalq.toml"
    text = (FOLDER / "signalq.toml").read_text(encoding="utf-8")
    file.write_text(text.replace("/run/secrets", str(secrets)), encoding="utf-8")
    mounted = {one["target"] for one in service.get("secrets", [])}
    monkeypatch.delenv("SIGNALQ_BROKER__URL", raising=False)
    for key, value in (service.get("environment") or {}).items():
        if key.startswith("SIGNALQ_") and key != "SIGNALQ_CONFIG":
            assert key.removeprefix("SIGNALQ_").lower().replace("__", ".") in known_keys()
            assert not value.startswith("/run/secrets/") or value in mounted
            monkeypatch.setenv(key, value.replace("/run/secrets", str(secrets)))
    monkeypatch.delenv("SIGNALQ_NOTIFY__URLS_FILE", raising=False)  # a person writes it
    if name == "sandbox":
        return
    settings = load_settings(file)
    assert set(settings.connectors) == set(tomllib.loads(text)["connectors"])
    wanted = {str(one["token_file"]) for one in tomllib.loads(text)["connectors"].values()}
    assert wanted <= mounted
    if name == "notify":
        return
    listens = {"consumer": settings.ops, "console": settings.console, "gateway": settings.gateway}[name]
    assert (listens.host, listens.port) == ("0.0.0.0", SCRAPED[name])  # noqa: S104 - inside the container
