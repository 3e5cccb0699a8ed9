"""What is measured. Each scenario starts a fresh service and gives one result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import httpx

from ratsvc.bench import floors
from ratsvc.bench import processes as p
from ratsvc.bench.processes import expect, received
from ratsvc.bench.service import MIB, Service
from ratsvc.quickmem import pack, wire

#: Figures of the system that this one is to leave behind, in records a second.
REFERENCE = {"sse": 89_285, "ndjson": 105_751, "text": 395_316, "chunked": 156_250}
AHEAD_BYTES = 16 * MIB
FILE_RETENTION_BYTES = 24 * MIB


@dataclass(slots=True, frozen=True)
class Options:
    """Sizes and rates."""

    records: int = 2_000_000
    batch: int = 256
    value_bytes: int = 90
    readers: int = 1_000
    rounds: int = 40
    rate: float = 500.0
    seconds: float = 4.0
    file_mib: int = 1_024
    idle_readers: int = 2_000
    data_dir: str | None = None
    durability: str = "always"
    pairs: int = 5
    counted: bool = True
    """Whether the service counts what goes through it."""

    def service(self) -> Service:
        """A fresh service."""
        return Service(self.data_dir, self.durability, self.counted)


@dataclass(slots=True)
class Result:
    """One row; None where a case has no such figure."""

    scenario: str
    records_per_s: float | None = None
    mb_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    server_cpu_s_per_million: float | None = None
    server_rss_mib: float | None = None
    floor_ratio: float | None = None
    record_bytes: int | None = None
    batch_bytes: int | None = None
    note: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def throughput(name: str, *, has_floor: bool = True) -> Callable[[Options], Result]:
    """One producer to one reader, end to end, as fast as it goes, beside what gRPC alone gives here."""

    def run(options: Options) -> Result:
        value = sample(name, options.value_bytes)
        record = wire.record(value)
        message = p.publish_request("bench", [record] * options.batch)
        batches = max(1, options.records // options.batch)
        total = batches * options.batch
        with options.service() as service:
            path = f"/v1/streams/bench?format={name}"
            _, reader = p.in_process(p.read, service.http, path, mark(name), total)
            expect(reader, "ready")
            _, producer = p.in_process(p.produce, service.grpc, message, batches)
            expect(producer, "ready")
            service.reset()
            producer.send("go")
            ended, seen, size, last = received(reader)
            began, _ = received(producer)
            cpu, rss = service.cpu_s, service.rss_mib
        bare = floors.acknowledging(message, max(1, batches // 4)) if has_floor else None
        if seen != total or b"event: gap" in last or b'"gap"' in last:
            raise RuntimeError(f"{name}: {seen:,} of {total:,} records came")
        seconds = ended - began
        result = Result(
            name,
            total / seconds,
            size / seconds / 1e6,
            server_cpu_s_per_million=cpu / total * 1e6,
            server_rss_mib=rss,
            record_bytes=len(pack(value)),
            batch_bytes=len(message),
            note=f"{size / total:.0f} bytes a record on the wire",
            options=asdict(options),
        )
        if bare:
            result.floor_ratio = batches / seconds / bare
            result.note += f"; floor {bare * options.batch:,.0f} records/s, a gRPC server that only acknowledges"
        return result

    return run


def latency(options: Options) -> Result:
    """From the publish call to the reader's socket, one record a message, at a rate."""
    count = max(10, int(options.rate * options.seconds))
    with options.service() as service:
        _, reader = p.in_process(p.read_times, service.http, "/v1/streams/bench?format=sse", count)
        expect(reader, "ready")
        _, producer = p.in_process(p.produce_at, service.grpc, options.rate, count, options.value_bytes, "bench")
        expect(producer, "ready")
        service.reset()
        producer.send("go")
        took = sorted(received(reader))
        cpu, rss = service.cpu_s, service.rss_mib
    if len(took) != count:
        raise RuntimeError(f"latency: {len(took)} of {count} records came")
    result = Result("latency", options.rate, server_cpu_s_per_million=cpu / count * 1e6, server_rss_mib=rss)
    _percentiles(result, took)
    result.note = f"{options.rate:g} records/s, one a message"
    result.options = asdict(options)
    return result


def catchup(options: Options) -> Result:
    """A binary reader from the oldest record on, as fast as it goes, beside a live reader of another stream: how fast
    the one is, and how late the other."""
    value = sample("binary", options.value_bytes)
    message = p.publish_request("bench", [wire.record(value)] * options.batch)
    batches = max(1, options.records // options.batch)
    total, count = batches * options.batch, max(10, int(options.rate * options.seconds))
    with options.service() as service:
        _, producer = p.in_process(p.produce, service.grpc, message, batches)
        expect(producer, "ready")
        producer.send("go")
        received(producer)
        kept = httpx.get(f"http://127.0.0.1:{service.http}/v1/streams/bench/info").json()["records"]
        _, live = p.in_process(p.read_times, service.http, "/v1/streams/live?format=sse", count)
        expect(live, "ready")
        _, producer = p.in_process(p.produce_at, service.grpc, options.rate, count, options.value_bytes, "live")
        expect(producer, "ready")
        service.reset()
        producer.send("go")
        began = time.monotonic()
        path = "/v1/streams/bench?format=binary&from=earliest"
        _, reader = p.in_process(p.read_on, service.http, path, mark("binary"), kept)
        ready: float = received(reader)
        ended, seen, size, _ = received(reader)
        cpu, rss = service.cpu_s, service.rss_mib
        took = sorted(received(live))
    if seen != kept or len(took) != count:
        raise RuntimeError(f"catchup: {seen:,} of {kept:,} records came, and {len(took)} of {count} live ones")
    seconds = ended - ready
    result = Result("catchup", kept / seconds, size / seconds / 1e6, server_rss_mib=rss, options=asdict(options))
    result.server_cpu_s_per_million = cpu / kept * 1e6
    _percentiles(result, took)
    result.note = (
        f"{kept:,} of {total:,} records were kept; latencies are those of {options.rate:g} live records/s"
        f" over {max(options.seconds, time.monotonic() - began):.0f} s, of which {seconds:.1f} s beside the catch-up"
    )
    return result


def fanout(options: Options) -> Result:
    """One record to many SSE readers: the time to the last of them, beside a bare loop that writes the same bytes."""
    value = "x" * options.value_bytes
    with options.service() as service:
        size = _frame_size(service, value)
        path = "/v1/streams/bench?format=sse"
        _, readers = p.in_process(p.read_many, service.http, path, options.readers, options.rounds, size)
        expect(readers, "ready", 60)
        message = p.publish_request("bench", [wire.record(value)])
        _, producer = p.in_process(_produce_rounds, service.grpc, message, options.rounds)
        expect(producer, "ready")
        service.reset()
        took = [_round(producer, readers) for _ in range(options.rounds)]
        cpu, rss = service.cpu_s, service.rss_mib
    bare = floors.writing(options.readers, options.rounds, size)
    deliveries = options.readers / median(took)
    result = Result("fanout", deliveries, deliveries * size / 1e6, server_rss_mib=rss, options=asdict(options))
    result.server_cpu_s_per_million = cpu / (options.readers * options.rounds) * 1e6
    result.floor_ratio = median(bare) / median(took)
    _percentiles(result, sorted(took))
    result.note = (
        f"{options.readers:,} readers, publish to the last one; floor {median(bare) * 1e3:.1f} ms,"
        f" {options.readers / median(bare):,.0f} deliveries/s"
    )
    return result


def file(options: Options) -> Result:
    """A file through Upload to a chunked reader; the uploader keeps at most 16 MiB ahead of the reader."""
    total = options.file_mib * MIB
    done = p.spawn.Value("q", 0, lock=False)
    with options.service() as service:
        limits = {"max_bytes": FILE_RETENTION_BYTES}
        httpx.put(f"http://127.0.0.1:{service.http}/v1/streams/file", json=limits).raise_for_status()
        _, reader = p.in_process(p.download, service.http, "/v1/streams/file?format=chunked", total, done)
        expect(reader, "ready")
        _, producer = p.in_process(p.upload, service.grpc, "file", options.file_mib, done, AHEAD_BYTES)
        expect(producer, "ready", 60)
        service.reset()
        before = highest = service.rss_mib
        producer.send("go")
        while not reader.poll(0.05):
            highest = max(highest, service.rss_mib)
        ended, got = received(reader)
        began: float = received(producer)
        cpu = service.cpu_s
    if got != total:
        raise RuntimeError(f"file: {got:,} of {total:,} bytes came as they were sent")
    seconds = ended - began
    return Result(
        "file",
        mb_per_s=total / seconds / 1e6,
        server_rss_mib=highest,
        note=f"{options.file_mib} MiB, every byte compared; memory grew by {highest - before:.0f} MiB, CPU {cpu:.2f} s",
        options=asdict(options),
    )


def idle(options: Options) -> Result:
    """Readers that get nothing but heartbeats: memory each, and CPU."""
    with options.service() as service:
        before = service.rss_mib
        arguments = (service.http, "/v1/streams/quiet?format=sse", options.idle_readers, 0, 0)
        process, readers = p.in_process(p.read_many, *arguments)
        expect(readers, "ready", 60)
        service.reset()
        time.sleep(min(options.seconds, 3.0))
        cpu, rss = service.cpu_s / min(options.seconds, 3.0), service.rss_mib
        process.join(5)
    each = (rss - before) * 1024 / options.idle_readers
    note = f"{options.idle_readers:,} readers: {each:.1f} KiB each, {cpu * 100:.1f} % of a core"
    return Result("idle", server_rss_mib=rss, note=note, options=asdict(options))


SCENARIOS: dict[str, Callable[[Options], Result]] = {
    **{name: throughput(name) for name in ("sse", "ndjson", "text", "chunked", "binary")},
    "catchup": catchup,
    "fanout": fanout,
    "latency": latency,
    "file": file,
    "idle": idle,
}


def sample(name: str, size: int) -> object:
    """A value of about `size` packed bytes: a map of four fields; text for `text`, bytes for `chunked`."""
    if name == "text":
        return "t" * (size - 2)
    if name == "chunked":
        return b"\xf5".rjust(size - 2, b"c")
    value = {"symbol": "ACME", "price": 123.45, "volume": 1_200, "note": ""}
    value["note"] = "n" * max(0, size - len(pack(value)) - 1)
    return value


def mark(name: str) -> bytes:
    """What comes exactly once a record in the body of a format."""
    return {"sse": b"\ndata: ", "ndjson": b'{"symbol"', "text": b"t\n", "chunked": b"\xf5", "binary": b"\xa6symbol"}[
        name
    ]


def _percentiles(result: Result, took: list[float]) -> None:
    def at(share: float) -> float:
        return took[min(len(took) - 1, int(share * len(took)))] * 1e3

    result.p50_ms, result.p99_ms, result.p999_ms = at(0.5), at(0.99), at(0.999)


def _round(producer: Any, readers: Any) -> float:
    """Publishes once; seconds from the publish call to the last reader."""
    producer.send("go")
    began: float = received(producer)
    ended: float = received(readers)
    return ended - began


def _produce_rounds(port: int, message: bytes, rounds: int, pipe: Any) -> None:
    """Sends `message` each time it is told to; tells when."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(10)
        publish = channel.unary_unary("/rat.v1.ProducerService/Publish", None, None)
        pipe.send("ready")
        for _ in range(rounds):
            pipe.recv()
            began = time.monotonic()
            publish(message)
            pipe.send(began)


def _frame_size(service: Service, value: str) -> int:
    """How many bytes a live reader gets for one record, framing included. Offsets keep their number of digits."""
    from ratsvc.http_api.delivery import chunk

    publish = f"http://127.0.0.1:{service.http}/v1/streams/pad"
    response = httpx.post(publish, content=b"x\n" * 10_000, headers={"Content-Type": "text/plain"})
    cursor: str = response.json()["cursor"]
    return len(chunk(f"id: {cursor}\ndata: {value}\n\n".encode()))
