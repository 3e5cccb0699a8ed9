"""What `delta=json-patch` saves: the bytes of one event stream of changing documents, whole and as patches, and of each
what gzip makes of it when every event is flushed (level 6, one compressor for the reader).

`vehicles`: positions in the form of GTFS Realtime, with the stops ahead; each update moves one of 200 vehicles.
`book`: an order book of 20 levels a side; each update changes two of them.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import grpc
import httpx

from ratsvc.bench import processes as p
from ratsvc.bench.scenarios import Options, Result
from ratsvc.bench.service import Service
from ratsvc.quickmem import wire

MOST_UPDATES = 10_000
_START = 1_795_215_362


def vehicles(updates: int) -> Iterator[tuple[str, object]]:
    """Keys and documents of about 1.4 kB."""
    chance = random.Random(7)
    fleet = [_vehicle(n, chance) for n in range(200)]
    for n in range(updates):
        vehicle = fleet[n % len(fleet)]
        position = vehicle["position"]
        position["latitude"] = round(position["latitude"] + chance.uniform(-0.001, 0.001), 6)
        position["longitude"] = round(position["longitude"] + chance.uniform(-0.001, 0.001), 6)
        position["speed"] = round(chance.uniform(0, 14), 1)
        vehicle["timestamp"] = _START + n // 20
        if chance.random() < 0.1:
            del vehicle["stops_ahead"][0]
            vehicle["stops_ahead"].append(_stop(n, chance))
        yield vehicle["vehicle"]["id"], vehicle


def book(updates: int) -> Iterator[tuple[str, object]]:
    """Keys and documents of about 1.3 kB."""
    chance = random.Random(7)
    document: dict[str, Any] = {
        "symbol": "RAT-EUR",
        "sequence": 0,
        "bids": [[round(100 - 0.01 * n, 2), chance.randint(1, 5000), chance.randint(1, 20)] for n in range(20)],
        "asks": [[round(100.01 + 0.01 * n, 2), chance.randint(1, 5000), chance.randint(1, 20)] for n in range(20)],
    }
    document |= {"venue": "XRAT", "currency": "EUR", "status": "continuous trading", "tick_size": 0.01}
    for n in range(updates):
        document["sequence"] = n
        for side in ("bids", "asks"):
            level = document[side][min(19, int(chance.expovariate(0.4)))]
            level[1:] = [chance.randint(1, 5000), chance.randint(1, 20)]
        yield "RAT-EUR", document


def scenario(name: str, documents: Callable[[int], Iterator[tuple[str, object]]]) -> Callable[[Options], Result]:
    """One scenario."""

    def run(options: Options) -> Result:
        updates = min(options.records // 10, MOST_UPDATES)
        with options.service() as service:
            _publish(service, documents(updates))
            whole, _ = _read(service, "view=record")
            service.reset()
            began = time.monotonic()
            patched, patches = _read(service, "delta=json-patch")
            took, cpu, rss = time.monotonic() - began, service.cpu_s, service.rss_mib
        sizes = [_bytes(body) / updates for body in (whole, patched)]
        zipped = [_gzipped(body) / updates for body in (whole, patched)]
        note = (
            f"{sizes[0]:,.0f} bytes an event whole, {sizes[1]:,.0f} with delta ({sizes[0] / sizes[1]:.1f}×); "
            f"gzip {zipped[0]:,.0f} ({sizes[0] / zipped[0]:.1f}×) and {zipped[1]:,.0f} ({sizes[0] / zipped[1]:.1f}×); "
            f"{patches / updates:.0%} came as patches"
        )
        return Result(
            name, updates / took, _bytes(patched) / took / 1e6, server_cpu_s_per_million=cpu / updates * 1e6,
            server_rss_mib=rss, record_bytes=round(sizes[1]), note=note, options=asdict(options),
        )  # fmt: skip

    return run


def _publish(service: Service, documents: Iterator[tuple[str, object]]) -> None:
    records = [wire.record(document, key) for key, document in documents]
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc}") as channel:
        publish = channel.unary_unary("/rat.v1.ProducerService/Publish", None, None)
        for at in range(0, len(records), 500):
            publish(p.publish_request("documents", records[at : at + 500]))


def _read(service: Service, query: str) -> tuple[list[bytes], int]:
    """The events of an SSE body, and how many of them are patches."""
    url = f"http://127.0.0.1:{service.http}/v1/streams/documents?format=sse&from=earliest&until=now&{query}"
    body = httpx.get(url, timeout=60).content
    events = [event + b"\n\n" for event in body.split(b"\n\n") if b"\ndata: " in event]
    return events, sum(b',"patch":[' in event for event in events)


def _bytes(events: list[bytes]) -> int:
    return sum(map(len, events))


def _gzipped(events: list[bytes]) -> int:
    gzip = zlib.compressobj(6, wbits=31)
    return sum(len(gzip.compress(event)) + len(gzip.flush(zlib.Z_SYNC_FLUSH)) for event in events)


def _vehicle(n: int, chance: random.Random) -> dict[str, Any]:
    return {
        "trip": {"trip_id": f"14010000{n:05d}", "route_id": f"9011001{n % 60:03d}00000", "start_time": "07:12:00",
                 "start_date": "20261120", "schedule_relationship": "SCHEDULED"},
        "vehicle": {"id": f"90311000{n:05d}", "label": f"Bus {n}", "license_plate": f"RAT {n:03d}"},
        "position": {"latitude": 59.3 + chance.random() / 10, "longitude": 18.0 + chance.random() / 10,
                     "bearing": chance.randint(0, 359), "speed": 0.0, "odometer": chance.randint(0, 10**6)},
        "current_status": "IN_TRANSIT_TO", "congestion_level": "UNKNOWN_CONGESTION_LEVEL",
        "occupancy_status": "FEW_SEATS_AVAILABLE", "timestamp": _START,
        "stops_ahead": [_stop(n + k, chance) for k in range(8)],
    }  # fmt: skip


def _stop(n: int, chance: random.Random) -> dict[str, object]:
    return {"stop_id": f"90220010{n % 9973:05d}", "arrival": _START + chance.randint(60, 3600), "uncertainty": 30}


SCENARIOS: dict[str, Callable[[Options], Result]] = {
    "delta-vehicles": scenario("delta-vehicles", vehicles),
    "delta-book": scenario("delta-book", book),
}
