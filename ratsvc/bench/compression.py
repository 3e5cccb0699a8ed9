"""Compressed streams: bytes on the wire and CPU of the service, with one, a hundred and a thousand readers, beside no
compression and beside a private compressor for each reader.

Events of about 95 bytes, as SSE, one publish at a time. The readers here read their sockets empty and decode nothing;
one of them is decoded afterwards, and compared. What private compressors would cost is timed in a bare loop, over the
same bytes, and added to the CPU of the service without compression.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import httpx

from ratsvc.bench import processes as p
from ratsvc.bench.processes import expect, received
from ratsvc.bench.scenarios import Options, Result
from ratsvc.bench.service import Service
from ratsvc.quickmem import wire

READERS = (1, 100, 1_000)
BATCHES = (1, 50)
LEVEL = 6
_WARM_BYTES = 20_000
_QUIET_S = 0.15
_END = b"0\r\n\r\n"


@dataclass(slots=True)
class Case:
    """What some readers got, and what it took."""

    wire_bytes: int
    """Of one reader, without framing."""
    earlier: list[bytes]
    """What one reader decoded before the measurement, a write each."""
    pieces: list[bytes]
    """What it decoded during it, a commit each where it kept up."""
    cpu_s: float
    seconds: float


def shared(batch: int) -> Callable[[Options], Result]:
    """One stream of events in batches of a size."""

    def run(options: Options) -> Result:
        result = Result(f"compression-{batch}", options=asdict(options))
        notes = []
        with options.service() as service:
            _, producer = p.in_process(produce_in_step, service.grpc)
            expect(producer, "ready")
            for readers in sorted({min(count, options.readers) for count in READERS}):
                rounds = options.rounds * max(1, min(50, 1_000 // readers))
                plain, packed = (_measured(service, producer, batch, readers, rounds, gzip) for gzip in (False, True))
                if _without_ids(plain) != _without_ids(packed):
                    raise RuntimeError("compression: what was decoded is not what was sent")
                notes.append(_compared(readers, rounds, plain, packed))
                deliveries = batch * readers * rounds
                result.records_per_s = deliveries / packed.seconds
                result.mb_per_s = packed.wire_bytes * readers / packed.seconds / 1e6
                result.server_cpu_s_per_million = packed.cpu_s / deliveries * 1e6
            result.server_rss_mib = service.rss_mib
            producer.send(None)
        result.note = "; ".join(notes)
        return result

    return run


def events(count: int, seed: int) -> list[bytes]:
    """Serialised records, of about 95 bytes each as an event of SSE."""
    chance = random.Random(seed)
    return [
        wire.record(
            {
                "symbol": chance.choice(["ACME", "GLOB", "INIT", "UMBR", "HOOL"]),
                "price": chance.randint(1_000, 50_000) / 100,
                "volume": chance.randint(1, 9_999),
                "at": 1_700_000_000_000 + number * 37,
            }
        )
        for number in range(count)
    ]


def produce_in_step(port: int, pipe: Connection) -> None:
    """Publishes as it is told (stream, batch, rounds, seed), until it is told None: each batch after the one before was
    acknowledged, which is after it was written to all live readers."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(10)
        publish = channel.unary_unary("/rat.v1.ProducerService/Publish", None, None)
        pipe.send("ready")
        while (told := pipe.recv()) is not None:
            stream, batch, rounds, seed = told
            records = events(batch * rounds, seed)
            for at in range(0, len(records), batch):
                publish(p.publish_request(stream, records[at : at + batch]))
            pipe.send("done")


def _measured(service: Service, producer: Any, batch: int, readers: int, rounds: int, gzip: bool) -> Case:
    stream = f"events.{batch}.{readers}.{gzip}"
    path = f"/v1/streams/{stream}?format=sse"
    socks = []
    for _ in range(readers):
        sock, rest = p.connect(service.http, path, "Accept-Encoding: gzip\r\n" if gzip else "")
        sock.setblocking(False)
        socks.append((sock, bytearray(rest)))
    crowd = _Crowd(socks)
    crowd.quiet()
    producer.send((stream, batch, _WARM_BYTES // (95 * batch) + 1, 1))
    expect(producer, "done")
    crowd.quiet()
    before = len(_dechunked(crowd.first))
    service.reset()
    began = time.monotonic()
    producer.send((stream, batch, rounds, 2))
    while not producer.poll(0):
        crowd.take(0.001)
    received(producer)
    crowd.quiet()
    seconds, cpu = time.monotonic() - began - _QUIET_S, service.cpu_s
    after = len(_dechunked(crowd.first))
    httpx.post(f"http://127.0.0.1:{service.http}/v1/streams/{stream}/end").raise_for_status()
    crowd.ended()
    chunks = _dechunked(crowd.first)
    crowd.close()
    inflate = zlib.decompressobj(31)
    pieces = [inflate.decompress(one) for one in chunks] if gzip else chunks
    if gzip and not inflate.eof:
        raise RuntimeError("compression: the member has no end")
    return Case(sum(map(len, chunks[before:after])), pieces[:before], pieces[before:after], cpu, seconds)


def _without_ids(case: Case) -> list[bytes]:
    """The lines of what was decoded; offsets differ from case to case."""
    return [line for line in b"".join(case.pieces).split(b"\n") if not line.startswith(b"id: ")]


def _compared(readers: int, rounds: int, plain: Case, packed: Case) -> str:
    size = sum(map(len, plain.pieces))
    private, after = _private(plain)
    us = [case.cpu_s / rounds * 1e6 for case in (plain, packed)]
    alone = us[0] + readers * private * 1e6
    return (
        f"1:{readers:,} {plain.wire_bytes / packed.wire_bytes:.2f} × fewer bytes (private {size / after:.2f} ×),"
        f" CPU a batch {us[1]:,.0f} µs, {us[1] / us[0]:.2f} of that without ({us[0]:,.0f} µs);"
        f" with private compressors {alone:,.0f} µs, {alone / us[0]:.2f}"
    )


def _private(case: Case) -> tuple[float, int]:
    """Seconds a piece, and bytes in all, of a compressor that one reader has for itself."""
    deflate, after = zlib.compressobj(LEVEL, zlib.DEFLATED, 31), 0
    deflate.compress(b"".join(case.earlier))
    deflate.flush(zlib.Z_SYNC_FLUSH)
    began = time.process_time()
    for piece in case.pieces:
        after += len(deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH))
    return (time.process_time() - began) / len(case.pieces), after


class _Crowd:
    """Many readers' sockets; of the first one everything is kept."""

    def __init__(self, socks: list[tuple[socket.socket, bytearray]]) -> None:
        self._selector = selectors.DefaultSelector()
        for sock, tail in socks:
            self._selector.register(sock, selectors.EVENT_READ, tail)
        self._first = socks[0][0]
        self.first = bytearray(socks[0][1])

    def take(self, wait_s: float) -> bool:
        """Reads what is there; False when there was nothing in that time."""
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            data = key.fileobj.recv(p.BUFFER)  # type: ignore[union-attr]
            if not data:
                raise RuntimeError("compression: a reader was cut")
            key.data[:] = data[-len(_END) :] if len(data) >= len(_END) else (key.data + data)[-len(_END) :]
            if key.fileobj is self._first:
                self.first += data
        return bool(ready)

    def quiet(self) -> None:
        """Reads until nothing comes any more."""
        while self.take(_QUIET_S):
            pass

    def ended(self) -> None:
        """Reads to the end of each response."""
        while not all(key.data == _END for key in self._selector.get_map().values()):
            if not self.take(30):
                raise RuntimeError("compression: a response has no end")

    def close(self) -> None:
        """Closes all."""
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def _dechunked(data: bytearray) -> list[bytes]:
    """The chunks of a chunked body."""
    found, at = [], 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        found.append(bytes(data[end + 2 : end + 2 + size]))
        at = end + size + 4
    return found


SCENARIOS: dict[str, Callable[[Options], Result]] = {f"compression-{batch}": shared(batch) for batch in BATCHES}
