"""The whole service in one event loop: broker, gRPC and HTTP; start, drain, stop.

On the first SIGTERM or SIGINT it drains: not ready, producers are told to go, readers to reconnect, spread over
`drain_s`; then both edges close, what is queued is committed, and it exits 0. A second signal skips the wait.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import signal
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

import grpc.aio
import structlog
import uvloop

import ratsvc
from ratsvc.errors import SettingsError
from ratsvc.flow.broker import Broker
from ratsvc.grpc_api import server as grpc_api
from ratsvc.http_api.app import create_app
from ratsvc.http_api.guest import Guest
from ratsvc.server.http import HttpServer
from ratsvc.settings import Settings

_log = structlog.get_logger()

EDGE_GRACE_S = 2.0
GC_THRESHOLDS = (20_000, 50, 50)
KEPT_BYTES = 8 * 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


class Server:
    """The running service, as an async context manager: `async with Server(settings) as server`.

    Args:
        settings: how it runs.
        guest: an app to serve beside it.
    """

    broker: Broker
    http_port: int
    grpc_port: int

    def __init__(self, settings: Settings, guest: Guest | None = None) -> None:
        self._settings = settings
        self._guest = guest
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self.broker = await stack.enter_async_context(Broker(settings))
            app = create_app(self.broker, self._guest)
            http = HttpServer(app, settings.http, settings.limits, self.broker.figures)
            stack.push_async_callback(http.stop, EDGE_GRACE_S)
            self.http_port = http.port
            grpc_server = grpc.aio.server(options=grpc_api.options(settings))
            self._health = grpc_api.add_services(grpc_server, self.broker)
            try:
                self.grpc_port = grpc_server.add_insecure_port(settings.grpc)
            except RuntimeError:
                raise SettingsError(f"cannot listen for gRPC at {settings.grpc}: address in use or not ours") from None
            stack.push_async_callback(grpc_server.stop, EDGE_GRACE_S)
            await grpc_server.start()
            await http.start()
            await self._health.set(True)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.broker.draining:
            await self.drain(0.0)
        await self._stack.aclose()

    async def drain(self, spread_s: float) -> None:
        """Tells everyone to go; returns when the readers have gone, or after `stop_timeout_s`."""
        await self._health.set(False)
        try:
            await asyncio.wait_for(self.broker.drain(spread_s), self._settings.drain_timeout_s)
        except TimeoutError:
            _log.warning("drain_timeout", subscriptions=len(self.broker.subscriptions))

    @property
    def http_address(self) -> str:
        """Where HTTP listens, `host:port`."""
        return f"{self._settings.http.rpartition(':')[0]}:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        """Where gRPC listens, `host:port`."""
        return f"{self._settings.grpc.rpartition(':')[0]}:{self.grpc_port}"


def run(settings: Settings, on_ready: Callable[[str, str], None]) -> int:
    """Serves until a signal, then drains.

    Args:
        on_ready: called with the HTTP and the gRPC address when both take requests.

    Returns:
        The exit code: 0 after a clean stop, 1 when the log broke.

    Raises:
        SettingsError: an address cannot be listened at.
    """
    prepare_process()
    return uvloop.run(_serve(settings, on_ready))


def prepare_process() -> None:
    """Raises the limit of open files, lets the garbage collector look less often (records are acyclic), and lets the
    allocator keep a little of what is freed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Has glibc give freed memory back to the system only from KEPT_BYTES on. What is encoded for a reader that catches
    up is some 100 KiB: given back after each step and asked for at the next, page faults cost as much as the step."""
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES // 2)


async def _serve(settings: Settings, on_ready: Callable[[str, str], None]) -> int:
    loop = asyncio.get_running_loop()
    stops: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stops.put_nowait, None)
    code = 0
    async with Server(settings) as server:
        _log.info(
            "ready", version=ratsvc.__version__, http=server.http_address, grpc=server.grpc_address,
            durable=server.broker.durable, epoch=server.broker.epoch, last_offset=server.broker.log.last_offset,
        )  # fmt: skip
        on_ready(server.http_address, server.grpc_address)
        stop = asyncio.create_task(stops.get())
        failed = asyncio.create_task(server.broker.failed())
        done, _ = await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed in done:
            _log.error("log_broke", error=str(failed.exception()))
            code = 1
        _exit_at_last(settings.stop_timeout_s)
        _log.info("draining", subscriptions=len(server.broker.subscriptions))
        drain = asyncio.create_task(server.drain(settings.drain_s))
        again = asyncio.create_task(stops.get())
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stop, failed, drain, again):
            task.cancel()
        await asyncio.gather(stop, failed, drain, again, return_exceptions=True)
    _log.info("stopped")
    return code


def _exit_at_last(seconds: float) -> None:
    """Ends the process when a stop hangs."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
