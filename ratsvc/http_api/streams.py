"""Streams themselves: list, show, make or change, end, purge, delete."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Quart, Response, request
from quart_schema import DataSource, document_querystring, document_request, document_response

from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import InvalidArgument, StreamNotFound, UnsupportedMediaType
from ratsvc.flow.broker import Broker
from ratsvc.formats.jsonview import rfc3339
from ratsvc.http_api.query import Query
from ratsvc.http_api.response import json_response
from ratsvc.http_api.upload import UploadView, view
from ratsvc.names import check_name, check_pattern
from ratsvc.settings import seconds

MAX_PAGE = 1_000
_MAX_AGE = r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)$"


class RetentionBody(msgspec.Struct, forbid_unknown_fields=True):
    """How much of a stream is kept; 0 means the service's default."""

    max_records: Annotated[int, Meta(ge=0, le=2**63 - 1, description="How many records")] = 0
    max_bytes: Annotated[int, Meta(ge=0, le=2**63 - 1, description="How many bytes of records")] = 0
    max_age: (
        Annotated[float, Meta(ge=0, le=1e10, description="How old a record may be, in seconds")]
        | Annotated[str, Meta(pattern=_MAX_AGE, description="or as 90s, 15m, 24h, 7d")]
    ) = 0

    def policy(self) -> Retention:
        """This as a policy."""
        return Retention(self.max_records, self.max_bytes, seconds(self.max_age))


class RetentionView(msgspec.Struct):
    """The retention in force; max_age in seconds."""

    max_records: int
    max_bytes: int
    max_age: float


class StreamView(msgspec.Struct):
    """A stream as it is now; what ends in `_total` was committed since the service began."""

    name: str
    records: int
    bytes: int
    first_offset: int
    last_offset: int
    cursor: str
    ended: bool
    created: str
    updated: str | None
    retention: RetentionView
    readers: int
    records_total: int
    bytes_total: int


class StreamPage(msgspec.Struct):
    """Streams by name; `next` is the `after` of the next page, null on the last."""

    streams: list[StreamView]
    next: str | None


class ListParameters(msgspec.Struct):
    """The query of a list, as `/openapi.json` shows it."""

    pattern: Annotated[str, Meta(description="Which streams")] = ">"
    after: Annotated[str, Meta(description="Those whose names come after this one")] = ""
    limit: Annotated[int, Meta(description="How many at most", ge=1, le=MAX_PAGE)] = 100


class Streams:
    """The routes of streams themselves."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def add_to(self, app: Quart) -> None:
        """Adds the routes."""
        one = "/v1/streams/<name>"
        app.add_url_rule("/v1/streams", "list_streams", self.list_streams, methods=["GET"])
        app.add_url_rule(f"{one}/info", "get_stream", self.get_stream, methods=["GET"])
        app.add_url_rule(one, "put_stream", self.put_stream, methods=["PUT"])
        app.add_url_rule(one, "delete_stream", self.delete_stream, methods=["DELETE"])
        app.add_url_rule(f"{one}/uploads/<upload_id>", "get_upload", self.get_upload, methods=["GET"])
        app.add_url_rule(f"{one}/end", "end_stream", self.end_stream, methods=["POST"])
        app.add_url_rule(f"{one}/purge", "purge_stream", self.purge_stream, methods=["POST"])

    @document_querystring(ListParameters)
    @document_response(StreamPage)
    async def list_streams(self) -> Response:
        """Lists streams by name."""
        query = Query(request.query_string, ListParameters.__struct_fields__)
        pattern, after = check_pattern(query.one("pattern") or ">", "pattern"), query.one("after") or ""
        limit = query.integer("limit", 1, MAX_PAGE) or 100
        if after:
            check_name(after, "after")
        found = self._broker.list(pattern, after, limit)
        return json_response(
            StreamPage([self._view(i) for i in found], found[-1].name if len(found) == limit else None)
        )

    @document_response(StreamView)
    async def get_stream(self, name: str) -> Response:
        """Shows a stream."""
        _no_query()
        return json_response(self._view(self._broker.info(check_name(name))))

    @document_response(UploadView)
    async def get_upload(self, name: str, upload_id: str) -> Response:
        """Shows how much of an upload is stored: it can go on there."""
        _no_query()
        return json_response(view(self._broker, name, upload_id, await self._broker.uploads.standing(name, upload_id)))

    @document_request(RetentionBody, source=DataSource.JSON)
    @document_response(StreamView)
    @document_response(StreamView, 201)
    async def put_stream(self, name: str) -> Response:
        """Makes a stream, or changes the retention of one that exists.

        Without a body the retention is the service's default.
        """
        _no_query()
        retention = await _retention()
        try:
            return json_response(self._view(await self._broker.update(check_name(name), retention)))
        except StreamNotFound:
            return json_response(self._view(await self._broker.create(name, retention)), 201)

    async def delete_stream(self, name: str) -> Response:
        """Removes a stream and its records."""
        _no_query()
        await self._broker.delete(check_name(name))
        return Response(b"", 204)

    @document_response(StreamView)
    async def end_stream(self, name: str) -> Response:
        """Ends a stream: it takes no more records, and its readers are told."""
        _no_query()
        return json_response(self._view(await self._broker.end(check_name(name))))

    @document_response(StreamView)
    async def purge_stream(self, name: str) -> Response:
        """Removes all records of a stream, and keeps the stream."""
        _no_query()
        return json_response(self._view(await self._broker.purge(check_name(name))))

    def _view(self, info: StreamInfo) -> StreamView:
        kept = info.retention
        return StreamView(
            name=info.name,
            records=info.records,
            bytes=info.bytes,
            first_offset=info.first_offset,
            last_offset=info.last_offset,
            cursor=f"{self._broker.epoch}-{info.last_offset}",
            ended=info.ended,
            created=rfc3339(info.created_ns),
            updated=rfc3339(info.updated_ns) if info.updated_ns else None,
            retention=RetentionView(kept.max_records, kept.max_bytes, kept.max_age_s),
            readers=info.readers,
            records_total=info.total_records,
            bytes_total=info.total_bytes,
        )


def _no_query() -> None:
    Query(request.query_string, ())


async def _retention() -> Retention:
    body = await request.get_data(as_text=False)
    if not body:
        return Retention()
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Content-Type must be application/json", field="content-type")
    try:
        return msgspec.json.decode(body, type=RetentionBody).policy()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the body must be a retention: {error}", field="body") from None
