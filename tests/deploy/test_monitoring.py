"""Alerts and dashboard speak of figures that are there, and the operations page of every alert."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import running
from tests.deploy.chart import CHART, ROOT, Objects, objects

ELSEWHERE = {"up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
ALERTS = re.findall(r'"alert" "(\w+)"', (CHART / "templates" / "prometheusrule.yaml").read_text())
DASHBOARD = json.loads((CHART / "dashboards" / "ratsvc.json").read_text())


GIB = 1024**3
#: What each minute shows of each metric while all is well, in promtool's words: `start+step x times`.
WELL = {
    "up": "1x60",
    "process_start_time_seconds": "1700000000x60",
    "process_cpu_seconds_total": "0+30x60",
    "process_open_fds": "100x60",
    "process_max_fds": "1000x60",
    "process_resident_memory_bytes": "100000000x60",
    "ratsvc_queue_records": "10x60",
    "ratsvc_queue_bytes": "1000x60",
    "ratsvc_commits_total": "0+60x60",
    "ratsvc_subscriptions": "100x60",
    "ratsvc_streams": "100x60",
    "ratsvc_producers": "100x60",
}
#: For each alert, what is to be seen instead for it to fire, and to fire alone.
ILL = {
    "RatsvcDown": {"up": "1x10 0x50"},
    "RatsvcRestarts": {"process_start_time_seconds": "1x45 2x3 3x3 4x9"},
    "RatsvcCommitsStalled": {"ratsvc_commits_total": "0+60x50 3000x10"},
    "RatsvcQueueFilling": {"ratsvc_queue_bytes": f"{0.9 * 64 * 1024**2:.0f}x60"},
    "RatsvcProcessorBusy": {"process_cpu_seconds_total": "0+57x60"},
    "RatsvcReadersNearLimit": {"ratsvc_subscriptions": "9000x60"},
    "RatsvcStreamsNearLimit": {"ratsvc_streams": "90000x60"},
    "RatsvcProducersNearLimit": {"ratsvc_producers": "9000x60"},
    "RatsvcOpenFilesNearLimit": {"process_open_fds": "900x60"},
    "RatsvcMemoryNearLimit": {"process_resident_memory_bytes": f"{0.9 * GIB:.0f}x60"},
    "RatsvcVolumeFilling": {"kubelet_volume_stats_available_bytes": f"{GIB}x60"},
}


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


def rules_of(made: Objects) -> dict[str, Any]:
    """The groups of a PrometheusRule, as Prometheus itself reads them."""
    [found] = [one["spec"] for (kind, _), one in made.items() if kind == "PrometheusRule"]
    return found


def promtool(*arguments: str | Path, read: str | None = None) -> str:
    """What promtool finds in files, or in what it is given to read; nothing may be wrong."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: `make deploy-test` installs Debian's")
    done = subprocess.run(["promtool", *arguments], input=read, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_promtool_finds_nothing_to_say_against_the_metrics() -> None:
    async with running(metrics_top_streams=2) as service, httpx.AsyncClient(base_url=service.http_url) as client:
        await client.post("/v1/streams/s", json=1)
        await client.get("/v1/streams/s?format=ndjson&from=earliest&until=now")
        shown = (await client.get("/metrics")).text
    assert promtool("check", "metrics", read=shown) == ""


@pytest.mark.parametrize(("values", "release"), [("monitoring", "r-ratsvc"), ("everything", "gateway")])
def test_each_alert_fires_when_its_time_has_come_and_no_other(values: str, release: str, tmp_path: Path) -> None:
    rules = rules_of(objects(values))
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    of = f'{{namespace="ns",job="{release}",instance="1"}}'
    claim = f'{{namespace="ns",persistentvolumeclaim="data-{release}-0"}}'
    volume = dict.fromkeys(ELSEWHERE - {"up"}, f"{10 * GIB}x60")

    def case(changed: dict[str, str], firing: str | None) -> dict[str, Any]:
        seen = {**WELL, **volume, **changed}
        labelled = {name: of if name in WELL else claim for name in seen}
        checks = []
        for rule in rules["groups"][0]["rules"]:
            alert = f'{{alertname="{rule["alert"]}"}}'
            expression = f'count by (alertname) (ALERTS{alert[:-1]},alertstate="firing"}})'
            fires = [{"labels": alert, "value": 1}] if rule["alert"] == firing else []
            checks.append({"expr": expression, "eval_time": "59m", "exp_samples": fires})
        series = [{"series": name + labelled[name], "values": values} for name, values in seen.items()]
        return {"interval": "1m", "input_series": series, "promql_expr_test": checks}

    there = {rule["alert"] for rule in rules["groups"][0]["rules"]}
    cases = [case({}, None), *(case(changed, alert) for alert, changed in ILL.items() if alert in there)]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": cases}))
    assert len(cases) == 1 + len(there & set(ALERTS))
    promtool("check", "rules", tmp_path / "rules.yaml")
    promtool("test", "rules", tmp_path / "tests.yaml")


@pytest.mark.parametrize("name", ["monitoring", "everything"])
async def test_alerts_use_metrics_that_exist(name: str) -> None:
    rules = rules_of(objects(name))["groups"][0]["rules"]
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
