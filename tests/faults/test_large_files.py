"""Large files: SHA-256 equal and memory flat, also when service, command or connection are killed half way.

Short here; at full length 1 GiB over chunked, 100 MiB over SSE, and 1 GiB through the kills.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratsvc.client import Producer
from tests.faults.process import MIB, ServerProcess, until_true

AHEAD_BYTES = 4 * MIB
KEPT_BYTES = 8 * MIB
SMALL = {"RATSVC_LIMITS__TAIL_BYTES": str(4 * MIB)}
GROWTH_MIB = 40
"""What is kept and encoded, what is ahead, and what the transports and allocators hold: less than the files here."""


def blocks(mib: int) -> Iterator[bytes]:
    """Bytes that repeat nowhere, a MiB at a time."""
    for number in range(mib):
        yield hashlib.shake_128(number.to_bytes(4, "big")).digest(4096) * 256


def anonymous_mib(server: ServerProcess) -> float:
    """Memory that is its own, without the pages of the log that the system lends it."""
    lines = Path(f"/proc/{server.running.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


@pytest.mark.parametrize(
    ("way", "fmt", "short", "long"),
    [("grpc", "chunked", 48, 1024), ("http", "chunked", 48, 1024), ("grpc", "sse", 48, 100)],
)
async def test_a_large_file_passes_through_whole_in_flat_memory(
    way: str,
    fmt: str,
    short: int,
    long: int,
    tmp_path: Path,
    scaled: Callable[[Any, Any], Any],
    figure: Callable[[str], None],
) -> None:
    mib = scaled(short, long)
    received = 0
    sent_digest, digest = hashlib.sha256(), hashlib.sha256()
    with ServerProcess(tmp_path, environment=SMALL) as server:
        retention = {"max_bytes": KEPT_BYTES}
        httpx.put(f"{server.http_url}/v1/streams/f", json=retention).raise_for_status()
        before = highest = anonymous_mib(server)

        async def pieces() -> AsyncIterator[bytes]:
            sent = 0
            for block in blocks(mib):
                while sent - received > AHEAD_BYTES:
                    await asyncio.sleep(0.001)
                sent_digest.update(block)
                sent += len(block)
                yield block

        began = time.monotonic()
        async with Producer(server.grpc_addr) as producer, httpx.AsyncClient(timeout=60) as http:
            url = f"{server.http_url}/v1/streams/f?format={fmt}&from=earliest"

            async def upload() -> tuple[int, str]:
                if way == "grpc":
                    stored = await producer.upload("f", pieces(), end_stream=True)
                    return stored.size, stored.sha256.hex()
                answer = await http.post(f"{server.http_url}/v1/streams/f?file=f&end=1", content=pieces())
                return answer.json()["size"], answer.json()["sha256"]

            async with http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                uploading = asyncio.ensure_future(upload())
                values = response.aiter_raw() if fmt == "chunked" else of_events(response.aiter_raw())
                async for value in values:
                    digest.update(value)
                    received += len(value)
                    highest = max(highest, anonymous_mib(server)) if received % MIB < len(value) else highest
            size, sha256 = await uploading
        took = time.monotonic() - began
    speed, grown = mib * MIB / took / 1e6, highest - before
    figure(f"{mib} MiB by {way} over {fmt}: {speed:.0f} MB/s, memory grew by {grown:.0f} MiB")
    assert received == size == mib * MIB
    assert digest.hexdigest() == sha256 == sent_digest.hexdigest()
    assert grown < GROWTH_MIB


async def of_events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes in the events of a stream."""
    rest = bytearray()
    async for piece in body:
        rest += piece
        *blocks_, last = rest.split(b"\n\n")
        for block in blocks_:
            lines = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
            if lines and b"\nevent: " not in b"\n" + block:
                yield base64.b64decode(json.loads(lines[0]))
        rest = last


def test_an_upload_and_a_download_survive_kill_9_of_everything(
    tmp_path: Path, scaled: Callable[[Any, Any], Any], figure: Callable[[str], None]
) -> None:
    mib, kills = scaled(48, 1024), scaled(1, 4)
    file, digest = tmp_path / "large.bin", hashlib.sha256()
    with file.open("wb") as writing:
        for block in blocks(mib):
            digest.update(block)
            writing.write(block)
    with ServerProcess(tmp_path, tmp_path / "log") as server:
        command = [sys.executable, "-m", "ratsvc", "publish", "f", "--file", str(file), "--format", "bytes"]
        command += ["--grpc", server.grpc_addr, "--timeout", "60", "--end"]
        began = time.monotonic()
        publishing = subprocess.Popen(command, stderr=subprocess.PIPE)
        # The service dies: the command goes on by itself. The command dies: it is run again.
        for kill in range(1, 2 * kills + 1):
            until_stored(server, mib * MIB * kill // (8 * kills))
            assert publishing.poll() is None
            if kill % 2:
                server.kill()
                server.start()
            else:
                publishing.kill()
                publishing.communicate()
                publishing = subprocess.Popen([*command, "--resume"], stderr=subprocess.PIPE)
        _, said = publishing.communicate(timeout=600)
        took = time.monotonic() - began
        assert (publishing.returncode, said) == (0, b"")
        info = httpx.get(f"{server.http_url}/v1/streams/f/info").json()
        assert (info["ended"], info["records"]) == (True, mib * 4 + 1)

        got, tries, code, grown = tmp_path / "got", 0, 1, 0.0
        url = f"{server.http_url}/v1/streams/f?format=chunked&from=earliest"
        while code:
            before = anonymous_mib(server)
            arguments = ["-sS", "--limit-rate", "400M", "-C", "-", "-o", str(got), url]
            download = subprocess.Popen(["curl", *arguments], stderr=subprocess.DEVNULL)
            if tries < kills:
                until_there(got, mib * MIB * (tries + 1) // (kills + 2))
                server.kill()
                server.start()
            else:
                while download.poll() is None:
                    grown = max(grown, anonymous_mib(server) - before)
                    time.sleep(0.01)
            code = download.wait(600)
            tries += 1
        assert server.term() == 0
    found = hashlib.sha256()
    with got.open("rb") as reading:
        while block := reading.read(MIB):
            found.update(block)
    figure(f"{mib} MiB, {2 * kills} kills while uploading ({took:.1f} s), {tries - 1} while downloading;"
           f" memory grew by {grown:.0f} MiB in the last")  # fmt: skip
    assert tries > kills
    assert found.digest() == digest.digest()
    assert grown < GROWTH_MIB
    assert "Traceback" not in server.log()


def until_stored(server: ServerProcess, size: int) -> None:
    until_true(lambda: server.metric("ratsvc_log_bytes") >= size, 120, f"{size} bytes stored", every_s=0.005)


def until_there(file: Path, size: int) -> None:
    until_true(lambda: file.exists() and file.stat().st_size >= size, 120, f"{size} bytes downloaded", every_s=0.005)
