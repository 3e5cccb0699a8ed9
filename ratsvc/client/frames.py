"""Bodies taken apart as they come: SSE, JSON lines (record view) and binary, to the same few items."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
from google.protobuf.message import DecodeError
from httpx_sse import EventSource
from rat.v1 import record_pb2 as pb

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import from_data_value
from ratsvc.quickmem.patch import Operation

MAX_FRAME_BYTES = 64 * 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True, frozen=True)
class Received:
    """A record as it was read. Values are typed from `binary`; from the others they are what JSON can say."""

    stream: str
    offset: int
    cursor: str
    time: datetime
    value: object
    key: str = ""
    event: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class GapSeen:
    """Records after the cursor `after`, up to `cursor`, that can no longer be had."""

    after: str
    cursor: str
    reason: str
    skipped: int = 0


@dataclass(slots=True, frozen=True)
class Moved:
    """Nothing new; the place is `cursor`."""

    cursor: str


@dataclass(slots=True, frozen=True)
class Ended:
    """Nothing more comes."""

    reason: str


@dataclass(slots=True, frozen=True)
class ComeBack:
    """The service asks to reconnect after `retry_s` seconds."""

    cursor: str
    retry_s: float


@dataclass(slots=True, frozen=True)
class Patched(Received):
    """A record told by what changed: its value is the list of operations."""


Word = Received | GapSeen | Moved | Ended | ComeBack


async def read_sse(response: httpx.Response) -> AsyncIterator[Word]:
    """Words of an SSE body with `view=record`."""
    async for event in EventSource(response).aiter_sse():
        if event.event in ("gap", "end", "reconnect"):
            yield _word(event.event, msgspec.json.decode(event.data))
        elif event.data:
            yield _record(msgspec.json.decode(event.data))
        elif event.id:
            yield Moved(event.id)


async def read_ndjson(response: httpx.Response) -> AsyncIterator[Word]:
    """Words of a JSON lines body with `view=record`."""
    rest = b""
    async for data in response.aiter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if not line:
                continue
            document = msgspec.json.decode(line)
            if "offset" in document:
                yield _record(document)
            else:
                ((name, body),) = document.items()
                yield _word(name, body)


async def read_binary(response: httpx.Response) -> AsyncIterator[Word]:
    """Words of a binary body. Raises InvalidValue when it is not one."""
    buffer = bytearray()
    epoch = ""
    async for data in response.aiter_bytes():
        buffer += data
        at = 0
        while (frame := _frame(buffer, at)) is not None:
            start, at = frame
            try:
                message = pb.Frame.FromString(bytes(buffer[start:at]))
            except DecodeError:
                raise InvalidValue("the body is not made of rat.v1.Frame messages") from None
            if message.WhichOneof("kind") == "start":
                epoch = message.start.epoch
                yield Moved(message.start.cursor)
            elif message.WhichOneof("kind") == "patch":
                yield _patch(message.patch, epoch)
            elif message.WhichOneof("kind") == "batch":
                for record in _records(message.batch, epoch):
                    yield record
            else:
                yield _frame_word(message)
        del buffer[:at]


def _frame(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """Where the next whole frame's bytes start and stop; None when more is needed."""
    size = shift = 0
    while at < len(buffer):
        byte = buffer[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if size > MAX_FRAME_BYTES or shift > 35:
            raise InvalidValue(f"a frame is over {MAX_FRAME_BYTES} bytes")
        if byte < 0x80:
            return (at, at + size) if at + size <= len(buffer) else None
    return None


def _records(batch: pb.RecordBatch, epoch: str) -> list[Received]:
    time = _EPOCH + timedelta(microseconds=batch.time.ToMicroseconds())
    first = batch.first_offset
    offsets = batch.offsets or range(first, first + len(batch.records))
    return [
        Received(
            batch.stream,
            offset,
            f"{epoch}-{offset}~{batch.snapshot}" if batch.snapshot else f"{epoch}-{offset}",
            time,
            from_data_value(record.value),
            record.key,
            record.event,
            dict(record.headers),
        )
        for offset, record in zip(offsets, batch.records, strict=True)
    ]


def _patch(patch: pb.Patch, epoch: str) -> Patched:
    operations = [
        Operation(one.op, one.path, from_data_value(one.value))
        if one.HasField("value")
        else Operation(one.op, one.path)
        for one in patch.operations
    ]
    time = _EPOCH + timedelta(microseconds=patch.time.ToMicroseconds())
    place = f"{epoch}-{patch.offset}"
    return Patched(patch.stream, patch.offset, place, time, operations, patch.key, patch.event, dict(patch.headers))


def _frame_word(frame: pb.Frame) -> Word:
    match frame.WhichOneof("kind"):
        case "gap":
            reason = pb.GapReason.Name(frame.gap.reason).removeprefix("GAP_REASON_").lower()
            return GapSeen(getattr(frame.gap, "from"), frame.gap.to, reason, frame.gap.skipped)
        case "end":
            return Ended(frame.end.reason)
        case "heartbeat":
            return Moved(frame.heartbeat.cursor)
        case "reconnect":
            return ComeBack(frame.reconnect.cursor, frame.reconnect.retry_ms / 1000)
        case kind:
            raise InvalidValue(f"a frame of an unknown kind: {kind}")


def _record(document: dict[str, object]) -> Received:
    if "patch" in document:
        document["value"] = msgspec.convert(document.pop("patch"), list[Operation])
        return msgspec.convert(document, Patched)
    return msgspec.convert(document, Received)


def _word(name: str, body: dict[str, object]) -> Word:
    match name:
        case "gap":
            skipped = body.get("skipped", 0)
            return GapSeen(str(body["from"]), str(body["to"]), str(body["reason"]), int(str(skipped)))
        case "end":
            return Ended(str(body["reason"]))
        case "heartbeat":
            return Moved(str(body["cursor"]))
        case "reconnect":
            return ComeBack(str(body.get("cursor", "")), float(str(body["retry_ms"])) / 1000)
        case _:
            raise InvalidValue(f"a word that is not known: {name!r}")
