"""The streams of a log: made, changed, ended, purged and deleted, and their readers told of it.

All calls are made in the writer's turn (`Sequencer.operate`), one at a time: so a change has its place among the
publishes, and what was submitted before it is stored when it happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time_ns

from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import StreamExists, StreamNotFound
from ratsvc.flow.hub import Hub
from ratsvc.logs.protocol import Log


class Streams:
    """What the writer does to streams.

    Args:
        defaults: what a stream keeps where it was not asked for anything else.
        create_on_publish: whether a publish makes its stream.
    """

    def __init__(self, log: Log, hub: Hub, defaults: Callable[[str], Retention], create_on_publish: bool) -> None:
        self._log = log
        self._hub = hub
        self._defaults = defaults
        self._create_on_publish = create_on_publish

    async def publishable(self, name: str) -> StreamInfo:
        """The stream that a publish goes to, made where it may be. Raises StreamNotFound or Busy."""
        info = self._log.registry.find(name)
        if info is None:
            if not self._create_on_publish:
                raise StreamNotFound(f"there is no stream {name!r}", field="stream")
            info = await self._make(name, Retention())
        return info

    async def create(self, name: str, retention: Retention | None) -> StreamInfo:
        """See `Broker.create`."""
        asked = retention or Retention()
        info = self._log.registry.find(name)
        if info is None:
            info = await self._make(name, asked)
            await self._log.flush()
            return info
        if retention is not None and info.asked != asked:
            raise StreamExists(f"stream {name!r} exists with another retention", field="retention")
        return info

    async def update(self, name: str, retention: Retention) -> StreamInfo:
        """See `Broker.update`."""
        info = self._log.registry.get(name)
        await self._log.update(info, retention, retention.over(self._defaults(name)))
        return info

    async def end(self, name: str) -> StreamInfo:
        """See `Broker.end`."""
        return await self._change(name, self._log.end)

    async def purge(self, name: str) -> StreamInfo:
        """See `Broker.purge`."""
        return await self._change(name, self._log.purge)

    async def delete(self, name: str) -> None:
        """See `Broker.delete`."""
        info = self._log.registry.get(name)
        await self._log.delete(info)
        self._hub.removed(info)

    async def _make(self, name: str, asked: Retention) -> StreamInfo:
        info = StreamInfo(name, asked.over(self._defaults(name)), time_ns(), asked)
        await self._log.create(info)
        self._hub.added(info)
        return info

    async def _change(self, name: str, change: Callable[[StreamInfo], Awaitable[None]]) -> StreamInfo:
        info = self._log.registry.get(name)
        await change(info)
        self._hub.changed(info)
        return info
