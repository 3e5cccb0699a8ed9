"""Reading over HTTP: SSE, JSON lines or binary; after any break it comes back with its cursor.

Nothing is repeated and nothing is skipped in silence: the cursor moves with each record that was given out, and
what the service can no longer give is a `GapSeen`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

import httpx
import msgspec

from ratsvc.client import frames
from ratsvc.client.documents import Documents
from ratsvc.client.frames import ComeBack, Ended, GapSeen, Moved, Received
from ratsvc.client.status import backoff_s, error_of_problem, is_retryable
from ratsvc.errors import InvalidArgument, InvalidValue, Unavailable

__all__ = ["Consumer", "GapSeen", "Received"]

CONNECT_TIMEOUT_S = 10.0
SILENCE_HEARTBEATS = 2.5
_READERS = {
    "sse": ("text/event-stream", frames.read_sse),
    "ndjson": ("application/x-ndjson", frames.read_ndjson),
    "binary": ("application/vnd.rat.v1.frames+protobuf", frames.read_binary),
}


class Consumer:
    """Iterates over the records of streams: `async for record in Consumer(url, "prices")`. It ends when the streams
    end, at `limit` or at `until`.

    Args:
        url: of the service's HTTP, `http://host:port`.
        streams: a name or pattern, or several.
        from_: `latest`, `earliest`, `-N`, a time or a cursor.
        until, limit: where to stop.
        keys, events: what to take.
        snapshot: first the newest record of each key, then what comes; after a gap the state begins anew.
        delta: the service sends only what changed in the documents of a key; the records given out are whole all the
            same. The newest document of each stream and key is kept, for as long as a connection lasts.
        max_documents: how many of these are kept at most. When what changed in another one comes, a new connection from
            there brings it whole.
        format: `binary` keeps types; `sse` and `ndjson` give what JSON can say.
        on_gap: called with each gap; without it a gap is part of the iteration.
        heartbeat_s: the longest silence; after 2.5 times as long the connection is taken for dead.
        compressed: takes the streams as gzip: fewer bytes, for more CPU time at both ends.
        retries: how many times in a row a connection may fail before Unavailable is raised; None: for ever.
    """

    def __init__(
        self,
        url: str,
        streams: str | Sequence[str],
        *,
        from_: str = "latest",
        until: str | None = None,
        limit: int | None = None,
        keys: Sequence[str] = (),
        events: Sequence[str] = (),
        snapshot: bool = False,
        delta: bool = False,
        max_documents: int = 10_000,
        format: Literal["sse", "ndjson", "binary"] = "binary",
        on_gap: Callable[[GapSeen], None] | None = None,
        heartbeat_s: float = 15.0,
        compressed: bool = False,
        retries: int | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/v1/subscribe"
        accept, self._read = _READERS[format]
        self._headers = {"Accept": accept, "Accept-Encoding": "gzip" if compressed else "identity"}
        names = [streams] if isinstance(streams, str) else list(streams)
        self._query: list[tuple[str, str]] = [("stream", name) for name in names]
        self._query += [("key", key) for key in keys] + [("event", event) for event in events]
        self._query += [("heartbeat", f"{heartbeat_s:g}")]
        if format != "binary":
            self._query.append(("view", "record"))
        if snapshot:
            self._query.append(("snapshot", "key"))
        if max_documents < 1:
            raise InvalidArgument(f"max_documents must be 1 or more: {max_documents}")
        self._max_documents = max_documents
        self._delta = delta
        if delta:
            self._query.append(("delta", "json-patch"))
        if until is not None:
            self._query.append(("until", until))
        self._from = from_
        self._left = limit
        self._on_gap = on_gap
        self._timeout = httpx.Timeout(CONNECT_TIMEOUT_S, read=SILENCE_HEARTBEATS * heartbeat_s)
        self._retries = retries
        self.cursor: str | None = None
        """The place so far: a new Consumer with `from_=cursor` goes on there."""

    async def __aiter__(self) -> AsyncIterator[Received | GapSeen]:
        failures = 0
        async with httpx.AsyncClient(timeout=self._timeout) as client:
            while True:
                wait_s: float | None = None
                try:
                    async for word in self._connection(client):
                        failures = 0
                        if isinstance(word, Ended):
                            return
                        if isinstance(word, ComeBack):
                            wait_s = word.retry_s
                            break
                        if isinstance(word, GapSeen) and self._on_gap is not None:
                            self._on_gap(word)
                        elif not isinstance(word, Moved):
                            yield word
                        if self._left == 0:
                            return
                except (httpx.HTTPError, _TryLater) as error:
                    failures += 1
                    if self._retries is not None and failures > self._retries:
                        raise Unavailable(f"cannot read from {self._url}: {error or type(error).__name__}") from None
                    wait_s = error.wait_s if isinstance(error, _TryLater) else None
                await asyncio.sleep(backoff_s(failures) if wait_s is None else wait_s * random.uniform(0.5, 1.0))

    async def _connection(self, client: httpx.AsyncClient) -> AsyncIterator[frames.Word]:
        """What one connection gives. Moves the cursor with each word, before it is given out."""
        query: list[tuple[str, str | int | float | bool | None]] = [*self._query, ("from", self.cursor or self._from)]
        if self._left is not None:
            query.append(("limit", str(self._left)))
        async with client.stream("GET", self._url, params=query, headers=self._headers) as response:
            if response.status_code == httpx.codes.NO_CONTENT:
                yield Ended("ended")
                return
            if response.status_code != httpx.codes.OK:
                await self._refused(response)
            self.cursor = self.cursor or response.headers.get("Rat-Cursor")
            documents = Documents(self._max_documents) if self._delta else None
            async for read in self._read(response):
                word = read if documents is None else documents.whole(read)
                # Records of other streams that a gap covers may follow: only another epoch makes the place useless.
                if isinstance(word, Received | Moved) or (isinstance(word, GapSeen) and word.reason == "epoch"):
                    self.cursor = word.cursor
                if isinstance(word, Received) and self._left is not None:
                    self._left -= 1
                yield word

    @staticmethod
    async def _refused(response: httpx.Response) -> None:
        body = await response.aread()
        try:
            problem = msgspec.json.decode(body)
        except msgspec.MsgspecError:
            problem = None
        error = error_of_problem(response.status_code, problem)
        if not is_retryable(error) or isinstance(error, InvalidValue):
            raise error
        after = response.headers.get("Retry-After", "")
        raise _TryLater(error.detail, float(after) if after.isdigit() else None)


class _TryLater(Exception):
    """The service cannot answer now."""

    def __init__(self, detail: str, wait_s: float | None) -> None:
        super().__init__(detail)
        self.wait_s = wait_s
