"""The reference says what the code has."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import running
from tests.docs.pages import ROOT
from tests.docs.reference import PAGES


@pytest.mark.parametrize("page", PAGES)
def test_the_reference_has_not_drifted_from_the_code(page: str) -> None:
    assert (ROOT / "docs" / "reference" / page).read_text() == PAGES[page](), "run `make docs`"


async def test_every_metric_of_a_service_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = dict(line.strip("| ").split("` | ", 1) for line in page.splitlines() if line.startswith("| `"))
    async with running(metrics_top_streams=1) as service, httpx.AsyncClient(base_url=service.http_url) as client:
        await client.post("/v1/streams/s", json=1)
        await client.get("/v1/streams/s?from=earliest&until=now")
        text = (await client.get("/metrics")).text
    families = {f"{one.name}{'_total' * (one.type == 'counter')}": one for one in text_string_to_metric_families(text)}
    assert {f"`{name}" for name in families} == rows.keys()
    for name, family in families.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert all(f"`{label}`" in rows[f"`{name}"] for label in labels), name
