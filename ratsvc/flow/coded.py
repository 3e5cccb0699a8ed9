"""A lane whose readers take its bytes compressed: what is written is compressed once for all of them.

How is the coding's business (`formats.compression`). The lane knows that there are two blocks for the same data: one
that looks back at what the lane wrote before, for those who have received that, and one that stands alone.

Cost of a write: one block, a second one while somebody is new, and 0.03 µs a reader.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from time import monotonic
from typing import Protocol

from ratsvc.core.figures import Figures
from ratsvc.core.record import Batch, Encoding, Framing
from ratsvc.flow.hub import Encoder, Lane, Member, Selection


class Blocks(Protocol):
    """What is shared by the readers of a lane. For each write: `block`, `alone`, and `passed` once it was written."""

    size: int
    """Bytes that the lane has written, before compression."""
    crc: int

    @property
    def reach(self) -> int:
        """How far the next block can look back: for those who entered at this `size`, or before."""

    def restart(self) -> None: ...

    def block(self, data: Encoding) -> bytes | None: ...

    def alone(self, data: Encoding, batches: Sequence[Batch], key: Hashable) -> bytes: ...

    def passed(self, data: Encoding) -> None: ...


class Coding(Protocol):
    """The compression of one response."""

    @property
    def name(self) -> str: ...

    def lane(self) -> Blocks: ...

    def enter(self, lane: Blocks) -> None:
        """The response gets what the lane writes from now on."""

    def leave(self) -> None:
        """It got all until now, and gets no more. Idempotent."""


class CodedLane(Lane):
    """The live readers of a selection in one format, framing and coding."""

    __slots__ = ("_blocks", "_newest")

    def __init__(
        self,
        selection: Selection,
        encoder: Encoder,
        heartbeat_s: float,
        frame: Framing,
        figures: Figures,
        blocks: Blocks,
    ) -> None:
        super().__init__(selection, encoder, heartbeat_s, frame, figures)
        self._blocks = blocks
        self._newest = 0

    def enter(self, member: Member, coding: Coding | None = None) -> None:
        """Takes a member in. To the first one nothing is new."""
        assert coding is not None
        if not self.members:
            self._blocks.restart()
        self.members[member] = self._newest = self._blocks.size
        coding.enter(self._blocks)

    def _write(self, data: Encoding, offset: int, batches: Sequence[Batch] = ()) -> int:
        if not data:
            return super()._write(data, offset)
        self.written_at = monotonic()
        blocks, readers = self._blocks, len(self.members)
        reach, block = blocks.reach, blocks.block(data)
        some_new = self._newest > reach
        alone = blocks.alone(data, batches, self.encoder.key) if block is None or some_new else b""
        if block is None:
            block = alone
        framed, framed_alone = self._frame(block), self._frame(alone)
        new = sum(since > reach for since in self.members.values()) if some_new else 0
        self._dismiss(
            [
                member
                for member, since in self.members.items()
                if not member.push(framed if since <= reach else framed_alone, offset)
            ]
        )
        blocks.passed(data)
        written = (readers - new) * len(block) + new * len(alone)
        self._figures.compressed(self.encoder.name, readers * len(data), written)
        return written
