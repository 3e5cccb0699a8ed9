"""Reading: `GET /v1/streams/{name-or-pattern}` and `GET /v1/subscribe?stream=…`, in every format.

A view checks the request, opens the subscription and gives Quart a body (`delivery`) that follows it; the gate's
exit stack closes the subscription whatever becomes of the response. A browser's EventSource never comes back from
any status but 200, so one that cannot be served now gets a 200 that asks it to come back later.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from quart import Quart, Response, request
from quart_schema import document_querystring

from ratsvc.core.items import Gap, Reconnect
from ratsvc.errors import Busy, NotAcceptable, Unavailable
from ratsvc.flow.broker import Broker, Subscription
from ratsvc.flow.file import File
from ratsvc.formats import Budget, Compressor, Format, GzipBody, make_format, page
from ratsvc.http_api import delivery, file
from ratsvc.http_api.exchange import EXIT_STACK, HEAD, peer_of
from ratsvc.http_api.head import Head
from ratsvc.http_api.reading import (
    Reading,
    ReadParameters,
    SubscribeParameters,
    accepted_coding,
    is_navigation,
    parse,
)

TRANSPORT = "ratsvc.transport"


class Subscribe:
    """The reading routes."""

    def __init__(self, broker: Broker, budget: Budget) -> None:
        self._broker = broker
        settings, figures = broker.settings.compression, broker.figures
        self._compressor = Compressor(settings.level, settings.windows, settings.kept_bytes, budget, figures)

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        app.add_url_rule("/v1/streams/<name>", "read_stream", self.read_stream, methods=["GET"])
        app.add_url_rule("/v1/subscribe", "subscribe", self.subscribe, methods=["GET"])

    @document_querystring(ReadParameters)
    async def read_stream(self, name: str) -> Response:
        """Reads a stream, or all streams that a pattern covers.

        The format is chosen by `Accept` or `format=`. A stream that does not exist yet is waited for.
        """
        return await self._read(name)

    @document_querystring(SubscribeParameters)
    async def subscribe(self) -> Response:
        """Reads several streams and patterns at once, in the one order that all records have."""
        return await self._read(None)

    async def _read(self, name: str | None) -> Response:
        extensions: dict[str, Any] = request.scope["extensions"]
        head = extensions[HEAD]
        if is_navigation(head, request.query_string):
            return Response(b"", 303, {"Location": _page_of(name)})
        settings = self._broker.settings
        reading = parse(name, head, request.query_string, settings)
        if reading.format == "page":
            return await self._page(reading)
        retry_ms = self._broker.leaving.retry_ms()
        encoder = make_format(
            reading.format,
            epoch=self._broker.epoch,
            view=reading.view,
            int64_as_string=reading.int64_as_string,
            retry_ms=retry_ms,
        )
        if found := await file.find(self._broker, reading):
            return await self._file(found, encoder)
        if request.method == "HEAD":
            return _head(delivery.headers_of(encoder, reading.coding))
        try:
            subscription = await self._broker.subscribe(reading.request)
        except (Busy, Unavailable) as error:
            if reading.format != "sse":
                raise
            return _come_back(reading, encoder, "overload" if isinstance(error, Busy) else "drain", retry_ms)
        return self._stream(subscription, encoder, reading)

    async def _file(self, found: File, encoder: Format) -> Response:
        extensions: dict[str, Any] = request.scope["extensions"]
        response, subscription = await file.answer(
            self._broker, extensions[HEAD], found, encoder, extensions.get(TRANSPORT)
        )
        if subscription is not None:
            extensions[EXIT_STACK].enter_context(subscription)
        return response

    async def _page(self, reading: Reading) -> Response:
        if request.method == "HEAD":
            return _head({"Content-Type": "application/json"})
        found = await self._broker.fetch(reading.request, reading.wait_s)
        body = page.encode(found.batches, found.gaps, found.next, found.ended, reading.view, reading.int64_as_string)
        return Response(body, 200, {"Content-Type": "application/json", "Rat-Cursor": str(found.next)})

    def _stream(self, subscription: Subscription, encoder: Format, reading: Reading) -> Response:
        extensions: dict[str, Any] = request.scope["extensions"]
        closing: ExitStack = extensions[EXIT_STACK]
        closing.enter_context(subscription)
        is_coded = reading.coding == "gzip" and not self._is_declined(extensions[HEAD])
        headers = delivery.headers_of(encoder, "gzip" if is_coded else "identity")
        headers["Rat-Cursor"] = str(subscription.start)
        if subscription.start_gap is not None:
            headers["Rat-Gap"] = _gap_header(subscription.start_gap, self._broker.epoch)
        elif subscription.at_end:
            return Response(b"", 204, {"Rat-Cursor": headers["Rat-Cursor"]})
        peer, streams = peer_of(request.scope), reading.request.streams  # type: ignore[arg-type]
        closing.enter_context(self._broker.connections.opened(peer, encoder.name, subscription, streams))
        body = delivery.body(
            subscription,
            encoder,
            transport=extensions.get(TRANSPORT),
            settings=self._broker.settings,
            coding=GzipBody(self._compressor, encoder.name) if is_coded else None,
        )
        response = Response(body, 200, headers)
        response.timeout = None
        return response

    def _is_declined(self, head: Head) -> bool:
        """Whether compression has no time for one more reader, who takes plain bytes too."""
        if not self._compressor.budget.is_low:
            return False
        try:
            accepted_coding(head, ())
        except NotAcceptable:
            return False
        self._broker.figures.compression_declined += 1
        return True


def _head(headers: dict[str, str]) -> Response:
    """The answer to a HEAD, for which nothing is read: how long the body would be is not known."""
    response = Response(b"", 200, headers)
    del response.headers["Content-Length"]
    return response


def _gap_header(gap: Gap, epoch: str) -> str:
    return f'from="{gap.from_epoch or epoch}-{gap.after}", to="{epoch}-{gap.to}", reason={gap.reason.value}'


def _come_back(reading: Reading, encoder: Format, reason: str, retry_ms: int) -> Response:
    """The 200 that asks an EventSource to come back: its place stays where it was, also in another epoch."""
    if reading.cursor is not None:
        encoder = make_format("sse", epoch=reading.cursor.epoch, retry_ms=retry_ms)
        offset, point = reading.cursor.offset, reading.cursor.point
        body = encoder.start(offset, point) + encoder.reconnect(Reconnect(offset, retry_ms, reason, point))
    else:
        data = msgspec.json.encode({"retry_ms": retry_ms, "reason": reason})
        body = b"retry: %d\nevent: reconnect\ndata: %s\n\n" % (retry_ms, data)
    return Response(body, 200, delivery.headers_of(encoder))


def _page_of(name: str | None) -> str:
    if name is not None:
        return f"/ui/?stream={quote(name, safe='')}"
    return "/ui/?" + urlencode([("stream", one) for one in request.args.getlist("stream")])
