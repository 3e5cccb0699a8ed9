"""The chart in a real API server, with the controllers that make pods of it; and what the docs say of upgrades."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ratsvc.client import SyncProducer
from tests.deploy.chart import CHART, ROOT, VALUES
from tests.deploy.cluster import GROWING, Cluster, Object, Space
from tests.deploy.components import program
from tests.deploy.node import Container, Node, say_ready
from tests.docs.pages import blocks

OPERATIONS = ROOT / "docs" / "operations.md"
NAMES = [file.name.removesuffix("-values.yaml") for file in VALUES]
DURABLE = ("--set", "engine=durable", "--set", f"persistence.storageClassName={GROWING}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane for all the tests here."""
    program("kube-apiserver")
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def space(cluster: Cluster) -> Space:
    """A namespace for one test."""
    return cluster.space()


@pytest.fixture
def node(space: Space, tmp_path: Path) -> Iterator[Node]:
    """A node for that namespace's pods."""
    with Node(space, tmp_path) as running:
        yield running


def taken(space: Space, *arguments: str | Path) -> str:
    """What helm prints, which has no objection and passes on no warning."""
    done = space.helm(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def only_pod(space: Space) -> Object:
    """The pod that a controller makes."""
    [pod] = space.until("pods", bool).values()
    return pod


def next_pod(space: Space, before: Object) -> Object:
    """The pod that comes when another is gone."""

    def is_next(pods: dict[str, Object]) -> bool:
        return bool(pods) and before["metadata"]["uid"] not in [one["metadata"]["uid"] for one in pods.values()]

    [pod] = space.until("pods", is_next).values()
    return pod


def records(container: Container) -> Any:
    """What is in the stream `orders`."""
    asked = httpx.get(f"{container.url}/v1/streams/orders", params={"format": "page", "from": "earliest"})
    return asked.raise_for_status().json()["records"]


def lacking(wanted: Any, found: Any, path: str = "") -> list[str]:
    """What of `wanted` is not so in `found`, which may have more."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [one for key, value in wanted.items() for one in lacking(value, found.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) <= len(found):
        return [one for n, part in enumerate(wanted) for one in lacking(part, found[n], f"{path}.{n}")]
    return [] if wanted == found else [f"{path}: {wanted!r}, {found!r}"]


def test_kinds_that_the_cluster_does_not_know_are_refused_by_name_before_anything_is_made(space: Space) -> None:
    assert not space.cluster.has_learned, "this test has to be the first"
    for name, kinds in (("monitoring", ["PrometheusRule", "ServiceMonitor"]), ("gateway", ["GRPCRoute", "HTTPRoute"])):
        done = space.helm("install", "r", CHART, "-f", CHART / "ci" / f"{name}-values.yaml")
        assert done.returncode != 0
        for kind in kinds:
            assert f'no matches for kind "{kind}"' in done.stderr
        assert "ensure CRDs are installed first" in done.stderr
    for kind in ("pods", "configmaps", "secrets", "services", "deployments"):
        assert space.all(kind).keys() <= {"kube-root-ca.crt"}


def test_a_pod_that_may_do_more_than_the_standard_allows_is_refused_here(space: Space) -> None:
    done = space.helm("install", "r", CHART, "--set", "securityContext.allowPrivilegeEscalation=true")
    assert "would violate PodSecurity" in done.stderr

    def has_failed(replicas: dict[str, Object]) -> bool:
        said = [said["reason"] for one in replicas.values() for said in one["status"].get("conditions", [])]
        return said == ["FailedCreate"]

    space.until("replicasets", has_failed)
    assert space.all("pods") == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_values_file_is_taken_without_a_warning_and_made_a_pod_of(space: Space, name: str) -> None:
    space.cluster.learn()
    values = CHART / "ci" / f"{name}-values.yaml"
    release = json.loads(taken(space, "install", "r", CHART, "-f", values, "--output", "json"))
    made = [one for one in yaml.safe_load_all(release["manifest"]) if one]
    [workload] = [one for one in made if one["kind"] in ("Deployment", "StatefulSet")]
    pod = only_pod(space)
    template, durable = workload["spec"]["template"], workload["kind"] == "StatefulSet"
    claimed = [one for one in pod["spec"]["volumes"] if "persistentVolumeClaim" in one]
    assert [one["name"] for one in claimed] == (["data"] if durable else [])
    others = [one for one in pod["spec"]["volumes"] if one not in claimed]
    assert len(others) == len(template["spec"]["volumes"])  # no token of an account
    assert lacking(template["spec"], pod["spec"] | {"volumes": others}) == []
    assert lacking(template["metadata"], pod["metadata"]) == []
    claims = space.all("persistentvolumeclaims")
    assert list(claims) == ([f"data-{workload['metadata']['name']}-0"] if durable else [])
    for claim in claims.values():
        [wanted] = workload["spec"]["volumeClaimTemplates"]
        assert lacking(wanted["spec"], claim["spec"]) == []
        assert lacking(wanted["metadata"] | {"name": claim["metadata"]["name"]}, claim["metadata"]) == []
    [test] = release["hooks"]
    done = space.run("kubectl", "create", "--dry-run=server", "-f", "-", text=test["manifest"])
    assert (done.returncode, done.stderr) == (0, "")


def test_the_pod_runs_as_its_object_says_and_the_services_lead_to_it(space: Space, node: Node) -> None:
    taken(space, "install", "r", CHART, "--set", "settings.allowed_hosts={streams.example.com}")
    before = only_pod(space)
    container = node.run(before["metadata"]["name"])
    done = space.run("kubectl", "rollout", "status", "deployment/r-ratsvc", "--timeout=20s")
    assert done.returncode == 0, done.stderr
    with ThreadPoolExecutor() as aside:
        tested = aside.submit(space.helm, "test", "r", "--timeout", "50s")
        space.until("pods", lambda pods: "r-ratsvc-test" in pods)
        node.start("r-ratsvc-test").finish()
        assert tested.result().returncode == 0, tested.result()
    taken(space, "upgrade", "r", CHART, "--reuse-values", "--set", "settings.heartbeat_s=20")
    pods = space.until("pods", lambda pods: "deletionTimestamp" in pods[container.name]["metadata"])
    assert list(pods) == [container.name]
    container.stop()
    after = node.run(next_pod(space, before)["metadata"]["name"])
    assert '"heartbeat_s" = 20' in (after.mounts["/etc/ratsvc"] / "ratsvc.toml").read_text()


def test_records_on_a_volume_outlive_pods_releases_and_rollbacks(space: Space, node: Node, tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "given", "namespace": space.name}}
    space.cluster.apply(secret | {"stringData": {"token": "a-token-of-sixteen"}})
    space.provide("data-ratsvc-0", tmp_path / "volume")
    token = ("--set", "secretSettings.debug_token.name=given", "--set", "secretSettings.debug_token.key=token")
    taken(space, "install", "ratsvc", CHART, *DURABLE, *token)
    first = only_pod(space)
    container = node.run("ratsvc-0")
    with SyncProducer(container.grpc) as producer:
        producer.publish("orders", {"id": 1})
    debug = httpx.get(f"{container.url}/debug/memory", headers={"Authorization": "Bearer a-token-of-sixteen"})
    assert debug.status_code == 200
    taken(space, "upgrade", "ratsvc", CHART, "--reuse-values", "--set", "image.tag=next")
    container.stop()
    second = next_pod(space, first)
    assert second["spec"]["containers"][0]["image"] == "ratsvc:next"
    container = node.run("ratsvc-0")
    assert records(container) == [{"id": 1}]
    taken(space, "rollback", "ratsvc")
    container.stop()
    third = next_pod(space, second)
    assert third["spec"]["containers"][0]["image"] == first["spec"]["containers"][0]["image"]
    container = node.run("ratsvc-0")
    taken(space, "uninstall", "ratsvc")
    container.stop()
    assert list(space.all("persistentvolumeclaims")) == ["data-ratsvc-0"]
    taken(space, "install", "ratsvc", CHART, *DURABLE)
    assert records(node.run(next_pod(space, third)["metadata"]["name"])) == [{"id": 1}]


def test_a_claim_goes_with_its_release_where_the_values_say_so(space: Space) -> None:
    taken(space, "install", "v1.2", CHART, *DURABLE)
    only_pod(space)
    say_ready(space, "v1-2-ratsvc-0", "10.1.0.2")
    taken(space, "upgrade", "v1.2", CHART, *DURABLE, "--set", "persistence.whenDeleted=Delete")
    space.until("persistentvolumeclaims", lambda found: "ownerReferences" in found["data-v1-2-ratsvc-0"]["metadata"])
    taken(space, "uninstall", "v1.2")
    space.until("persistentvolumeclaims", lambda found: not found)


def test_what_kubernetes_does_not_let_an_upgrade_change_is_refused_before_anything_is_changed(space: Space) -> None:
    values = (*DURABLE, "--set-json", 'persistence.annotations={"backup": "daily", "none": null}')
    taken(space, "install", "r", CHART, *values)
    only_pod(space)

    def state() -> list[tuple[str, Any, Any]]:
        kinds = ("pods", "statefulsets", "configmaps", "services", "persistentvolumeclaims")
        found = [one for kind in kinds for one in space.all(kind).values()]
        return [(one["metadata"]["uid"], one.get("spec"), one.get("data")) for one in found]

    before = state()
    for change in (
        "persistence.size=20Gi",
        "persistence.storageClassName=other",
        "persistence.accessModes={ReadWriteOncePod}",
        "persistence.annotations.backup=hourly",
        "nameOverride=other,fullnameOverride=r-ratsvc",
    ):
        changed = (*values, "--set", change)
        wanted = space.helm("template", "r", CHART, *changed, "--show-only", "templates/workload.yaml").stdout
        asked = space.run("kubectl", "replace", "--dry-run=server", "-f", "-", text=wanted)
        assert "Forbidden: updates to statefulset spec" in asked.stderr
        done = space.helm("upgrade", "r", CHART, *changed, "--set", "settings.heartbeat_s=20")
        assert done.returncode != 0
        assert "Kubernetes does not let" in done.stderr
        assert re.split(r"\.backup|=", change)[0] in done.stderr
        assert state() == before
    taken(space, "install", "m", CHART)
    done = space.helm("upgrade", "m", CHART, "--set", "nameOverride=other,fullnameOverride=m-ratsvc")
    assert "the Deployment m-ratsvc is there and knows its pod by other labels" in done.stderr
    taken(space, "uninstall", "m", "--wait")
    for same in (f"persistence.size={10 * 1024**3}", 'persistence.size="10240Mi"'):
        taken(space, "upgrade", "r", CHART, *values, "--set-json", same)
    assert state() == before


def test_the_docs_way_to_a_bigger_volume_leaves_the_pod_alone(space: Space, tmp_path: Path) -> None:
    [block] = [one for one in blocks(OPERATIONS) if "kubectl patch pvc" in one.code]
    space.provide("data-ratsvc-0", tmp_path / "volume")
    taken(space, "install", "ratsvc", CHART, *DURABLE)
    before = only_pod(space)
    say_ready(space, "ratsvc-0", "10.1.0.2")
    space.volume("data-ratsvc-0")
    done = space.run("bash", "-eu", "-c", block.code)
    assert done.returncode == 0, done.stderr
    claim = space.one("persistentvolumeclaims", "data-ratsvc-0")
    assert claim["spec"]["resources"]["requests"] == {"storage": "20Gi"}
    workload = space.one("statefulsets", "ratsvc")
    [template] = workload["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"] == {"storage": "20Gi"}

    def is_adopted(pods: dict[str, Object]) -> bool:
        owners = pods["ratsvc-0"]["metadata"].get("ownerReferences", [])
        return [one["uid"] for one in owners] == [workload["metadata"]["uid"]]

    pod = space.until("pods", is_adopted)["ratsvc-0"]
    settled = space.until("statefulsets", lambda found: found["ratsvc"]["status"].get("updatedReplicas") == 1)
    assert settled["ratsvc"]["status"]["readyReplicas"] == 1
    assert pod["metadata"]["uid"] == before["metadata"]["uid"]
    assert "deletionTimestamp" not in pod["metadata"]


@pytest.mark.parametrize("values", [(), DURABLE], ids=["memory", "durable"])
def test_a_pod_that_never_gets_ready_is_replaced_by_the_next_upgrade(space: Space, values: tuple[str, ...]) -> None:
    taken(space, "install", "r", CHART, *values, "--set", "settings.no_such_setting=1")
    broken = only_pod(space)
    space.patch("pods", broken["metadata"]["name"], "status", change={"status": {"phase": "Running"}})
    taken(space, "upgrade", "r", CHART, "--reset-values", *values)
    after = next_pod(space, broken)
    checksum = "checksum/config"
    assert after["metadata"]["annotations"][checksum] != broken["metadata"]["annotations"][checksum]


def test_a_node_can_be_drained_unless_the_values_hold_it(space: Space) -> None:
    def evicted() -> int:
        pod = only_pod(space)
        name = pod["metadata"]["name"]
        say_ready(space, name, "10.1.0.2")
        space.until("poddisruptionbudgets", lambda found: found["r-ratsvc"]["status"].get("currentHealthy") == 1)
        asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return space.cluster.http.post(space.path("pods", name, "eviction"), json=asked).status_code

    taken(space, "install", "r", CHART, "--set", "podDisruptionBudget.maxUnavailable=0")
    assert evicted() == 429
    taken(space, "upgrade", "r", CHART, "--reset-values")
    space.until("poddisruptionbudgets", lambda found: found["r-ratsvc"]["status"].get("disruptionsAllowed") == 1)
    assert evicted() == 201
