"""Whole responses, compressed."""

from __future__ import annotations

import gzip

import pytest
from quart import Quart, Response

from ratsvc.http_api.exchange import HEAD
from ratsvc.http_api.head import Head
from ratsvc.http_api.whole import WholeResponses
from ratsvc.settings import Compression

TEXT = b"some words " * 500


async def answered(response: Response, whole: WholeResponses, accept_encoding: bytes = b"gzip") -> Response:
    head = Head("GET", "/", {b"accept-encoding": [accept_encoding]}, None, False)
    async with Quart(__name__).test_request_context("/", scope_base={"extensions": {HEAD: head}}):
        return await whole.pack(response)


async def test_a_tag_of_plain_bytes_is_a_weak_one_of_compressed_ones() -> None:
    response = Response(TEXT, 200, {"Content-Type": "text/plain", "ETag": '"t"'})
    packed = await answered(response, WholeResponses(Compression(), [TEXT]))
    assert gzip.decompress(await packed.get_data(as_text=False)) == TEXT
    assert (packed.headers["etag"], packed.headers["content-encoding"]) == ('W/"t"', "gzip")


@pytest.mark.parametrize(
    ("status", "headers", "accept_encoding"),
    [
        (200, {"Content-Type": "text/plain"}, b"identity"),
        (200, {"Content-Type": "text/plain"}, b"gzip;q=x"),
        (200, {"Content-Type": "image/png"}, b"gzip"),
        (200, {"Content-Type": "text/plain", "Content-Encoding": "br"}, b"gzip"),
        (206, {"Content-Type": "text/plain"}, b"gzip"),
    ],
)
async def test_other_responses_stay_as_they_are(status: int, headers: dict[str, str], accept_encoding: bytes) -> None:
    response = Response(TEXT, status, {**headers, "ETag": '"t"'})
    same = await answered(response, WholeResponses(Compression(), []), accept_encoding)
    assert await same.get_data(as_text=False) == TEXT
    assert same.headers["etag"] == '"t"'
