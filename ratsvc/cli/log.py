"""`ratsvc log`: checks, counts, saves and remakes the log of a data directory that no service uses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from ratsvc.cli import UsageError
from ratsvc.cli.archive import Export, Form, Imported, remake
from ratsvc.errors import DiskFull, InvalidArgument, LogRefused
from ratsvc.formats.archive import Summary
from ratsvc.formats.jsonview import rfc3339
from ratsvc.logs.lmdb.check import MOST_FINDINGS, Findings
from ratsvc.logs.lmdb.check import check as check_log
from ratsvc.logs.lmdb.stats import LogStats
from ratsvc.logs.lmdb.stats import stats as stats_of
from ratsvc.logs.lmdb.stopped import StoppedLog
from ratsvc.names import check_pattern

log = typer.Typer(no_args_is_help=True, help="Check, count, save and remake a log on disk that no service uses.")

DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The data directory, or a copy of one.")]


@log.command()
def check(directory: DirArgument) -> None:
    """Read everything in a log, and say what is damaged. Exits 1 when something is. Changes nothing."""
    findings = Findings()
    with _opened(directory, findings, "checking") as opened:
        found = check_log(opened, findings)
    typer.echo(
        f"{directory}: {found.records:,} records ({decimal(found.bytes)}) of {found.streams:,} streams in"
        f" {found.rows:,} rows, {found.journal_records:,} records in the journal"
    )
    if not findings:
        typer.echo("whole")
        return
    for line in findings.lines:
        typer.echo(line)
    if len(findings) > MOST_FINDINGS:
        typer.echo(f"and {len(findings) - MOST_FINDINGS:,} more")
    typer.echo(f"damaged: {len(findings):,} findings")
    raise typer.Exit(1)


@log.command()
def stats(
    directory: DirArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
) -> None:
    """Show what a log holds: its streams and its file. Changes nothing."""
    findings = Findings()
    with _opened(directory, findings, "") as opened:
        found = stats_of(opened)
    _say(findings)
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    _table(found)


@log.command()
def export(
    directory: DirArgument,
    patterns: Annotated[
        list[str] | None, typer.Option("--stream", metavar="PATTERN", help="Only these streams. Repeatable.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="JSON lines, or rat.v1.Frame messages.")] = Form.NDJSON,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Save everything that can be read, in offset order, also of a damaged log. Changes nothing.

    Each line of [bold]ndjson[/bold] has the record itself in base64, which [bold]import[/bold] takes, and its value
    for people and jq; [bold]binary[/bold] is smaller and faster. What cannot be read is said on standard error.
    With [bold]--stream[/bold] producers' numbers are left out: they are of all streams.

    Examples:
      ratsvc log export /var/lib/ratsvc --output backup.ndjson
      ratsvc log export /var/lib/ratsvc --stream 'prices.>' | jq -c .value
    """
    wanted = [check_pattern(pattern) for pattern in patterns or ()]
    findings = Findings()
    with _opened(directory, findings, "exporting", b"rows") as opened, _target(output) as write:
        summary = Export(opened, wanted, form, write).run()
    _say(findings)
    missing = f"; records are missing in {summary.gaps:,} places" if summary.gaps else ""
    if output is not None or missing:
        typer.echo(f"exported {_shown(summary)}{missing}", err=True)


@log.command("import")
def import_(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the new log will be: it must hold none.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote; - for standard input.")],
) -> None:
    """Make a new log of an export: the same streams, records and producers, under a new epoch.

    What was cut or changed is refused, and leaves nothing behind. One that is killed leaves what `serve` refuses; run
    again, it begins anew.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    done = asyncio.run(_import(directory, file))
    summary = done.summary
    missing = f"; they were missing in {summary.gaps:,} places" if summary.gaps else ""
    typer.echo(f"imported {_shown(summary)}{missing}; the epoch is {done.epoch}", err=True)


def _shown(summary: Summary) -> str:
    records = f"{summary.records:,} records ({decimal(summary.bytes)}) of {summary.streams:,} streams"
    return f"{records}, {summary.producers:,} producers"


def _leave(number: int, _: object) -> None:
    """Ends an import from wherever it is, so that it can clean up."""
    raise SystemExit(128 + number)


async def _import(directory: Path, path: Path) -> Imported:
    with _source(path) as file, _bar("importing", _size(file)) as bar:

        def show() -> None:
            if bar and file.seekable():
                bar[0].update(bar[1], completed=file.tell())

        try:
            return await remake(directory, file, show)
        except InvalidArgument as error:
            raise InvalidArgument(f"{path}: {error.detail}") from None


@contextmanager
def _opened(directory: Path, findings: Findings, what: str, table: bytes = b"") -> Iterator[StoppedLog]:
    """A log, with a bar for the bytes that are read of it, or of one of its tables."""
    opened = StoppedLog(directory, findings.add)
    try:
        pages = opened.pages
        rows = pages.tables.get(table)
        total = (rows.branches + rows.leaves + rows.overflows) * pages.page_bytes if rows else pages.used
        with _bar(what, total) as bar:
            if bar:
                pages.progress = lambda size: bar[0].advance(bar[1], size)
            yield opened
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LogRefused(f"cannot read {directory}: {error.strerror}") from None
    finally:
        opened.close()


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[tuple[Progress, TaskID] | None]:
    """A bar, where someone looks at standard error."""
    if not what or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress, progress.add_task(what, total=total)


@contextmanager
def _target(path: Path | None) -> Iterator[Callable[[bytes], None]]:
    """What writes to a file, or to standard output."""
    try:
        file = sys.stdout.buffer if path is None else path.open("wb")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None

    def write(data: bytes) -> None:
        with _writing(path):
            file.write(data)

    try:
        yield write
        with _writing(path):
            file.flush()
    finally:
        if path is not None:
            with suppress(OSError):  # it was said
                file.close()


@contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskFull(f"cannot write {path or 'the export'}: {error.strerror}") from None


def _source(path: Path) -> BinaryIO | nullcontext[BinaryIO]:
    if path.name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _size(file: BinaryIO) -> int | None:
    return os.fstat(file.fileno()).st_size if file.seekable() else None


def _say(findings: Findings) -> None:
    """What is damaged, on standard error."""
    for line in findings.lines:
        typer.echo(f"ratsvc: {line}", err=True)
    if len(findings) > MOST_FINDINGS:
        typer.echo(f"ratsvc: and {len(findings) - MOST_FINDINGS:,} more", err=True)


def _time(time_ns: int) -> str:
    return f"{rfc3339(time_ns)[:19]}Z" if time_ns else ""


def _table(found: LogStats) -> None:
    table = Table("stream", "records", "bytes", "first", "last", "oldest", "newest", "state", box=None)
    for at in (1, 2, 3, 4):
        table.columns[at].justify = "right"
    for one in found.streams:
        table.add_row(
            one.name,
            f"{one.records:,}",
            decimal(one.bytes),
            str(one.first_offset),
            str(one.last_offset),
            _time(one.oldest_ns),
            _time(one.newest_ns),
            "ended" if one.ended else "open",
        )
    console = Console()
    console.print(table if found.streams else "no streams")
    free = found.free_pages * found.page_bytes
    console.print(
        f"\n{found.records:,} records ({decimal(found.bytes)}) of {len(found.streams):,} streams,"
        f" {found.journal_records:,} of them in the journal; {found.producers:,} producers\n"
        f"epoch {found.epoch}, last offset {found.last_offset}, format {found.format}, {found.commits:,} commits\n"
        f"file {decimal(found.file_bytes)}: {found.pages:,} pages of {found.page_bytes}, of which {found.free_pages:,}"
        f" are free ({decimal(free)})",
        highlight=False,
        soft_wrap=True,
    )
