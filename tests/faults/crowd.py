"""Many readers in one process: raw sockets that only take times, some of which never read."""

from __future__ import annotations

import os
import random
import resource
import selectors
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import grpc

from ratsvc.bench.processes import connect, timed_request

BUFFER = 256 * 1024
SMALL_WINDOW = 4096
"""What a socket that never reads lets the system keep for it."""
DIGITS = 20


def crowd(port: int, path: str, readers: int, stuck: int, pipe: Connection) -> None:
    """Holds `readers` SSE readers, of which `stuck` never read. The first message on `pipe` says how many records
    come; answers with how long each delivery took, in seconds. With the second message those who never read look what
    is there: answers with the bytes of each that was cut, and None for one that was not."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    lazy = [_stuck(port, path) for _ in range(stuck)]
    selector = selectors.DefaultSelector()
    for _ in range(readers - stuck):
        sock, rest = connect(port, path)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, [rest])
    pipe.send("ready")
    records: int = pipe.recv()
    latencies: list[float] = []
    expected = records * (readers - stuck)
    while len(latencies) < expected:
        for key, _ in selector.select(30):
            data = key.fileobj.recv(BUFFER)  # type: ignore[union-attr]
            if not data:
                raise RuntimeError("a reader that reads was cut")
            now = time.monotonic_ns()
            *whole, key.data[0] = (key.data[0] + data).split(b"\n\n")
            for block in whole:
                at = block.find(b"data: ")
                if at >= 0:
                    latencies.append((now - int(block[at + 6 : at + 6 + DIGITS])) / 1e9)
    pipe.send(latencies)
    pipe.recv()
    pipe.send([_drained(sock) for sock in lazy])


def _stuck(port: int, path: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode())
    return sock


def _drained(sock: socket.socket) -> int | None:
    """How many bytes were left for a socket that was cut; None when it was not."""
    sock.settimeout(5)
    size = 0
    try:
        while data := sock.recv(BUFFER):
            size += len(data)
    except ConnectionResetError:
        return size
    except TimeoutError:
        return None
    return size


def publish_timed(port: int, stream: str, records: int, per_s: float, size: int, pipe: Connection) -> None:
    """Publishes records that begin with their time, at a rate, when told to; says `done` when all are acknowledged."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(10)
        publish = channel.unary_unary("/rat.v1.ProducerService/Publish", None, None)
        pipe.send("ready")
        pipe.recv()
        began = time.monotonic()
        for number in range(records):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            publish(timed_request(stream, size))
    pipe.send("done")


def publish_many_streams(port: int, streams: int, seconds: float, per_s: int, pipe: Connection) -> None:
    """Publishes to `streams` streams in turn, `per_s` records a second in all, one a request; begins when told to.
    Answers with how many were published."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(10)
        pipe.send("ready")
        pipe.recv()
        count = int(seconds * per_s)
        requests = [timed_request(f"many.{at}", 100) for at in range(streams)]
        began = time.monotonic()

        def paced() -> Iterator[bytes]:
            for number in range(count):
                ahead = began + number / per_s - time.monotonic()
                if ahead > 0.005:
                    time.sleep(ahead)
                yield requests[number % streams]

        answers = channel.stream_stream("/rat.v1.ProducerService/PublishStream", None, None)(paced())
        pipe.send(sum(1 for _ in answers))


def churn(port: int, path: str, rounds: int, at_once: int, pipe: Connection) -> None:
    """Readers that come, read the first bytes and go, `at_once` of them a round, in every rude and polite way.
    Tells each round, and goes on when told to."""
    chance = random.Random(os.getpid())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pipe.send("ready")
    for _ in range(rounds):
        pipe.recv()
        socks = [connect(port, path + chance.choice(("sse", "ndjson", "binary", "chunked")))[0] for _ in range(at_once)]
        for sock in socks:
            if chance.random() < 0.5:
                sock.recv(chance.choice((1, 1000, BUFFER)))
            if chance.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            sock.close()
        pipe.send("gone")
