"""The Helm chart: what Helm and Kubernetes say of it, and what must hold for every pod."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
import yaml

from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.operations import FUSED_STAGES, Stage
from tests.architecture.test_deployment import options_of
from tests.chart import CHART, VALUES, PodTemplate, Release, helm, render
from tests.kubernetes_schemas import kubeconform

SECRETS = {
    "FACELINE_DATABASE_URL", "FACELINE_BROKER_URL", "FACELINE_REDIS_URL", "FACELINE_MASTER_KEY",
    "FACELINE_MASTER_KEYS_OLD", "FACELINE_MEDIA_ACCESS_KEY", "FACELINE_MEDIA_SECRET_KEY",
    "FACELINE_MEDIA_SESSION_TOKEN", "FACELINE_OIDC_CLIENT_SECRET",
}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture(scope="module", params=sorted(VALUES))
def release(request: pytest.FixtureRequest) -> Release:
    return Release.of(VALUES[request.param])


@pytest.fixture(scope="module")
def everything() -> Release:
    return Release.of(VALUES["everything"])


# -- by Helm and Kubernetes ---------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(VALUES))
def test_helm_finds_nothing(name: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", VALUES[name])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
def test_kubernetes_takes_every_manifest(version: str) -> None:
    everything = "\n---\n".join(render(path) for path in VALUES.values())
    assert not kubeconform(everything, version)


@pytest.mark.parametrize("wrong", [
    ("runAsNonRoot: true", "runAsNonRoot: yes please"),
    ("readOnlyRootFilesystem", "readOnlyRoot"),
    ("pollingInterval: 10", "pollInterval: 10"),
    ("podTargetLabels:", "podTargetLabel:"),
])
def test_kubeconform_sees_a_mistake(wrong: tuple[str, str]) -> None:
    good = render(VALUES["everything"])
    assert wrong[0] in good
    assert kubeconform(good.replace(*wrong), "1.37.0")


@pytest.mark.parametrize(("wrong", "named"), [
    (["settings.FACELINE_PACK=auto"], "FACELINE_PACK"),
    (["settings.FACELINE_PACK="], "FACELINE_PACK"),
    (["settings.FACELINE_MEDIA_URL=file:///data"], "FACELINE_MEDIA_URL"),
    (["settings.FACELINE_MASTER_KEY=AAAA"], "FACELINE_MASTER_KEY"),
    (["settings.FACELINE_DATABASE_URL=postgresql://u:p@h/d"], "FACELINE_DATABASE_URL"),
    (["secrets.existingSecret="], "existingSecret"),
    (["image.tag=latest"], "tag"),
    (["worker.main.replicas=3"], "worker"),
    (["workers.main.replica=3"], "replica"),
    (["workers.main.stages={index}"], "stages"),
    (["workers.main.resources.limits=null"], "limits"),
    (["networkPolicy.stores=null"], "stores"),
    (["shim.ingress.enabled=true"], "ingress"),
    (["workers.fetch.enabled=true", "settings.FACELINE_ENCRYPT_AT_REST=true"], "masterKey"),
])
def test_values_that_cannot_work_are_refused(wrong: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        render(VALUES["least"], set_values=wrong)


def test_the_required_values_have_no_default() -> None:
    with pytest.raises(ValueError, match="FACELINE_MEDIA_URL"):
        render()


# -- every pod ----------------------------------------------------------------------------


def test_every_pod_has_the_least_rights(release: Release) -> None:
    for pods in release.pods():
        assert pods.spec["automountServiceAccountToken"] is False
        assert pods.spec["securityContext"]["runAsNonRoot"] is True
        assert pods.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            assert not pods.spec.get(name)
        for container in pods.containers:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_pods_write_into_scratch_space_only(release: Release) -> None:
    for pods in release.pods():
        kinds = {volume["name"]: volume for volume in pods.spec["volumes"]}
        for container in pods.containers:
            for mount in container["volumeMounts"]:
                if not mount.get("readOnly"):
                    assert kinds[mount["name"]]["emptyDir"]["sizeLimit"]


def test_every_container_has_requests_and_a_limit_of_memory(release: Release) -> None:
    for pods in release.pods():
        for container in pods.containers:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_every_lasting_container_has_probes_that_exist(release: Release) -> None:
    for pods in release.pods():
        for container in pods.containers if pods.lasting else ():
            for name in PROBES:
                probe = container[name]
                if "exec" in probe:
                    program, *words = probe["exec"]["command"]
                    assert program == "faceline"
                    options = options_of(words)
                    assert {word for word in words if word.startswith("--")} <= options
                    # A command takes a second of processor time at worst.
                    assert probe["periodSeconds"] >= 5
                    assert probe["timeoutSeconds"] >= 10
                else:
                    assert probe["httpGet"]["path"] in ("/livez", "/readyz")


def test_every_pod_runs_a_command_that_exists(release: Release) -> None:
    for pods in release.pods():
        for container in pods.containers:
            words = container["args"]
            assert {word for word in words if word.startswith("--")} <= options_of(words)


def test_pods_get_settings_that_exist_and_secrets_by_reference(release: Release) -> None:
    known = {variable(name) for name in Settings.model_fields}
    for pods in release.pods():
        found = pods.environment()
        assert set(found) <= known
        for name in set(found) & SECRETS:
            assert found[name]["valueFrom"]["secretKeyRef"]["key"] == name
        assert not [name for name in set(found) - SECRETS if "valueFrom" in found[name]]
        assert ("FACELINE_OIDC_CLIENT_SECRET" in found) == (pods.component == "shim")
        assert "FACELINE_DATABASE_URL" in found
        assert ("FACELINE_BROKER_URL" in found) == (pods.component != "webhooks")


def test_a_stopped_pod_has_the_time_that_it_takes(release: Release) -> None:
    for pods in release.pods():
        if pods.component == "shim":
            drain = float(pods.environment()["FACELINE_DRAIN_S"]["value"])
            stop = Settings.model_fields["stop_s"].default
            assert pods.spec["terminationGracePeriodSeconds"] > drain + stop
        elif pods.lasting:
            assert pods.spec["terminationGracePeriodSeconds"] >= 60


# -- the worker that fetches --------------------------------------------------------------


def test_the_pod_that_fetches_has_no_master_key_and_no_models(everything: Release) -> None:
    pods = everything.component("worker-fetch")
    found = pods.environment()
    assert not [name for name in found if "MASTER" in name]
    assert "models" not in {volume["name"] for volume in pods.spec["volumes"]}
    for name in ("FACELINE_DATABASE_URL", "FACELINE_MEDIA_SECRET_KEY"):
        assert found[name]["valueFrom"]["secretKeyRef"]["name"] == "faceline-fetch"
    assert "FACELINE_MASTER_KEY" in everything.component("worker-main").environment()


def test_the_pod_that_sends_webhooks_has_the_database_and_the_key_alone(
    everything: Release,
) -> None:
    pods = everything.component("webhooks")
    assert set(pods.environment()) & SECRETS == {
        "FACELINE_DATABASE_URL", "FACELINE_MASTER_KEY", "FACELINE_MASTER_KEYS_OLD"
    }
    stores = policy(everything, "face-faceline-stores")
    assert {
        each.component for each in everything.pods() if not selects(stores["podSelector"], each)
    } == {"webhooks"}


def policy(release: Release, name: str) -> dict[str, Any]:
    (found,) = (
        each for each in release.kind("NetworkPolicy") if each["metadata"]["name"] == name
    )
    spec: dict[str, Any] = found["spec"]
    return spec


def selects(selector: dict[str, Any], pods: PodTemplate) -> bool:
    wanted: dict[str, str] = selector["matchLabels"]
    return wanted.items() <= pods.labels.items()


def test_only_the_pods_that_must_reach_strangers(everything: Release) -> None:
    outside = policy(everything, "face-faceline-internet")
    reaching = {
        pods.component for pods in everything.pods() if selects(outside["podSelector"], pods)
    }
    assert reaching == {"worker-fetch", "webhooks"}
    least = Release.of(VALUES["least"])
    assert not [
        pods.component for pods in least.pods()
        if selects(policy(least, "face-faceline-internet")["podSelector"], pods)
    ]


def test_everything_else_is_denied(everything: Release) -> None:
    inside = policy(everything, "face-faceline")
    assert all(selects(inside["podSelector"], pods) for pods in everything.pods())
    assert set(inside["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["to"] and rule["ports"] for rule in inside["egress"])
    assert [rule["ports"] for rule in inside["ingress"]] == [[{"protocol": "TCP", "port": 9464}]]
    (callers,) = policy(everything, "face-faceline-shim")["ingress"]
    assert callers["from"]
    assert callers["ports"] == [{"protocol": "TCP", "port": 8600}]


@pytest.mark.parametrize("address", [
    "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1",
    "224.0.0.1", "255.255.255.255", "fd00::1", "fe80::1", "::1", "::ffff:10.0.0.1",
    "2002:a00:1::", "64:ff9b::a00:1",
])
def test_strangers_are_public_addresses(everything: Release, address: str) -> None:
    (rule,) = policy(everything, "face-faceline-internet")["egress"]
    assert not [
        block for peer in rule["to"] if holds(block := peer["ipBlock"], address)
    ]
    assert [peer for peer in rule["to"] if holds(peer["ipBlock"], "93.184.215.14")]
    assert [peer for peer in rule["to"] if holds(peer["ipBlock"], "2606:2800:21f::1")]


def holds(block: dict[str, Any], address: str) -> bool:
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(block["cidr"]) and not any(
        found in ipaddress.ip_network(each) for each in block.get("except", ())
    )


# -- the parts together -------------------------------------------------------------------


def test_every_stage_is_served_once(release: Release) -> None:
    served: list[str] = []
    for pods in release.pods():
        found = pods.environment().get("FACELINE_STAGES")
        if found is not None:
            served += found["value"].split(",")
        elif pods.component.startswith("worker-"):
            served += FUSED_STAGES
    served.append(Stage.INDEX)
    assert len(served) == len(set(served))
    assert set(Stage) - set(served) <= {Stage.FETCH}


def test_each_role_may_be_disturbed_one_pod_at_a_time(release: Release) -> None:
    for pods in release.pods():
        budgets = [
            found["spec"] for found in release.kind("PodDisruptionBudget")
            if selects(found["spec"]["selector"], pods)
        ]
        assert [found["maxUnavailable"] for found in budgets] == ([1] if pods.lasting else [])


def test_the_tables_are_made_before_the_pods_start(everything: Release) -> None:
    (job,) = everything.kind("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert everything.component("init").containers[0]["args"] == ["init"]
    # A hook runs before what the chart makes: nothing of it may be needed.
    made = {found["metadata"]["name"] for found in everything.manifests}
    spec = job["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] not in made
    needed = {
        name for volume in spec["volumes"] for kind in ("configMap", "secret")
        for name in volume.get(kind, {}).values()
    } | {
        each["valueFrom"]["secretKeyRef"]["name"]
        for each in everything.component("init").environment().values() if "valueFrom" in each
    }
    assert not needed & made


def test_services_reach_the_ports_that_pods_open(everything: Release) -> None:
    for service in everything.kind("Service"):
        reached = [
            pods for pods in everything.pods()
            if pods.lasting and selects({"matchLabels": service["spec"]["selector"]}, pods)
        ]
        assert reached
        for port in service["spec"]["ports"]:
            for pods in reached:
                opened = {each["name"] for each in pods.containers[0]["ports"]}
                assert port["targetPort"] in opened


def test_prometheus_scrapes_every_role(everything: Release) -> None:
    (monitor,) = everything.kind("ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = (
        each for each in everything.kind("Service") if wanted <= each["metadata"]["labels"].items()
    )
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    for pods in everything.pods():
        if pods.lasting:
            assert selects({"matchLabels": service["spec"]["selector"]}, pods)
            assert pods.environment()["FACELINE_METRICS_PORT"]["value"] == "9464"


def test_alerts_and_board_are_those_of_the_repository(everything: Release) -> None:
    infra = CHART.parents[1]
    (rules,) = everything.kind("PrometheusRule")
    assert rules["spec"] == yaml.safe_load((infra / "prometheus/rules/faceline.yml").read_text())
    (board,) = everything.kind("ConfigMap")
    text = (infra / "grafana/faceline.json").read_text()
    assert json.loads(board["data"]["faceline.json"]) == json.loads(text)
    # The alerts name the job, which Prometheus takes from this label of the service.
    (monitor,) = everything.kind("ServiceMonitor")
    (service,) = (
        each for each in everything.kind("Service")
        if each["metadata"]["name"] == "face-faceline-metrics"
    )
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "faceline"


def test_keda_scales_what_is_there_and_nothing_else_does(everything: Release) -> None:
    deployments = {each["metadata"]["name"]: each for each in everything.kind("Deployment")}
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each for each in everything.kind("ScaledObject")
    }
    assert set(scaled) == {name for name in deployments if "-worker-" in name}
    for name, found in deployments.items():
        assert ("replicas" in found["spec"]) == (name not in scaled)
    (query,) = scaled["face-faceline-worker-main"]["spec"]["triggers"]
    for stage in FUSED_STAGES:
        assert f"'{stage}'" in query["metadata"]["query"]
    (authentication,) = everything.kind("TriggerAuthentication")
    assert query["authenticationRef"]["name"] == authentication["metadata"]["name"]


def test_no_two_manifests_have_one_name(release: Release) -> None:
    names = [(found["kind"], found["metadata"]["name"]) for found in release.manifests]
    assert len(names) == len(set(names))
