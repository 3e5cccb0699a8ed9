"""A picture made by code, as a PNG file (W3C PNG, third edition: IHDR, IDAT, IEND)."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator


def plasma_rows(width: int, height: int, seed: int) -> Iterator[bytes]:
    """The rows of a picture of soft waves, other ones for each seed: 3 bytes a pixel, red, green and blue."""
    across = [math.sin(x / 31 + seed) + math.sin(x / 53 - seed / 2) for x in range(width)]
    for y in range(height):
        down = math.sin(y / 27 - seed) + math.sin(y / 41 + seed / 3)
        row = bytearray()
        for x in range(width):
            wave = (across[x] + down + math.sin((x + y) / 61 + seed)) / 5
            row += bytes(int(128 + 110 * math.sin(math.pi * wave + shift)) for shift in (0.2, 1.5, 2.9))
        yield bytes(row)


def plasma_png(width: int, height: int, seed: int) -> bytes:
    """Such a picture as a file."""
    rows = b"".join(b"\0" + row for row in plasma_rows(width, height, seed))  # each without a filter
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
