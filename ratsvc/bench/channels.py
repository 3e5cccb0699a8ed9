"""Streams of the in-process API: from sender threads to the bytes at an HTTP client, in a Quart app under hypercorn.

The app runs in a process of its own, with the threads that send; its client here only counts bytes. Beside it, in the
same run, the plain bridge that such an app has without it: `call_soon_threadsafe` to an `asyncio.Queue`, and a body
that yields `json.dumps` of each item.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from ratsvc.bench import processes as p
from ratsvc.bench.scenarios import Options, Result

#: Figures of the system that this one is to leave behind, in items a second.
REFERENCE = {
    "streaming-json": 105_751, "streaming-text": 395_316, "streaming-sse": 89_285, "streaming-chunked": 156_250,
}  # fmt: skip
KINDS = ("json", "text", "sse", "chunked", "binary")
THREADS = 8
ITEM = {"id": 12_345, "name": "item 12345", "value": 1.5, "ok": True}
LINE = "Line 12345 of the text\n"
BYTES = b"c" * 64
_ROUNDS = 3
_FULL_S = 0.002


def one_sender(kind: str) -> Callable[[Options], Result]:
    """A stream of a type, filled by one thread."""

    def run(options: Options) -> Result:
        items = max(1_000, options.records // 4)
        best, size, rss = measure(kind, 1, items)
        result = Result(f"streaming-{kind}", items / best, size / best / 1e6, server_rss_mib=rss)
        result.note = f"{items:,} items from one thread, {size / items:.0f} bytes each; best of {_ROUNDS}"
        result.options = asdict(options)
        return result

    return run


def many_senders(options: Options) -> Result:
    """A JSON stream filled by 8 threads through one sender, beside the plain bridge."""
    items, few = max(1_000, options.records // 4), max(1_000, options.records // 40)
    best, size, rss = measure("json", THREADS, items)
    bridge, _, _ = measure("bridge", THREADS, few)
    result = Result(f"streaming-{THREADS}-threads", items / best, size / best / 1e6, server_rss_mib=rss)
    result.note = (
        f"{items:,} objects through one sender; the plain bridge with as many threads {few / bridge:,.0f}/s:"
        f" {items / best * bridge / few:.1f} ×"
    )
    result.options = asdict(options)
    return result


def measure(kind: str, threads: int, items: int) -> tuple[float, int, float]:
    """Seconds from the request to the last byte (the best of some rounds), bytes of the body, MiB of the app."""
    process, pipe = p.in_process(serve_app, threads, items)
    try:
        if not pipe.poll(30):
            raise RuntimeError("the app of the benchmark did not start")
        port: int = pipe.recv()
        rounds = [_read(port, kind) for _ in range(_ROUNDS)]
        pipe.send("rss")
        rss: float = pipe.recv()
        return min(took for took, _ in rounds), rounds[0][1], rss
    finally:
        process.kill()
        process.join()


def serve_app(threads: int, items: int, pipe: Connection) -> None:
    """Serves a route for each kind, whose threads send `items` in all; tells its port, and its memory when asked."""
    import psutil
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from quart import Quart, Response

    from ratsvc.streaming import segqueue_unified as segqueue

    app = Quart("bench")
    makers: dict[str, tuple[Callable[..., Any], str, object]] = {
        "json": (segqueue.create_segqueue_json_stream, "send_json_chunk", ITEM),
        "text": (segqueue.create_segqueue_text_stream, "send_text_chunk", LINE),
        "sse": (segqueue.create_segqueue_sse_channel, "send_sse_json", ITEM),
        "chunked": (segqueue.create_segqueue_chunked_response, "send_binary_chunk", BYTES),
        "binary": (segqueue.create_segqueue_binary_stream, "send_binary_chunk", BYTES),
    }

    @app.get("/<kind>")
    async def view(kind: str) -> Response:
        if kind == "bridge":
            return bridge()
        make, call, item = makers[kind]
        response = make()
        sender = response.get_sender()
        _fill(getattr(sender, call), item, sender.end_stream, threads, items)
        assert isinstance(response, Response)
        return response

    def bridge() -> Response:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[object] = asyncio.Queue()

        def put(item: object) -> bool:
            loop.call_soon_threadsafe(queue.put_nowait, item)
            return True

        async def body() -> AsyncGenerator[bytes, None]:
            while (item := await queue.get()) is not None:
                yield json.dumps(item).encode() + b"\n"

        response = Response(body(), content_type="application/x-ndjson")
        response.timeout = None
        _fill(put, ITEM, lambda: put(None), threads, items)
        return response

    def answer() -> None:
        pipe.recv()
        pipe.send(psutil.Process().memory_info().rss / 1024 / 1024)

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    port = sock.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.accesslog = None
    config.loglevel = "WARNING"
    pipe.send(port)
    threading.Thread(target=answer, daemon=True).start()
    asyncio.run(serve(app, config))


def _fill(send: Callable[[Any], bool], item: object, end: Callable[[], object], count: int, items: int) -> None:
    """Sends from so many threads, and ends when all have sent; what is full is tried again."""
    from ratsvc.streaming import StreamFullError

    def work(share: int) -> None:
        for _ in range(share):
            while True:
                try:
                    if not send(item):
                        return
                    break
                except StreamFullError:
                    time.sleep(_FULL_S)

    def work_all() -> None:
        shares = [items // count + (n < items % count) for n in range(count)]
        working = [threading.Thread(target=work, args=(share,)) for share in shares]
        for thread in working:
            thread.start()
        for thread in working:
            thread.join()
        end()

    threading.Thread(target=work_all, daemon=True).start()


def _read(port: int, kind: str) -> tuple[float, int]:
    """Seconds to the end of a response, and its bytes."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        began = time.monotonic()
        sock.sendall(f"GET /{kind} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        size = 0
        while data := sock.recv(p.BUFFER):
            if not size and not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the app of the benchmark said {data[:80]!r}")
            size += len(data)
        return time.monotonic() - began, size


SCENARIOS: dict[str, Callable[[Options], Result]] = {
    **{f"streaming-{kind}": one_sender(kind) for kind in KINDS},
    f"streaming-{THREADS}-threads": many_senders,
}
