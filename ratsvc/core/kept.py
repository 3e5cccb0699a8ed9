"""Records as they are kept: each an object of its own, or all in one piece of memory, their run (see `run`), or both.

They stay from their publish on as they came, and go from draft to batch as they are. What is not there is made of what
is there when it is asked for, and not kept. Once a batch was delivered it is settled: small records are their run then.
"""

from __future__ import annotations

from array import array

from ratsvc.core.run import cut, pieces

MAX_JOINED_BYTES = 4_096
"""Records that are larger than this on average stay objects of their own."""


class Kept:
    """Serialised `rat.v1.Record` messages.

    Args:
        each: objects; None where there is their `run` alone, with their `sizes`.
        run: as they came, where they came as one.
        sizes: bytes of each, where they are known.
        size: bytes of all, where they were counted.
    """

    __slots__ = ("_each", "_sizes", "run", "size")

    def __init__(
        self,
        each: list[bytes] | None,
        run: bytes | None = None,
        sizes: array[int] | None = None,
        size: int | None = None,
    ) -> None:
        self._each = each
        self._sizes = sizes
        self.run = run
        """The run, where it is there."""
        self.size = sum(sizes or map(len, each or ())) if size is None else size

    def __len__(self) -> int:
        known = self._sizes if self._each is None else self._each
        assert known is not None
        return len(known)

    @property
    def is_run(self) -> bool:
        """Whether their run is all that there is."""
        return self._each is None

    @property
    def each(self) -> list[bytes]:
        """Each as an object of its own."""
        if self._each is not None:
            return self._each
        assert self.run is not None
        return cut(self.run, self.sizes)

    @property
    def pieces(self) -> list[bytes]:
        """What joined is their run."""
        return [self.run] if self.run is not None else pieces(self.each)

    @property
    def sizes(self) -> array[int]:
        """Bytes of each."""
        if self._sizes is None:
            self._sizes = array("I", list(map(len, self.each)))
        return self._sizes

    def settle(self) -> None:
        """Keeps small records as their run alone, large ones and a single one as objects alone."""
        each = self._each
        if each is None:
            return
        if self.size <= MAX_JOINED_BYTES * len(each) and len(each) > 1:
            self.run = self.run or b"".join(pieces(each))
            self._sizes = self.sizes
            self._each = None
        else:
            self.run = self._sizes = None
