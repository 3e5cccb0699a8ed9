"""`ratsvc publish --file F`: uploads a file with a progress bar, and goes on with one that broke off.

The upload's id is made of this machine's name, the user and the file's path, so that whoever runs the command again
with `--resume` finds it, with nothing to note down. Without `--resume` a new incarnation begins.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import mimetypes
import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from stat import S_ISREG

import typer
from rat.v1 import producer_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ratsvc.cli import UsageError
from ratsvc.client import Producer
from ratsvc.errors import Unavailable, UploadNotFound


def run_upload(
    stream: str, file: Path, key: str, event: str, grpc: str, timeout: float, *, resume: bool, end: bool
) -> None:
    """Uploads the file; says on a terminal what became of it.

    Raises:
        UsageError: the file cannot be read.
        RatError: the upload was refused or broke off.
    """
    try:
        size = file.stat().st_size
        response = asyncio.run(_upload(stream, file, size, key, event, grpc, timeout, resume=resume, end=end))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except UploadNotFound:
        raise UploadNotFound(
            f"no upload of {file} to {stream} is known that could go on: it was never begun, or forgotten;"
            " publish it without --resume"
        ) from None
    except Unavailable as error:
        raise Unavailable(f"{error.detail}; to go on with it, publish it again with --resume") from None
    except KeyboardInterrupt:
        typer.echo("ratsvc: the upload broke off; to go on with it, publish it again with --resume", err=True)
        raise
    if response.evicted:
        typer.echo(
            "ratsvc: all of it was taken, but retention has removed its beginning already: readers that come now do not"
            f" get the whole file (give {stream} more max_bytes, max_records or max_age)",
            err=True,
        )
    if sys.stderr.isatty():
        digest = response.sha256.hex()
        typer.echo(f"published {response.size} bytes, SHA-256 {digest}; the last record is {_last(response)}", err=True)


def is_regular(file: Path, *, needed: bool) -> bool:
    """Whether the file can be read again; a pipe cannot. Raises UsageError where that is needed, or there is none."""
    try:
        regular = S_ISREG(file.stat().st_mode)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if needed and not regular:
        raise UsageError(f"{file} is no regular file: it cannot be uploaded")
    return regular


def has_lines(file: Path) -> bool:
    """Whether the file looks like lines of text. Raises UsageError when it cannot be read."""
    try:
        with file.open("rb") as opened:
            start = opened.read(4096)
        return b"\n" in start and b"\0" not in start and bool(codecs.getincrementaldecoder("utf-8")().decode(start))
    except UnicodeDecodeError:
        return False
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def bar() -> Progress | nullcontext[None]:
    """A progress bar where someone looks at standard error."""
    if not sys.stderr.isatty():
        return nullcontext()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


async def _upload(
    stream: str, file: Path, size: int, key: str, event: str, grpc: str, timeout: float, *, resume: bool, end: bool
) -> pb.UploadResponse:
    async with Producer(grpc, delivery_timeout_s=timeout) as producer:
        with bar() as progress:
            task = progress.add_task(stream, total=size) if progress else None

            def sent(size: int) -> None:
                if progress is not None and task is not None:
                    progress.update(task, completed=size)

            return await producer.upload(
                stream,
                str(file),
                content_type=mimetypes.guess_type(file)[0] or "application/octet-stream",
                key=key,
                event=event,
                end_stream=end,
                upload_id=_upload_id(file),
                resume=resume,
                progress=sent,
            )


def _upload_id(file: Path) -> str:
    """The same for the same file of the same user on the same machine."""
    whose = f"{socket.gethostname()}\0{os.getuid()}\0{file.resolve()}"
    return hashlib.sha256(whose.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _last(response: pb.UploadResponse) -> str:
    return f"{response.epoch}-{response.last_offset}"
