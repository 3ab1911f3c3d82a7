"""The Helm chart without a cluster, by both versions of Helm, with every value file: what it makes, what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.settings import Settings, load_settings
from signalq import __version__
from signalq.errors import SettingsError
from tests.support.chart import CHART, VALUE_FILES, helm, rendered, settings_of, template, the
from tests.support.chart_links import LINK_RULES
from tests.support.chart_rules import POD_RULES, Manifests
from tests.support.chart_settings import SCHEMA, settings_schema
from tests.support.manifests import documents, pod_spec, problems
from tests.support.tools import HELM

ROOT = Path(__file__).parents[2]
RULES = {rule.__name__: rule for rule in (*POD_RULES, *LINK_RULES)}
RENDERS = [(version, values) for version in HELM for values in VALUE_FILES]
RULES_FILE = CHART / "files" / "signalq.rules.yaml"
ALERTS = ROOT / "deploy" / "alerts" / "signalq.rules.yaml"


def found(manifests: Manifests) -> list[str]:
    """What every rule of ours finds in a render."""
    return [f"{name}: {said}" for name, rule in RULES.items() for said in rule(manifests)]


# ---- what it makes ----


@pytest.mark.parametrize(("version", "values"), RENDERS)
def test_lint_finds_nothing(version: str, values: str) -> None:
    ran = helm(version, "lint", "--strict", str(CHART), "-f", str(VALUE_FILES[values]))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stdout


@pytest.mark.parametrize(("version", "values"), RENDERS)
def test_every_manifest_is_one_that_a_strict_api_server_takes(version: str, values: str) -> None:
    assert [problem for one in rendered(version, values) for problem in problems(one)] == []


@pytest.mark.parametrize(("version", "values"), RENDERS)
def test_every_rule_of_ours_holds(version: str, values: str) -> None:
    assert found(rendered(version, values)) == []


@pytest.mark.parametrize("values", VALUE_FILES)
def test_both_versions_of_helm_make_the_same(values: str) -> None:
    assert rendered("3", values) == rendered("4", values)


def test_every_template_is_rendered_by_some_value_file() -> None:
    kinds = {one["kind"] for values in VALUE_FILES for one in rendered("4", values)}
    written = "".join(file.read_text(encoding="utf-8") for file in CHART.rglob("templates/**/*.yaml"))
    assert set(re.findall(r"^kind: (\w+)", written, re.MULTILINE)) == kinds


# ---- settings ----


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
            value = re.sub(r"^(?=/(run|etc)/)", str(folder), variable["value"])
            monkeypatch.setenv(variable["name"], value)
    return load_settings()


SECRETS = {
    "broker": "amqps://user:password@rabbitmq:5671/signalq",
    "ledger": "postgresql+asyncpg://user:password@postgres/signalq?ssl=verify-full",
}
# Which value file makes which pod.
COMPONENTS = [
    ("sqlite", "consumer"),
    ("postgresql", "consumer"),
    ("everything", "consumer"),
    ("everything", "gateway"),
    ("gateway", "gateway"),
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
    for section, table in given.items():
        if section not in {"connectors", "strategies"}:
            assert_says(getattr(settings, section), table)
    assert settings.broker.url.get_secret_value() == SECRETS["broker"]
    if component == "consumer":
        assert (settings.ops.host in {"0.0.0.0", "::"}, settings.ops.port) == (True, 8080)  # noqa: S104
    else:
        assert (settings.gateway.host in {"0.0.0.0", "::"}, settings.gateway.port) == (True, 8081)  # noqa: S104


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


def annotation(*arguments: str) -> Any:
    return the(rendered("4", "everything", *arguments), "Deployment", "consumer")["spec"]["template"]


@pytest.mark.parametrize(
    "changed",
    [
        "settings.connectors.main.rate_per_s=1",
        "settings.connectors.main.tokenSecret.key=other",
        "settings.strategies.momentum.limits=enforce",
        "settings.connectors.new.lane=shared",
    ],
)
def test_what_is_read_again_while_it_runs_restarts_no_pod(changed: str) -> None:
    assert annotation("--set", changed) == annotation()
    assert settings_of(rendered("4", "everything", "--set", changed)) != settings_of(rendered("4", "everything"))


@pytest.mark.parametrize(
    "changed",
    [
        "settings.delivery.attempts_max=3",
        "settings.broker.heartbeat_s=3",
        "settings.connectors.main.lane=shared",
        "settings.connectors.fast.concurrency=3",
        "settings.connectors.new.rate_per_s=1",
    ],
)
def test_what_takes_a_restart_restarts_the_pods(changed: str) -> None:
    assert annotation("--set", changed) != annotation()


# ---- each rule finds what it is for ----


def spec(manifests: Manifests, ending: str = "consumer", kind: str = "Deployment") -> Any:
    return the(manifests, kind, ending)["spec"]


def pod(manifests: Manifests, ending: str = "consumer") -> Any:
    return spec(manifests, ending)["template"]["spec"]


def container(manifests: Manifests, ending: str = "consumer") -> Any:
    return pod(manifests, ending)["containers"][0]


def trigger(manifests: Manifests) -> Any:
    return spec(manifests, "", "ScaledObject")["triggers"][0]["metadata"]


def policy(manifests: Manifests, ending: str = "consumer") -> Any:
    return spec(manifests, ending, "NetworkPolicy")


def job(manifests: Manifests) -> Any:
    return the(manifests, "Job")


def drop(manifests: Manifests, kind: str, ending: str = "") -> None:
    manifests.remove(the(manifests, kind, ending))


def variable(manifests: Manifests, name: str) -> Any:
    return next(one for one in container(manifests)["env"] if one["name"] == name)


Planted = tuple[str, str, Callable[[Manifests], object]]
PLANTED: list[Planted] = [
    ("everything", "runAsNonRoot", lambda m: pod(m)["securityContext"].pop("runAsNonRoot")),
    ("everything", "does not run as 10001", lambda m: pod(m)["securityContext"].update(runAsUser=1000)),
    ("everything", "mounts a service account's token", lambda m: pod(m).pop("automountServiceAccountToken")),
    ("everything", "no service account of its own", lambda m: pod(m, "gateway").pop("serviceAccountName")),
    ("everything", "a variable for every service", lambda m: pod(m).pop("enableServiceLinks")),
    ("everything", "can write to its root", lambda m: container(m)["securityContext"].pop("readOnlyRootFilesystem")),
    ("everything", "has no /tmp", lambda m: container(m)["volumeMounts"].pop(0)),
    ("everything", "does not say what it needs", lambda m: container(m)["resources"]["requests"].pop("cpu")),
    ("everything", "no limit of its memory", lambda m: container(m)["resources"]["limits"].pop("memory")),
    ("everything", "is throttled", lambda m: container(m)["resources"]["limits"].update(cpu="1")),
    ("everything", "which may be any", lambda m: container(m).update(image="host:5000/signalq")),
    ("everything", "which may be any", lambda m: container(m).update(image="signalq:latest")),
    ("everything", "startupProbe does not ask", lambda m: container(m).pop("startupProbe")),
    ("everything", "does not ask /healthz", lambda m: container(m)["livenessProbe"]["httpGet"].update(path="/readyz")),
    ("everything", "a port that is not there", lambda m: container(m)["readinessProbe"]["httpGet"].update(port="http")),
    ("everything", "s to start", lambda m: container(m)["startupProbe"].update(failureThreshold=3)),
    ("everything", "may drain for 25 s", lambda m: pod(m).update(terminationGracePeriodSeconds=30)),
    ("everything", "waits 0 s before it ends", lambda m: container(m, "gateway").pop("lifecycle")),
    ("everything", "not spread over topology", lambda m: pod(m)["topologySpreadConstraints"].pop()),
    ("everything", "not spread over kubernetes.io", lambda m: pod(m)["topologySpreadConstraints"].pop(0)),
    (
        "everything",
        "not spread over",
        lambda m: pod(m)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(x="y"),
    ),
    ("sqlite", "a file for a ledger", lambda m: spec(m).update(replicas=2)),
    ("sqlite", "a file for a ledger", lambda m: spec(m).update(strategy={"type": "RollingUpdate"})),
    ("sqlite", "a file for a ledger", lambda m: pod(m).update(volumes=[])),
    ("sqlite", "goes with the release", lambda m: the(m, "PersistentVolumeClaim")["metadata"].pop("annotations")),
    ("sqlite", "upgraded by a Job", lambda m: m.append(job(rendered("4", "postgresql")))),
    ("postgresql", "before another one has come", lambda m: spec(m)["strategy"].pop("rollingUpdate")),
    ("postgresql", "has 0 disruption budgets", lambda m: drop(m, "PodDisruptionBudget")),
    ("sqlite", "has 1 disruption budgets", lambda m: m.append(the(rendered("4", "postgresql"), "PodDisruptionBudget"))),
    ("postgresql", "other than one pod", lambda m: spec(m, "", "PodDisruptionBudget").update(maxUnavailable=2)),
    ("postgresql", "upgraded by a Job", lambda m: drop(m, "Job")),
    (
        "postgresql",
        "not run before",
        lambda m: job(m)["metadata"]["annotations"].update({"helm.sh/hook": "post-upgrade"}),
    ),
    (
        "postgresql",
        "does something else",
        lambda m: job(m)["spec"]["template"]["spec"]["containers"][0].update(command=["x"]),
    ),
    ("postgresql", "for ever", lambda m: job(m)["spec"].pop("activeDeadlineSeconds")),
    (
        "postgresql",
        "settings of the release before",
        lambda m: job(m)["spec"]["template"]["spec"]["volumes"].append({"name": "s", "configMap": {"name": "x"}}),
    ),
    ("postgresql", "has 0 network policies", lambda m: policy(m)["podSelector"]["matchExpressions"][0]["values"].pop()),
    ("postgresql", "not for both ways", lambda m: policy(m).update(policyTypes=["Ingress"])),
    ("postgresql", "every pod of the namespace", lambda m: policy(m).update(podSelector={})),
    ("postgresql", "a rule is for everybody", lambda m: policy(m)["egress"][1].pop("to")),
    ("postgresql", "a rule is for everybody", lambda m: policy(m)["ingress"][0].update({"from": [{}]})),
    ("postgresql", "a rule is for all ports", lambda m: policy(m)["egress"][1].pop("ports")),
    ("postgresql", "every pod of the cluster", lambda m: policy(m)["egress"][1].update(to=[{"namespaceSelector": {}}])),
    ("postgresql", "lets in more than 8080", lambda m: policy(m)["ingress"][0]["ports"].append({"port": 22})),
    ("postgresql", "keeps DNS out", lambda m: policy(m)["egress"].pop(0)),
    ("postgresql", "no way to port 5432", lambda m: policy(m)["egress"].pop(2)),
    ("postgresql", "private networks", lambda m: policy(m)["egress"][3]["to"][0]["ipBlock"].pop("except")),
    ("everything", "holds a secret", lambda m: m.append({"kind": "Secret", "metadata": {"name": "x"}})),
    (
        "everything",
        "shows a secret",
        lambda m: variable(m, "SIGNALQ_BROKER__URL_FILE").update(value="amqps://user:password@host/"),
    ),
    (
        "everything",
        "is never updated",
        lambda m: variable(m, "OTEL_SERVICE_NAME").update(valueFrom={"secretKeyRef": {"name": "x", "key": "y"}}),
    ),
    ("everything", "is never updated", lambda m: container(m)["volumeMounts"][1].update(subPath="signalq.toml")),
    ("everything", "may read broker", lambda m: pod(m)["volumes"][2]["secret"].pop("defaultMode")),
    ("everything", "more than a certificate", lambda m: pod(m)["volumes"][3]["secret"].pop("items")),
    ("everything", "not mounted read-only", lambda m: container(m)["volumeMounts"][2].pop("readOnly")),
    ("everything", "volumes and mounts differ", lambda m: pod(m)["volumes"].pop()),
    ("everything", "there is no ConfigMap", lambda m: pod(m)["volumes"][1]["configMap"].update(name="x")),
    ("everything", "there is no ServiceAccount", lambda m: pod(m).update(serviceAccountName="other")),
    ("everything", "leads nowhere", lambda m: spec(m, "", "Service")["ports"][0].update(targetPort="ops")),
    ("everything", "leads nowhere", lambda m: spec(m, "", "Service")["selector"].pop("app.kubernetes.io/component")),
    ("everything", "what is not there", lambda m: spec(m, "", "ScaledObject")["scaleTargetRef"].update(name="x")),
    ("everything", "both say how many", lambda m: spec(m).update(replicas=2)),
    (
        "everything",
        "its own pods alone",
        lambda m: spec(m)["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
    ),
    ("everything", "without TLS", lambda m: spec(m, "", "Ingress").pop("tls")),
    (
        "everything",
        "shows more than",
        lambda m: spec(m, "", "Ingress")["rules"][0]["http"]["paths"][0].update(path="/"),
    ),
    ("everything", "does not find", lambda m: spec(m, "", "PodMonitor")["podMetricsEndpoints"].pop()),
    (
        "everything",
        "does not ask for /metrics",
        lambda m: spec(m, "", "PodMonitor")["podMetricsEndpoints"][0].pop("path"),
    ),
    ("everything", "has no alert", lambda m: spec(m, "", "PrometheusRule").update(groups=[])),
    ("everything", "to zero while delays wait", lambda m: spec(m, "", "ScaledObject").update(minReplicaCount=0)),
    ("everything", "to zero while delays wait", lambda m: spec(m, "", "ScaledObject").update(idleReplicaCount=0)),
    ("everything", "a maximum below", lambda m: spec(m, "", "ScaledObject").update(maxReplicaCount=1)),
    ("everything", "lanes without order, each once", lambda m: trigger(m).update(queueName="desk.orders.main")),
    ("everything", "lanes without order, each once", lambda m: spec(m, "", "ScaledObject")["triggers"].pop()),
    ("everything", "is no trigger", lambda m: spec(m, "", "ScaledObject")["triggers"][0].update(type="rabbit")),
    ("everything", "queueLength is no key", lambda m: trigger(m).update(queueLength="5")),
    ("everything", "protocol is not http", lambda m: trigger(m).update(protocol="amqp")),
    ("everything", "mode is not QueueLength", lambda m: trigger(m).pop("mode")),
    ("everything", "excludeUnacknowledged is not", lambda m: trigger(m).update(excludeUnacknowledged="true")),
    ("everything", "no number of messages", lambda m: trigger(m).update(value="0")),
    ("everything", "no TriggerAuthentication", lambda m: drop(m, "TriggerAuthentication")),
]


@pytest.mark.parametrize(("values", "said", "plant"), PLANTED, ids=[f"{one[0]}-{one[1]}" for one in PLANTED])
def test_a_planted_mistake_is_found(values: str, said: str, plant: Callable[[Manifests], object]) -> None:
    manifests = rendered("4", values)
    plant(manifests)
    assert [one for one in found(manifests) if said in one]


def test_every_rule_is_shown_to_find_something() -> None:
    caught = set()
    for values, said, plant in PLANTED:
        manifests = rendered("4", values)
        plant(manifests)
        caught |= {one.partition(":")[0] for one in found(manifests) if said in one}
    assert caught == set(RULES)


# ---- what it refuses ----

# The value file, what is set, and what is said, by both versions of Helm.
REFUSED = [
    ("sqlite", "consumer.replicas=2", "replicas"),
    ("sqlite", "keda.enabled=true", "enabled"),
    ("sqlite", "image.tag=latest", "tag"),
    ("sqlite", "image.digest=sha256:1", "digest"),
    ("sqlite", "image.repository=signalq:latest", "repository"),
    ("sqlite", "consumer.replica=2", "replica"),
    ("sqlite", "settings.delivery.atempts_max=2", "atempts_max"),
    ("sqlite", "settings.delivery.attempts_max=0", "attempts_max"),
    ("sqlite", "settings.connectors.main.token=abc", "token"),
    ("sqlite", "settings.connectors.main.tokenSecret.name=abc", "key"),
    ("sqlite", "settings.ops.token=abc", "ops"),
    ("sqlite", "consumer.resources.limits=null", "limits"),
    ("sqlite", "broker.secret.name=null", "broker.secret.name is empty: make a Secret"),
    ("sqlite", "ops.tokenSecret.name=", "ops.tokenSecret.name is empty: make a Secret"),
    (
        "sqlite",
        "consumer.terminationGracePeriodSeconds=39",
        "is 39, and must be at least settings.delivery.drain_timeout_s + 20 (40): else the pod is killed",
    ),
    (
        "sqlite",
        "settings.delivery.drain_timeout_s=13",
        "must be above webhook.connect_timeout_s + webhook.timeout_s (13)",
    ),
    ("postgresql", "ledger.secret.name=", "ledger.secret.name is empty: make a Secret"),
    ("postgresql", "networkPolicy.database.to=null", "networkPolicy.database.to is empty: say where PostgreSQL is"),
    ("gateway", "gateway.enabled=false", "both false: enable one"),
    ("gateway", "gateway.brokerSecret.name=", "are both empty: make a Secret"),
    ("gateway", "gateway.replicas=2", "gateway.repeatsStick: let a caller's repeats come to the same pod"),
    ("gateway", "gateway.autoscaling.enabled=true", "gateway.repeatsStick"),
    ("gateway", "gateway.ingress.enabled=true", "gateway.ingress needs a host and a tlsSecret"),
    ("everything", "gateway.autoscaling.minReplicas=9", "minReplicas is above maxReplicas"),
    ("everything", "networkPolicy.broker.to=null", "to"),
    ("everything", "networkPolicy.metricsFrom=null", "metricsFrom"),
    ("everything", "keda.minReplicas=0", "minReplicas"),
    ("everything", "keda.minReplicas=9", "keda.minReplicas is above keda.maxReplicas"),
    ("everything", "keda.hostSecret.name=", "keda.hostSecret.name is empty: make a Secret"),
    (
        "everything",
        "settings.connectors.fast.ordering=strict,settings.connectors.wide.ordering=strict",
        "keda.enabled needs a connector with ordering none",
    ),
]


@pytest.mark.parametrize("version", HELM)
@pytest.mark.parametrize(("values", "given", "said"), REFUSED, ids=[f"{one[0]}-{one[1]}" for one in REFUSED])
def test_wrong_values_are_refused_with_what_is_wrong(version: str, values: str, given: str, said: str) -> None:
    ran = template(version, values, "--set", given)
    assert ran.returncode != 0
    assert said in ran.stderr
    assert ran.stdout == ""


def test_without_any_value_it_says_what_to_make_first() -> None:
    ran = helm("4", "template", "desk", str(CHART))
    assert ran.returncode != 0
    assert "broker.secret.name is empty: make a Secret that holds broker.url, and name it" in ran.stderr


# ---- beside the code ----


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
    assert chart["version"] == __version__


def test_the_charts_alerts_are_those_that_are_tested() -> None:
    rules = the(rendered("4", "everything"), "PrometheusRule")["spec"]
    assert rules == yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    if not ALERTS.is_file():
        pytest.skip("there is no deploy/alerts yet")
    assert RULES_FILE.read_bytes() == ALERTS.read_bytes(), "copy deploy/alerts/signalq.rules.yaml into the chart"


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


def test_a_consumer_runs_after_ten_commands() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    commands = text.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()
    assert len(commands) == 10
    assert [command.split()[0] for command in commands] == ["docker"] * 2 + ["kubectl"] * 6 + ["helm"] * 2


def test_every_relative_link_of_the_readme_leads_somewhere() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert targets
    assert [target for target in targets if not (CHART / target).exists()] == []


def test_the_package_holds_the_rules_and_no_values_of_the_checks(tmp_path: Path) -> None:
    place = tmp_path / "signalq"
    shutil.copytree(CHART, place)
    ran = helm("4", "package", str(place), "--destination", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    with tarfile.open(tmp_path / f"signalq-{__version__}.tgz") as package:
        names = package.getnames()
    assert "signalq/files/signalq.rules.yaml" in names
    assert not [name for name in names if "/ci/" in name]
