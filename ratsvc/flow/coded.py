"""What a lane writes, compressed once for all of its readers.

How is the coding's business (`formats.compression`). Here it is only known that there are two blocks for the same data:
one that looks back at what the lane wrote before, for those who have received that, and one that stands alone. A reader
that is told something else than most is told it alone, and is new in the lane again.

Cost of a write: one block, a second one while somebody is new, and nothing for a reader beside its push.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Protocol

from ratsvc.core.figures import Figures
from ratsvc.core.record import Batch, Encoding, Framing

if TYPE_CHECKING:
    from ratsvc.flow.hub import Encoder, Member


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

    def note(self, data: Encoding) -> None:
        """It got this, beside any lane."""


class Coded:
    """The readers of a lane, with the `size` at which each entered."""

    __slots__ = ("_blocks", "_encoder", "_figures", "_frame", "_newest", "_readers")

    def __init__(self, blocks: Blocks, encoder: Encoder, frame: Framing, figures: Figures) -> None:
        self._blocks = blocks
        self._encoder = encoder
        self._frame = frame
        self._figures = figures
        self._readers: dict[Member, tuple[int, Coding]] = {}
        self._newest = 0

    def enter(self, member: Member, coding: Coding) -> None:
        """Takes a reader in. To the first one nothing is new."""
        if not self._readers:
            self._blocks.restart()
        self._place(member, coding)

    def left(self, member: Member) -> None:
        """A reader is gone; idempotent."""
        if member in self._readers:
            self._readers.pop(member)[1].leave()

    def write(
        self, data: Encoding, offset: int, members: Collection[Member], batches: Sequence[Batch]
    ) -> tuple[list[Member], int]:
        """Writes the data, which is that of `batches`, to those of the readers who are told it.

        Returns:
            Who cannot keep up, and is no reader any more; and the bytes written.
        """
        blocks, readers = self._blocks, self._readers
        if 2 * len(members) <= len(readers):
            slow, written = self._write_beside(data, offset, members, batches)
        else:
            reach, block = blocks.reach, blocks.block(data)
            some_new = self._newest > reach
            alone = blocks.alone(data, batches, self._encoder.key) if block is None or some_new else b""
            new: set[Member] = set()
            if block is None:
                block = alone
            elif some_new:
                new = {member for member in members if readers[member][0] > reach}
            framed, framed_alone = self._frame(block), self._frame(alone)
            slow = [one for one in members if not one.push(framed_alone if one in new else framed, offset)]
            written = (len(members) - len(new)) * len(block) + len(new) * len(alone)
            for member in slow:
                self.left(member)
            others = [] if len(members) == len(readers) + len(slow) else list(readers.keys() - members)
            for member in others:
                readers[member][1].leave()
            blocks.passed(data)
            for member in others:
                self._place(member, readers[member][1])
        self._figures.compressed(self._encoder.name, len(members) * len(data), written)
        return slow, written

    def _write_beside(
        self, data: Encoding, offset: int, members: Collection[Member], batches: Sequence[Batch]
    ) -> tuple[list[Member], int]:
        block = self._blocks.alone(data, batches, self._encoder.key)
        framed, slow = self._frame(block), []
        for member in members:
            coding = self._readers[member][1]
            coding.leave()
            if member.push(framed, offset):
                coding.note(data)
                self._place(member, coding)
            else:
                del self._readers[member]
                slow.append(member)
        return slow, len(members) * len(block)

    def _place(self, member: Member, coding: Coding) -> None:
        coding.enter(self._blocks)
        self._newest = self._blocks.size
        self._readers[member] = self._newest, coding
