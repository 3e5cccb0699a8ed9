"""`ratsvc publish`: records from arguments, a file or standard input."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import Progress

from ratsvc.cli import UsageError
from ratsvc.cli.addresses import GRPC, GrpcAddress, target
from ratsvc.cli.uploading import bar, has_lines, is_regular, run_upload
from ratsvc.client import Delivered, Producer
from ratsvc.errors import RatError
from ratsvc.quickmem import from_json

PIECE_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024


class Input(StrEnum):
    """How the input becomes records."""

    JSON = "json"
    NDJSON = "ndjson"
    TEXT = "text"
    LINES = "lines"
    BYTES = "bytes"


def publish(
    stream: Annotated[str, typer.Argument(help="The stream's name.")],
    values: Annotated[list[str] | None, typer.Argument(metavar="VALUE", help="Values; without any, the input.")] = None,
    form: Annotated[
        Input | None,
        typer.Option("--format", help="How values are read; json for VALUEs, bytes for FILE, lines for the input."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read this file instead of standard input.")] = None,
    key: Annotated[str, typer.Option(help="The records' key.")] = "",
    event: Annotated[str, typer.Option(help="The records' event type.")] = "",
    grpc: GrpcAddress = GRPC,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds until a record that is not acknowledged fails, or an upload that stands still."),
    ] = 30.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an upload of FILE that broke off.")] = False,
    end: Annotated[bool, typer.Option("--end", help="End the stream after FILE was uploaded.")] = False,
) -> None:
    """Publish records, and wait until all are acknowledged.

    [bold]json[/bold]: each VALUE is one JSON document; [bold]ndjson[/bold]: each line of the input is one;
    [bold]text[/bold]: each VALUE, or the whole input, is one string; [bold]lines[/bold]: each line is a string;
    [bold]bytes[/bold]: the input as chunks of bytes.
    Of an input with a bad line the lines before it are published.

    A FILE is uploaded as it is (bytes), its SHA-256 checked at both ends, unless
    --format says what its records are. When the connection breaks, or the
    service restarts, the upload goes on where it stood; when this command
    itself was stopped, run it again with --resume.

    Examples:
      ratsvc publish prices '{"symbol": "ACME", "price": 1.5}' --key ACME
      journalctl -f | ratsvc publish logs --format lines
      ratsvc publish logs --format lines --file app.log
      ratsvc publish files.report --file report.pdf --end
    """
    if values and (file is not None or form in (Input.NDJSON, Input.LINES, Input.BYTES)):
        raise UsageError(
            f"VALUEs do not go with {'--file' if file is not None or form is None else f'--format {form}'}"
        )
    if file is not None and form in (None, Input.BYTES) and is_regular(file, needed=resume or end):
        if form is None and not (resume or end) and has_lines(file):
            typer.echo(f"ratsvc: {file} is uploaded as one file; for a record a line say --format lines", err=True)
        run_upload(stream, file, key, event, target(grpc), timeout, resume=resume, end=end)
        return
    if resume or end:
        raise UsageError(f"{'--resume' if resume else '--end'} goes with --file and --format bytes")
    form = form or (Input.JSON if values else Input.LINES)
    last = asyncio.run(_publish(stream, values, form, file, key, event, target(grpc), timeout))
    if sys.stderr.isatty() and last is not None:
        typer.echo(f"published; the last record is {last.cursor}", err=True)


async def _publish(
    stream: str,
    values: list[str] | None,
    form: Input,
    file: Path | None,
    key: str,
    event: str,
    grpc: str,
    timeout: float,
) -> Delivered | None:
    last: asyncio.Future[Delivered] | None = None
    async with Producer(grpc, delivery_timeout_s=timeout) as producer:
        with _progress(values, file) as progress, _opened(file) as source:
            task = progress.add_task(stream, total=_size(file)) if progress else None
            records = _of_values(values, form) if values else _of_input(source, form)
            while True:
                try:
                    one = await asyncio.to_thread(next, records, None)
                except RatError:
                    await producer.flush()  # what came before is published: it may have been so already
                    raise
                if one is None:
                    break
                size, value = one
                last = await producer.send(stream, value, key=key, event=event)
                if last.done() and (error := last.exception()):
                    raise error
                if progress is not None and task is not None:
                    progress.advance(task, size)
        await producer.flush()
    return last.result() if last is not None else None


def _opened(file: Path | None) -> BinaryIO | nullcontext[BinaryIO]:
    if file is None:
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _size(file: Path | None) -> int | None:
    return file.stat().st_size if file else None


def _progress(values: list[str] | None, file: Path | None) -> Progress | nullcontext[None]:
    """A bar where the input is a file or a pipe and someone looks at standard error."""
    if values or (file is None and sys.stdin.isatty()):
        return nullcontext()
    return bar()


def _of_values(values: list[str], form: Input) -> Iterator[tuple[int, object]]:
    for text in values:
        yield len(text), _document(text.encode(), "VALUE") if form is Input.JSON else text


def _of_input(source: BinaryIO, form: Input) -> Iterator[tuple[int, object]]:
    if form is Input.BYTES:
        while piece := source.read(PIECE_BYTES):
            yield len(piece), piece
    elif form in (Input.JSON, Input.TEXT):
        data = source.read(MAX_LINE_BYTES + 1)
        if len(data) > MAX_LINE_BYTES:
            raise UsageError(f"the input is over {MAX_LINE_BYTES} bytes: use --format lines, ndjson or bytes")
        yield len(data), _document(data, "the input") if form is Input.JSON else _text(data, "the input")
    else:
        number = 0
        while line := source.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise UsageError(f"line {number} is over {MAX_LINE_BYTES} bytes")
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            where = f"line {number}"
            if form is Input.LINES:
                yield len(line), _text(text, where)
            elif text.strip():
                yield len(line), _document(text, where)


def _document(data: bytes, where: str) -> object:
    try:
        return from_json(data)
    except RatError as error:
        raise type(error)(f"{where}: {error.detail}") from None


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 (at byte {error.start}): use --format bytes") from None
