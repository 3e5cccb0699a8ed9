"""An app that sends large data, in a process of its own: `python -m tests.integration.streaming.files`."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, request
from quart.typing import ResponseReturnValue

from ratsvc.streaming import segqueue_unified

MIB = 1024 * 1024
app = Quart("files")


def block(n: int) -> bytes:
    """The nth MiB of a file, like no other."""
    return hashlib.sha256(b"%d" % n).digest() * (MIB // 32)


def blocks(mib: int) -> Iterator[bytes]:
    """A file that is nowhere whole."""
    return map(block, range(mib))


@app.get("/<kind>/<source>")
async def send(kind: str, source: str) -> ResponseReturnValue:
    """A file by kind of stream: from a path, or made as it goes."""
    make = {
        "sse": segqueue_unified.create_segqueue_sse_channel,
        "chunked": segqueue_unified.create_segqueue_chunked_response,
        "binary": segqueue_unified.create_segqueue_binary_stream,
    }[kind]
    response = make()
    sender = response.get_sender()
    if source == "path":
        sender.send_large_file("file", Path(request.args["path"]))
    else:
        sender.send_large_file("file", blocks(int(request.args["mib"])), 65_536)
    sender.end_stream()
    return response


async def main() -> None:
    """Serves, and says where."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    print(sock.getsockname()[1], flush=True)
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.accesslog = None
    config.loglevel = "WARNING"
    await serve(app, config)  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main())
