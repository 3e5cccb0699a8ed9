"""Structured values, encoded by quickmem and sent as Server-Sent Events, ten a second.

A thread of its own makes them: sends are synchronous, never wait, and say when the reader has gone.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime

from quart import Blueprint

import ratsvc
from ratsvc import quickmem
from ratsvc.demo.bounds import Runs
from ratsvc.streaming import Sender, StreamingResponse

segqueue = ratsvc.streaming.segqueue_unified
demo = Blueprint("sse-quickmem", __name__, url_prefix="/sse-quickmem")

EVENTS = 300
EVERY_S = 0.1
RUNS = Runs(most=8, seconds=90)


@demo.get("/events")
async def events() -> StreamingResponse:
    """An event for each value, for half a minute."""
    response = segqueue.create_segqueue_sse_channel()
    sender = response.get_sender()
    RUNS.admit(sender)
    threading.Thread(target=work, args=(sender,), daemon=True).start()
    return response


def work(sender: Sender) -> None:
    """Makes the values until all are sent, or the reader has gone."""
    for number in range(1, EVENTS + 1):
        value = reading(number)
        began = time.perf_counter_ns()
        packed = quickmem.encode(value)
        encoded = time.perf_counter_ns()
        same = quickmem.decode(packed) == value
        decoded = time.perf_counter_ns()
        taken = sender.send_sse_event(
            "reading",
            {
                "value": value,
                "packed": packed,
                "encode_us": (encoded - began) / 1000,
                "decode_us": (decoded - encoded) / 1000,
                "same": same,
            },
        )
        if not taken:
            return
        time.sleep(EVERY_S)
    sender.end_stream()


def reading(number: int) -> dict[str, object]:
    """What this process and its machine do now: a value of all types."""
    used = os.times()
    return {
        "number": number,
        "at": datetime.now(UTC),
        "process": {"user_s": used.user, "system_s": used.system, "threads": threading.active_count()},
        "load": [round(load, 2) for load in os.getloadavg()],
        "busy": os.getloadavg()[0] > (os.cpu_count() or 1),
        "nonce": os.urandom(8),
        "note": None,
    }
