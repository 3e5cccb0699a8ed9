"""Uploads: files of any size as records of bytes, in order, in constant memory; and how one goes on after a break.

What its records say is in `core.upload`. What was stored stays when an upload breaks off or its digest does not match:
records are never taken back.

An upload with an id is an idempotent producer of one file (`core.dedupe`): its chunks are numbered, the numbers are
kept in the transaction that stores the records, and so each is stored once, whatever is sent again and whenever the
service was killed. SHA-256 cannot be picked up from what is kept, so the state of the newest `limits.uploads` is held
here; that of any other is made again by reading its records from the log: the whole digest is always that of what
is stored.
Cost: one copy beside the edge's own and one SHA-256 of each byte; what is not acknowledged yet is at most 8 MiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict, deque
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

from ratsvc.core.dedupe import KEY_PREFIX
from ratsvc.core.draft import Draft, ProducerRef
from ratsvc.core.record import Batch
from ratsvc.core.registry import StreamInfo
from ratsvc.core.upload import CHUNK, FIRST, UPLOAD, Announced, Standing, number
from ratsvc.errors import (
    DigestMismatch,
    InvalidArgument,
    OutOfSequence,
    ProducerFenced,
    TooLarge,
    Unavailable,
    UploadLost,
    UploadNotFound,
)
from ratsvc.flow.sequencer import Ack
from ratsvc.names import check_name, check_upload_id
from ratsvc.quickmem import wire

if TYPE_CHECKING:
    from ratsvc.flow.broker import Broker

WINDOW_BYTES = 8 * 1024 * 1024
WINDOW_CHUNKS = 64
READ_BYTES = 256 * 1024


class Uploads:
    """All uploads that can go on."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._known: OrderedDict[str, Standing] = OrderedDict()
        self._active: dict[str, Upload] = {}
        self._looking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def standing(self, stream: str, upload_id: str) -> Standing:
        """Where an upload stands, exactly: what was taken before is committed first.

        Raises:
            UploadNotFound: it has not begun, or was forgotten.
            UploadLost: records of it are no longer kept.
        """
        key = _key(check_name(stream), check_upload_id(upload_id))
        async with self._lock(key):
            return await self._find(key, stream, upload_id)

    async def open(self, announced: Announced) -> Upload:
        """Begins an upload, or goes on with one: `with await uploads.open(…) as upload`. A call that was at it
        is shut out.

        Raises:
            OutOfSequence: it stands at another position.
            ProducerFenced: a newer incarnation has begun.
            DigestMismatch: it began with another file.
            UploadNotFound, UploadLost: it cannot go on.
        """
        check_name(announced.stream)
        if not announced.id:
            if announced.position:
                raise InvalidArgument("only an upload with an upload_id can go on", field="position")
            return Upload(self, self._broker, announced, Standing(secrets.token_hex(8), 0), "")
        key = _key(announced.stream, check_upload_id(announced.id))
        async with self._lock(key):
            active = self._active.get(key)
            if active is not None and active.gives_way_to(announced):
                active.shut_out = True
                del self._active[key]
            upload = Upload(self, self._broker, announced, await self._resume(key, announced), key)
            if active is not None:
                active.shut_out = True
            self._active[key] = upload
            self._remember(key, upload.standing)
            return upload

    def is_evicted(self, stream: str, standing: Standing) -> bool:
        """Whether retention has removed records of an upload already."""
        info = self._broker.log.registry.find(stream)
        return info is None or info.evicted_through >= standing.first > 0

    def closed(self, key: str, upload: Upload) -> None:
        """An upload's call is over."""
        if self._active.get(key) is upload:
            del self._active[key]

    async def _resume(self, key: str, announced: Announced) -> Standing:
        """Where the call begins. Called with the upload's lock held."""
        place, epoch = await self._broker.produced(key), announced.epoch
        begins_anew = place is None or (epoch is not None and epoch > place[0])
        if begins_anew and not announced.position:
            self._known.pop(key, None)
            return Standing(announced.id, epoch or 0)
        found = await self._find(key, announced.stream, announced.id)
        if epoch is not None and epoch < found.epoch:
            raise _begun_anew(announced.id)
        if epoch is not None and epoch > found.epoch:
            raise UploadNotFound(f"there is no such incarnation of upload {announced.id}", field="upload_epoch")
        if announced.position != found.size:
            raise OutOfSequence(
                f"upload {announced.id} stands at byte {found.size}: it cannot go on at {announced.position}",
                field="position",
            )
        found.check_is_of(announced)
        return found

    async def _find(self, key: str, stream: str, upload_id: str) -> Standing:
        """Where an upload stands, of a copy. Called with its lock held."""
        place = await self._broker.produced(key)
        known = self._known.get(key)
        if place is None:
            if known is not None and known.records:
                raise _lost(upload_id)
            raise UploadNotFound(f"there is no upload {upload_id} to {stream!r}", field="upload_id")
        epoch, count, last = place
        if known is None or known.epoch != epoch or known.records > count:
            known = Standing(upload_id, epoch)
        found = known.copy()
        info = self._broker.log.registry.find(stream)
        if info is None:
            raise _lost(upload_id)
        if found.records < count:
            await self._catch_up(found, info, count, last)
        if info.deleted or info.purged_through >= found.first:
            raise _lost(upload_id)
        if key not in self._active:
            self._remember(key, found)
        return found

    async def _catch_up(self, standing: Standing, info: StreamInfo, count: int, last: int) -> None:
        """Reads the upload's records up to number `count`, which has the offset `last`."""
        after = standing.last
        if not standing.records:
            newest = await self._read(info, last - 1, standing.id, 1)
            after = number(wire.headers(newest[0].records[0]).get(FIRST, str(last))) - 1
        while standing.records < count:
            for batch in await self._read(info, after, standing.id, READ_BYTES):
                values = wire.blobs(batch) or wire.values(batch)
                for offset, record, value in zip(batch.offsets, batch.records, values, strict=True):
                    headers = wire.headers(record)
                    if headers.get(UPLOAD) != standing.id or standing.records == count:
                        continue
                    if headers.get(CHUNK) != str(standing.records + 1) or not isinstance(value, bytes | memoryview):
                        raise _lost(standing.id)
                    standing.add(value, headers)
                    standing.first, standing.last = standing.first or offset, offset
                after = batch.last
            await asyncio.sleep(0)

    async def _read(self, info: StreamInfo, after: int, upload_id: str, max_bytes: int) -> list[Batch]:
        items = await self._broker.read([info], after, max_bytes)
        batches = [item for item in items if isinstance(item, Batch)]
        if not batches or len(batches) < len(items):
            raise _lost(upload_id)
        return batches

    def _remember(self, key: str, standing: Standing) -> None:
        self._known[key] = standing
        self._known.move_to_end(key)
        while len(self._known) > self._broker.settings.limits.uploads:
            self._known.popitem(last=False)

    def _lock(self, key: str) -> asyncio.Lock:
        lock = self._looking.get(key)
        if lock is None:
            lock = self._looking[key] = asyncio.Lock()
        return lock


class Upload:
    """One call's work on an upload; made by `Uploads.open`, used as a context manager."""

    def __init__(self, uploads: Uploads, broker: Broker, announced: Announced, standing: Standing, key: str) -> None:
        self._uploads = uploads
        self._broker = broker
        self._announced = announced
        self._key = key
        self._max_chunk = broker.settings.limits.value_bytes
        self._sent = standing.copy()
        self._pending: deque[tuple[asyncio.Future[Ack], Standing]] = deque()
        self.standing = standing
        """What is acknowledged."""
        self.shut_out = False
        """Whether another call goes on with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uploads.closed(self._key, self)

    @property
    def stream(self) -> str:
        """Where it goes."""
        return self._announced.stream

    @property
    def received(self) -> int:
        """Bytes of the file that have come."""
        return self._sent.size

    def gives_way_to(self, announced: Announced) -> bool:
        """Whether another call may be the same upload, which goes on after a break, or a newer incarnation.

        Raises:
            ProducerFenced: it is an older one.
        """
        epoch = self.standing.epoch
        if announced.epoch is not None and announced.epoch < epoch:
            raise _begun_anew(announced.id)
        if announced.epoch is None or announced.epoch == epoch:
            return self.standing.size <= announced.position <= self._sent.size
        return announced.epoch > epoch and not announced.position

    async def store(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes; waits while too much is unacknowledged.

        Raises:
            InvalidArgument, TooLarge: the chunk has no bytes or too many, or the upload is complete.
            ProducerFenced: another call goes on with it.
            Unavailable: the service is draining, and the upload can go on elsewhere.
            RatError: what refuses a publish.
        """
        if self._sent.complete:
            raise InvalidArgument(f"upload {self._sent.id} is complete: it takes no more bytes", field="chunk")
        if not chunk:
            raise InvalidArgument("chunk must not be empty", field="chunk")
        if len(chunk) > self._max_chunk:
            raise TooLarge(f"chunk has {len(chunk)} bytes; at most {self._max_chunk} are taken", field="chunk")
        if self._key and self._broker.draining:
            raise Unavailable("the service is draining", retry_after_s=1)
        await self._submit(chunk)

    async def settle(self) -> None:
        """Waits until everything taken is acknowledged. Raises what `store` raises."""
        await self._settle(0, 0)

    async def finish(self, sha256: bytes = b"") -> Standing:
        """Ends the file; returns where it stands, all acknowledged. Of one that is complete, only compares.

        Args:
            sha256: of the whole file; b"" when it is not known.

        Raises:
            DigestMismatch: the size or the digest is not what was announced: the file does not become complete.
            RatError: what `store` raises.
        """
        await self.settle()
        size, announced = self._sent.size, self._announced
        if announced.size and announced.size != size:
            raise DigestMismatch(f"{announced.size} bytes were announced and {size} arrived", field="size")
        if sha256 and sha256 != self._sent.digest.digest():
            raise DigestMismatch("the bytes that arrived have another SHA-256 than was sent", field="sha256")
        if not self._sent.complete:
            await self._submit(b"", last=True)
            await self.settle()
        if announced.end_stream:
            await self._broker.end(announced.stream)
        return self.standing

    async def _submit(self, chunk: bytes | memoryview, *, last: bool = False) -> None:
        await self._broker.wait_for_room()
        if self.shut_out:
            raise ProducerFenced(f"another call goes on with upload {self._sent.id}", field="upload_id")
        announced, sent = self._announced, self._sent
        headers = sent.headers(announced, last=last)
        record = wire.record_from_blob(chunk, announced.key, announced.event, headers)
        sent.add(chunk, headers)
        draft = Draft(
            announced.stream,
            [record],
            [announced.key] if announced.key else None,
            [announced.event] if announced.event else None,
            producer=ProducerRef(self._key, sent.epoch, sent.records) if self._key else None,
        )
        self._pending.append((self._broker.submit(draft), sent.copy()))
        await self._settle(WINDOW_BYTES if sent.records > 1 else 0, WINDOW_CHUNKS)

    async def _settle(self, most_bytes: int, most_chunks: int) -> None:
        """Waits until at most so much is unacknowledged."""
        while self._pending:
            waiting = self._sent.size - self.standing.size
            if waiting <= most_bytes and len(self._pending) <= most_chunks:
                return
            done, then = self._pending[0]
            ack = await done
            self._pending.popleft()
            if self.shut_out or not ack.stored:
                raise ProducerFenced(f"another call goes on with upload {self._sent.id}", field="upload_id")
            first = self._sent.first = self._sent.first or ack.first
            standing = self.standing
            standing.records, standing.size, standing.digest = then.records, then.size, then.digest
            standing.announced, standing.name, standing.complete = then.announced, then.name, then.complete
            standing.first, standing.last = first, ack.last


def _key(stream: str, upload_id: str) -> str:
    """The upload as a producer's id."""
    return KEY_PREFIX + hashlib.sha256(f"upload\0{stream}\0{upload_id}".encode()).hexdigest()[:40]


def _begun_anew(upload_id: str) -> ProducerFenced:
    return ProducerFenced(f"upload {upload_id} was begun anew: this one is shut out", field="upload_epoch")


def _lost(upload_id: str) -> UploadLost:
    return UploadLost(f"records of upload {upload_id} are no longer kept: begin it anew", field="upload_id")
