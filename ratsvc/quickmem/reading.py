"""What reading a document in pieces has in common: the bytes that are there, and how far they were used up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Final

from ratsvc.errors import InvalidValue
from ratsvc.quickmem.codec import QuickCodec

#: What steps give when they need more bytes.
MORE: Final = object()


class Reading(ABC):
    """The bytes of a document, of which the used ones are let go."""

    def __init__(self, codec: QuickCodec) -> None:
        self._codec = codec
        self._data = bytearray()
        self._at = 0
        """What is before it was used; it may lie beyond what is there."""
        self.is_whole = False
        """Whether the document has come to its end."""

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes."""
        used = min(self._at, len(self._data))
        del self._data[:used]
        self._at -= used
        self._data += data

    @abstractmethod
    def steps(self, path: tuple[str, ...]) -> Generator[object, None, None]:
        """Gives the items of the list at `path`, and `MORE` whenever it needs bytes; never ends.

        Raises:
            InvalidValue: the document is broken or over a bound.
        """

    def _check_size(self, size: int) -> None:
        if size > self._codec.max_bytes:
            raise broken(f"has an item of more than {self._codec.max_bytes} bytes")


def broken(why: str) -> InvalidValue:
    """The error for a document that cannot be read on."""
    return InvalidValue(f"the document {why}", field="value")


def no_list(path: tuple[str, ...]) -> InvalidValue:
    """The error for a document without a list at the path."""
    return broken(f"has no list at {'.'.join(path) or 'its top'}")
