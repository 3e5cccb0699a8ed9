"""A file is uploaded, and its digest computed while it comes.

A page opens the event stream first, whose first event names the upload; the request that brings the file then tells
that stream how far it is, from another view. Nothing of the file is kept. An app of your own that takes such files has
to raise Quart's `MAX_CONTENT_LENGTH`.
"""

from __future__ import annotations

import hashlib
import secrets
from time import monotonic

from quart import Blueprint, abort, request

import ratsvc
from ratsvc.demo.bounds import Runs
from ratsvc.streaming import Sender, StreamingResponse

segqueue = ratsvc.streaming.segqueue_unified
demo = Blueprint("large-file-upload", __name__, url_prefix="/large-file-upload")

MAX_BYTES = 64 * 1024 * 1024
STEP_BYTES = 512 * 1024
"""So often it is told."""
RUNS = Runs(most=4, seconds=300)
waiting: dict[str, Sender] = {}


@demo.get("/progress")
async def progress() -> StreamingResponse:
    """The event stream of one upload to come."""
    response = segqueue.create_segqueue_sse_channel()
    sender = response.get_sender()
    upload = secrets.token_urlsafe(12)
    RUNS.admit(sender, on_disconnect=lambda reason: waiting.pop(upload, None))
    if sender.send_sse_event("ready", {"upload": upload, "max_bytes": MAX_BYTES}):
        waiting[upload] = sender
    return response


@demo.post("/files/<upload>")
async def receive(upload: str) -> dict[str, object]:
    """The file itself, as the body; it is never in memory as a whole."""
    sender = waiting.pop(upload, None)
    if sender is None:
        abort(404)
    digest, size, told, began = hashlib.sha256(), 0, 0, monotonic()
    try:
        async for piece in request.body:
            if not sender.is_connected():
                abort(408)  # Its page has gone, or it took too long.
            digest.update(piece)
            size += len(piece)
            if size - told >= STEP_BYTES:
                told = size
                sender.send_sse_event("progress", {"bytes": size})
        result = {"bytes": size, "sha256": digest.hexdigest(), "seconds": round(monotonic() - began, 3)}
        sender.send_sse_event("done", result)
    finally:  # also when the client leaves in the middle
        sender.end_stream()
    return result
