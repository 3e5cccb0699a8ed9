"""Values of every type, through each encoding and back.

`quickmem` has three: packed (one MessagePack document), the tree (a protobuf message that any language can make) and
JSON. What comes back of each is compared with what went in, type included.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from quart import Blueprint, request
from rat.v1.value_pb2 import DataValue

import ratsvc
from ratsvc import quickmem
from ratsvc.streaming import StreamingResponse

segqueue = ratsvc.streaming.segqueue_unified
demo = Blueprint("data-value-demo", __name__, url_prefix="/data-value-demo")

MAX_BYTES = 16 * 1024
MAX_SHOWN = 160


class Side(Enum):
    BUY = "buy"


@dataclass
class Point:
    x: float
    y: float


class Cycle(list[object]):
    """A list that holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.append(self)


def nested(levels: int) -> object:
    """Lists within lists."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


SAMPLES: dict[str, object] = {
    "null": None,
    "bool": True,
    "int, the least": -(2**63),
    "int": 1,
    "uint, the greatest": 2**64 - 1,
    "double": 1.0,
    "double, not a number": math.nan,
    "string": "zwölf Ærøskøbing 日本 🚀",
    "bytes": b"\x00\xff rat",
    "timestamp": datetime(2026, 2, 28, 23, 59, 59, 123456, UTC),
    "list": [1, 1.0, True, "1", b"1", None],
    "map": {"id": 7, "tags": ["a", "b"], "raw": b"\x01", "at": datetime(2026, 1, 1, tzinfo=UTC)},
    "dataclass": Point(1.5, -2.0),
    "Enum": Side.BUY,
    "UUID": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "Decimal": Decimal("19.90"),
    "too great an integer": 2**64,
    "a cycle": Cycle(),
    "too deep": nested(33),
    "a time without a zone": datetime(2026, 1, 1),
    "a key that is not text": {1: "one"},
    "no Unicode": "\ud800",
    "a complex number": 1 + 2j,
}

Way = tuple[Callable[[object], Any], Callable[[Any], object]]
WAYS: dict[str, Way] = {
    "packed": (quickmem.pack, quickmem.unpack),
    "tree": (quickmem.to_tree, quickmem.from_data_value),
    "json": (quickmem.to_json, quickmem.from_json),
}


@demo.get("/samples")
async def samples() -> StreamingResponse:
    """A JSON stream made of a list: a line for each sample."""
    rows = [{"name": name, **converted(value)} for name, value in SAMPLES.items()]
    return segqueue.create_segqueue_json_stream_from_list(rows)


@demo.post("/values")
async def values() -> dict[str, object]:
    """One value of the reader's own; what is not a value raises ValueError, which says why."""
    value = quickmem.from_json(await request.body)
    return {"name": "yours", **await asyncio.to_thread(converted, value)}


def converted(value: object) -> dict[str, object]:
    """A value, its type, and what each way makes of it."""
    return {
        "value": shown(value),
        "type": type(value).__name__,
        "ways": {name: round_trip(value, *way) for name, way in WAYS.items()},
    }


def round_trip(value: object, encode: Callable[[object], Any], decode: Callable[[Any], object]) -> dict[str, object]:
    """What is sent, how large it is, and what comes back; or why it cannot be sent."""
    try:
        encoded = encode(value)
    except (ValueError, TypeError) as error:
        return {"error": str(error)}
    back = decode(encoded)
    data = encoded.SerializeToString() if isinstance(encoded, DataValue) else encoded
    sent = data.decode() if encode is quickmem.to_json else data.hex(" ")
    return {
        "bytes": len(data),
        "sent": sent if len(sent) <= MAX_SHOWN else sent[:MAX_SHOWN] + "…",
        "type": type(back).__name__,
        "value": shown(back),
        "kept": is_same(value, back),
    }


def is_same(one: object, other: object) -> bool:
    """Whether two values are equal, and all types in them too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other or (one != one and other != other)


def shown(value: object) -> str:
    """A value as Python writes it, in ASCII where it is not text."""
    text = repr(value) if not isinstance(value, str) else repr(value.encode(errors="backslashreplace").decode())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
