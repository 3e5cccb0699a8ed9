"""What the load publishes: records that say who made them and which they are, and that are known by a digest.

A record is a function of its producer and number, so that a run can be repeated: bodies of 10 B to 20 KiB (most of
them small), of several types, some with a key and an event type, on the producer's own stream or a shared one.
"""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass

from rat.v1 import record_pb2 as pb

from ratsvc.client import Received
from ratsvc.quickmem import from_data_value
from ratsvc.quickmem.packed import pack
from tests.faults.checker import Record

SMALLEST, SMALL, LARGEST = 10, 300, 20 * 1024
LARGE_SHARE = 0.05
_LETTERS = "abc xyz\n\r\n0123456789 äßπ 中文 😀 \"'\\<>&:"


@dataclass(slots=True, frozen=True)
class Item:
    """A record before it is published."""

    stream: str
    value: dict[str, object]
    key: str
    event: str
    note: Record


def item(producer: str, number: int, streams: tuple[str, ...]) -> Item:
    """The `number`-th record of `producer`, on one of `streams`."""
    chance = random.Random(f"{producer}/{number}")
    size = chance.randint(SMALL, LARGEST) if chance.random() < LARGE_SHARE else chance.randint(SMALLEST, SMALL)
    value: dict[str, object] = {"producer": producer, "number": number}
    match chance.randrange(5):
        case 0:
            value["bytes"] = chance.randbytes(size)
        case 1:
            value["list"] = [chance.randint(-(2**53), 2**53) for _ in range(size // 8)]
        case 2:
            value["map"] = {f"k{at}": [chance.random(), None, True] for at in range(size // 16)}
        case _:
            value["text"] = "".join(chance.choices(_LETTERS, k=min(size, 64))) * (size // 64 + 1)
    stream = chance.choice(streams)
    key = f"key {chance.randrange(5)}" if chance.random() < 0.3 else ""
    event = "tick" if chance.random() < 0.3 else ""
    return Item(stream, value, key, event, Record(stream, producer, number, digest(pack(value), key, event)))


def digest(packed: bytes, key: str, event: str) -> str:
    """What a record is known by in the notes."""
    return hashlib.blake2b(b"%b\0%b\0%b" % (key.encode(), event.encode(), packed), digest_size=16).hexdigest()


def received(record: Received) -> Record:
    """A record as a reader got it, typed (`binary`) or from JSON."""
    value = record.value
    if isinstance(value, dict) and isinstance(value.get("bytes"), str):
        value = value | {"bytes": base64.b64decode(value["bytes"])}  # JSON has no bytes: RFC 4648 (DataValue mapping)
    return _record(record.stream, value, digest(pack(value), record.key, record.event))


def stored(stream: str, record: pb.Record) -> Record:
    """A record as the log has it: the digest is of the very bytes."""
    value = from_data_value(record.value)
    packed = record.value.packed if record.value.WhichOneof("kind") == "packed" else pack(value)
    return _record(stream, value, digest(packed, record.key, record.event))


def _record(stream: str, value: object, payload: str) -> Record:
    match value:
        case {"producer": str(producer), "number": int(number)}:
            return Record(stream, producer, number, payload)
        case _:
            return Record(stream, "nobody", 0, payload)
