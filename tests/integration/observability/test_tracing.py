"""Traces end to end: a client's context over gRPC or HTTP, through the record's headers, to a real OTLP receiver."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
import pytest
from httpx_sse import aconnect_sse
from rat.v1 import consumer_pb2, consumer_pb2_grpc, producer_pb2, producer_pb2_grpc, record_pb2, value_pb2

from ratsvc.core.trace import trace_context
from tests.conftest import Running, running
from tests.integration.observability.collector import Collector, collecting

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SENDER}-01", f"00-{TRACE}-{SENDER}-00"
OTHER = f"00-{'1' * 32}-{'2' * 16}-01"
PUBLISH, STREAM = "rat.v1.ProducerService/Publish", "rat.v1.ProducerService/PublishStream"
SERVER, INTERNAL = 2, 1


@asynccontextmanager
async def traced(data_dir: Path | None = None, **changes: object) -> AsyncIterator[tuple[Running, Collector]]:
    async with collecting() as collector:
        tracing = {"enabled": True, "endpoint": collector.endpoint, "sample_ratio": 0.0, "export_interval_s": 0.05}
        async with running(data_dir=data_dir, tracing={**tracing, **changes}) as server:
            yield server, collector


def request(stream: str, *values: str, **headers: str) -> producer_pb2.PublishRequest:
    value = value_pb2.DataValue
    records = [record_pb2.Record(value=value(string_value=one), headers=headers) for one in values]
    return producer_pb2.PublishRequest(stream=stream, records=records)


async def publish(server: Running, message: producer_pb2.PublishRequest, **metadata: str) -> None:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        await producer_pb2_grpc.ProducerServiceStub(channel).Publish(message, metadata=tuple(metadata.items()))


async def records(server: Running, stream: str, query: str = "from=earliest&until=now") -> list[dict[str, object]]:
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        lines = (await client.get(f"/v1/streams/{stream}?view=record&format=ndjson&{query}")).text
    return [one for line in lines.splitlines() if "offset" in (one := json.loads(line))]


async def test_a_context_goes_from_grpc_through_the_record_to_a_live_reader() -> None:
    async with traced() as (server, collector), httpx.AsyncClient(base_url=server.http_url) as client:
        async with aconnect_sse(client, "GET", "/v1/streams/s?view=record") as source:
            while not any(one.is_live for one in server.broker.subscriptions):
                await asyncio.sleep(0.01)
            await publish(server, request("s", "a", "b"), traceparent=SAMPLED, tracestate="vendor=1")
            seen: list[dict[str, object]] = []
            async for event in source.aiter_sse():
                seen += [json.loads(event.data)] if event.data else []
                if len(seen) == 2:
                    break
            await collector.wait(lambda spans: len(spans) >= 3)
    [ingest], [commit], [deliver] = map(collector.named, (PUBLISH, "commit", "deliver"))
    assert (ingest.trace_id, ingest.parent_id, ingest.kind) == (TRACE, SENDER, SERVER)
    assert ingest.attributes["messaging.destination.name"] == "s"
    assert ingest.attributes["messaging.batch.message_count"] == 2
    assert ingest.attributes["rpc.response.status_code"] == "OK"
    for span in (commit, deliver):
        assert (span.links, span.parent_id, span.trace_id) == ([ingest.context], ingest.span_id, TRACE)
        assert span.kind == INTERNAL
    assert ingest.began <= commit.began <= commit.ended == deliver.began <= deliver.ended
    assert (deliver.attributes["ratsvc.readers"], deliver.attributes["ratsvc.formats"]) == (1, ["sse"])
    assert ingest.resource["service.name"] == "ratsvc"
    carried = {"traceparent": f"00-{TRACE}-{ingest.span_id}-01", "tracestate": "vendor=1"}
    assert [one["headers"] for one in seen] == [carried, carried]


@pytest.mark.parametrize("durable", [False, True])
async def test_a_context_goes_from_http_to_a_reader_that_catches_up(
    durable: bool, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with collecting() as collector:
        tracing = {"enabled": True, "endpoint": collector.endpoint, "export_interval_s": 0.05, "service_name": "gate"}
        kept = {"data_dir": tmp_path} if durable else {}
        async with running(tracing=tracing, **kept) as server, httpx.AsyncClient(base_url=server.http_url) as client:
            body = '{"n":1}\n{"n":2}\n'
            head = {"traceparent": SAMPLED, "content-type": "application/x-ndjson"}
            assert (await client.post("/v1/streams/s", content=body, headers=head)).json()["stored"] == 2
            await collector.wait(lambda spans: len(spans) >= 2)
            if not durable:
                found = await records(server, "s")
        if durable:  # the context comes from disk alone
            async with running(tracing=tracing, **kept) as server:
                found = await records(server, "s")
                await collector.wait(lambda spans: len(spans) >= 3)
        await collector.wait(lambda spans: len(spans) >= 3)
    [ingest], [deliver] = collector.named("POST /v1/streams/{name}"), collector.named("deliver")
    assert (ingest.trace_id, ingest.parent_id, ingest.kind) == (TRACE, SENDER, SERVER)
    assert ingest.attributes["http.response.status_code"] == 200
    assert ingest.attributes["ratsvc.request_id"]
    assert (deliver.links, deliver.trace_id) == ([ingest.context], TRACE)
    assert (deliver.attributes["ratsvc.live"], deliver.attributes["ratsvc.records"]) == (False, 2)
    assert {one["headers"]["traceparent"] for one in found} == {f"00-{TRACE}-{ingest.span_id}-01"}  # type: ignore[index]
    assert ingest.resource["service.name"] == "gate"


async def test_a_record_s_own_context_is_kept_and_linked() -> None:
    async with traced() as (server, collector):
        message = request("s", "mine", traceparent=OTHER)
        message.records.append(record_pb2.Record(value=value_pb2.DataValue(string_value="bare")))
        await publish(server, message, traceparent=SAMPLED)
        found = await records(server, "s")
        await collector.wait(lambda spans: len(spans) >= 3)
    [ingest], [deliver] = collector.named(PUBLISH), collector.named("deliver")
    assert [one["headers"] for one in found] == [
        {"traceparent": OTHER},
        {"traceparent": f"00-{TRACE}-{ingest.span_id}-01"},
    ]
    assert set(deliver.links) == {ingest.context, ("1" * 32, "2" * 16)}
    assert deliver.parent_id == ""
    assert ingest.links == [("1" * 32, "2" * 16)]


async def test_a_record_s_own_context_alone_is_the_request_s() -> None:
    async with traced() as (server, collector):
        await publish(server, request("s", "mine", traceparent=OTHER))
        [found] = await records(server, "s")
        await collector.wait(lambda spans: len(spans) >= 3)
    [ingest] = collector.named(PUBLISH)
    assert (ingest.trace_id, ingest.parent_id) == ("1" * 32, "2" * 16)
    assert found["headers"] == {"traceparent": OTHER}


async def test_one_commit_and_one_delivery_serve_many_requests_by_links() -> None:
    async with traced() as (server, collector), grpc.aio.insecure_channel(server.grpc_addr) as channel:
        call = producer_pb2_grpc.ProducerServiceStub(channel).PublishStream(metadata=(("traceparent", SAMPLED),))
        held = asyncio.Event()
        append = server.broker.log.append

        async def slow(*args: object, **more: object) -> None:
            await held.wait()
            await append(*args, **more)  # type: ignore[arg-type]

        server.broker.log.append = slow  # type: ignore[method-assign]
        await call.write(request("s", "first"))
        while not server.broker.figures.open_calls["PublishStream"] or server.broker.stats()["queue_records"]:
            await asyncio.sleep(0.01)
        for name in "abc":
            await call.write(request("s", name))
        while server.broker.stats()["queue_records"] < 3:
            await asyncio.sleep(0.01)
        held.set()
        await call.write(producer_pb2.PublishRequest(stream="no stream"))
        await call.done_writing()
        assert [answer.WhichOneof("outcome") async for answer in call] == ["ack"] * 4 + ["error"]
        await collector.wait(lambda spans: len(spans) >= 7)
    ingests, commits = collector.named(STREAM), collector.named("commit")
    assert {span.parent_id for span in ingests} == {SENDER}
    assert [span.failed for span in ingests] == [False] * 4 + [True]
    assert ingests[-1].attributes["error.type"] == "invalid-argument"
    assert [len(span.links) for span in commits] == [1, 3]
    assert commits[0].parent_id == ingests[0].span_id
    assert commits[1].parent_id == ""
    assert commits[1].links == [span.context for span in ingests[1:4]]


async def test_a_reader_s_own_context_is_the_parent_of_its_deliveries() -> None:
    async with traced() as (server, collector), grpc.aio.insecure_channel(server.grpc_addr) as channel:
        await publish(server, request("s", "x"), traceparent=SAMPLED)
        ask = consumer_pb2.SubscribeRequest(streams=["s"], until="now", **{"from": "earliest"})
        call = consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(ask, metadata=(("traceparent", OTHER),))
        assert [frame.WhichOneof("kind") async for frame in call] == ["start", "batch", "end"]
        await collector.wait(lambda spans: len(spans) >= 3)
    [ingest], [deliver] = collector.named(PUBLISH), collector.named("deliver")
    assert (deliver.trace_id, deliver.parent_id, deliver.links) == ("1" * 32, "2" * 16, [ingest.context])


async def test_many_contexts_are_linked_from_the_records_and_not_kept_beside_them() -> None:
    async with traced() as (server, collector):
        message = producer_pb2.PublishRequest(stream="s")
        for number in range(1, 200):
            [one] = request("s", "x", traceparent=f"00-{number:032x}-{number:016x}-01").records
            message.records.append(one)
        await publish(server, message)
        [batch] = server.broker.tail.batches
        assert batch.trace is None
        assert len(await records(server, "s")) == 199
        await collector.wait(lambda spans: len(spans) >= 3)
    [deliver] = collector.named("deliver")
    assert deliver.links == [(f"{number:032x}", f"{number:016x}") for number in range(1, 129)]


async def test_an_upload_is_one_span_and_its_file_is_the_same() -> None:
    chunks = [bytes([number]) * 20_000 for number in range(5)]
    async with traced() as (server, collector), grpc.aio.insecure_channel(server.grpc_addr) as channel:
        parts = [producer_pb2.UploadRequest(start=producer_pb2.UploadStart(stream="f", name="x.bin"))]
        parts += [producer_pb2.UploadRequest(chunk=chunk) for chunk in chunks]
        parts.append(producer_pb2.UploadRequest(end=producer_pb2.UploadEnd()))
        upload = producer_pb2_grpc.ProducerServiceStub(channel).Upload
        assert (await upload(iter(parts), metadata=(("traceparent", SAMPLED),))).size == 100_000
        async with httpx.AsyncClient(base_url=server.http_url) as client:
            path = "/v1/streams/f?format=chunked&from=earliest&until=now"
            file = (await client.get(path)).content
            part = await client.get(path, headers={"Range": "bytes=19990-40009"})
        await collector.wait(lambda spans: any("Upload" in span.name for span in spans))
    assert file == b"".join(chunks)
    assert (part.status_code, part.content) == (206, file[19_990:40_010])
    [ingest] = collector.named("rat.v1.ProducerService/Upload")
    assert (ingest.parent_id, ingest.failed) == (SENDER, False)
    assert {link for span in collector.named("commit") for link in span.links} == {ingest.context}


async def test_an_unsampled_context_is_carried_and_has_no_span() -> None:
    async with traced() as (server, collector):
        await publish(server, request("s", "x"), traceparent=UNSAMPLED)
        assert [one["headers"] for one in await records(server, "s")] == [{"traceparent": UNSAMPLED}]
        await publish(server, request("s", "last"), traceparent=SAMPLED)
        await collector.wait(lambda spans: len(spans) >= 2)
    assert len(collector.named(PUBLISH)) == 1


@pytest.mark.parametrize(
    "broken",
    ["", "nonsense", SAMPLED.upper(), f"{SAMPLED}-00", f"ff-{TRACE}-{SENDER}-01", f"00-{'0' * 32}-{SENDER}-01"],
)
async def test_a_publish_without_a_context_begins_a_trace_where_it_is_sampled_or_leaves_its_records_alone(
    broken: str,
) -> None:
    metadata = {"traceparent": broken} if broken else {}
    async with traced(sample_ratio=0.0) as (server, _):
        await publish(server, request("s", "x"), **metadata)
        [untouched] = await records(server, "s")
    assert "headers" not in untouched
    async with traced(sample_ratio=1.0) as (server, collector):
        await publish(server, request("s", "x"), **metadata)
        [found] = await records(server, "s")
        await collector.wait(lambda spans: len(spans) >= 3)
    [ingest], [deliver] = collector.named(PUBLISH), collector.named("deliver")
    assert ingest.parent_id == ""
    carried = trace_context(found["headers"]["traceparent"])  # type: ignore[index]
    assert carried is not None
    assert ((carried.trace_id, carried.span_id), carried.sampled) == (ingest.context, True)
    assert (deliver.trace_id, deliver.links) == (ingest.trace_id, [ingest.context])


async def test_a_trace_that_was_begun_here_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with traced(sample_ratio=1.0, data_dir=tmp_path) as (server, collector):
        await publish(server, request("s", "x"))
        await collector.wait(lambda spans: len(spans) >= 2)
    [ingest] = collector.named(PUBLISH)
    async with traced(data_dir=tmp_path) as (server, collector):
        assert len(await records(server, "s")) == 1
        await collector.wait(lambda spans: len(spans) >= 1)
    [deliver] = collector.named("deliver")
    assert (deliver.trace_id, deliver.parent_id, deliver.links) == (ingest.trace_id, ingest.span_id, [ingest.context])


async def test_a_refused_publish_is_a_span_that_failed() -> None:
    async with traced() as (server, collector), httpx.AsyncClient(base_url=server.http_url) as client:
        answer = await client.post(
            "/v1/streams/s", content=b"{", headers={"traceparent": SAMPLED, "content-type": "application/json"}
        )
        assert answer.status_code == 400
        with pytest.raises(grpc.aio.AioRpcError):
            await publish(server, request("no stream", "x"), traceparent=SAMPLED)
        await collector.wait(lambda spans: len(spans) >= 2)
    assert all(span.failed for span in collector.spans)
    assert {span.name for span in collector.spans} == {PUBLISH, "POST /v1/streams/{name}"}


async def test_records_without_room_for_headers_stay_as_they_are() -> None:
    async with traced() as (server, _):
        full = request("s", "x", **{f"h{number}": "v" for number in range(32)})
        await publish(server, full, traceparent=SAMPLED)
        large = request("s", "x" * (1024 * 1024 - 20))
        await publish(server, large, traceparent=SAMPLED)
        found = await records(server, "s")
    assert len(found[0]["headers"]) == 32  # type: ignore[arg-type]
    assert "headers" not in found[1]


async def test_spans_are_bounded_whatever_clients_ask_for() -> None:
    async with traced(max_spans_per_s=5) as (server, collector):
        async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
            call = producer_pb2_grpc.ProducerServiceStub(channel).PublishStream(metadata=(("traceparent", SAMPLED),))
            for _ in range(300):
                await call.write(request("s", "x"))
            await call.done_writing()
            assert len([answer async for answer in call]) == 300
        figures = server.broker.stats()
    assert figures["trace_spans_refused_total"] > 100
    assert len(collector.spans) == figures["trace_spans_total"]


async def test_a_collector_that_is_not_there_holds_up_nothing() -> None:
    tracing = {"enabled": True, "endpoint": "http://127.0.0.1:9", "sample_ratio": 1.0, "export_interval_s": 0.05}
    async with running(tracing=tracing, stop_timeout_s=20.0) as server:
        await publish(server, request("s", "x"))
        assert len(await records(server, "s")) == 1
        async with asyncio.timeout(10):
            await server.server.__aexit__(None, None, None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("Otel", "traces"))]


def test_what_is_off_is_not_imported_and_what_is_missing_is_named() -> None:
    code = """
import asyncio, builtins, sys
from ratsvc.server.app import Server
from ratsvc.settings import load
from ratsvc.errors import SettingsError
where = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}
async def serve(**tracing):
    async with Server(load(flags={**where, "tracing": tracing})) as server:
        return server.broker.tracing
assert asyncio.run(serve()) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
real = builtins.__import__
def missing(name, *more, **named):
    if name.startswith("opentelemetry"):
        raise ModuleNotFoundError("No module", name=name)
    return real(name, *more, **named)
builtins.__import__ = missing
try:
    asyncio.run(serve(enabled=True))
except SettingsError as error:
    print(error.detail)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "tracing.enabled needs packages" in done.stdout
    assert "pip install 'ratsvc[otel]'" in done.stdout


async def test_the_exporter_s_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t1")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "named")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        async with running(tracing={"enabled": True, "export_interval_s": 0.05}) as server:
            await publish(server, request("s", "x"), traceparent=SAMPLED)
            await collector.wait(lambda spans: len(spans) >= 2)
        assert collector.metadata["x-tenant"] == "t1"
        about = collector.spans[0].resource
        assert (about["service.name"], about["deployment.environment"]) == ("named", "test")
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        async with running(tracing={"enabled": True}) as server:
            assert server.broker.tracing is None


def test_a_context_is_read_strictly_and_a_later_version_by_its_known_part() -> None:
    assert trace_context(f"01-{TRACE}-{SENDER}-ff-more") == trace_context(f"00-{TRACE}-{SENDER}-03")
    assert trace_context(f" {SAMPLED} ") is not None
    for broken in (None, "", f"{SAMPLED}\n", f"01-{TRACE}-{SENDER}-01x", f"00-{TRACE}-{'0' * 16}-01", "é" * 55):
        assert trace_context(broken) is None
    context = trace_context(SAMPLED, "a=" + "b" * 600)
    assert context is not None
    assert context.headers == {"traceparent": SAMPLED}
    state = trace_context(SAMPLED, " a=1, b@c=2,,")
    assert state is not None
    assert state.headers == {"traceparent": SAMPLED, "tracestate": "a=1,b@c=2"}
    for broken in ("a=1,a=2", "A=1", "a", "a=é", "a=1\n", ",".join(f"k{number}=1" for number in range(33))):
        assert trace_context(SAMPLED, broken) == trace_context(SAMPLED)
