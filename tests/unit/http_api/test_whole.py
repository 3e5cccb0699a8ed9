"""Whole responses, compressed."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import brotli
import pytest
import zstandard
from quart import Quart, Response

from ratsvc.core.figures import Figures
from ratsvc.formats import Budget
from ratsvc.http_api.exchange import HEAD
from ratsvc.http_api.head import Head
from ratsvc.http_api.whole import WholeResponses
from ratsvc.settings import Compression

TEXT = b"some words " * 500


def whole(files: list[bytes], cpu_percent: float = 100) -> WholeResponses:
    figures = Figures()
    return WholeResponses(Compression(), Budget(cpu_percent, figures), figures, files)


async def answered(response: Response, whole: WholeResponses, accept_encoding: bytes = b"gzip") -> Response:
    head = Head("GET", "/", {b"accept-encoding": [accept_encoding]}, None, False)
    async with Quart(__name__).test_request_context("/", scope_base={"extensions": {HEAD: head}}):
        return await whole.pack(response)


async def test_a_tag_of_plain_bytes_is_a_weak_one_of_compressed_ones() -> None:
    response = Response(TEXT, 200, {"Content-Type": "text/plain", "ETag": '"t"'})
    packed = await answered(response, whole([TEXT]))
    assert gzip.decompress(await packed.get_data(as_text=False)) == TEXT
    assert (packed.headers["etag"], packed.headers["content-encoding"]) == ('W/"t"', "gzip")


DECODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
}


@pytest.mark.parametrize(
    ("accept_encoding", "of_file", "of_answer"),
    [(b"gzip", "gzip", "gzip"), (b"gzip, deflate, br, zstd", "br", "zstd"), (b"gzip, br", "br", "gzip")],
)
async def test_files_come_in_the_smallest_coding_and_answers_in_the_quickest(
    accept_encoding: bytes, of_file: str, of_answer: str
) -> None:
    plain = {"Content-Type": "text/plain"}
    for files, coding in (([TEXT], of_file), ([], of_answer)):
        responses = whole(files)
        for _ in range(2):  # the second time a file is as it was kept
            packed = await answered(Response(TEXT, 200, plain), responses, accept_encoding)
            assert packed.headers["content-encoding"] == coding
            assert DECODED[coding](await packed.get_data(as_text=False)) == TEXT


async def test_what_there_is_no_time_for_goes_out_as_it_is_but_files() -> None:
    figures = Figures()
    budget = Budget(50, figures, clock=lambda: 0.0)
    responses = WholeResponses(Compression(), budget, figures, [TEXT])
    plain = {"Content-Type": "text/plain"}
    other = TEXT + b"and more"
    assert (await answered(Response(other, 200, plain), responses)).headers["content-encoding"] == "gzip"
    budget.spend(1.0)
    declined = await answered(Response(other, 200, plain), responses)
    assert "content-encoding" not in declined.headers
    assert await declined.get_data(as_text=False) == other
    assert figures.compression_declined == 1
    assert (await answered(Response(TEXT, 200, plain), responses)).headers["content-encoding"] == "gzip"


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
    same = await answered(response, whole([]), accept_encoding)
    assert await same.get_data(as_text=False) == TEXT
    assert same.headers["etag"] == '"t"'
