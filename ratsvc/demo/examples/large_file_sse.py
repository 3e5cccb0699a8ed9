"""A file over Server-Sent Events: its reader puts it together again, and checks its digest.

`send_large_file` sends it as events of one type: `begin` (name, size, how many chunks), `chunk`s (index, offset and
data in base64) and `end` (SHA-256). It is read at the reader's pace, so the memory that it takes does not grow with it.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from quart import Blueprint, request

import ratsvc
from ratsvc.demo.bounds import Runs
from ratsvc.http_api.query import Query
from ratsvc.streaming import Sender, StreamingResponse

segqueue = ratsvc.streaming.segqueue_unified
demo = Blueprint("large-file-sse", __name__, url_prefix="/large-file-sse")

MIB = 1024 * 1024
SIZES = ("1", "10", "50")
RUNS = Runs(most=3, seconds=120)


@demo.get("/file")
async def file() -> StreamingResponse:
    """A file of 1, 10 or 50 MiB."""
    size = Query(request.query_string, ("mib",)).choice("mib", SIZES, "1")
    response = segqueue.create_segqueue_sse_channel()
    sender = response.get_sender()
    RUNS.admit(sender)
    threading.Thread(target=work, args=(sender, int(size)), daemon=True).start()
    return response


def work(sender: Sender, mib: int) -> None:
    """Makes a file and sends it. It is open when the call returns, so it may be removed at once."""
    made = random.Random(mib)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"sample-{mib}-mib.bin"
        with path.open("wb") as written:
            for _ in range(mib):
                if not sender.is_connected():
                    return  # The reader has gone.
                written.write(made.randbytes(MIB))
        sender.send_large_file("file", path)
    sender.end_stream()
