"""QuickMem beside the plain way, in this process: encode and decode together, and what they allocate at their peak."""

from __future__ import annotations

import base64
import gc
import json
import pickle
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import psutil

from ratsvc import quickmem
from ratsvc.bench.scenarios import Options, Result
from ratsvc.bench.service import MIB

KB = 1000
SIZES = {"1kb": KB, "10kb": 10 * KB, "100kb": 100 * KB, "1mb": 1000 * KB}
REFERENCE_MS = {"1kb": 0.02, "10kb": 0.15, "100kb": 1.2, "1mb": 8.0}
"""Of the system that this one is to leave behind, for encode and decode together."""
REFERENCE_SHARE = {"small": 0.60, "large": 0.45, "batch": 0.35}
"""Peak allocations, of the plain way's."""
_PART_S = 0.25


def document(size: int) -> dict[str, object]:
    """A structured document of about `size` bytes of JSON: records with texts, numbers, a list and a map each."""
    one = len(json.dumps(_record(100)))
    return {"kind": "report", "version": 3, "records": [_record(n) for n in range(max(1, size // one))]}


def speed(name: str) -> Callable[[Options], Result]:
    """Encode and decode of a document of a size."""

    def run(options: Options) -> Result:
        value = document(SIZES[name])
        encoded = quickmem.encode(value)
        gc.collect()
        gc.freeze()  # As the service does: what else this process holds is not gone over for the codec's objects.
        if quickmem.decode(encoded) != value:
            raise RuntimeError(f"quickmem-{name}: what came back is not what was encoded")
        ours = _timed(lambda: quickmem.decode(quickmem.encode(value)))
        to, back = _timed(lambda: quickmem.encode(value)), _timed(lambda: quickmem.decode(encoded))
        as_json = _timed(lambda: json.loads(json.dumps(value)))
        as_pickle = _timed(lambda: pickle.loads(pickle.dumps(value)))  # noqa: S301 - our own bytes
        note = (
            f"{len(encoded):,} bytes; encode {to * 1e3:.3f} ms, decode {back * 1e3:.3f} ms, both {ours * 1e3:.3f} ms"
            f" (reference {REFERENCE_MS[name]:g}); json {as_json * 1e3:.3f} ms, {as_json / ours:.1f} ×;"
            f" pickle {as_pickle * 1e3:.3f} ms, {as_pickle / ours:.1f} ×"
        )
        result = Result(
            f"quickmem-{name}", 1 / ours, len(encoded) / ours / 1e6, ours * 1e3, note=note, options=asdict(options)
        )
        result.server_rss_mib = psutil.Process().memory_info().rss / MIB
        return result

    return run


def memory(options: Options) -> Result:
    """Peak allocations of encoding and decoding, beside JSON with base64. For the large case the pool has its buffer
    already, as after the first large value of a program. The plain way to send a batch is one JSON array."""
    small = {**_record(1), "raw": b"x" * 200}
    large = {"name": "file", "data": b"\xf5" * (10 * MIB)}
    batch = [{**_record(n), "raw": b"x" * 200} for n in range(1_000)]
    whole = _peak(lambda: quickmem.decode_batch(quickmem.encode_batch(batch)))
    by_item = _peak(lambda: _item_by_item(batch))
    plain = _peak(lambda: _from_json(_to_json(*batch)))
    cases = (
        ("small", _peak(lambda: quickmem.decode(quickmem.encode(small))), _peak(lambda: _from_json(_to_json(small)))),
        (
            "large",
            _peak(lambda: quickmem.decode(quickmem.encode_to_bytes_large_buffer(large))),
            _peak(lambda: _from_json(_to_json(large))),
        ),
        ("batch", whole, plain),
    )
    shares = [
        f"{name} {got:,} of {against:,} bytes, {got / against:.0%} (reference {REFERENCE_SHARE[name]:.0%})"
        for name, got, against in cases
    ]
    note = f"peak allocations: {'; '.join(shares)}; the batch item by item {by_item:,} bytes, {by_item / plain:.0%}"
    result = Result("quickmem-memory", note=note, options=asdict(options))
    result.server_rss_mib = psutil.Process().memory_info().rss / MIB
    return result


def _item_by_item(batch: list[dict[str, Any]]) -> int:
    """Sends a batch through the incremental encoder and decoder; returns how many items came out."""
    encoder, decoder = quickmem.IncrementalEncoder(count=len(batch)), quickmem.IncrementalDecoder()
    found = sum(len(decoder.feed(encoder.encode(value))) for value in batch)
    found += len(decoder.feed(encoder.finish()))
    decoder.finish()
    return found


def _record(n: int) -> dict[str, Any]:
    return {
        "id": 100_000 + n,
        "name": f"record number {n}",
        "text": "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor.",
        "price": n * 1.25,
        "active": n % 2 == 0,
        "tags": ["alpha", "beta", "gamma"],
        "place": {"city": "Zürich", "lat": 47.37, "lon": 8.54},
    }


def _timed(call: Callable[[], object]) -> float:
    """Seconds a call: the median of several runs."""
    call()
    began = time.perf_counter()
    call()
    repeat = max(1, int(_PART_S / 5 / max(time.perf_counter() - began, 1e-7)))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(repeat):
            call()
        took.append((time.perf_counter() - began) / repeat)
    return median(took)


def _peak(call: Callable[[], object]) -> int:
    """Bytes that a call holds at most."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _to_json(*values: dict[str, Any]) -> str:
    return json.dumps(
        [{k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in one.items()} for one in values]
    )


def _from_json(text: str) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = json.loads(text)
    for value in values:
        for key in ("raw", "data"):
            if key in value:
                value[key] = base64.b64decode(value[key])
    return values


SCENARIOS: dict[str, Callable[[Options], Result]] = {
    **{f"quickmem-{name}": speed(name) for name in SIZES},
    "quickmem-memory": memory,
}
