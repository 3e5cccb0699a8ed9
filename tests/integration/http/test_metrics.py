"""What `/metrics` counts: publishes, refusals, commits, delivery, calls and requests, under true names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rat.v1 import consumer_pb2, consumer_pb2_grpc, producer_pb2, producer_pb2_grpc, record_pb2, value_pb2

from tests.conftest import Running, running

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def samples(client: httpx.AsyncClient) -> Samples:
    text = (await client.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def request(stream: str, count: int) -> producer_pb2.PublishRequest:
    record = record_pb2.Record(value=value_pb2.DataValue(string_value="x"))
    return producer_pb2.PublishRequest(stream=stream, records=[record] * count)


async def publish(server: Running, stream: str, count: int) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        try:
            await producer_pb2_grpc.ProducerServiceStub(channel).Publish(request(stream, count))
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


async def test_what_goes_through_is_counted(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        async with client.stream("GET", "/v1/streams/s?format=sse") as response:
            lines = response.aiter_lines()
            await anext(lines)
            assert await publish(server, "s", 3) is grpc.StatusCode.OK
            assert await publish(server, "no stream", 1) is grpc.StatusCode.INVALID_ARGUMENT
            seen = 0
            while seen < 3:
                seen += (await anext(lines)).startswith("data: ")
            found = await samples(client)
            assert found["ratsvc_readers", (("format", "sse"), ("state", "live"))] == 1
            assert found["ratsvc_http_connections", (("state", "active"),)] == 2
        await client.get("/v1/streams/s?format=page&from=earliest")
        assert (await client.get("/v1/streams/none/info")).status_code == 404
        async with asyncio.timeout(10):
            while server.broker.subscriptions:
                await asyncio.sleep(0.01)
        found = await samples(client)
    for name, labels, value in (
        ("ratsvc_publish_requests_total", {}, 1),
        ("ratsvc_records_total", {}, 3),
        ("ratsvc_commits_total", {}, 1),
        ("ratsvc_log_records", {}, 3),
        ("ratsvc_log_first_offset", {}, 1),
        ("ratsvc_grpc_calls_open", {"method": "Publish"}, 0),
        ("ratsvc_http_connections", {"state": "active"}, 1),
        ("ratsvc_http_connections_refused_total", {}, 0),
        ("ratsvc_publish_refused_total", {"reason": "invalid-argument"}, 1),
        ("ratsvc_delivered_records_total", {"format": "sse"}, 3),
        ("ratsvc_encodings_total", {"format": "sse"}, 1),
        ("ratsvc_commit_records_bucket", {"le": "4.0"}, 1),
        ("ratsvc_commit_seconds_count", {}, 1),
        ("ratsvc_queue_seconds_count", {}, 1),
        ("ratsvc_delivery_seconds_count", {}, 1),
        ("ratsvc_grpc_calls_total", {"method": "Publish", "code": "OK"}, 1),
        ("ratsvc_grpc_calls_total", {"method": "Publish", "code": "INVALID_ARGUMENT"}, 1),
        ("ratsvc_http_requests_total", {"route": "get_stream", "status": "404"}, 1),
        ("ratsvc_disconnects_total", {"reason": "client"}, 1),
        ("ratsvc_disconnects_total", {"reason": "page"}, 1),
    ):
        assert found[name, tuple(sorted(labels.items()))] == value, (name, labels)
    assert not any(value == "s" for _, labels in found for _, value in labels)


async def test_hostile_streams_methods_paths_and_formats_add_no_series(server: Running) -> None:
    async with (
        httpx.AsyncClient(base_url=server.http_url) as client,
        grpc.aio.insecure_channel(server.grpc_addr) as channel,
    ):

        async def round_of(number: int) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
            name = f"n{number}"
            await publish(server, name, 1)
            for verb, path in (
                ("GET", f"/{name}"), ("GET", f"/{name}/%0d%0a%22%7b"), (f"VERB{number}", f"/v1/streams/{name}"),
                ("GET", f"/v1/streams/{name}?format={name}"), ("GET", f"/v1/streams/{name}/info"),
                ("GET", f"/v1/streams/{name}?from=earliest&until=now"), ("GET", f"/problems/{name}"),
                ("GET", f"/ui/{name}"), ("PUT", f"/v1/streams/{name}?{name}=1"),
            ):  # fmt: skip
                await client.request(verb, path, content=b"{}" if verb == "PUT" else None)
            await client.post(f"/v1/streams/{name}", content=b"x", headers={"content-type": f"a/{name}"})
            for method in (f"/{name}/M", f"/rat.v1.ProducerService/{name}", f"//{name}"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(method)(b"x", timeout=10)
            return set(await samples(client))

        await round_of(0)
        before = await round_of(1)
        for number in range(2, 12):
            after = await round_of(number)
    assert after == before


async def test_the_largest_streams_are_named_when_asked_for() -> None:
    async with running(metrics_top_streams=2) as server, httpx.AsyncClient(base_url=server.http_url) as client:
        for stream, count in (("large", 30), ("middle", 20), ("small", 1)):
            await publish(server, stream, count)
        found = await samples(client)
        assert found["ratsvc_stream_records", (("stream", "large"),)] == 30
        assert {dict(labels)["stream"] for name, labels in found if name == "ratsvc_stream_bytes"} == {
            "large",
            "middle",
        }


async def test_the_oldest_record_s_age_follows_what_is_kept(tmp_path: Path) -> None:
    for kept in ({}, {"data_dir": tmp_path}):
        async with running(**kept) as server, httpx.AsyncClient(base_url=server.http_url) as client:
            assert (await samples(client))["ratsvc_log_oldest_age_seconds", ()] == 0
            for stream in ("old", "new"):
                await publish(server, stream, 2)
            first = await samples(client)
            ages = [first[f"ratsvc_log_{which}_age_seconds", ()] for which in ("oldest", "newest")]
            assert ages[0] >= ages[1] > 0
            await client.delete("/v1/streams/old")
            then = await samples(client)
            assert (first["ratsvc_log_first_offset", ()], then["ratsvc_log_first_offset", ()]) == (1, 3)
            assert then["ratsvc_log_oldest_age_seconds", ()] > 0
            await client.delete("/v1/streams/new")
            assert (await samples(client))["ratsvc_log_oldest_age_seconds", ()] == 0


async def test_open_calls_and_connections_are_told_by_state() -> None:
    async with running(limits={"connections": 2}) as server:
        async with (
            httpx.AsyncClient(base_url=server.http_url) as client,
            grpc.aio.insecure_channel(server.grpc_addr) as channel,
        ):
            ask = consumer_pb2.SubscribeRequest(streams=["s"])
            call = consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(ask)
            await call.read()
            idle, kept = await asyncio.open_connection("127.0.0.1", server.http_port)
            kept.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await idle.readuntil(b"ok")
            async with asyncio.timeout(10):
                while server.broker.figures.http_active:
                    await asyncio.sleep(0.01)
            found = await samples(client)
            assert found["ratsvc_http_connections", (("state", "idle"),)] == 1
            assert found["ratsvc_grpc_calls_open", (("method", "Subscribe"),)] == 1
            turned_away, away = await asyncio.open_connection("127.0.0.1", server.http_port)
            assert b" 503 " in await turned_away.readline()
            assert (await samples(client))["ratsvc_http_connections_refused_total", ()] == 1
            for writer in (kept, away):
                writer.close()
                await writer.wait_closed()
            call.cancel()
            async with asyncio.timeout(10):
                while server.broker.figures.open_calls["Subscribe"] or len(server.broker.figures.http_open) > 1:
                    await asyncio.sleep(0.01)


async def test_every_refused_publish_is_counted_once_by_its_reason(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        json = {"content-type": "application/json"}
        assert (await client.post("/v1/streams/s", content=b"{", headers=json)).status_code == 400
        assert (await client.post("/v1/streams/s?no=1", content=b"1", headers=json)).status_code == 400
        assert (await client.post("/v1/streams/s", content=b"1", headers={"content-type": "a/b"})).status_code == 415
        await client.post("/v1/streams/s", content=b"1", headers=json)
        await client.post("/v1/streams/s/end")
        assert (await client.post("/v1/streams/s", content=b"1", headers=json)).status_code == 409
        found = await samples(client)
    refused = {dict(labels)["reason"]: count for (name, labels), count in found.items() if "publish_refused" in name}
    assert refused == {
        "invalid-value": 1,
        "unknown-parameter": 1,
        "unsupported-media-type": 1,
        "stream-ended": 1,
    }


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_a_parameter_that_is_not_known_is_refused_here_too(server: Running, path: str) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        refused = await client.get(f"{path}?name[]=ratsvc_records_total")
        assert (refused.status_code, refused.json()["field"]) == (400, "name[]")
        assert (await client.get(f"{path}?_=1")).status_code == 200
