"""Text and bytes in one response, each item written when it is sent.

The text is the head of a picture (PPM: "P6", width, height, 255), the bytes are its rows. The reader has the first of
them, and draws them, long before the last is sent.
"""

from __future__ import annotations

import random
import threading
import time
from itertools import islice

from quart import Blueprint

import ratsvc
from ratsvc.demo.bounds import Runs
from ratsvc.demo.picture import plasma_rows
from ratsvc.streaming import Sender, StreamingResponse, chunked_from_mapping

segqueue = ratsvc.streaming.segqueue_unified
demo = Blueprint("chunked-demo", __name__, url_prefix="/chunked-demo")

WIDTH, HEIGHT = 320, 180
ROWS_AT_ONCE = 3
EVERY_S = 0.04
RUNS = Runs(most=8, seconds=60)


@demo.get("/picture")
async def picture() -> StreamingResponse:
    """A picture that takes some seconds."""
    response = segqueue.create_segqueue_chunked_response()
    sender = response.get_sender()
    RUNS.admit(sender)
    threading.Thread(target=paint, args=(sender,), daemon=True).start()
    return response


def paint(sender: Sender) -> None:
    """Sends a line of text, then some rows at a time."""
    sender.send_text_chunk(f"P6 {WIDTH} {HEIGHT} 255\n")
    rows = plasma_rows(WIDTH, HEIGHT, random.randrange(100))
    while block := b"".join(islice(rows, ROWS_AT_ONCE)):
        time.sleep(EVERY_S)
        if not sender.send_binary_chunk(block):
            return  # The reader has gone.
    sender.end_stream()


@demo.get("/mapping")
async def mapping() -> StreamingResponse:
    """All items at once, from a mapping: the short form for what is there already."""
    return chunked_from_mapping({"chunks": ["text, then ", b"bytes \x00\xff", ", then text: ", "zwölf 🚀\n"]})
