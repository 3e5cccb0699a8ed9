"""How many items a second a stream of each type carries, from a thread of this process to its reader.

The thread sends equal items as fast as the stream takes them and waits where it is full; the response is the stream
itself. What the server has measured is asked for afterwards, by the run's name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from quart import Blueprint, abort, request

import ratsvc
from ratsvc.demo.bounds import Runs
from ratsvc.http_api.query import Query
from ratsvc.streaming import Sender, StreamFullError, StreamingResponse

segqueue = ratsvc.streaming.segqueue_unified
demo = Blueprint("performance-test", __name__, url_prefix="/performance-test")

MAX_ITEMS = 200_000
FULL_S = 0.002
KEPT = 32
RUNS = Runs(most=1, seconds=60)
OBJECT = {"id": 12_345, "name": "item 12345", "value": 1.5, "ok": True}
LINE = "Line 12345 of the text\n"
BYTES = b"c" * 64
TYPES: dict[str, tuple[Callable[[], StreamingResponse], Callable[[Sender], bool]]] = {
    "json": (segqueue.create_segqueue_json_stream, lambda sender: sender.send_json_chunk(OBJECT)),
    "text": (segqueue.create_segqueue_text_stream, lambda sender: sender.send_text_chunk(LINE)),
    "sse": (segqueue.create_segqueue_sse_channel, lambda sender: sender.send_sse_json(OBJECT)),
    "chunked": (segqueue.create_segqueue_chunked_response, lambda sender: sender.send_binary_chunk(BYTES)),
    "binary": (segqueue.create_segqueue_binary_stream, lambda sender: sender.send_binary_chunk(BYTES)),
}
figures: dict[str, dict[str, object]] = {}
"""Of the last runs that were read to their end, by name."""


@demo.get("/run/<name>")
async def run(name: str) -> StreamingResponse:
    """Sends so many items of a type."""
    query = Query(request.query_string, ("type", "items"))
    kind = query.choice("type", TYPES, "json")
    items = query.integer("items", 1, MAX_ITEMS) or 50_000
    make, send = TYPES[kind]
    response = make()
    sender = response.get_sender()
    began = time.perf_counter()

    def measured(reason: str) -> None:
        if reason == "ended":
            seconds = time.perf_counter() - began
            while len(figures) >= KEPT:
                figures.pop(next(iter(figures)))
            figures[name] = {"type": kind, "items": items, "bytes": sender.channel.sent_bytes, "seconds": seconds}

    RUNS.admit(sender, on_disconnect=measured)
    threading.Thread(target=work, args=(sender, send, items), daemon=True).start()
    return response


def work(sender: Sender, send: Callable[[Sender], bool], items: int) -> None:
    """Sends until all is sent, or the reader has gone."""
    for _ in range(items):
        while True:
            try:
                if not send(sender):
                    return
                break
            except StreamFullError:  # the reader is slower: let it catch up
                time.sleep(FULL_S)
    sender.end_stream()


@demo.get("/figures/<name>")
async def measured_figures(name: str) -> dict[str, object]:
    """What the server measured: from the request to the last bytes that it handed on."""
    return figures.get(name) or abort(404)
