"""The factories: a response for each type of stream.

    import ratsvc

    segqueue = ratsvc.streaming.segqueue_unified

    @app.get("/events")
    def events():
        response = segqueue.create_segqueue_sse_channel()
        sender = response.get_sender()
        threading.Thread(target=work, args=(sender,)).start()
        return response

Each takes the bounds of what may wait for its client (`max_items`, `max_bytes`), after how many seconds a stream that
nobody can send to any more is ended (`idle_s`), after how many a client that takes nothing is cut (`stall_s`), and, for
SSE, after how many seconds of silence a comment is sent (`heartbeat_s`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar
from warnings import warn

from ratsvc.streaming import encoding
from ratsvc.streaming.channel import HEARTBEAT_S, IDLE_S, MAX_BYTES, MAX_ITEMS, STALL_S
from ratsvc.streaming.counts import skipped_chunks
from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.response import StreamingResponse
from ratsvc.streaming.sender import StreamChannel

_BLOCK_BYTES: Final = 64 * 1024
T = TypeVar("T")


def create_segqueue_sse_channel(
    *,
    max_items: int = MAX_ITEMS,
    max_bytes: int = MAX_BYTES,
    idle_s: float = IDLE_S,
    heartbeat_s: float = HEARTBEAT_S,
    stall_s: float = STALL_S,
) -> StreamingResponse:
    """Returns a response of Server-Sent Events."""
    channel = StreamChannel(
        ResponseType.SSE,
        max_items=max_items,
        max_bytes=max_bytes,
        idle_s=idle_s,
        heartbeat_s=heartbeat_s,
        stall_s=stall_s,
    )
    return StreamingResponse(channel)


def create_segqueue_chunked_response(
    *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES, idle_s: float = IDLE_S, stall_s: float = STALL_S
) -> StreamingResponse:
    """Returns a response of text and bytes with nothing between them."""
    return _response(ResponseType.CHUNKED, max_items, max_bytes, idle_s, stall_s)


def create_segqueue_json_stream(
    *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES, idle_s: float = IDLE_S, stall_s: float = STALL_S
) -> StreamingResponse:
    """Returns a response of JSON lines."""
    return _response(ResponseType.JSON, max_items, max_bytes, idle_s, stall_s)


def create_segqueue_text_stream(
    *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES, idle_s: float = IDLE_S, stall_s: float = STALL_S
) -> StreamingResponse:
    """Returns a response of text."""
    return _response(ResponseType.TEXT, max_items, max_bytes, idle_s, stall_s)


def create_segqueue_binary_stream(
    *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES, idle_s: float = IDLE_S, stall_s: float = STALL_S
) -> StreamingResponse:
    """Returns a response of pieces of bytes, each after its length as a varint."""
    return _response(ResponseType.BINARY, max_items, max_bytes, idle_s, stall_s)


def create_segqueue_json_stream_from_list(items: Iterable[object]) -> StreamingResponse:
    """Returns a response with each item as a line of JSON, ended.

    Raises:
        ValueError, TypeError: an item has no encoding.
    """
    return _filled(ResponseType.JSON, encoding.json_line, items)


def create_segqueue_text_stream_from_list(items: Iterable[str]) -> StreamingResponse:
    """Returns a response with each item and a line feed, ended.

    Raises:
        TypeError: an item is not text.
    """
    return _filled(ResponseType.TEXT, lambda item: encoding.text(item) + b"\n", items)


def create_segqueue_binary_stream_from_list(items: Iterable[bytes]) -> StreamingResponse:
    """Returns a response with each item after its length, ended.

    Raises:
        TypeError: an item is not bytes.
    """
    return _filled(ResponseType.BINARY, encoding.delimited, items)


def chunked_from_mapping(mapping: Mapping[str, object], *, strict: bool = True) -> StreamingResponse:
    """Returns a chunked response with the items of `{"chunks": [...]}`, ended.

    Args:
        mapping: its `chunks` is a list of text and bytes.
        strict: whether an item of another type is an error; otherwise it is skipped, counted, and warned of.

    Raises:
        ValueError: there is no list `chunks`.
        TypeError: an item is neither text nor bytes, and `strict`.
    """
    chunks = mapping.get("chunks")
    if not isinstance(chunks, list | tuple):
        raise ValueError("the mapping must have a list under the key 'chunks'")
    good: list[str | bytes] = []
    wrong = ""
    for at, chunk in enumerate(chunks):
        if isinstance(chunk, str | bytes | bytearray | memoryview):
            good.append(chunk if isinstance(chunk, str) else bytes(chunk))
            continue
        wrong = wrong or f"chunks[{at}] is a {type(chunk).__name__}, neither str nor bytes"
        if strict:
            raise TypeError(wrong)
    if wrong:
        skipped_chunks.add(len(chunks) - len(good))
        warn(f"{wrong}: {len(chunks) - len(good)} of {len(chunks)} items were skipped", RuntimeWarning, stacklevel=2)
    return _filled(ResponseType.CHUNKED, _chunk, good)


def _chunk(item: str | bytes) -> bytes:
    return encoding.text(item) if isinstance(item, str) else encoding.raw(item)


def _response(kind: ResponseType, max_items: int, max_bytes: int, idle_s: float, stall_s: float) -> StreamingResponse:
    return StreamingResponse(
        StreamChannel(kind, max_items=max_items, max_bytes=max_bytes, idle_s=idle_s, stall_s=stall_s)
    )


def _filled(kind: ResponseType, encode: Callable[[T], bytes], items: Iterable[T]) -> StreamingResponse:
    if isinstance(items, str | bytes | bytearray | memoryview | Mapping):
        raise TypeError(f"Expected a list of items, got {type(items).__name__}")
    blocks: list[bytes] = []
    block = bytearray()
    count = 0
    for count, item in enumerate(items, 1):  # noqa: B007 - the last one is how many there were
        block += encode(item)
        if len(block) >= _BLOCK_BYTES:
            blocks.append(bytes(block))
            block.clear()
    channel = StreamChannel(kind)
    channel.prefill([*blocks, bytes(block)] if block else blocks, count)
    return StreamingResponse(channel)
