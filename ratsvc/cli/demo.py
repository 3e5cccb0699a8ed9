"""`ratsvc demo`: the service with sample producers, and a page that shows them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from typing import Annotated

import typer

from ratsvc.cli.serve import ConfigOption, GrpcOption, HttpOption, SetOption, flag_settings
from ratsvc.observability import logs
from ratsvc.settings import Settings, load

DEMO_RETENTION = {"demo.>": {"max_records": 20_000, "max_bytes": 8 * 1024 * 1024, "max_age": "1h"}}


def demo(
    http: HttpOption = None,
    grpc: GrpcOption = None,
    config: ConfigOption = None,
    changes: SetOption = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long; else on Ctrl-C.")] = None,
) -> None:
    """Run the service with sample producers, and say what to open and what to try. It needs no network."""
    flags = {"drain_s": 0.5, "log_level": "warning", "streams": DEMO_RETENTION}
    settings = load(config, flags | flag_settings(changes, http=http, grpc=grpc))
    logs.configure(settings.log_format, settings.log_level)
    import uvloop

    uvloop.run(_run(settings, seconds))


async def _run(settings: Settings, seconds: float | None) -> None:
    from ratsvc.demo.producers import SampleProducers
    from ratsvc.demo.site import PATHS, create_site
    from ratsvc.server.app import Server, prepare_process
    from ratsvc.streaming import shutdown_streaming_system

    prepare_process()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    async with Server(settings, await create_site()) as server:
        producing = asyncio.create_task(SampleProducers(server.grpc_address, typer.echo).run())
        _announce(f"http://{server.http_address}", server.grpc_address, PATHS)
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({producing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (producing, waiting):
            task.cancel()
        failed, _ = await asyncio.gather(producing, waiting, return_exceptions=True)
        if isinstance(failed, Exception):
            raise failed
        shutdown_streaming_system(settings.drain_s)
        await server.drain(settings.drain_s)
        counts = server.broker.stats()
    typer.echo(f"stopped after {counts['records_total']:,.0f} records")


def _announce(http: str, grpc: str, paths: Iterable[str]) -> None:
    demos = "".join(f"\n       {http}{path}" for path in paths)
    typer.echo(f"""ratsvc is ready: HTTP {http}  gRPC {grpc}

Open   {http}/ui/                the dashboard
       {http}/ui/demo.html       five live feeds
       {http}/docs               the HTTP API

       the in-process API, each page with its source:{demos}

Try    curl -N {http}/v1/streams/demo.prices
       curl -N -H 'Accept: text/event-stream' '{http}/v1/streams/demo.tokens.*?from=-20'
       curl -N '{http}/v1/streams/demo.logs?format=text&from=-10'
       curl '{http}/v1/streams/demo.>?format=page&from=-3&limit=3'
       ratsvc tail 'demo.>' --http {http}
       ratsvc publish demo.logs 'hello from me' --format text --grpc {grpc}

Ctrl-C stops it.""")
