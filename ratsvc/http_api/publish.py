"""Publishing: `POST /v1/streams/{name}`, served in front of Quart so that a full queue holds the client back.

A body whose Content-Length is at most `limits.request_bytes`, and every `application/json` body, is taken whole:
all of it is checked before any of it is stored. A longer one, or one that comes in chunks without a length, is
committed as it comes, in bounded batches; when it goes wrong half way, what was stored stays, and the problem says
how much (`stored`, `cursor`). A body that stops half way stores nothing more.

With `Idempotency-Key`, or `producer` and `sequence`, a retry stores nothing twice and is acknowledged with the first
offsets; a retry of a body that broke off goes on where it stopped. With `file=`, the body is a file: see `upload`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from ratsvc.core.dedupe import KEY_PREFIX
from ratsvc.core.draft import Draft, ProducerRef
from ratsvc.core.journey import Journey
from ratsvc.errors import InvalidArgument, RatError, UnsupportedMediaType
from ratsvc.flow.broker import Ack, Broker
from ratsvc.http_api import upload
from ratsvc.http_api.exchange import ClientGone, Exchange
from ratsvc.http_api.head import Head
from ratsvc.http_api.problem import Reply, json_reply, refusal
from ratsvc.http_api.query import Query
from ratsvc.http_api.splitting import Splitter, splitter
from ratsvc.names import check_event, check_key, check_name, check_producer_id
from ratsvc.quickmem import ValueLimits, wire
from ratsvc.settings import Limits

MEDIA_TYPES = (
    "application/json",
    "application/x-ndjson",
    "application/jsonl",
    "text/plain",
    "application/octet-stream",
)
MAX_PENDING = 32
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.I)
_INDEX = re.compile(r"records\[(\d+)\]")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


class PublishParameters(msgspec.Struct):
    """The query of a publish, as `/openapi.json` shows it."""

    key: Annotated[str, Meta(description="The records' key")] = ""
    event: Annotated[str, Meta(description="The records' event type")] = ""
    split: Annotated[bool, Meta(description="For application/json: each item of the list is a record")] = False
    producer: Annotated[str, Meta(description="The producer's id, for publishing without duplicates")] = ""
    producer_epoch: Annotated[int, Meta(description="The producer's incarnation", ge=0)] = 0
    sequence: Annotated[int, Meta(description="The first record's sequence number, with producer", ge=1)] = 0
    file: Annotated[str, Meta(description="The body, of any type, is a file of this name")] = ""
    upload_id: Annotated[str, Meta(description="For a file: an id, so that it can go on after a break")] = ""
    position: Annotated[int, Meta(description="For a file: at which of its bytes the body begins", ge=0)] = 0
    stored_sha256: Annotated[
        str, Meta(description="For a file: the SHA-256 of its bytes before that, compared with what is stored")
    ] = ""
    end: Annotated[bool, Meta(description="For a file: ends the stream after it")] = False
    journey: Annotated[bool, Meta(description="The response tells how each step of the publish went")] = False


class EncodingView(msgspec.Struct):
    """How the published records were encoded in a format, and for how many more uses it was shared."""

    format: str
    bytes: int
    us: float
    shared: int


class JourneyView(msgspec.Struct):
    """A publish on its way: when each step was done, in µs since its head was read; what it was committed with; its
    encodings until the acknowledgement; its live readers by format, and how many others there are."""

    steps: dict[str, float]
    commit_publishes: int
    commit_records: int
    encodings: list[EncodingView]
    readers: dict[str, int]
    others: int

    @classmethod
    def of(cls, journey: Journey) -> JourneyView:
        """A journey that is over."""
        began = journey.steps["received"]
        return cls(
            {step: round((at - began) * 1e6, 1) for step, at in journey.steps.items()},
            journey.commit_publishes,
            journey.commit_records,
            [
                EncodingView(one.format, one.bytes, round(one.seconds * 1e6, 1), one.shared)
                for one in journey.encodings.values()
            ],
            journey.readers,
            journey.others,
        )


class Published(msgspec.Struct):
    """What became of a publish: the offsets of its first and last record, and how many were stored or dropped."""

    stream: str
    first: int
    last: int
    cursor: str
    stored: int
    duplicates: int
    epoch: str
    journey: JourneyView | msgspec.UnsetType = msgspec.UNSET


@dataclass(slots=True)
class _Order:
    """A publish request, checked."""

    stream: str
    media_type: str
    splitter: Splitter
    producer: ProducerRef | None
    whole: bool
    journey: Journey | None


@dataclass(slots=True)
class _Tally:
    """What was acknowledged so far, and what was submitted and is not yet."""

    pending: deque[asyncio.Future[Ack]] = field(default_factory=deque)
    first: int | None = None
    last: int = 0
    stored: int = 0
    duplicates: int = 0
    stream: str = ""
    received: int = 0
    """Bytes of the body."""
    refused: bool = False
    """Whether the log refused one: then that was counted."""

    async def settle(self, most: int) -> None:
        """Waits until at most `most` are pending. Raises what refused one."""
        while len(self.pending) > most:
            try:
                ack = await self.pending.popleft()
            except RatError:
                self.refused = True
                raise
            self.first = ack.first if self.first is None else self.first
            self.last = ack.last
            self.stored += ack.stored
            self.duplicates += ack.duplicates

    async def settle_all(self) -> None:
        """Waits for all that is pending, whatever becomes of it."""
        while self.pending:
            try:
                await self.settle(0)
            except RatError:
                continue


class Publish:
    """Serves the route."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._limits = broker.settings.limits
        self._checks = ValueLimits(value_bytes=self._limits.value_bytes)

    async def __call__(self, name: str, exchange: Exchange) -> Reply:
        """Takes the body of a publish to the stream `name`.

        Raises:
            RatError: it was refused, and nothing of it was stored.
        """
        assert exchange.head is not None
        tally = _Tally()
        try:
            query = Query(exchange.scope["query_string"], PublishParameters.__struct_fields__)
            if query.one("file") is not None:
                return await upload.take(self._broker, name, query, exchange)
            order = _order(name, exchange.head, query, self._limits)
            tally.stream = order.stream
            await (self._take_whole if order.whole else self._take_stream)(order, exchange, tally)
            await tally.settle(0)
            if tally.first is None:
                raise InvalidArgument("the body has no record", field="body")
        except (RatError, ClientGone) as error:
            if isinstance(error, RatError) and not tally.refused:
                self._broker.figures.refused[error.slug] += 1
            await tally.settle_all()
            if isinstance(error, ClientGone) or not tally.stored:
                raise
            return refusal(error, stored=tally.stored, cursor=self._cursor(tally.last))
        done = Published(
            order.stream,
            tally.first,
            tally.last,
            self._cursor(tally.last),
            tally.stored,
            tally.duplicates,
            self._broker.epoch,
        )
        if order.journey is not None:
            order.journey.mark("acknowledged")
            done.journey = JourneyView.of(order.journey)
        return json_reply(done)

    async def _take_whole(self, order: _Order, exchange: Exchange, tally: _Tally) -> None:
        body = await exchange.small_body(self._limits.request_bytes)
        journey = order.journey
        if journey is not None:
            journey.mark("body")
        drafts = self._drafts(order, order.splitter.feed(body)) + self._drafts(order, order.splitter.finish())
        await self._broker.wait_for_room()
        if journey is not None:
            journey.mark("checked")
            if len(drafts) > 1:
                raise InvalidArgument("journey is for records that are published at once", field="journey")
            for draft in drafts:
                draft.journey = journey
        tally.pending.extend(map(self._broker.submit, drafts))

    async def _take_stream(self, order: _Order, exchange: Exchange, tally: _Tally) -> None:
        with self._broker.connections.opened(exchange.peer, order.media_type, tally):
            await self._take_pieces(order, exchange, tally)

    async def _take_pieces(self, order: _Order, exchange: Exchange, tally: _Tally) -> None:
        async for piece in exchange.body():
            tally.received += len(piece)
            await self._submit(self._drafts(order, order.splitter.feed(piece)), tally)
        await self._submit(self._drafts(order, order.splitter.finish()), tally)

    async def _submit(self, drafts: list[Draft], tally: _Tally) -> None:
        for draft in drafts:
            await self._broker.wait_for_room()
            tally.pending.append(self._broker.submit(draft))
            await tally.settle(MAX_PENDING)

    def _drafts(self, order: _Order, records: list[bytes]) -> list[Draft]:
        """The records, checked, in drafts of at most `limits.batch_records`."""
        most = self._limits.batch_records
        return [self._draft(order, records[at : at + most], at) for at in range(0, len(records), most)]

    def _draft(self, order: _Order, records: list[bytes], at: int) -> Draft:
        try:
            columns = wire.parse_records(records, self._checks)
        except RatError as error:
            raise _located(order, at, error) from None
        draft = Draft(order.stream, records, columns.keys, columns.events, columns.values, order.producer)
        if order.producer is not None:
            ref = order.producer
            order.producer = ProducerRef(ref.id, ref.epoch, ref.sequence + len(records))
        return draft

    def _cursor(self, offset: int) -> str:
        return f"{self._broker.epoch}-{offset}"


def _located(order: _Order, at: int, error: RatError) -> RatError:
    """The error, with the record's place in the body instead of its index."""
    found = _INDEX.match(error.field or "")
    if found is None:
        return error
    place = order.splitter.place(at + int(found[1]))
    detail = error.detail.removeprefix(found[0]).lstrip(":. ")
    return type(error)(f"{place}: {detail}", field="body")


def _order(name: str, head: Head, query: Query, limits: Limits) -> _Order:
    for parameter in upload.WITH_FILE:
        if query.one(parameter) is not None:
            raise InvalidArgument(f"{parameter} goes with file=", field=parameter)
    media_type = _media_type(head)
    stream = check_name(name)
    split = query.flag("split")
    journey = Journey() if query.flag("journey") else None
    if journey is not None:
        journey.mark("received")
    if split and media_type != "application/json":
        raise InvalidArgument("split is for application/json alone", field="split")
    made = splitter(
        media_type,
        key=check_key(query.one("key") or ""),
        event=check_event(query.one("event") or ""),
        max_bytes=limits.value_bytes,
        split=split,
    )
    if not head.has_body:
        raise InvalidArgument("a publish needs a body", field="body")
    whole = made.whole or (head.content_length is not None and head.content_length <= limits.request_bytes)
    if journey is not None and not whole:
        raise InvalidArgument("journey is for a body of known, small length", field="journey")
    return _Order(stream, media_type, made, _producer(query, head, stream), whole, journey)


def _media_type(head: Head) -> str:
    value = head.one(b"content-type") or ""
    media_type = value.partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaType(f"Content-Type must be one of {', '.join(MEDIA_TYPES)}", field="content-type")
    if any(charset.lower() not in _CHARSETS for charset in _CHARSET.findall(value)):
        raise UnsupportedMediaType("the charset must be utf-8", field="content-type")
    return media_type


def _producer(query: Query, head: Head, stream: str) -> ProducerRef | None:
    producer, sequence = query.one("producer"), query.integer("sequence", 1, 2**63 - 1)
    epoch = query.integer("producer_epoch", 0, 2**64 - 1)
    if (producer is None) != (sequence is None) or (producer is None and epoch is not None):
        raise InvalidArgument("producer and sequence must come together", field="producer")
    key = head.one(b"idempotency-key")
    if key is None:
        return ProducerRef(check_producer_id(producer), epoch or 0, sequence or 1) if producer is not None else None
    if producer is not None:
        raise InvalidArgument("Idempotency-Key and producer must not come together", field="idempotency-key")
    if not _IDEMPOTENCY_KEY.match(key):
        raise InvalidArgument("Idempotency-Key must be 1 to 255 visible ASCII characters", field="idempotency-key")
    digest = hashlib.sha256(f"{stream}\0{key}".encode()).hexdigest()[:40]
    return ProducerRef(KEY_PREFIX + digest, 0, 1)
