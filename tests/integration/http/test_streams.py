"""Streams themselves, operations and pages, over HTTP."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from ratsvc.http_api.openapi import FORMATS
from ratsvc.http_api.operations import METRICS
from tests.conftest import Running


async def test_a_stream_is_made_shown_changed_ended_purged_and_deleted(http: httpx.AsyncClient) -> None:
    made = await http.put("/v1/streams/a", json={"max_records": 5, "max_age": "90s"})
    assert made.status_code == 201
    assert made.json()["retention"]["max_records"] == 5
    assert made.json()["retention"]["max_age"] == 90
    changed = await http.put("/v1/streams/a", json={"max_records": 6, "max_age": 1.5})
    assert (changed.status_code, changed.json()["retention"]["max_records"]) == (200, 6)
    assert (await http.put("/v1/streams/a")).json()["retention"]["max_records"] == 1_000_000
    cursor = (await http.post("/v1/streams/a", json=1)).json()["cursor"]
    shown = (await http.get("/v1/streams/a/info")).json()
    assert (shown["records"], shown["cursor"], shown["ended"], shown["readers"]) == (1, cursor, False, 0)
    assert (await http.post("/v1/streams/a/purge")).json()["records"] == 0
    assert (await http.post("/v1/streams/a/end")).json()["ended"]
    assert (await http.delete("/v1/streams/a")).status_code == 204
    assert (await http.get("/v1/streams/a/info")).status_code == 404


async def test_streams_are_listed_by_name_in_pages(http: httpx.AsyncClient) -> None:
    for name in ("b.2", "a", "b.1", "c"):
        await http.put(f"/v1/streams/{name}")
    page = (await http.get("/v1/streams?limit=3")).json()
    assert ([one["name"] for one in page["streams"]], page["next"]) == (["a", "b.1", "b.2"], "b.2")
    page = (await http.get("/v1/streams?limit=3&after=b.2")).json()
    assert ([one["name"] for one in page["streams"]], page["next"]) == (["c"], None)
    page = (await http.get("/v1/streams?pattern=b.*")).json()
    assert [one["name"] for one in page["streams"]] == ["b.1", "b.2"]


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/info"), ("DELETE", ""), ("POST", "/end"), ("POST", "/purge")],
)
async def test_a_stream_that_does_not_exist_is_404_and_is_not_made(
    server: Running, http: httpx.AsyncClient, method: str, target: str
) -> None:
    answer = await http.request(method, f"/v1/streams/none{target}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/stream-not-found")
    answer = await http.request(method, f"/v1/streams/a.*{target}")
    assert (answer.status_code, answer.json()["field"]) == (400, "stream")
    assert not server.broker.list()


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "pattern=a..b", "after=%3E", "page=2"])
async def test_bad_lists_name_the_parameter(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/streams?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[]",
        b'{"max_records":-1}',
        b'{"max_record":1}',
        b'{"max_age":"soon"}',
        b'{"max_bytes":1e30}',
        b"[" * 10_000,
        b'{"max_age":"\xff"}',
    ],
)
async def test_a_retention_that_is_none_is_refused(server: Running, http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.put("/v1/streams/a", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (400, "body")
    assert not server.broker.list()


async def test_a_retention_body_is_small_and_json(http: httpx.AsyncClient) -> None:
    assert (await http.put("/v1/streams/a", content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await http.put("/v1/streams/a", json={"max_age": "1" * 20_000})).status_code == 413
    assert (await http.put("/v1/streams/a", json={}, headers={"Content-Encoding": "gzip"})).status_code == 415


async def test_health_readiness_and_metrics(server: Running, http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    await http.post("/v1/streams/a", json=1)
    text = (await http.get("/metrics")).text
    assert set(METRICS) == set(server.broker.stats()) | {"log_first_offset", "log_oldest_age_seconds"}
    for name in METRICS:
        assert f"\nratsvc_{name} " in text
    assert "\nratsvc_records_total 1.0\n" in text


async def test_every_route_is_in_the_document(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    one = "/v1/streams/{name}"
    assert operations == {
        ("get", "/v1/streams"),
        ("get", one),
        ("post", one),
        ("put", one),
        ("delete", one),
        ("get", f"{one}/info"),
        ("get", f"{one}/uploads/{{upload_id}}"),
        ("post", f"{one}/end"),
        ("post", f"{one}/purge"),
        ("get", "/v1/subscribe"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/v1/status"),
        ("get", "/v1/connections"),
    }
    names = [parameter["name"] for parameter in document["paths"][one]["get"]["parameters"]]
    assert {"name", "from", "last_event_id", "Last-Event-ID", "snapshot"} <= set(names)
    assert "application/octet-stream" in document["paths"][one]["post"]["requestBody"]["content"]
    assert "text/event-stream" in document["paths"][one]["get"]["responses"]["200"]["content"]


async def test_every_type_that_the_document_refers_to_is_in_it(http: httpx.AsyncClient) -> None:
    answer = await http.get("/openapi.json")
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert {"Problem", "StreamView", "RetentionView"} <= referred <= set(answer.json()["components"]["schemas"])


async def test_the_document_is_valid_openapi(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


async def test_each_route_answers_with_a_status_and_a_media_type_of_the_document(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    binary = {"Content-Type": "application/octet-stream"}
    one, ended = "/v1/streams/{name}", {"from": "earliest", "until": "now"}
    calls: list[tuple[str, str, dict[str, Any], int]] = [
        ("get", "/healthz", {}, 200),
        ("get", "/readyz", {}, 200),
        ("get", "/metrics", {}, 200),
        ("get", "/v1/status", {}, 200),
        ("get", "/v1/connections", {}, 200),
        ("put", one, {}, 201),
        ("put", one, {"json": {"max_age": "1h"}}, 200),
        ("post", one, {"json": 1}, 200),
        ("post", one, {"content": b"x", "params": {"file": "f", "upload_id": "u"}, "headers": binary}, 200),
        ("get", "/v1/streams", {}, 200),
        ("get", f"{one}/info", {}, 200),
        ("get", f"{one}/uploads/{{upload_id}}", {}, 200),
        *(("get", one, {"params": ended, "headers": {"Accept": accept}}, 200) for accept in FORMATS),
        ("get", one, {"headers": {"Accept": "application/json"}}, 200),
        ("get", "/v1/subscribe", {"params": {"stream": "s", **ended}}, 200),
        ("get", one, {"headers": {"Accept": "text/html"}}, 303),
        ("post", f"{one}/purge", {}, 200),
        ("post", f"{one}/end", {}, 200),
        ("get", one, {"params": {"from": "latest"}}, 204),
        ("delete", one, {}, 204),
        ("get", f"{one}/info", {}, 404),
        ("get", "/v1/subscribe", {}, 400),
    ]
    seen = set()
    for method, path, options, status in calls:
        answer = await http.request(method, path.format(name="s", upload_id="u"), **options)
        assert answer.status_code == status, (method, path, answer.text)
        said = paths[path][method]["responses"]
        seen.add((method, path))
        content = said[str(status) if status < 400 else "default"].get("content")
        assert content is None or answer.headers["content-type"].partition(";")[0] in content
    assert seen == {(method, path) for path, methods in paths.items() for method in methods}


async def test_what_the_document_says_is_sent_by_default_changes_nothing(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    now = {"until": "now"}
    for path, query in (("/v1/streams/{name}", now), ("/v1/subscribe", now | {"stream": "s"}), ("/v1/streams", {})):
        asked = paths[path]["get"]["parameters"]
        defaults = {one["name"]: one["schema"]["default"] for one in asked if "default" in one["schema"]}
        answer = await http.get(path.format(name="s"), params=defaults | query)
        assert answer.status_code == 200, answer.text
    asked = paths["/v1/streams/{name}"]["post"]["parameters"]
    query = {one["name"]: one["schema"]["default"] for one in asked if "default" in one["schema"]}
    assert (await http.post("/v1/streams/s", params=query, json=1)).status_code == 200


async def test_the_pages_load_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("</", "")
    script = await http.get("/ui/docs.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (await http.get("/ui/../app.py")).status_code == 404
    for path in ("/ui/none", "/ui/__init__.py", "/nothing"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    for path in ("/", "/ui"):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")


async def test_a_problem_type_says_what_it_means(http: httpx.AsyncClient) -> None:
    problem = (await http.get("/v1/streams/a?limit=x")).json()
    answer = await http.get(problem["type"])
    assert answer.status_code == 200
    assert answer.text == "Invalid argument (400): The request is wrong whatever the state of the service.\n"
    assert (await http.get("/problems/none")).status_code == 404


async def test_a_failure_inside_says_nothing_and_is_one_line_in_the_log(
    server: Running,
    http: httpx.AsyncClient,
    log_lines: list[MutableMapping[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> dict[str, float]:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(server.broker, "stats", broken)
    answer = await http.get("/metrics")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
    assert "secret" not in answer.text
    [line] = [line for line in log_lines if line["log_level"] == "error"]
    assert (line["error"], "exc_info" in line) == ("RuntimeError", False)
    log_lines.clear()
