"""What the chart makes of each values file of `helm/ratsvc/ci`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import yaml

from ratsvc.settings import ENV_PREFIX, Settings, load, names
from tests.conftest import running
from tests.deploy.chart import CHART, CLUSTER, SCHEMAS, VALUES, Objects, helm, objects, rendered, tool

NAMES = [file.name.removesuffix("-values.yaml") for file in VALUES]
ALWAYS = {
    ("ConfigMap", "r-ratsvc"),
    ("Service", "r-ratsvc"),
    ("Service", "r-ratsvc-headless"),
    ("ServiceAccount", "r-ratsvc"),
    ("NetworkPolicy", "r-ratsvc"),
    ("PodDisruptionBudget", "r-ratsvc"),
    ("Pod", "r-ratsvc-test"),
}
MEMORY = ALWAYS | {("Deployment", "r-ratsvc")}


def workload(made: Objects) -> dict[str, Any]:
    [found] = [one for (kind, _), one in made.items() if kind in ("Deployment", "StatefulSet")]
    return found


def pod(made: Objects) -> dict[str, Any]:
    return workload(made)["spec"]["template"]["spec"]


def settings(made: Objects, name: str, where: Path) -> Settings:
    """The ConfigMap's settings, as the service itself reads them."""
    file = where / "ratsvc.toml"
    file.write_text(made["ConfigMap", name]["data"]["ratsvc.toml"])
    return load(file)


@pytest.mark.parametrize("name", NAMES)
def test_helm_finds_nothing_to_say_against_it(name: str) -> None:
    done = helm("lint", "--strict", CHART, "-f", CHART / "ci" / f"{name}-values.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_object_fits_its_kind_s_schema(name: str, tmp_path: Path) -> None:
    kubeconform = tool("kubeconform")
    if not (SCHEMAS / ".made").exists():
        pytest.skip("no Kubernetes schemas in build/schemas: `make deploy-test` makes them")
    file = tmp_path / "objects.yaml"
    file.write_text(rendered(name))
    command = [kubeconform, "-strict", "-summary", "-schema-location"]
    done = subprocess.run(
        [*command, f"{SCHEMAS}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", str(file)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert f"Valid: {len(objects(name))}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout


def test_the_schemas_refuse_a_field_that_is_not_there(tmp_path: Path) -> None:
    kubeconform = tool("kubeconform")
    if not (SCHEMAS / ".made").exists():
        pytest.skip("no Kubernetes schemas in build/schemas: `make deploy-test` makes them")
    file = tmp_path / "objects.yaml"
    file.write_text(rendered("default").replace("failureThreshold:", "failureTreshold:"))
    location = f"{SCHEMAS}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    done = subprocess.run(
        [kubeconform, "-strict", "-schema-location", location, str(file)], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "failureTreshold" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_fits_the_restricted_profile_and_writes_nothing_but_its_volume(name: str) -> None:
    made = objects(name)
    [test] = [one["spec"] for (kind, _), one in made.items() if kind == "Pod"]
    for spec in (pod(made), test):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        context = spec["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, 10001, 10001)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod(made)["containers"][0]["volumeMounts"]}
    durable = workload(made)["kind"] == "StatefulSet"
    assert mounts["/etc/ratsvc"]
    assert [path for path, is_read_only in mounts.items() if not is_read_only] == (["/data"] if durable else [])


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_are_ones_that_the_service_takes(name: str, tmp_path: Path) -> None:
    made = objects(name)
    full = workload(made)["metadata"]["name"]
    found = settings(made, full, tmp_path)
    assert (found.http, found.grpc) == ("0.0.0.0:8080", "0.0.0.0:50051")
    durable = workload(made)["kind"] == "StatefulSet"
    assert found.data_dir == (Path("/data/log") if durable else None)
    known = {ENV_PREFIX + one.upper().replace(".", "__") for one in names()} | {f"{ENV_PREFIX}CONFIG"}
    given = {one["name"] for one in pod(made)["containers"][0]["env"]}
    assert {one for one in given if one.startswith(ENV_PREFIX)} <= known
    stop = pod(made)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + found.stop_timeout_s
    assert found.drain_s + 5 <= found.stop_timeout_s
    assert stop + 5 <= pod(made)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", NAMES)
def test_services_and_policies_choose_the_server_and_not_the_test(name: str) -> None:
    made = objects(name)
    labels = workload(made)["spec"]["template"]["metadata"]["labels"]
    [test] = [one["metadata"]["labels"] for (kind, _), one in made.items() if kind == "Pod"]
    selectors = [workload(made)["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["selector"] for (kind, _), one in made.items() if kind == "Service"]
    for (kind, _), one in made.items():
        if kind == "PodDisruptionBudget":
            selectors.append(one["spec"]["selector"]["matchLabels"])
        elif kind == "NetworkPolicy":
            selectors.append(one["spec"]["podSelector"]["matchLabels"])
            [tested] = [one["from"] for one in one["spec"]["ingress"] if len(one["ports"]) == 2]
            assert tested[0]["podSelector"]["matchLabels"].items() <= test.items()
        elif kind == "ServiceMonitor":
            matched = [
                service["metadata"]["name"]
                for (other, _), service in made.items()
                if other == "Service"
                and one["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
                and "ratsvc/headless" not in service["metadata"]["labels"]
            ]
            assert matched == [workload(made)["metadata"]["name"]]
    selectors += [one["labelSelector"]["matchLabels"] for one in pod(made)["topologySpreadConstraints"]]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= test.items()


@pytest.mark.parametrize("name", NAMES)
def test_names_that_yaml_takes_for_something_else_stay_names(name: str) -> None:
    def not_texts(found: Any, path: str) -> list[str]:
        if isinstance(found, dict):
            return [one for key, value in found.items() for one in not_texts(value, f"{path}.{key}")]
        if isinstance(found, list):
            return [one for value in found for one in not_texts(value, path)]
        is_name = path.lower().endswith(("name", "namespace", "instance", ".key"))
        return [f"{path}: {found!r}"] if is_name and not isinstance(found, str) else []

    overrides = ["--set-string", "nameOverride=123,fullnameOverride=1,priorityClassName=1"]
    values = CHART / "ci" / f"{name}-values.yaml"
    for release in ("y", "1e3"):
        done = helm("template", release, CHART, *CLUSTER, "--namespace", "123", "-f", values, *overrides)
        assert done.returncode == 0, done.stderr
        for one in yaml.safe_load_all(done.stdout):
            assert one is None or not_texts(one, one["kind"]) == []


@pytest.mark.parametrize(
    ("release", "name"),
    [("streams", "streams-ratsvc"), ("my-ratsvc", "my-ratsvc"), ("v1.2", "v1-2-ratsvc"), ("a" * 51 + ".b", "a" * 51)],
)
def test_a_release_of_any_name_has_objects_with_names_that_kubernetes_takes(release: str, name: str) -> None:
    done = helm("template", release, CHART, *CLUSTER, "--show-only", "templates/workload.yaml")
    assert yaml.safe_load(done.stdout)["metadata"]["name"] == name


def test_default_is_one_pod_that_keeps_records_in_memory(tmp_path: Path) -> None:
    made = objects("default")
    assert made.keys() == MEMORY
    deployment = made["Deployment", "r-ratsvc"]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert pod(made)["terminationGracePeriodSeconds"] == 45
    [server] = pod(made)["containers"]
    assert server["image"] == "ratsvc:0.1.0"
    assert server["args"] == ["serve"]
    assert server["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert server["startupProbe"]["grpc"] == {"port": 50051}
    assert server["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert server["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    found = settings(made, "r-ratsvc", tmp_path)
    assert (found.drain_s, found.restart_s, found.stop_timeout_s, found.limits.log_bytes) == (
        15,
        15,
        25,
        256 * 1024 * 1024,
    )
    ports = {one["name"]: (one["port"], one["appProtocol"]) for one in made["Service", "r-ratsvc"]["spec"]["ports"]}
    assert ports == {"http": (8080, "http"), "grpc": (50051, "kubernetes.io/h2c")}
    assert made["Service", "r-ratsvc-headless"]["spec"]["clusterIP"] == "None"
    assert made["ServiceAccount", "r-ratsvc"]["automountServiceAccountToken"] is False
    assert made["PodDisruptionBudget", "r-ratsvc"]["spec"]["maxUnavailable"] == 1
    policy = made["NetworkPolicy", "r-ratsvc"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    assert policy["ingress"][0] == {"ports": [{"port": "http"}]}
    assert policy["ingress"][1] == {"ports": [{"port": "grpc"}], "from": [{"podSelector": {}}]}


def test_durable_is_a_stateful_set_with_a_volume(tmp_path: Path) -> None:
    made = objects("durable")
    assert made.keys() == ALWAYS | {("StatefulSet", "r-ratsvc")}
    spec = made["StatefulSet", "r-ratsvc"]["spec"]
    assert (spec["replicas"], spec["serviceName"]) == (1, "r-ratsvc-headless")
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    [claim] = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "20Gi"}},
    }
    found = settings(made, "r-ratsvc", tmp_path)
    assert found.streams["prices.>"].max_records == 100000
    assert found.streams["prices.>"].max_age == "1h"
    assert found.retention.max_age == "7d"
    assert found.disk.log_bytes == 8 * 1024**3
    secrets = {one["name"]: one["valueFrom"] for one in pod(made)["containers"][0]["env"] if "valueFrom" in one}
    assert secrets == {
        "RATSVC_CORS_ORIGINS": {"secretKeyRef": {"name": "ratsvc", "key": "origins"}},
        "RATSVC_LIMITS__CONNECTIONS": {"secretKeyRef": {"name": "ratsvc", "key": "connections"}},
    }


def test_gateway_routes_streams_without_a_time_limit_and_grpc_by_service() -> None:
    made = objects("gateway")
    assert made.keys() == MEMORY | {("HTTPRoute", "r-ratsvc"), ("GRPCRoute", "r-ratsvc")}
    http, grpc = made["HTTPRoute", "r-ratsvc"]["spec"], made["GRPCRoute", "r-ratsvc"]["spec"]
    assert http["parentRefs"] == [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    assert (http["hostnames"], grpc["hostnames"]) == (["streams.example.com"], ["ingest.example.com"])
    [rule] = http["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert rule["backendRefs"] == [{"name": "r-ratsvc", "port": 8080}]
    paths = {match["path"]["value"] for match in rule["matches"]}
    assert "/v1" in paths
    assert not paths & {"/", "/metrics", "/healthz", "/readyz"}
    [rule] = grpc["rules"]
    assert rule["matches"] == [{"method": {"type": "Exact", "service": "rat.v1.ProducerService"}}]
    assert rule["backendRefs"] == [{"name": "r-ratsvc", "port": 50051}]
    test = made["Pod", "r-ratsvc-test"]["spec"]["containers"][0]
    assert test["args"][-1] == "streams.example.com"


def test_ingress_has_what_streams_need() -> None:
    made = objects("ingress")
    assert made.keys() == MEMORY | {("Ingress", "r-ratsvc-http"), ("Ingress", "r-ratsvc-grpc")}
    http, grpc = made["Ingress", "r-ratsvc-http"], made["Ingress", "r-ratsvc-grpc"]
    nginx = "nginx.ingress.kubernetes.io/"
    needed = {
        f"{nginx}proxy-buffering": "off",
        f"{nginx}proxy-request-buffering": "off",
        f"{nginx}proxy-body-size": "0",
        f"{nginx}proxy-read-timeout": "3600",
        "nginx.org/proxy-buffering": "False",
    }
    assert needed.items() <= http["metadata"]["annotations"].items()
    assert grpc["metadata"]["annotations"] == {
        f"{nginx}backend-protocol": "GRPC",
        f"{nginx}proxy-body-size": "0",
        f"{nginx}proxy-read-timeout": "3600",
    }
    for ingress, port, host in ((http, "http", "streams.example.com"), (grpc, "grpc", "ingest.example.com")):
        assert ingress["spec"]["ingressClassName"] == "nginx"
        [rule] = ingress["spec"]["rules"]
        assert rule["host"] == host
        assert {one["backend"]["service"]["port"]["name"] for one in rule["http"]["paths"]} == {port}


def test_monitoring_scrapes_alerts_and_shows() -> None:
    made = objects("monitoring")
    extra = {("ServiceMonitor", "r-ratsvc"), ("PrometheusRule", "r-ratsvc"), ("ConfigMap", "r-ratsvc-dashboard")}
    assert made.keys() == MEMORY | extra
    monitor = made["ServiceMonitor", "r-ratsvc"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    rules = made["PrometheusRule", "r-ratsvc"]["spec"]["groups"][0]["rules"]
    alerts = {rule["alert"]: rule for rule in rules}
    assert {rule["labels"]["team"] for rule in rules} == {"platform"}
    assert {rule["labels"]["severity"] for rule in rules} == {"warning", "critical"}
    assert alerts["RatsvcReadersNearLimit"]["expr"].endswith("> 0.8 * 2000")
    assert alerts["RatsvcMemoryNearLimit"]["expr"].endswith(f"> 0.85 * {1024**3}")
    assert "RatsvcVolumeFilling" not in alerts
    assert made["ConfigMap", "r-ratsvc-dashboard"]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_collector_and_a_token_are_named_and_no_secret_is_in_the_settings(tmp_path: Path) -> None:
    made = objects("monitoring")
    found = settings(made, "r-ratsvc", tmp_path)
    assert found.tracing.enabled
    assert (found.tracing.endpoint, found.tracing.sample_ratio) == ("https://otel-collector.observability:4317", 0.05)
    assert (found.log_level, found.log_format, found.debug_token) == ("warning", "json", None)
    environment = {one["name"]: one for one in pod(made)["containers"][0]["env"]}
    assert environment["RATSVC_DEBUG_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "ratsvc", "key": "debug-token"}}
    assert environment["OTEL_RESOURCE_ATTRIBUTES"]["value"] == "deployment.environment=test"
    [mount] = [one for one in pod(made)["containers"][0]["volumeMounts"] if one["name"] == "otel"]
    assert environment["OTEL_EXPORTER_OTLP_CERTIFICATE"]["value"].startswith(f"{mount['mountPath']}/")
    assert {"name": "otel", "configMap": {"name": "otel-ca"}} in pod(made)["volumes"]
    out = made["NetworkPolicy", "r-ratsvc"]["spec"]["egress"]
    assert [rule["ports"][0]["port"] for rule in out] == [4317, 53]
    assert "/debug" not in str([one for (kind, _), one in objects("gateway").items() if kind == "HTTPRoute"])


def test_everything_at_once(tmp_path: Path) -> None:
    made = objects("everything")
    kinds = sorted(kind for kind, _ in made)
    assert kinds == sorted(
        ["ConfigMap"] * 2 + ["Ingress"] * 2 + ["Service"] * 2
        + ["GRPCRoute", "HTTPRoute", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PrometheusRule"]
        + ["ServiceAccount", "ServiceMonitor", "StatefulSet"]
    )  # fmt: skip
    spec = pod(made)
    assert spec["containers"][0]["image"].startswith("registry.example.com/ratsvc@sha256:e3b0c442")
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["serviceAccountName"] == "streams"
    assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"disk": "ssd"}, "high")
    assert spec["tolerations"][0]["key"] == "dedicated"
    assert "podAntiAffinity" in spec["affinity"]
    assert {"name": "TZ", "value": "UTC"} in spec["containers"][0]["env"]
    template = workload(made)["spec"]["template"]["metadata"]
    assert template["labels"]["team"] == "platform"
    assert template["annotations"]["example.com/a"] == "b"
    found = settings(made, "gateway", tmp_path)
    assert (found.drain_s, found.stop_timeout_s, found.flush_interval_s) == (40, 60, 2.5)
    assert (found.durability, found.log_level) == ("interval", "warning")
    assert found.streams["a.*.c"].max_bytes == 1_000_000
    assert found.cors_origins == ["https://app.example.com"]
    assert "timeouts" not in made["HTTPRoute", "gateway"]["spec"]["rules"][0]
    policy = made["NetworkPolicy", "gateway"]["spec"]
    assert policy["ingress"][1] == {"ports": [{"port": "grpc"}]}
    assert policy["egress"] == [{"ports": [{"port": 4317}]}]
    assert made["PodDisruptionBudget", "gateway"]["spec"]["maxUnavailable"] == 0
    service = made["Service", "gateway"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert {one["port"] for one in service["ports"]} == {80, 443}
    rules = made["PrometheusRule", "gateway"]["spec"]["groups"][0]["rules"]
    assert rules[-1]["alert"] == "Quiet"
    assert rules[0]["annotations"]["runbook_url"] == "https://runbooks.example.com/ratsvc#ratsvcdown"
    assert "RatsvcVolumeFilling" in {rule["alert"] for rule in rules}


def test_a_change_of_settings_starts_a_new_pod() -> None:
    def checksum(*arguments: str) -> str:
        made = [one for one in yaml.safe_load_all(rendered("default", *arguments)) if one]
        [found] = [one for one in made if one["kind"] == "Deployment"]
        return found["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum() == checksum()
    assert checksum() != checksum("--set", "settings.heartbeat_s=20")


def test_the_notes_say_how_to_try_it() -> None:
    done = helm("install", "r", CHART, "--namespace", "ns", "--dry-run=client", "--set", "engine=durable")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    for part in ("rollout status statefulset/r-ratsvc", "helm -n ns test r", "port-forward service/r-ratsvc"):
        assert part in notes


async def test_the_release_s_test_passes_against_a_service_and_leaves_nothing() -> None:
    async with running(allowed_hosts=["streams.example.com"], create_on_publish=False) as service:
        url, address = service.http_url, service.grpc_addr
        ran = await round_trip(url, address, "streams.example.com")
        assert ran == (0, f"10 records went in over gRPC at {address} and came out over HTTP at {url}")
        assert service.broker.list(">") == []


async def test_the_release_s_test_says_in_one_line_what_failed() -> None:
    stranger = grpc.aio.server()
    address = f"127.0.0.1:{stranger.add_insecure_port('127.0.0.1:0')}"
    await stranger.start()
    async with running(allowed_hosts=["streams.example.com"]) as service:
        for arguments, why in (
            ((service.grpc_addr,), f"PUT {service.http_url}/v1/streams/"),
            ((address, "streams.example.com"), f"over gRPC at {address}: "),
        ):
            status, said = await round_trip(service.http_url, *arguments)
            assert (status, said.count("\n")) == (1, 0), said
            assert said.startswith(why), said
            assert service.broker.list(">") == []
    await stranger.stop(0)


async def round_trip(*arguments: str) -> tuple[int, str]:
    """How the test ends, and what it says."""
    code = (CHART / "files" / "round_trip.py").read_text()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments, stdout=-1, stderr=-1)
    out, error = await process.communicate()
    return process.returncode or 0, (out + error).decode().strip()
