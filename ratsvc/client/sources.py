"""What an upload reads, by position: a file, bytes, or chunks from an iterator or an open file.

To go on after a break, what was sent has to be read again. Chunks can be, when a function is given that makes their
iterator anew, or something that can be iterated over again (a list, not a generator). Of others nothing is kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import suppress
from errno import EINVAL
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, cast

CHUNK_BYTES = 256 * 1024
_END = object()

Chunks = Iterable[bytes] | AsyncIterable[bytes]
Uploadable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Chunks | Callable[[], Chunks]


class ComeButOnce(Exception):
    """Chunks that were read are asked for again, and cannot be made anew."""


class Source(Protocol):
    """Bytes by position."""

    name: str
    """Its own name, if it has one."""
    size: int
    """0 when it is not known."""

    async def read(self, position: int) -> bytes:
        """The chunk that begins at `position`; empty at the end."""

    def has(self, position: int) -> bool:
        """Whether `position` can be read without reading again what is before it."""

    async def close(self) -> None:
        """Lets go of what was opened."""


async def opened(source: Uploadable) -> Source:
    """The source that a program gave.

    Raises:
        OSError: the path cannot be read.
        TypeError: it is none.
    """
    if isinstance(source, str | os.PathLike):
        file = await asyncio.to_thread(open, source, "rb")
        try:
            return FileSource(file, os.fsencode(Path(source).name).decode("utf-8", "replace"))
        except BaseException:
            file.close()
            raise
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesSource(bytes(source))
    if hasattr(source, "read"):
        return ChunkSource(iter(partial(source.read, CHUNK_BYTES), b""))
    if callable(source) or isinstance(source, Iterable | AsyncIterable):
        return ChunkSource(cast(Chunks | Callable[[], Chunks], source))
    raise TypeError(f"Expected a path, bytes, chunks or a function that makes them, got {type(source).__name__}")


class FileSource:
    """A file as long as it is now, read off the event loop: what is appended later is not of it.

    Raises:
        OSError: it cannot be read at a position, or has bytes but no size (as files under /proc).
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.size = os.fstat(file.fileno()).st_size
        if os.pread(file.fileno(), 1, 0) and not self.size:
            raise OSError(EINVAL, "it has no size")

    async def read(self, position: int) -> bytes:
        size = min(CHUNK_BYTES, self.size - position)
        return await asyncio.to_thread(os.pread, self._file.fileno(), size, position) if size > 0 else b""

    def has(self, position: int) -> bool:
        return True

    async def close(self) -> None:
        self._file.close()


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.name = ""
        self.size = len(data)

    async def read(self, position: int) -> bytes:
        return self._data[position : position + CHUNK_BYTES]

    def has(self, position: int) -> bool:
        return True

    async def close(self) -> None:
        pass


class ChunkSource:
    """Chunks of any size, each sent as it comes; a plain iterator is asked for them off the event loop.

    One read at a time: gRPC may still wait for a chunk for a call that broke when the next call begins.
    """

    def __init__(self, chunks: Chunks | Callable[[], Chunks]) -> None:
        self._chunks = chunks
        self._reading = asyncio.Lock()
        self._iterator: Iterator[bytes] | AsyncIterator[bytes] | None = None
        self._at = 0
        self._piece = b""
        self.name = ""
        self.size = 0

    async def read(self, position: int) -> bytes:
        """The chunk that begins at `position`; empty at the end.

        Raises:
            ComeButOnce: it is before what was read last, and cannot be made anew.
            TypeError: what came is not bytes.
            Exception: what the iterator raises.
        """
        async with self._reading:
            if self._iterator is None or position < self._at:
                await self._begin()
            while position >= self._at + len(self._piece):
                piece = await self._next()
                if piece is _END:
                    return b""
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise TypeError(f"Expected chunks of bytes, got {type(piece).__name__}")
                self._at += len(self._piece)
                self._piece = bytes(piece)
            start = position - self._at
            return self._piece[start : start + CHUNK_BYTES]

    def has(self, position: int) -> bool:
        return position >= self._at

    async def close(self) -> None:
        iterator, self._iterator = self._iterator, None
        with suppress(ValueError, RuntimeError):  # It runs still, for a call that was given up.
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
            elif isinstance(iterator, Generator):
                iterator.close()

    async def _begin(self) -> None:
        before = self._iterator
        chunks = self._chunks() if callable(self._chunks) else self._chunks
        if not isinstance(chunks, Iterable | AsyncIterable):
            raise TypeError(f"Expected chunks of bytes, got {type(chunks).__name__}")
        iterator = aiter(chunks) if isinstance(chunks, AsyncIterable) else iter(chunks)
        if iterator is before:
            raise ComeButOnce
        await self.close()
        self._iterator, self._at, self._piece = iterator, 0, b""

    async def _next(self) -> object:
        if isinstance(self._iterator, AsyncIterator):
            return await anext(self._iterator, _END)
        assert self._iterator is not None
        return await asyncio.to_thread(next, self._iterator, _END)
