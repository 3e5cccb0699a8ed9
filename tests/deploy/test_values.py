"""What the chart refuses, and that its values, its schema and the files beside them agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, CLUSTER, helm, refused

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("replicaCount=0", "replicaCount"),
        ("replicaCount=2", "replicaCount"),
        ("replicaCount=one", "replicaCount"),
        ("engine=nats", "engine"),
        ("engine=", "engine"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=sha256:1234", "digest"),
        ("service.httpPort=0", "httpPort"),
        ("service.httpPort=http", "httpPort"),
        ("persistence.size=lots", "size"),
        ("persistence.accessModes={ReadWriteMany}", "accessModes"),
        ("persistence.whenDeleted=Maybe", "whenDeleted"),
        ("fullnameOverride=Gateway", "fullnameOverride"),
        ("fullnameOverride=a.b", "fullnameOverride"),
        ("nameOverride=-a", "nameOverride"),
        ("serviceAccount.name=my_account", "serviceAccount"),
        ("preStopSleepSeconds=-1", "preStopSleepSeconds"),
        ("terminationGracePeriodSeconds=45s", "terminationGracePeriodSeconds"),
        ("settings.drain_s=soon", "drain_s"),
        ("settings.limits.streams=many", "streams"),
        ("settings.http=127.0.0.1:8080", "/settings/http"),
        ("settings.data_dir=/tmp", "/settings/data_dir"),
        ("settings.debug_token=0123456789abcdef", "/settings/debug_token"),
        ("settings.tracing.enabled=yes", "enabled"),
        ("settings.tracing.sample_ratio=2", "sample_ratio"),
        ("settings.tracing.endpoint=collector:4317", "endpoint"),
        ("secretSettings.cors_origins.name=ratsvc", "key"),
        ("secretSettings.http.name=a,secretSettings.http.key=b", "http"),
        ("gateway.httpRoute.enabled=true", "parentRefs"),
        ("gateway.httpRoute.paths={v1}", "paths"),
        ("ingress.http.enabled=true", "hosts"),
        ("podDisruptionBudget.maxUnavailable=2", "maxUnavailable"),
        ("networkPolicy.enabled=yes", "networkPolicy"),
        ("probes.liveness.periodSeconds=0", "periodSeconds"),
        ("resources.limits.memory=plenty", "memory"),
        ("extraVolumes[0].name=data", "extraVolumes"),
        ("extraVolumeMounts[0].name=x,extraVolumeMounts[0].mountPath=/data", "mountPath"),
        ("replicas=1", "replicas"),
        ("image.repo=x", "repo"),
    ],
)
def test_the_schema_refuses(change: str, named: str) -> None:
    said = refused(change)
    assert "values don't meet the specifications of the schema" in said
    assert named in said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["terminationGracePeriodSeconds=20"], "terminationGracePeriodSeconds (20) is too short for the drain"),
        (["terminationGracePeriodSeconds=34"], "= 35"),
        (["settings.stop_timeout_s=36"], "terminationGracePeriodSeconds (45) is too short for the drain"),
        (["preStopSleepSeconds=16"], "terminationGracePeriodSeconds (45) is too short for the drain"),
        (["settings.drain_s=21"], "settings.drain_s (21) has to end 5 seconds before settings.stop_timeout_s (25)"),
        (["settings.drain_s=21", "settings.stop_timeout_s=null"], "settings.stop_timeout_s (25)"),
        (["settings.stop_timeout_s=19", "settings.drain_s=null"], "settings.drain_s (15)"),
        (["service.httpPort=50051"], "service.httpPort and service.grpcPort are both 50051"),
        (["extraEnv[0].name=RATSVC_CONFIG,extraEnv[0].value=x"], "extraEnv: RATSVC_CONFIG is there already"),
        (["extraEnv[0].name=A,extraEnv[1].name=A"], "extraEnv: A is there already"),
        (
            [
                "secretSettings.limits\\.streams.name=a,secretSettings.limits\\.streams.key=b",
                "extraEnv[0].name=RATSVC_LIMITS__STREAMS",
            ],
            "extraEnv: RATSVC_LIMITS__STREAMS is there already",
        ),
        (["settings.tracing.enabled=true"], "networkPolicy.egress lets nothing out"),
        (["settings.limits.log_bytes=600000000"], "resources.limits.memory (1Gi) is less than"),
        (["settings.limits.log_bytes=null"], "resources.limits.memory (1Gi) is less than"),
        (
            [
                "gateway.httpRoute.enabled=true,gateway.httpRoute.parentRefs[0].name=g",
                "gateway.grpcRoute.enabled=true,gateway.grpcRoute.parentRefs[0].name=g",
            ],
            "need hostnames of their own",
        ),
        (
            [
                "gateway.httpRoute.enabled=true,gateway.httpRoute.parentRefs[0].name=g,gateway.httpRoute.hostnames={a.b}",
                "gateway.grpcRoute.enabled=true,gateway.grpcRoute.parentRefs[0].name=g,gateway.grpcRoute.hostnames={a.b}",
            ],
            "both name a.b",
        ),
    ],
)
def test_the_templates_refuse_values_that_contradict(changes: list[str], why: str) -> None:
    assert why in refused(*changes)


@pytest.mark.parametrize(
    ("size", "is_enough"),
    [("536870912", True), ("536870911", False), ("512Mi", True), ("511Mi", False), ("0.5Gi", True), ("0.1Gi", False),
     ("537M", True), ("536M", False), ("1P", True), ("536870912000m", True), ("536870911000m", False)],
)  # fmt: skip
def test_sizes_are_compared_however_they_are_written(size: str, is_enough: bool, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"  # a number in a file is one with a fraction for helm
    file.write_text(f"resources: {{limits: {{memory: {size}}}}}")
    done = helm("template", "r", CHART, *CLUSTER, "-f", file)
    assert (done.returncode == 0) is is_enough, done.stderr
    assert is_enough or "is less than twice settings.limits.log_bytes (268435456)" in done.stderr


def test_every_value_has_its_place_in_the_schema() -> None:
    def missing(values: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
        for name, value in values.items():
            found = schema.get("properties", {}).get(name)
            if found is None and schema.get("additionalProperties") is False:
                yield path + name
            elif isinstance(value, dict) and isinstance(found, dict):
                yield from missing(value, found, f"{path}{name}.")

    assert list(missing(DEFAULTS, SCHEMA, "")) == []
    assert SCHEMA["properties"].keys() - DEFAULTS.keys() == {"global"}


def test_the_chart_s_version_is_the_package_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version("ratsvc")
