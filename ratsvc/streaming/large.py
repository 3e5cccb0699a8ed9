"""Files and other large data in a stream, in constant memory.

A source waits in the queue as one item and is read when its turn comes, at the client's pace, in a thread: a send
never waits for a disk. What it reads from is secured when it is sent (a path is opened, a file's descriptor is
duplicated), so the caller may close its file; a buffer is not copied and must stay as it is.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from time import monotonic
from typing import BinaryIO, Final, cast

from ratsvc.formats import sse
from ratsvc.quickmem.codec import CODEC

CHUNK_BYTES: Final = 32 * 1024
MAX_CHUNK_BYTES: Final = 1024 * 1024
#: A block is given when it has so many bytes, or was read for so long.
_BLOCK_BYTES: Final = 256 * 1024
_BLOCK_S: Final = 0.02
_FILE_BYTES: Final = 256 * 1024

LargeData = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO | Iterable[bytes]


class Pieces:
    """Data of any kind as chunks of one size.

    Args:
        data: bytes, a path, a binary file (from where it stands) or an iterable of bytes.
        chunk_bytes: the size of each chunk but the last, 1 to 1 MiB.

    Raises:
        ValueError: the size of a chunk is out of range.
        TypeError: the data is none of these.
        OSError: the path cannot be opened.
    """

    def __init__(self, data: LargeData, chunk_bytes: int = CHUNK_BYTES) -> None:
        if not 1 <= chunk_bytes <= MAX_CHUNK_BYTES:
            raise ValueError(f"chunk_size must be 1 to {MAX_CHUNK_BYTES} bytes, got {chunk_bytes}")
        self.chunk_bytes = chunk_bytes
        self.name: str | None = None
        self.size: int | None = None
        """None when it shows only at the end."""
        self._close: Callable[[], None] | None = None
        self._chunks = self._open(data)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Lets go of what was opened."""
        if self._close is not None:
            self._close()

    def _open(self, data: LargeData) -> Iterator[bytes]:
        if isinstance(data, io.BytesIO):
            self.size = len(data.getbuffer()) - data.tell()
            return self._cut(memoryview(data.getvalue())[data.tell() :])
        if isinstance(data, bytes | bytearray | memoryview):
            view = memoryview(data).cast("B")
            self.size = len(view)
            return self._cut(view)
        if isinstance(data, os.PathLike):
            with Path(data).open("rb", buffering=0) as file:
                return self._reader(cast(BinaryIO, file))
        if hasattr(data, "read"):
            return self._reader(cast(BinaryIO, data))
        if isinstance(data, str) or not isinstance(data, Iterable):
            raise TypeError(f"Expected bytes data, a path, a binary file or an iterable, got {type(data).__name__}")
        return self._even(iter(data))

    def _reader(self, file: BinaryIO) -> Iterator[bytes]:
        name = getattr(file, "name", None)
        self.name = os.path.basename(name) if isinstance(name, str) else None
        if isinstance(file, io.TextIOBase):
            raise TypeError("Expected bytes data, got a file that is open as text")
        try:
            own = io.FileIO(os.dup(file.fileno()))
        except (OSError, AttributeError):
            return self._even(iter(lambda: file.read(self.chunk_bytes), b""))  # Not a file of the system.
        self._close = own.close
        about = os.fstat(own.fileno())
        if not S_ISREG(about.st_mode):
            return self._even(iter(lambda: own.read(self.chunk_bytes), b""))
        start = file.tell()
        self.size = max(0, about.st_size - start)
        return self._file(own.fileno(), start)

    def _file(self, descriptor: int, at: int) -> Iterator[bytes]:
        """Reads a regular file by its descriptor, whatever its place, and not what is appended after the call. One
        under /proc has no size, and is read to its end."""
        step = max(1, _FILE_BYTES // self.chunk_bytes) * self.chunk_bytes
        end = at + self.size if self.size else sys.maxsize
        while at < end and (block := os.pread(descriptor, min(step, end - at), at)):
            yield from self._cut(memoryview(block))
            at += len(block)

    def _cut(self, view: memoryview) -> Iterator[bytes]:
        for at in range(0, len(view), self.chunk_bytes):
            yield bytes(view[at : at + self.chunk_bytes])

    def _even(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Parts of any size as chunks of one."""
        rest = b""
        for part in parts:
            if not isinstance(part, bytes | bytearray | memoryview):
                raise TypeError(f"Expected bytes data, got {type(part).__name__}")
            rest += part
            whole = len(rest) - len(rest) % self.chunk_bytes
            yield from self._cut(memoryview(rest)[:whole])
            rest = rest[whole:]
        if rest:
            yield rest


class Source:
    """Large data whose turn will come.

    Args:
        pieces: the data.
        frame: what stands around each chunk.
    """

    breaks_on_error = True
    """Whether a failure to read can be said only by breaking the response off."""

    def __init__(self, pieces: Pieces, frame: Callable[[bytes], bytes]) -> None:
        self._pieces = pieces
        self._frame = frame
        self._blocks = self._encoded()

    def __len__(self) -> int:
        """What it counts in the queue: what it takes in memory while it is read."""
        return self._pieces.chunk_bytes

    def next_block(self) -> bytes | None:
        """The next bytes to write: what a short time brings, at most a few chunks; None at the end. May wait."""
        parts: list[bytes] = []
        size, until = 0, monotonic() + _BLOCK_S
        while size < _BLOCK_BYTES and (not parts or monotonic() < until):
            part = next(self._blocks, None)
            if part is None:
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts) if parts else None

    def failed(self) -> bytes:
        """What says that reading failed."""
        return b""

    def close(self) -> None:
        """Lets go of the data."""
        self._pieces.close()

    def _encoded(self) -> Iterator[bytes]:
        return map(self._frame, self._pieces)


class SseFile(Source):
    """Large data as events of one type, told apart by `part`: `begin`, `chunk`s and `end`."""

    breaks_on_error = False

    def __init__(self, pieces: Pieces, event: bytes) -> None:
        super().__init__(pieces, bytes)
        self._event = event

    def failed(self) -> bytes:
        return self._part({"part": "failed"})

    def _encoded(self) -> Iterator[bytes]:
        pieces = self._pieces
        step = pieces.chunk_bytes
        total = None if pieces.size is None else -(-pieces.size // step)
        yield self._part(
            {"part": "begin", "name": pieces.name, "size": pieces.size, "total": total, "chunk_size": step}
        )
        digest = hashlib.sha256()
        index = offset = 0
        for chunk in pieces:
            digest.update(chunk)
            part = {"part": "chunk", "index": index, "total": total, "offset": offset, "data": chunk}
            yield self._part(part)
            index += 1
            offset += len(chunk)
        yield self._part({"part": "end", "size": offset, "total": index, "sha256": digest.hexdigest()})

    def _part(self, part: dict[str, object]) -> bytes:
        return sse.block(CODEC.encode_json(part), self._event)
