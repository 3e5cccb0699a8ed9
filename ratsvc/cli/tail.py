"""`ratsvc tail`: follows streams; pretty in a terminal, JSON lines in a pipe."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from threading import Thread
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.pretty import Pretty
from rich.text import Text

from ratsvc.cli.addresses import HTTP, HttpAddress, url
from ratsvc.client import Consumer, GapSeen, Received
from ratsvc.client.status import error_of_problem
from ratsvc.errors import Unavailable

STDOUT = 1
FORMATS = ("sse", "ndjson", "json-seq", "text", "chunked", "binary")


def tail(
    patterns: Annotated[list[str], typer.Argument(metavar="PATTERN", help="Streams: names, or patterns with * and >.")],
    start: Annotated[str, typer.Option("--from", help="latest, earliest, -N, a time or a cursor.")] = "latest",
    until: Annotated[str | None, typer.Option(help="Stop here: now, or a cursor.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many records.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Only records with this key. Repeatable.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Only records of this event type. Repeatable.")] = None,
    snapshot: Annotated[bool, typer.Option("--snapshot", help="First the newest record of each key.")] = False,
    delta: Annotated[
        bool, typer.Option("--delta", help="Have only sent what changed: in a pipe, as JSON patches (RFC 6902).")
    ] = False,
    form: Annotated[
        str | None, typer.Option("--format", help=f"Write the body as it comes: {', '.join(FORMATS)}.")
    ] = None,
    http: HttpAddress = HTTP,
) -> None:
    """Follow streams, and come back after a break without losing or repeating a record.

    In a terminal records are shown with their stream, time and key; in a pipe each is one JSON value on a line.
    With --format the bytes are written as they come, and nothing is resumed.

    Examples:
      ratsvc tail 'demo.>' --from -10
      ratsvc tail prices --snapshot
      ratsvc tail orders --from earliest --until now | jq .total
      ratsvc tail files.report --from earliest --until now --format chunked > report.pdf
    """
    service = url(http)
    if form is None and sys.stdout.isatty():
        consumer = Consumer(
            service, patterns, from_=start, until=until, limit=limit, keys=key or (), events=event or (),
            snapshot=snapshot, delta=delta, retries=5,
        )  # fmt: skip
        asyncio.run(_pretty(consumer))
        return
    query = [("stream", pattern) for pattern in patterns] + [("from", start), ("format", form or "ndjson")]
    query += [(name, text) for name, texts in (("key", key), ("event", event)) for text in texts or ()]
    query += [(name, str(value)) for name, value in (("until", until), ("limit", limit)) if value is not None]
    query += [("snapshot", "key")] if snapshot else []
    query += [("delta", "json-patch")] if delta else []
    _raw(service, query)


async def _pretty(consumer: Consumer) -> None:
    console = Console(highlight=False)
    async for item in consumer:
        if isinstance(item, GapSeen):
            skipped = f", {item.skipped} records" if item.skipped else ""
            console.print(f"[yellow]gap ({item.reason}{skipped}): {item.after} to {item.cursor}[/yellow]")
        else:
            _show(console, item)


def _show(console: Console, record: Received) -> None:
    labels = " ".join(f"[magenta]{escape(label)}[/magenta]" for label in (record.key, record.event) if label)
    head = f"[dim]{record.time.astimezone():%H:%M:%S.%f}[/dim] [cyan]{record.stream}[/cyan] {labels}".rstrip()
    value = Text(_printable(record.value)) if isinstance(record.value, str) else Pretty(record.value)
    console.print(head, value)


def _printable(text: str) -> str:
    """Text without what would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _leave_with_the_reader() -> None:
    """Ends the process when whoever reads its output has left: on a quiet stream nothing else would tell it."""
    output = select.poll()
    output.register(STDOUT, 0)  # an error is told always, and is all that is waited for
    output.poll()
    os._exit(0)


def _raw(service: str, query: list[tuple[str, str]]) -> None:
    if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
        Thread(target=_leave_with_the_reader, daemon=True).start()
    params = httpx.QueryParams(tuple(query))
    timeout = httpx.Timeout(10.0, read=60.0)
    with httpx.stream("GET", service + "/v1/subscribe", params=params, timeout=timeout) as response:
        if response.status_code == httpx.codes.NO_CONTENT:
            return
        if response.status_code != httpx.codes.OK:
            response.read()
            try:
                problem = response.json()
            except ValueError:
                problem = None
            raise error_of_problem(response.status_code, problem)
        try:
            for data in response.iter_bytes():
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        except httpx.RemoteProtocolError:
            raise Unavailable("the response broke off before its end") from None
