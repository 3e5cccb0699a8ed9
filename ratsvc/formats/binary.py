"""Binary: `rat.v1.Frame` messages, each after its length as a varint; and the bare frames for gRPC.

A batch's frame is put together from the records as they were published: a head of protobuf, then their run. Cost: 6 µs
and a copy; 0.09 µs a record where the records did not come as one run.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from rat.v1 import record_pb2 as pb

from ratsvc.core.record import Batch, End, Gap, Item, Reconnect
from ratsvc.formats.base import Format, View, encode_items
from ratsvc.quickmem.framing import varint

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
        return b"".join(self._parts(batch)[0])

    def _parts(self, batch: Batch) -> tuple[list[bytes], int]:
        """The pieces of a batch's frame, and their size."""
        time = Timestamp()
        time.FromNanoseconds(batch.time_ns)
        message = pb.RecordBatch(stream=batch.stream, first_offset=batch.first, time=time)
        if not isinstance(batch.offsets, range):
            message.offsets.extend(batch.offsets)
        head = message.SerializeToString()
        run = batch.run
        size = len(head) + sum(map(len, run))
        start = _BATCH_TAG + varint(size)
        # Fields may come in any order (protobuf encoding guide): the records follow the rest.
        return [start, head, *run], len(start) + size

    def start(self, offset: int) -> bytes:
        return self._frame(pb.Frame(start=pb.Start(cursor=self.cursor(offset), epoch=self.epoch)))

    def gap(self, gap: Gap) -> bytes:
        return self._frame(pb.Frame(gap=gap_message(gap, self.epoch)))

    def end(self, end: End) -> bytes:
        return self._frame(pb.Frame(end=pb.End(cursor=self.cursor(end.offset), reason=end.reason)))

    def heartbeat(self, offset: int) -> bytes:
        return self._frame(pb.Frame(heartbeat=pb.Heartbeat(cursor=self.cursor(offset))))

    def reconnect(self, reconnect: Reconnect) -> bytes:
        cursor = self.cursor(reconnect.offset)
        word = pb.Reconnect(cursor=cursor, retry_ms=reconnect.retry_ms, reason=reconnect.reason)
        return self._frame(pb.Frame(reconnect=word))

    def _frame(self, frame: pb.Frame) -> bytes:
        return frame.SerializeToString()

    def item(self, item: Item) -> bytes:
        """One item as one frame."""
        return bytes(encode_items(self, [item]))


class Binary(Frames):
    """`application/vnd.rat.v1.frames+protobuf`: frames with their lengths."""

    name = "binary"
    media_type = "application/vnd.rat.v1.frames+protobuf"

    def _encode(self, batch: Batch) -> bytes:
        parts, size = self._parts(batch)
        parts.insert(0, varint(size))
        return b"".join(parts)

    def _frame(self, frame: pb.Frame) -> bytes:
        data = frame.SerializeToString()
        return varint(len(data)) + data


def gap_message(gap: Gap, epoch: str) -> pb.Gap:
    """A gap as `rat.v1.Gap`."""
    reason = f"GAP_REASON_{gap.reason.name}"
    found = pb.Gap(to=f"{epoch}-{gap.to}", reason=reason, skipped=gap.skipped or 0)
    setattr(found, "from", f"{gap.from_epoch or epoch}-{gap.after}")
    return found
