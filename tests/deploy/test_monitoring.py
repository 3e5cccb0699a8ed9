"""Alerts and dashboard speak of figures that are there, and the operations page of every alert."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.conftest import running
from tests.deploy.chart import CHART, ROOT, objects

ELSEWHERE = {"up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
ALERTS = re.findall(r'"alert" "(\w+)"', (CHART / "templates" / "prometheusrule.yaml").read_text())
DASHBOARD = json.loads((CHART / "dashboards" / "ratsvc.json").read_text())


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression names: words with an underscore before a selector, and `up`."""
    return set(re.findall(r"\b([a-z]+(?:_[a-z]+)+|up)\{", expression))


async def exposed() -> set[str]:
    """The metrics that `/metrics` has, also those of which there is no sample yet."""
    async with running() as service, httpx.AsyncClient() as client:
        text = (await client.get(f"{service.http_url}/metrics")).text
    kinds = dict(line.split(" ")[2:] for line in text.splitlines() if line.startswith("# TYPE "))
    parts = {
        name + part for name, kind in kinds.items() if kind == "histogram" for part in ("_bucket", "_sum", "_count")
    }
    return set(kinds) | parts


@pytest.mark.parametrize("name", ["monitoring", "everything"])
async def test_alerts_use_metrics_that_exist(name: str) -> None:
    [rules] = [
        one["spec"]["groups"][0]["rules"] for (kind, _), one in objects(name).items() if kind == "PrometheusRule"
    ]
    known = await exposed() | ELSEWHERE
    for rule in rules[:-1]:
        used = metrics_in(rule["expr"])
        assert used, rule
        assert used <= known, rule


async def test_the_dashboard_uses_metrics_that_exist() -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    used = set().union(*map(metrics_in, expressions))
    assert used <= await exposed()
    assert {"ratsvc_subscriptions", "ratsvc_records_total", "process_resident_memory_bytes"} <= used


async def test_the_operations_page_names_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`(ratsvc_[a-z_]+[a-z])", page))
    ours = {name for name in await exposed() if name.startswith("ratsvc_")}
    histograms = {name.removesuffix("_bucket") for name in ours if name.endswith("_bucket")}
    whole = {name for name in ours if not any(name.startswith(f"{one}_") for one in histograms)}
    assert named - {"ratsvc_stream_bytes", "ratsvc_stream_records", "ratsvc_stream_readers"} == whole


def test_the_operations_page_says_what_to_do_for_each_alert() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (\w+)$", page, re.MULTILINE)
    assert len(ALERTS) == len(set(ALERTS))
    assert [heading for heading in headings if heading.startswith("Ratsvc")] == ALERTS
