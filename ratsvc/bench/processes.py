"""Producers and readers: cheap, so that the service is what is measured. Each runs in a process of its own.

A producer builds its requests' bytes once and keeps a window of them in flight on one PublishStream. A reader is a
raw socket; it counts what ends a record with `bytes.count`, in C, and parses nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing as mp
import selectors
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import grpc.aio
from rat.v1 import producer_pb2 as pb

from ratsvc.core.run import pieces, varint

WINDOW = 64
BUFFER = 1024 * 1024
CHUNK = hashlib.shake_128(b"ratsvc").digest(512 * 1024)
"""What the file of the benchmark is made of, again and again."""
spawn = mp.get_context("spawn")


def in_process(target: Any, *arguments: Any) -> tuple[Any, Connection]:
    """Starts `target(*arguments, pipe)` in a process of its own; returns it and our end of the pipe."""
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def expect(pipe: Connection, word: str, seconds: float = 30) -> None:
    """Waits for a word from a process."""
    if not pipe.poll(seconds) or (found := pipe.recv()) != word:
        raise RuntimeError(f"a process of the benchmark did not get ready: {found if pipe.poll(0) else 'time-out'}")


def received(pipe: Connection, seconds: float = 120) -> Any:
    """What a process tells at its end."""
    if not pipe.poll(seconds):
        raise RuntimeError("a process of the benchmark hangs")
    return pipe.recv()


def publish_request(stream: str, records: list[bytes]) -> bytes:
    """A serialised `rat.v1.PublishRequest` of serialised records."""
    return b"".join([pb.PublishRequest(stream=stream).SerializeToString(), *pieces(records)])


def produce(port: int, message: bytes, count: int, pipe: Connection) -> None:
    """Sends `message` `count` times when told to, as fast as the window allows; tells when it began and ended."""

    async def run() -> tuple[float, float]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()  # type: ignore[call-arg]
            window = asyncio.Semaphore(WINDOW)

            async def acknowledge() -> None:
                for _ in range(count):
                    await call.read()
                    window.release()

            await channel.channel_ready()
            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            acknowledging = asyncio.create_task(acknowledge())
            began = time.monotonic()
            for _ in range(count):
                await window.acquire()
                await call.write(message)
            await acknowledging
            await call.done_writing()
            return began, time.monotonic()

    pipe.send(asyncio.run(run()))


def produce_at(port: int, messages_per_s: float, count: int, size: int, stream: str, pipe: Connection) -> None:
    """Sends one record a message at a rate; each is bytes that begin with the time of its publish call."""

    async def run() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)()  # type: ignore[call-arg]

            async def acknowledge() -> None:
                for _ in range(count):
                    await call.read()

            await channel.channel_ready()
            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            acknowledging = asyncio.create_task(acknowledge())
            began = time.monotonic()
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / messages_per_s - time.monotonic()))
                await call.write(timed_request(stream, size))
            await acknowledging
            await call.done_writing()

    asyncio.run(run())
    pipe.send("done")


def timed_request(stream: str, size: int) -> bytes:
    """A request of one record: text of `size` characters that begins with the monotonic clock, in ns."""
    from ratsvc.quickmem import wire

    return publish_request(stream, [wire.record(f"{time.monotonic_ns():020d}".ljust(size, "x"))])


def connect(port: int, path: str, headers: str = "") -> tuple[socket.socket, bytes]:
    """A reader's socket, and what came after the response's head."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise RuntimeError(f"no response: {head[:200]!r}")
        head += data
    if b" 200 " not in head[:20]:
        raise RuntimeError(head.decode("latin1")[:500])
    return sock, head.partition(b"\r\n\r\n")[2]


def read(port: int, path: str, mark: bytes, count: int, pipe: Connection) -> None:
    """Reads until `mark` has come `count` times; tells when that was, the bytes, and the last of them."""
    sock, rest = connect(port, path)
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    pipe.send("ready")
    seen, size, keep = rest.count(mark), len(rest), len(mark) - 1
    tail = rest[-keep:] if keep else b""
    last = b""
    while seen < count:
        got = sock.recv_into(view[keep:])
        if not got:
            break
        size += got
        start = keep - len(tail)
        view[start:keep] = tail
        seen += buffer.count(mark, start, keep + got)
        tail = bytes(view[keep + got - min(keep, got) : keep + got]) if keep else b""
        last = bytes(view[max(keep, keep + got - 4096) : keep + got])
    pipe.send((time.monotonic(), seen, size, last))


def read_on(port: int, path: str, mark: bytes, count: int, pipe: Connection) -> None:
    """Tells when it connects; then as `read`."""
    pipe.send(time.monotonic())
    ours, theirs = spawn.Pipe()
    read(port, path, mark, count, theirs)
    ours.recv()  # ready
    pipe.send(ours.recv())


def read_times(port: int, path: str, count: int, pipe: Connection) -> None:
    """Reads SSE text records that begin with their time; tells how long each took, in seconds."""
    sock, rest = connect(port, path)
    pipe.send("ready")
    took: list[float] = []
    while len(took) < count and (data := sock.recv(BUFFER)):
        now = time.monotonic_ns()
        *whole, rest = (rest + data).split(b"\n\n")
        for block in whole:
            at = block.find(b"data: ")
            if at >= 0 and (digits := block[at + 6 : at + 26]).isdigit():
                took.append((now - int(digits)) / 1e9)
    pipe.send(took)


def read_many(port: int, path: str, readers: int, rounds: int, size: int, pipe: Connection) -> None:
    """`readers` connections at once. For each round waits until all have had `size` bytes more than before;
    tells when the last one had. The first round begins when told to."""
    selector = selectors.DefaultSelector()
    had = [0] * readers
    for at in range(readers):
        sock, _ = connect(port, path) if path else (socket.create_connection(("127.0.0.1", port)), b"")
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, at)
    _discard(selector)
    pipe.send("ready")
    buffer = bytearray(BUFFER)
    done = 0
    for round_ in range(1, rounds + 1):
        target = round_ * size
        while done < readers * round_:
            for key, _ in selector.select():
                got = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
                before = had[key.data]
                had[key.data] = before + got
                if before < target <= before + got:
                    done += 1
                if not got:
                    raise RuntimeError("a reader was cut")
        pipe.send(time.monotonic())


def _discard(selector: selectors.BaseSelector) -> None:
    """Reads away what came with the heads."""
    while ready := selector.select(0.3):
        for key, _ in ready:
            key.fileobj.recv(BUFFER)  # type: ignore[union-attr]


def upload(port: int, stream: str, mib: int, received: Synchronized[int], ahead: int, pipe: Connection) -> None:
    """Uploads `mib` MiB as copies of `CHUNK`, never more than `ahead` bytes before the reader."""
    part = b"\x12" + varint(len(CHUNK)) + CHUNK
    digest, total = hashlib.sha256(), mib * 1024 * 1024
    for _ in range(0, total, len(CHUNK)):
        digest.update(CHUNK)

    def parts() -> Iterator[bytes]:
        yield pb.UploadRequest(start=pb.UploadStart(stream=stream, name="bench.bin")).SerializeToString()
        for sent in range(0, total, len(CHUNK)):
            while sent - received.value > ahead:
                time.sleep(0.0005)
            yield part
        yield pb.UploadRequest(end=pb.UploadEnd(sha256=digest.digest())).SerializeToString()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(10)
        pipe.send("ready")
        pipe.recv()
        began = time.monotonic()
        channel.stream_unary("/rat.v1.ProducerService/Upload", None, None)(parts())
    pipe.send(began)


def download(port: int, path: str, total: int, received: Synchronized[int], pipe: Connection) -> None:
    """Reads a chunked body of `total` bytes and compares every one; tells when the last had come, and how many
    were right."""
    sock, rest = connect(port, path)
    file = sock.makefile("rb", BUFFER) if not rest else None
    if file is None:
        raise RuntimeError("records came before the upload began")
    pipe.send("ready")
    got, expected = 0, CHUNK * 2
    while got < total and (head := file.readline()):
        left = int(head, 16)
        while left:
            piece = file.read(min(left, len(CHUNK)))
            at = got % len(CHUNK)
            if piece != expected[at : at + len(piece)]:
                pipe.send((time.monotonic(), got))
                return
            got += len(piece)
            left -= len(piece)
            received.value = got
        file.readline()
    pipe.send((time.monotonic(), got))
