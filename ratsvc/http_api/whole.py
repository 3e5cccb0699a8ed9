"""gzip for responses that are whole: pages of records, JSON, figures, the files under `/ui/`.

Files are compressed once, at the start; the rest each time, what is large in a thread. Nothing here holds a secret
beside what the client itself sent, so its length says nothing that the client did not know (BREACH).
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any

from quart import Response, request
from quart.wrappers.response import DataBody

from ratsvc.errors import RatError
from ratsvc.http_api.exchange import HEAD
from ratsvc.http_api.reading import accepted_coding
from ratsvc.settings import Compression

LARGE_BYTES = 64 * 1024
FILE_LEVEL = 9
_TYPES = frozenset({"application/json", "image/svg+xml"})


class WholeResponses:
    """Compresses responses; `pack` is called after each request.

    Args:
        settings: the service's.
        files: contents that are served as they are, again and again.
    """

    def __init__(self, settings: Compression, files: Iterable[bytes]) -> None:
        self._settings = settings
        self._files: dict[bytes, bytes] = {}
        if settings.enabled:
            self._files = {file: _packed(file, FILE_LEVEL) for file in files if len(file) >= settings.min_bytes}

    async def pack(self, response: Response) -> Response:
        """The response, compressed where the client asked for it and it pays."""
        body = response.response
        if not isinstance(body, DataBody) or len(body.data) < self._settings.min_bytes or not self._fits(response):
            return response
        data = body.data
        packed = self._files.get(data)
        if packed is None and len(data) >= LARGE_BYTES:
            packed = await asyncio.to_thread(_packed, data, self._settings.level)
        packed = packed or _packed(data, self._settings.level)
        if len(packed) < len(data):
            response.set_data(packed)
            response.headers["Content-Encoding"] = "gzip"
            etag, _ = response.get_etag()
            if etag is not None:
                response.set_etag(etag, weak=True)  # the same content, in other bytes (RFC 9110, section 8.8.3.3)
        return response

    def _fits(self, response: Response) -> bool:
        if response.status_code != 200 or "Content-Encoding" in response.headers:
            return False
        if not ((response.mimetype or "").startswith("text/") or response.mimetype in _TYPES):
            return False
        extensions: dict[str, Any] = request.scope["extensions"]
        try:
            return accepted_coding(extensions[HEAD], self._settings.enabled) == "gzip"
        except RatError:  # The response is there: a header that is malformed, or asks for too much, does not spoil it.
            return False


def _packed(data: bytes, level: int) -> bytes:
    return gzip.compress(data, level, mtime=0)
