"""What ./run test-containers changes of compose.yaml and of the chart's manifests, and what it says without running."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.containers import __main__ as command
from tests.containers import worlds
from tests.containers.chart import own_values
from tests.containers.health import EAGER_S, NANOSECONDS, interval_s, is_checked
from tests.containers.images import STAND_INS
from tests.containers.override import NOT_RUN, override
from tests.containers.pods import NOT_SHOWN, PROBES, pod, probe, secret
from tests.image.build import IMAGE
from tests.support.chart import template, the
from tests.support.manifests import Manifest, documents
from tests.support.tools import tool

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "deploy/container/compose.yaml").read_text(encoding="utf-8"))


def rendered(tmp_path: Path, example: str) -> list[Manifest]:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(own_values()), encoding="utf-8")
    ran = template("4", example, "-f", str(own))
    assert ran.returncode == 0, ran.stderr
    return documents(ran.stdout)


def test_the_override_changes_the_images_of_compose_yaml_and_nothing_else() -> None:
    changed = override(COMPOSE["services"])["services"]
    assert changed.keys() == COMPOSE["services"].keys()
    for name, service in COMPOSE["services"].items():
        if name in NOT_RUN:
            assert set(changed[name]) == {"profiles"}
            continue
        assert set(changed[name]) == {"image", "pull_policy"}
        assert changed[name]["pull_policy"] == "never"
        assert (changed[name]["image"] == IMAGE) is (service["image"] == "signalq:local"), name
    assert {name for name in changed if changed[name].get("image") in STAND_INS.values()} == set(STAND_INS)


def test_a_service_that_nothing_stands_in_for_is_an_error() -> None:
    with pytest.raises(KeyError, match="redis"):
        override({"redis": {"image": "redis:8"}})


def test_a_pod_has_all_that_the_deployment_says_but_what_podman_cant_play(tmp_path: Path) -> None:
    deployment = the(rendered(tmp_path, "postgresql"), "Deployment", "-consumer")
    played = pod(deployment, "one", {"rabbitmq": "10.0.0.1"})
    spec, before = played["spec"], deployment["spec"]["template"]["spec"]
    assert (played["kind"], played["metadata"]["name"]) == ("Pod", "one")
    assert spec["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["rabbitmq"]}]
    assert {key for key in before if spec[key] != before[key]} == {"containers", "volumes"}
    (container,), (said,) = spec["containers"], before["containers"]
    assert set(said) - set(container) == {*PROBES, "ports"}
    assert {key for key in container if container[key] != said[key]} == {"volumeMounts"}
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [
        mount["mountPath"] for mount in said["volumeMounts"]
    ]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


def test_pods_share_no_scratch_folder_and_secrets_are_played_as_config_maps(tmp_path: Path) -> None:
    deployment = the(rendered(tmp_path, "postgresql"), "Deployment", "-consumer")
    names = [{volume["name"] for volume in pod(deployment, name)["spec"]["volumes"]} for name in ("one", "two")]
    assert names[0] ^ names[1] == {"one-tmp", "two-tmp"}
    volumes = {volume["name"]: volume for volume in pod(deployment, "one")["spec"]["volumes"]}
    assert volumes["broker"] == {
        "name": "broker",
        "configMap": {"name": "signalq-broker", "items": [{"key": "url", "path": "url"}]},
    }
    assert secret("signalq-broker", {"url": "amqp://x"})["data"] == {"url": "amqp://x"}
    # What is rendered stays as it is.
    assert any("secret" in volume for volume in deployment["spec"]["template"]["spec"]["volumes"])


def test_a_probe_is_asked_at_the_port_of_its_name(tmp_path: Path) -> None:
    deployment = the(rendered(tmp_path, "sqlite"), "Deployment", "-consumer")
    assert [probe(deployment, kind) for kind in PROBES] == [(8080, "/startupz"), (8080, "/healthz"), (8080, "/readyz")]


def test_a_job_and_a_pod_of_a_hook_are_played_as_pods(tmp_path: Path) -> None:
    manifests = rendered(tmp_path, "postgresql")
    for manifest in (the(manifests, "Job"), the(manifests, "Pod")):
        played = pod(manifest, "hook")
        assert (played["kind"], played["spec"]["restartPolicy"]) == ("Pod", "Never")


def test_the_docs_list_all_that_the_run_cant_show() -> None:
    said = " ".join((ROOT / "docs/kubernetes.md").read_text(encoding="utf-8").split())
    assert [sentence for sentence in NOT_SHOWN if sentence not in said] == []


@pytest.mark.parametrize(
    ("status", "test", "health", "due_s"),
    [
        ("running", ["CMD", "true"], "healthy", 20.0),
        ("running", ["CMD", "true"], "starting", EAGER_S),
        ("running", ["NONE"], "", None),
        ("running", None, "", None),
        ("exited", ["CMD", "true"], "healthy", None),
    ],
)
def test_a_check_is_due_at_its_interval_and_sooner_until_it_is_healthy(
    status: str, test: list[str] | None, health: str, due_s: float | None
) -> None:
    check = {"Test": test, "Interval": 20 * NANOSECONDS} if test else None
    container = {"State": {"Status": status, "Health": {"Status": health}}, "Config": {"Healthcheck": check}}
    assert (interval_s(container) if is_checked(container) else None) == due_s


def test_where_it_cant_be_run_one_sentence_says_why_and_the_status_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worlds, "PROGRAMS", ("true", "podman-of-nobody"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert command.main([]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "containers: not run: there is no podman-of-nobody here: ./run test-containers installs that on a Debian"
    ]
    assert said.out == ""


def test_docker_compose_takes_the_override_and_starts_no_service_without_an_image(tmp_path: Path) -> None:
    file = tmp_path / "override.json"
    file.write_text(json.dumps(override(COMPOSE["services"])), encoding="utf-8")
    folder = ROOT / "deploy/container"
    files = ["--env-file", str(folder / ".env.example"), "-f", str(folder / "compose.yaml"), "-f", str(file)]
    command = [tool("docker-compose"), *files, "--profile", "sandbox", "config", "--format", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own tool
    assert ran.returncode == 0, ran.stderr
    images = {name: service["image"] for name, service in json.loads(ran.stdout)["services"].items()}
    own = dict.fromkeys(("consumer", "console", "gateway", "sandbox"), IMAGE)
    assert images == own | STAND_INS
