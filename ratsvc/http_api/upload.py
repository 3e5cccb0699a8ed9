"""A file over HTTP: `POST /v1/streams/{name}?file=NAME`, its bytes the body as they are, stored as they come.

It becomes what an Upload over gRPC becomes (`flow.upload`). `Content-Length` is the size announced, `Content-Type` the
file's type, and of `Repr-Digest` (the whole file) and `Content-Digest` (this body; RFC 9530) a `sha-256` is compared;
other algorithms are not looked at.
With `upload_id=ID` it can go on after a break: `GET /v1/streams/{name}/uploads/{ID}` says at which byte, and the POST
that brings the rest has `position=` that byte, and `stored_sha256=` of what is before it, so that no other file does.
A body that stops half way leaves its whole chunks of 64 KiB stored.
"""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import suppress

import msgspec

from ratsvc.core.upload import Announced, Standing
from ratsvc.errors import DigestMismatch, InvalidArgument, RatError, UnsupportedMediaType
from ratsvc.flow.broker import Broker
from ratsvc.flow.upload import Upload
from ratsvc.http_api.exchange import Exchange
from ratsvc.http_api.head import Head
from ratsvc.http_api.problem import Reply, json_reply, refusal
from ratsvc.http_api.query import Query
from ratsvc.http_api.splitting import Chunks
from ratsvc.names import check_event, check_key, check_name

MAX_SIZE = 2**63 - 1
#: Parameters that have a meaning with `file` alone, and those that have none with it.
WITH_FILE, NOT_WITH_FILE = (
    ("upload_id", "position", "stored_sha256", "end"),
    ("split", "producer", "producer_epoch", "sequence", "journey"),
)
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;[ -~]*)?\Z")
_FORMS = ("application/x-www-form-urlencoded", "multipart/")
_SHA256 = re.compile(r"(?:\A|,)[ \t]*sha-256=:([A-Za-z0-9+/]{43}=):[ \t]*(?:,|;|\Z)")
_HEX = re.compile(r"[0-9A-Fa-f]{64}\Z")


class UploadView(msgspec.Struct):
    """An upload as it stands: how many bytes are stored, their SHA-256 (hexadecimal), whether that is the file, and
    whether retention has removed records of it already."""

    stream: str
    upload_id: str
    size: int
    sha256: str
    complete: bool
    records: int
    first: int
    last: int
    cursor: str
    epoch: str
    evicted: bool


def view(broker: Broker, stream: str, upload_id: str, standing: Standing) -> UploadView:
    """What is told of an upload; `upload_id` is "" for one that cannot go on."""
    return UploadView(
        stream=stream,
        upload_id=upload_id,
        size=standing.size,
        sha256=standing.digest.hexdigest(),
        complete=standing.complete,
        records=standing.records,
        first=standing.first,
        last=standing.last,
        cursor=f"{broker.epoch}-{standing.last}",
        epoch=broker.epoch,
        evicted=broker.uploads.is_evicted(stream, standing),
    )


async def take(broker: Broker, stream: str, query: Query, exchange: Exchange) -> Reply:
    """Takes the body as a file. The problem of one that fails says how many bytes are stored (`size`).

    Raises:
        RatError: it was refused, and nothing of it was stored.
    """
    head = exchange.head
    assert head is not None
    announced = _announced(check_name(stream), query, head)
    whole, content = _digest(head, "repr-digest"), _digest(head, "content-digest")
    with (
        await broker.uploads.open(announced) as upload,
        broker.connections.opened(exchange.peer, "upload", upload),
    ):
        try:
            came = await _store(upload, exchange, broker.settings.limits.value_bytes)
            if content and came != content:
                raise DigestMismatch("the body that arrived has another SHA-256 than was sent", field="content-digest")
            standing = await upload.finish(whole)
        except RatError as error:
            with suppress(RatError):
                await upload.settle()
            error.field = "repr-digest" if error.field == "sha256" else error.field
            return refusal(error, size=upload.standing.size)
    return json_reply(view(broker, stream, announced.id, standing))


async def _store(upload: Upload, exchange: Exchange, max_bytes: int) -> bytes:
    """Stores the body; returns its SHA-256."""
    chunks, digest = Chunks(bytes, max_bytes), hashlib.sha256()
    if exchange.head is not None and exchange.head.has_body:
        async for piece in exchange.body():
            digest.update(piece)
            for chunk in chunks.feed(piece):
                await upload.store(chunk)
    for chunk in chunks.finish():
        await upload.store(chunk)
    return digest.digest()


def _announced(stream: str, query: Query, head: Head) -> Announced:
    for name in NOT_WITH_FILE:
        if query.one(name) is not None:
            raise InvalidArgument(f"{name} does not go with file", field=name)
    if head.one(b"idempotency-key") is not None:
        raise InvalidArgument("a file that must be stored once has upload_id=, not Idempotency-Key", field="upload_id")
    position = query.integer("position", 0, MAX_SIZE) or 0
    media_type = head.one(b"content-type") or ""
    if media_type.lower().startswith(_FORMS):
        raise UnsupportedMediaType("a form is not taken: the body must be the file itself", field="content-type")
    if media_type and not _MEDIA_TYPE.match(media_type):
        raise UnsupportedMediaType("Content-Type must be a media type, type/subtype", field="content-type")
    length = head.content_length if not head.chunked else None
    return Announced(
        stream=stream,
        id=query.one("upload_id") or "",
        position=position,
        name=query.one("file") or "",
        content_type=media_type,
        size=position + length if length is not None else 0,
        key=check_key(query.one("key") or ""),
        event=check_event(query.one("event") or ""),
        end_stream=query.flag("end"),
        stored=_stored(query),
    )


def _stored(query: Query) -> bytes:
    """The SHA-256 that is told of what is stored; b"" when none is."""
    text = query.one("stored_sha256") or ""
    if text and not _HEX.match(text):
        raise InvalidArgument("stored_sha256 must be 64 hexadecimal digits", field="stored_sha256")
    return bytes.fromhex(text)


def _digest(head: Head, name: str) -> bytes:
    """The SHA-256 in a header of RFC 9530; b"" when there is none."""
    value = head.one(name.encode()) or ""
    found = _SHA256.search(value)
    if found is None and "sha-256" in value.lower():
        raise InvalidArgument(f"{name} must be sha-256=:<base64>:", field=name)
    return base64.b64decode(found[1]) if found else b""
