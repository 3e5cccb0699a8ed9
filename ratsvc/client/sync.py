"""The same clients for code without an event loop: each runs the async one in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from rat.v1 import producer_pb2 as pb

from ratsvc.client.consumer import Consumer, GapSeen, Received
from ratsvc.client.outbox import Delivered
from ratsvc.client.producer import Producer
from ratsvc.client.sources import Uploadable

BUFFERED_RECORDS = 1_000
_POLL_S = 0.1


class SyncProducer:
    """`Producer`, for threads: the same arguments. A context manager; its calls may come from any thread."""

    def __init__(self, address: str = "127.0.0.1:50051", **options: Any) -> None:
        self._address = address
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ratsvc-producer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._producer: Producer = self._wait(self._make())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait(self._producer.__aexit__(kind, error, trace))
        finally:
            self._wait(_end_tasks())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def publish(
        self, stream: str, value: object, *, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
    ) -> Delivered:
        """Publishes one record and waits for its acknowledgement: see `Producer.publish`."""
        return self.send(stream, value, key=key, event=event, headers=headers).result()

    def send(
        self, stream: str, value: object, *, key: str = "", event: str = "", headers: Mapping[str, str] | None = None
    ) -> Future[Delivered]:
        """Queues a record and returns a future of its delivery; waits only while the buffer is full."""

        async def deliver() -> asyncio.Future[Delivered]:
            return await self._producer.send(stream, value, key=key, event=event, headers=headers)

        inner: asyncio.Future[Delivered] = self._wait(deliver())

        async def outcome() -> Delivered:
            return await inner

        delivery: Future[Delivered] = asyncio.run_coroutine_threadsafe(outcome(), self._loop)
        return delivery

    def upload(self, stream: str, source: Uploadable, **options: Any) -> pb.UploadResponse:
        """Uploads a file: see `Producer.upload`."""
        response: pb.UploadResponse = self._wait(self._producer.upload(stream, source, **options))
        return response

    def flush(self) -> None:
        """Waits until everything sent so far is acknowledged: see `Producer.flush`."""
        self._wait(self._producer.flush())

    async def _make(self) -> Producer:
        return await Producer(self._address, **self._options).__aenter__()

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _end_tasks() -> None:
    """Ends what a loop that is about to stop still runs, as `asyncio.run` does: gRPC's own tasks outlive a call."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class SyncConsumer:
    """`Consumer`, for threads: the same arguments; iterate over it, once."""

    def __init__(self, url: str, streams: str | list[str], **options: Any) -> None:
        self._consumer = Consumer(url, streams, **options)
        self._items: queue.Queue[Received | GapSeen | BaseException | None] = queue.Queue(BUFFERED_RECORDS)
        self._closed = threading.Event()
        self._cancel: Callable[[], object] | None = None

    @property
    def cursor(self) -> str | None:
        """The place of the newest record that was fetched."""
        return self._consumer.cursor

    def __iter__(self) -> Iterator[Received | GapSeen]:
        thread = threading.Thread(target=asyncio.run, args=(self._fetch(),), name="ratsvc-consumer", daemon=True)
        thread.start()
        try:
            while (item := self._items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._closed.set()
            if self._cancel is not None:
                self._cancel()
            thread.join()

    async def _fetch(self) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._cancel = lambda: loop.is_closed() or loop.call_soon_threadsafe(task.cancel)
        try:
            async for item in self._consumer:
                self._put(item)
        except asyncio.CancelledError:
            return
        except Exception as error:  # raised again in the thread that iterates
            self._put(error)
        self._put(None)

    def _put(self, item: Received | GapSeen | BaseException | None) -> None:
        """Waits while the buffer is full: this loop has nothing else to do."""
        while not self._closed.is_set():
            try:
                self._items.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return
