"""zstd, br and gzip for responses that are whole: pages of records, JSON, figures, the files under `/ui/`.

Files are compressed when they are first asked for, and kept: that pays for the smallest coding, br. The rest is
compressed each time, what is large in a thread, within the budget that streams have too: zstd takes a fraction of the
time that gzip takes. Nothing here holds a secret beside what the client itself sent, so its length says nothing that
the client did not know (BREACH).
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any

import brotli
import zstandard
from quart import Response, request
from quart.wrappers.response import DataBody

from ratsvc.core.figures import Figures
from ratsvc.errors import RatError
from ratsvc.formats import Budget
from ratsvc.http_api.exchange import HEAD
from ratsvc.http_api.reading import WHOLE_CODINGS, accepted_coding
from ratsvc.settings import Compression

LARGE_BYTES = 64 * 1024
FILE_CODINGS = ("br", "gzip")
_FILE_LEVEL = 9
_ZSTD_LEVEL = 3
_TYPES = frozenset({"application/json", "image/svg+xml"})


class WholeResponses:
    """Compresses responses; `pack` is called after each request.

    Args:
        settings: the service's.
        budget: the time that compressing may take.
        figures: where it is counted what there was no time for.
        files: contents that are served as they are, again and again.
    """

    def __init__(self, settings: Compression, budget: Budget, figures: Figures, files: Iterable[bytes]) -> None:
        self._settings = settings
        self._budget = budget
        self._figures = figures
        self._files: dict[bytes, dict[str, bytes]] = {file: {} for file in files}

    async def pack(self, response: Response) -> Response:
        """The response, compressed where the client asked for it and it pays."""
        body = response.response
        if not isinstance(body, DataBody) or len(body.data) < self._settings.min_bytes or not _fits(response):
            return response
        data = body.data
        kept = self._files.get(data)
        coding = self._coding(WHOLE_CODINGS if kept is None else FILE_CODINGS)
        if coding == "identity":
            return response
        packed = await (self._packed(data, coding) if kept is None else self._packed_file(data, coding, kept))
        if len(packed) < len(data):
            response.set_data(packed)
            response.headers["Content-Encoding"] = coding
            etag, _ = response.get_etag()
            if etag is not None:
                response.set_etag(etag, weak=True)  # the same content, in other bytes (RFC 9110, section 8.8.3.3)
        return response

    def _coding(self, offered: tuple[str, ...]) -> str:
        extensions: dict[str, Any] = request.scope["extensions"]
        try:
            return accepted_coding(extensions[HEAD], offered if self._settings.enabled else ())
        except RatError:  # The response is there: a header that is malformed, or asks for too much, does not spoil it.
            return "identity"

    async def _packed(self, data: bytes, coding: str) -> bytes:
        if self._budget.is_spent:
            self._figures.compression_declined += 1
            return data

        def compress() -> tuple[bytes, float]:
            began = self._budget.clock()
            return _compressed(data, coding, self._settings.level), self._budget.clock() - began

        packed, seconds = await asyncio.to_thread(compress) if len(data) >= LARGE_BYTES else compress()
        self._budget.spend(seconds)
        return packed

    async def _packed_file(self, data: bytes, coding: str, kept: dict[str, bytes]) -> bytes:
        if coding not in kept:
            kept[coding] = await asyncio.to_thread(_compressed, data, coding, _FILE_LEVEL)
        return kept[coding]


def _fits(response: Response) -> bool:
    if response.status_code != 200 or "Content-Encoding" in response.headers:
        return False
    return (response.mimetype or "").startswith("text/") or response.mimetype in _TYPES


def _compressed(data: bytes, coding: str, gzip_level: int) -> bytes:
    if coding == "br":
        return bytes(brotli.compress(data))
    if coding == "zstd":
        return zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(data)
    return gzip.compress(data, gzip_level, mtime=0)
