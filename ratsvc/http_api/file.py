"""Downloads: a stream that is a file, read as `chunked`, with its length, its digest and byte ranges (RFC 9110,
section 14), so that `curl -C -` goes on with one that broke off.

Ranges are for what cannot change any more: a stream that has ended, or is read `until=now`, from its earliest record,
and is one complete upload. Anywhere else there is no length that a range could be part of, and `Range` is ignored, as
the RFC lets a server do: the answer is 200 and `Accept-Ranges: none`. So are several ranges at once.
`ETag` is epoch, first and last offset: the records in between never change. `Repr-Digest` (RFC 9530) is the SHA-256
that the upload was checked against, of the whole file, with a part of it too.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from quart import Response

from ratsvc.core.cursor import Cursor, Earliest
from ratsvc.core.items import Gap
from ratsvc.core.record import Batch
from ratsvc.flow.broker import Broker, ReadRequest, Subscription
from ratsvc.flow.file import File, file_of, place_of
from ratsvc.formats import Format, View
from ratsvc.http_api.delivery import ClientTransport, headers_of
from ratsvc.http_api.head import Head
from ratsvc.http_api.problem import RangeNotSatisfiable
from ratsvc.http_api.reading import Reading
from ratsvc.names import is_pattern

PIECE_BYTES = 64 * 1024
_RANGE = re.compile(r"bytes=[ \t]*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))[ \t]*\Z", re.I)


@dataclass(slots=True, frozen=True)
class Part:
    """Bytes `start` to `stop` (half open) of a file."""

    start: int
    stop: int


async def find(broker: Broker, reading: Reading) -> File | None:
    """The file that a read gets, all of it and nothing else; None where it gets anything else."""
    request = reading.request
    name = request.streams[0]
    plain = reading.format == "chunked" and reading.view is View.VALUE and len(request.streams) == 1
    plain = plain and not (is_pattern(name) or request.keys or request.events or request.limit or request.snapshot)
    info = broker.log.registry.find(name) if plain and isinstance(request.start, Earliest) else None
    if info is None or not (info.ended or request.until == "now"):
        return None
    if isinstance(request.until, Cursor) and request.until != Cursor(broker.epoch, info.last_offset):
        return None
    return await file_of(broker, info)


def part_asked(head: Head, file: File, etag: str) -> Part | None:
    """The part that `Range` asks for, empty when the file has none of it; None for the whole file."""
    asked = _RANGE.match(head.one(b"range") or "")
    condition = head.one(b"if-range")
    if asked is None or head.method != "GET" or (condition is not None and condition != etag):
        return None
    first, last, suffix = asked.groups()
    if suffix is not None:
        return Part(max(0, file.size - int(suffix)), file.size)
    if last is not None and int(last) < int(first):
        return None  # not a range: RFC 9110, section 14.1.1
    return Part(int(first), min(file.size, int(last) + 1 if last is not None else file.size))


async def answer(
    broker: Broker, head: Head, file: File, encoder: Format, transport: ClientTransport | None
) -> tuple[Response, Subscription | None]:
    """The response, and the subscription that its body reads, to be closed when the response is over.

    Raises:
        RangeNotSatisfiable: the file has nothing of the part that is asked for.
        RatError: what `Broker.subscribe` raises.
    """
    etag = f'"{broker.epoch}-{file.first}-{file.last}"'
    part = part_asked(head, file, etag)
    if part is not None and part.start >= part.stop:
        raise RangeNotSatisfiable(file.size)
    start, stop = (part.start, part.stop) if part is not None else (0, file.size)
    headers = headers_of(encoder) | {
        "Content-Length": str(stop - start),
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(file.sha256).decode()}:",
        "Rat-Cursor": f"{broker.epoch}-{file.first - 1}",
    }
    if file.name:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    status = 200 if part is None else 206
    if head.method == "HEAD" or stop == start:
        response = Response(b"", status, headers)
        response.headers["Content-Length"] = headers["Content-Length"]  # Quart counts the body that HEAD has not
        return response, None
    offset, begins = await place_of(broker, file, start) or (file.first, 0)
    request = ReadRequest((file.info.name,), Cursor(broker.epoch, offset - 1), Cursor(broker.epoch, file.last))
    subscription = await broker.subscribe(request)
    response = Response(_bytes(broker, subscription, encoder, start - begins, stop - start, transport), status, headers)
    response.timeout = None
    return response, subscription


async def _bytes(
    broker: Broker,
    subscription: Subscription,
    encoder: Format,
    skip: int,
    left: int,
    transport: ClientTransport | None,
) -> AsyncIterator[bytes]:
    """`left` bytes after the first `skip`: less than a record of them is read in vain. What is gone meanwhile breaks
    the response off."""
    patience = _Patience(subscription, transport, broker.settings.stall_timeout_s)
    with subscription:
        subscription.format = encoder.name
        while left and (items := await subscription.poll()):
            if isinstance(items[0], Gap):
                subscription.reason = "gap"
            if not isinstance(items[0], Batch):
                break
            subscription.figures.encoding(encoder.name, encoder.key, items)
            for batch in (item for item in items if isinstance(item, Batch)):
                data = memoryview(encoder.batch(batch))
                skipped = min(skip, len(data))
                skip -= skipped
                data = data[skipped : skipped + left]
                left -= len(data)
                subscription.figures.told(encoder.name, [batch], len(data))
                for at in range(0, len(data), PIECE_BYTES):
                    with patience:
                        yield bytes(data[at : at + PIECE_BYTES])
                    await asyncio.sleep(0)
        if left:
            raise ConnectionAbortedError("records of the file are gone, or the service is draining")


class _Patience:
    """Cuts a reader that takes nothing of what waits for it: the server's own wait for it has no end."""

    def __init__(self, subscription: Subscription, transport: ClientTransport | None, stall_s: float) -> None:
        self._subscription = subscription
        self._transport = transport.writer.transport if transport is not None else None
        self._stall_s = stall_s
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._transport is not None:
            self._waiting = 0
            self._wait()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._stall_s, self._look)

    def _look(self) -> None:
        assert self._transport is not None
        waiting = self._transport.get_write_buffer_size()
        if waiting and waiting == self._waiting:
            self._subscription.reason = "stalled"
            self._transport.abort()
            return
        self._waiting = waiting
        self._wait()
