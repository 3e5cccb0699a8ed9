"""Binary: `rat.v1.Frame` messages, each after its length as a varint; and the bare frames for gRPC.

A batch's frame is put together from the records as they were published: a head of protobuf, then their run. Cost: 6 µs
and a copy; 0.09 µs a record where the records did not come as one run.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET
from rat.v1 import record_pb2 as pb

from ratsvc.core.items import End, Gap, Item, Reconnect
from ratsvc.core.record import Batch
from ratsvc.core.run import varint
from ratsvc.formats.base import Format, View, encode_item
from ratsvc.quickmem import to_data_value, wire
from ratsvc.quickmem.patch import Operation

MAX_FRAME_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""A gRPC client takes messages of at most 4 MiB unless it is told otherwise."""
BATCH_OVERHEAD_BYTES = 256
"""Around the records of a batch: the stream's name, offset, time, tags and lengths."""
RECORD_OVERHEAD_BYTES = 16
"""Around a record: tag, length, and the offset where those do not follow one another."""
_BATCH_TAG = b"\x12"  # Frame.batch: field 2, length-delimited


class Frames(Format):
    """Bare `rat.v1.Frame` messages, one a call: what gRPC sends."""

    name = "frames"
    media_type = "application/grpc+proto"

    def __init__(
        self, epoch: str, view: View = View.VALUE, int64_as_string: bool = False, retry_ms: int = 2000
    ) -> None:
        super().__init__(epoch, view, int64_as_string, retry_ms)
        self.key = self.name  # No option changes a frame.

    def _encode(self, batch: Batch) -> bytes:
        return self._whole(batch)

    def _whole(self, batch: Batch) -> bytes:
        return b"".join(self._parts(batch)[0])

    def _patched(self, batch: Batch, at: int) -> bytes:
        """The frame of one record of a batch with patches."""
        operations = batch.patches[at] if batch.patches else None
        if operations is None:
            return self._whole(batch.part(at, at + 1))
        time = Timestamp()
        time.FromNanoseconds(batch.time_ns)
        patch = pb.Patch(
            stream=batch.stream,
            offset=batch.offsets[at],
            time=time,
            key=batch.keys[at] if batch.keys else "",
            event=batch.events[at] if batch.events else "",
            headers=wire.headers(batch.records[at]),
            operations=map(_operation, cast(list[Operation], operations)),
        )
        return self._frame(pb.Frame(patch=patch))

    def _parts(self, batch: Batch) -> tuple[list[bytes], int]:
        """The pieces of a batch's frame, and their size."""
        time = Timestamp()
        time.FromNanoseconds(batch.time_ns)
        message = pb.RecordBatch(stream=batch.stream, first_offset=batch.first, time=time, snapshot=batch.point)
        if not isinstance(batch.offsets, range):
            message.offsets.extend(batch.offsets)
        head = message.SerializeToString()
        run = batch.kept.pieces
        size = len(head) + sum(map(len, run))
        start = _BATCH_TAG + varint(size)
        # Fields may come in any order (protobuf encoding guide): the records follow the rest.
        return [start, head, *run], len(start) + size

    def start(self, offset: int, point: int = 0) -> bytes:
        return self._frame(pb.Frame(start=pb.Start(cursor=self.cursor(offset, point), epoch=self.epoch)))

    def gap(self, gap: Gap) -> bytes:
        return self._frame(pb.Frame(gap=gap_message(gap, self.epoch)))

    def end(self, end: End) -> bytes:
        return self._frame(pb.Frame(end=pb.End(cursor=self.cursor(end.offset, end.point), reason=end.reason)))

    def heartbeat(self, offset: int, point: int = 0) -> bytes:
        return self._frame(pb.Frame(heartbeat=pb.Heartbeat(cursor=self.cursor(offset, point))))

    def reconnect(self, reconnect: Reconnect) -> bytes:
        cursor = self.cursor(reconnect.offset, reconnect.point)
        word = pb.Reconnect(cursor=cursor, retry_ms=reconnect.retry_ms, reason=reconnect.reason)
        return self._frame(pb.Frame(reconnect=word))

    def _frame(self, frame: pb.Frame) -> bytes:
        return frame.SerializeToString()

    def item(self, item: Item) -> bytes:
        """One item as one frame."""
        return bytes(encode_item(self, item))

    def frames(self, item: Item) -> list[bytes]:
        """One item as frames that any client takes: more than one for a batch over MAX_FRAME_BYTES, also shared by
        all its readers. A record that alone is over it stays whole."""
        if isinstance(item, Batch) and item.patches:
            return [
                bytes(item.encoded((self.key, at), lambda _, at=at: self._patched(item, at)))  # type: ignore[misc]
                for at in range(len(item))
            ]
        if not isinstance(item, Batch) or framed_bytes(item) <= MAX_FRAME_BYTES:
            return [self.item(item)]
        found = []
        at = 0
        while at < len(item):
            stop = at + max(1, fitting(item, at, MAX_FRAME_BYTES))
            found.append(self._part(item, at, stop))
            at = stop
        return found

    def _part(self, batch: Batch, start: int, stop: int) -> bytes:
        return bytes(batch.encoded((self.key, start, stop), lambda whole: self._encode(whole.part(start, stop))))


class Binary(Frames):
    """`application/vnd.rat.v1.frames+protobuf`: frames with their lengths."""

    name = "binary"
    media_type = "application/vnd.rat.v1.frames+protobuf"

    def _encode(self, batch: Batch) -> bytes:
        if batch.patches:
            return b"".join([self._patched(batch, at) for at in range(len(batch))])
        return self._whole(batch)

    def _whole(self, batch: Batch) -> bytes:
        parts, size = self._parts(batch)
        parts.insert(0, varint(size))
        return b"".join(parts)

    def _frame(self, frame: pb.Frame) -> bytes:
        data = frame.SerializeToString()
        return varint(len(data)) + data


def framed_bytes(batch: Batch) -> int:
    """How large a batch's frame is at most."""
    return BATCH_OVERHEAD_BYTES + batch.size + RECORD_OVERHEAD_BYTES * len(batch)


def fitting(batch: Batch, start: int, room: int) -> int:
    """How many of a batch's records, from the index `start` on, surely fit into a frame of `room` bytes."""
    ends = list(accumulate(len(record) + RECORD_OVERHEAD_BYTES for record in batch.records[start:]))
    return bisect_right(ends, room - BATCH_OVERHEAD_BYTES)


def _operation(operation: Operation) -> pb.PatchOperation:
    found = pb.PatchOperation(op=operation.op, path=operation.path)
    if operation.value is not UNSET:
        found.value.CopyFrom(to_data_value(operation.value))
    return found


def gap_message(gap: Gap, epoch: str) -> pb.Gap:
    """A gap as `rat.v1.Gap`."""
    reason = f"GAP_REASON_{gap.reason.name}"
    found = pb.Gap(to=f"{epoch}-{gap.to}", reason=reason, skipped=gap.skipped or 0)
    setattr(found, "from", f"{gap.from_epoch or epoch}-{gap.after}")
    return found
