"""Large data arrives whole, whatever it is read from, and takes no memory to speak of.

The sizes here are for every run: 32 MiB over SSE, 256 MiB over chunked. `--faults=full` makes them 100 MiB and 1 GiB.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from quart.typing import ResponseReturnValue

from ratsvc.streaming import StreamingResponse
from ratsvc.streaming import segqueue_unified as streaming
from ratsvc.streaming.large import LargeData

from .conftest import Site
from .files import MIB, blocks


class Files:
    """The app of `files`, and its memory."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.integration.streaming.files"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self._measured = psutil.Process(self.process.pid)

    def rss(self) -> int:
        return int(self._measured.memory_info().rss)


@pytest.fixture
def files() -> Iterator[Files]:
    found = Files()
    yield found
    found.process.kill()
    found.process.communicate()


def digest_of(mib: int) -> str:
    digest = hashlib.sha256()
    for block in blocks(mib):
        digest.update(block)
    return digest.hexdigest()


async def parts(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, object]]:
    """The data of the events of type `file`."""
    event = ""
    async for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and event == "file":
            yield json.loads(line.removeprefix("data: "))


async def test_a_file_over_sse_arrives_whole_in_flat_memory(
    files: Files, tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    mib = scaled(32, 100)
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for block in blocks(mib):
            file.write(block)
    digest, size, index = hashlib.sha256(), 0, 0
    before = highest = files.rss()
    async with httpx.AsyncClient(timeout=60) as http:
        async with http.stream("GET", f"{files.url}/sse/path", params={"path": str(path)}) as response:
            found = parts(response.aiter_lines())
            begin = await anext(found)
            about = {"name": "large.bin", "size": mib * MIB, "total": mib * 32, "chunk_size": 32_768}
            assert begin == {"part": "begin", **about}
            async for part in found:
                if part["part"] == "end":
                    break
                data = base64.b64decode(str(part["data"]))
                assert (part["index"], part["total"], part["offset"]) == (index, mib * 32, size)
                digest.update(data)
                size += len(data)
                index += 1
                highest = max(highest, files.rss()) if index % 64 == 0 else highest
    assert part == {"part": "end", "size": mib * MIB, "total": index, "sha256": digest.hexdigest()}
    assert digest.hexdigest() == digest_of(mib)
    assert highest - before < 16 * MIB


@pytest.mark.timeout(300)
async def test_a_file_over_chunked_arrives_byte_for_byte_in_flat_memory(
    files: Files, scaled: Callable[[int, int], int]
) -> None:
    mib = scaled(256, 1024)
    digest, size = hashlib.sha256(), 0
    before = highest = files.rss()
    async with httpx.AsyncClient(timeout=60) as http:
        async with http.stream("GET", f"{files.url}/chunked/made", params={"mib": mib}) as response:
            async for piece in response.aiter_bytes(4 * MIB):
                digest.update(piece)
                size += len(piece)
                highest = max(highest, files.rss())
    assert size == mib * MIB
    assert digest.hexdigest() == digest_of(mib)
    assert highest - before < 24 * MIB


CONTENT = os.urandom(100_001)


def sources(tmp_path: Path) -> Iterator[tuple[str, LargeData]]:
    path = tmp_path / "a b.bin"
    path.write_bytes(b"skipped" + CONTENT)
    (tmp_path / "whole").write_bytes(CONTENT)
    yield "bytes", CONTENT
    yield "bytearray", bytearray(CONTENT)
    yield "a view of numbers", memoryview(CONTENT[:100_000]).cast("I")
    yield "a path", tmp_path / "whole"
    memory = io.BytesIO(b"skipped" + CONTENT)
    memory.seek(7)
    yield "memory", memory
    for buffering in (-1, 0):
        with path.open("rb", buffering=buffering) as file:
            file.seek(7)
            yield "a file that is closed after the call", file
    yield "an iterator", iter([CONTENT[:1], CONTENT[1:50_000], b"", memoryview(CONTENT)[50_000:]])
    yield "a list", [CONTENT]
    reading, writing = os.pipe()
    os.write(writing, CONTENT[:60_000])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        yield "a pipe", pipe
    yield "nothing", b""


async def read(response: StreamingResponse) -> bytes:
    response.get_sender().end_stream()
    return await response.get_data(as_text=False)


async def test_data_may_come_from_anything_that_has_bytes(tmp_path: Path) -> None:
    wanted = {"nothing": b"", "a pipe": CONTENT[:60_000], "a view of numbers": CONTENT[:100_000]}
    for name, data in sources(tmp_path):
        response = streaming.create_segqueue_chunked_response()
        assert response.get_sender().send_text_chunk("<")
        assert response.get_sender().send_large_file("file", data, 1000)
        assert response.get_sender().send_text_chunk(">")
        if hasattr(data, "close"):
            data.close()
        assert await read(response) == b"<" + wanted.get(name, CONTENT) + b">", name


async def test_what_is_appended_to_a_file_after_the_call_is_not_of_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    response = streaming.create_segqueue_chunked_response()
    response.get_sender().send_large_file("file", tmp_path / "f", 30)
    with (tmp_path / "f").open("ab") as file:
        file.write(b"y" * 100)
    assert await read(response) == b"x" * 100


async def test_in_a_binary_stream_each_chunk_has_its_length() -> None:
    response = streaming.create_segqueue_binary_stream()
    response.get_sender().send_large_file("file", b"x" * 250, 100)
    assert await read(response) == (b"\x64" + b"x" * 100) * 2 + b"\x32" + b"x" * 50


async def test_a_source_of_unknown_size_says_so_first_and_counts_at_the_end() -> None:
    response = streaming.create_segqueue_sse_channel()
    response.get_sender().send_large_file("f", iter([b"abc", b"de"]), 2)
    events = [json.loads(line[6:]) for line in (await read(response)).decode().split("\n") if line.startswith("data: ")]
    assert events[:-1] == [
        {"part": "begin", "name": None, "size": None, "total": None, "chunk_size": 2},
        {"part": "chunk", "index": 0, "total": None, "offset": 0, "data": "YWI="},
        {"part": "chunk", "index": 1, "total": None, "offset": 2, "data": "Y2Q="},
        {"part": "chunk", "index": 2, "total": None, "offset": 4, "data": "ZQ=="},
        {"part": "end", "size": 5, "total": 3, "sha256": hashlib.sha256(b"abcde").hexdigest()},
    ]


def test_what_cannot_be_sent_is_refused_at_the_call(tmp_path: Path) -> None:
    sender = (response := streaming.create_segqueue_sse_channel()).get_sender()
    with pytest.raises(FileNotFoundError):
        sender.send_large_file("f", tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        sender.send_large_file("f", tmp_path)
    for size in (0, -1, MIB + 1):
        with pytest.raises(ValueError, match="chunk_size must be 1 to 1048576"):
            sender.send_large_file("f", b"x", size)
    (tmp_path / "t").write_text("text")
    with (tmp_path / "t").open() as text:
        for odd in ("text", 5, None, text):
            with pytest.raises(TypeError, match="Expected bytes data"):
                sender.send_large_file("f", odd)  # type: ignore[arg-type]
    sender.end_stream()
    assert sender.send_large_file("f", tmp_path / "t") is False
    assert response.get_channel().sent_messages == 0


def failing() -> Iterator[bytes]:
    yield b"x" * 10
    raise TimeoutError("the disk is away")


async def test_data_that_fails_to_be_read_is_said_over_sse_and_breaks_other_streams_off(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    @site.app.route("/<kind>")
    async def view(kind: str) -> ResponseReturnValue:
        sse = kind == "sse"
        make = streaming.create_segqueue_sse_channel if sse else streaming.create_segqueue_chunked_response
        response = make()
        response.get_sender().send_large_file("f", failing(), 10)
        if sse:
            response.get_sender().send_sse_data("goes on")
        response.get_sender().end_stream()
        return response

    body = (await site.http.get("/sse")).text
    assert 'event: f\ndata: {"part":"failed"}\n\ndata: goes on\n\nevent: end\n' in body
    assert "disk" not in body
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|peer closed"):
        await site.http.get("/chunked")
    assert "large data could not be read" in caplog.text
    caplog.clear()
