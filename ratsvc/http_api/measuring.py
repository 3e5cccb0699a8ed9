"""What the service holds now, by part, and what its tasks wait for: for `/debug/`.

Real figures, made when they are asked for. What has many parts (batches, tasks) is gone through in pieces, and the
event loop turns between them.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from pathlib import Path
from types import CoroutineType
from typing import Any, TypeVar

import psutil

from ratsvc.flow.broker import Broker

T = TypeVar("T")
PIECE = 200
MAX_AWAITS = 50


async def memory(broker: Broker) -> dict[str, Any]:
    """Bytes and counts of every part that holds something, with its limit where it has one."""
    limits, figures, stats = broker.settings.limits, broker.figures, broker.stats()
    tail, history = broker.tail, broker.history
    records = 0
    encodings: Counter[str] = Counter()
    async for batch in _in_pieces(list(tail.batches)):
        records += batch.size
        for key, data in batch.encodings.items():
            encodings[str(key[0] if isinstance(key, tuple) else key)] += len(data)
    waiting = 0
    connections = list(figures.http_open.values())
    async for buffered in _in_pieces(connections):
        waiting += buffered()
    process = psutil.Process().memory_info()
    return {
        "process": {
            "resident_bytes": process.rss,
            "python_blocks": sys.getallocatedblocks(),
        },
        "queue": {
            "records": stats["queue_records"],
            "bytes": stats["queue_bytes"],
            "max_records": limits.queue_records,
            "max_bytes": limits.queue_bytes,
        },
        "log": {
            "engine": "lmdb" if broker.durable else "memory",
            "in_memory": not broker.durable,
            "streams": stats["streams"],
            "records": stats["log_records"],
            "bytes": stats["log_bytes"],
            "producers": stats["producers"],
        },
        "tail": {"batches": len(tail), "bytes": records, "counted_bytes": tail.bytes, "max_bytes": limits.tail_bytes},
        "history": {"stretches": len(history), "counted_bytes": history.bytes, "max_bytes": limits.history_bytes},
        "encodings": {"bytes": sum(encodings.values()), "by_format": dict(encodings)},
        "connections": {
            "http": len(connections),
            "http_waiting_bytes": waiting,
            "http_max": limits.connections,
            "grpc_calls": {method: count for method, count in figures.open_calls.items() if count},
            "subscriptions": len(broker.subscriptions),
        },
    }


async def tasks(most: int) -> dict[str, Any]:
    """The event loop's tasks: how many wait at each place, and `most` of them one by one."""
    found = list(asyncio.all_tasks())
    places: Counter[str] = Counter()
    listed: list[dict[str, Any]] = []
    async for task in _in_pieces(found):
        coroutine = task.get_coro()
        awaits = _awaits(coroutine)
        places[awaits[-1] if awaits else "?"] += 1
        if len(listed) < most:
            listed.append({"name": task.get_name()[:100], "runs": _called(coroutine), "waits": awaits})
    return {"count": len(found), "waiting_at": dict(places.most_common(100)), "tasks": listed}


async def _in_pieces(items: Sequence[T]) -> AsyncIterator[T]:
    """The items; every PIECE of them the event loop has its turn."""
    waiting = iter(items)
    while piece := list(islice(waiting, PIECE)):
        for item in piece:
            yield item
        await asyncio.sleep(0)


def _awaits(coroutine: Any) -> list[str]:
    """Where a coroutine is, and where what it awaits is, the innermost last."""
    found: list[str] = []
    while coroutine is not None and len(found) < MAX_AWAITS:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        frame = frame or getattr(coroutine, "ag_frame", None)
        if frame is not None:  # that of a coroutine in C has neither module nor line
            module = frame.f_globals.get("__name__") or Path(frame.f_code.co_filename).stem
            found.append(f"{module}.{frame.f_code.co_qualname}:{frame.f_lineno or '?'}")
        inner = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        coroutine = inner or getattr(coroutine, "ag_await", None)
    return found


def _called(coroutine: Any) -> str:
    """The function that a task runs."""
    name = coroutine.__qualname__ if isinstance(coroutine, CoroutineType) else type(coroutine).__qualname__
    return str(name)
