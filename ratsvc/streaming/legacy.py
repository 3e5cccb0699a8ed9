"""The old entry points. Each works, and warns with the name of the new one."""

from __future__ import annotations

from typing import Final
from warnings import warn

from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.large import CHUNK_BYTES, LargeData
from ratsvc.streaming.response import StreamingResponse
from ratsvc.streaming.segqueue_unified import create_segqueue_sse_channel
from ratsvc.streaming.sender import StreamChannel

_NEW: Final = "ratsvc.streaming.segqueue_unified"
_IDLE_S: Final = 60.0
"""Nobody holds a sender here, so silence is all that tells a forgotten response."""


class ChunkedResponse(StreamingResponse):
    """A chunked response that is sent to without a sender."""

    def __init__(self) -> None:
        super().__init__(StreamChannel(ResponseType.CHUNKED, idle_s=_IDLE_S))

    def send_chunk(self, data: str | bytes) -> bool:
        """Use `get_sender().send_text_chunk` or `send_binary_chunk`."""
        _warn("send_chunk", "get_sender().send_text_chunk or send_binary_chunk")
        return self._send(data)

    def add_chunk(self, data: str | bytes) -> bool:
        """Use `get_sender().send_text_chunk` or `send_binary_chunk`."""
        _warn("add_chunk", "get_sender().send_text_chunk or send_binary_chunk")
        return self._send(data)

    def add_large_file_chunks(self, data: LargeData, chunk_size: int = CHUNK_BYTES) -> bool:
        """Use `get_sender().send_large_file`."""
        _warn("add_large_file_chunks", "get_sender().send_large_file")
        return self.get_sender().send_large_file("message", data, chunk_size)

    def finish(self) -> None:
        """Use `get_sender().end_stream`."""
        _warn("finish", "get_sender().end_stream")
        self.get_sender().end_stream()

    def _send(self, data: str | bytes) -> bool:
        sender = self.get_sender()
        return sender.send_text_chunk(data) if isinstance(data, str) else sender.send_binary_chunk(data)


def create_sse_channel() -> StreamingResponse:
    """Use `create_segqueue_sse_channel`."""
    _warn("create_sse_channel", f"{_NEW}.create_segqueue_sse_channel")
    return create_segqueue_sse_channel()


def create_chunked_response() -> ChunkedResponse:
    """Use `create_segqueue_chunked_response`."""
    _warn("create_chunked_response", f"{_NEW}.create_segqueue_chunked_response")
    return ChunkedResponse()


def create_streaming_response() -> ChunkedResponse:
    """Use `create_segqueue_chunked_response`, or the factory of the type that is sent."""
    _warn("create_streaming_response", f"{_NEW}.create_segqueue_chunked_response")
    return ChunkedResponse()


def _warn(old: str, new: str) -> None:
    warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3)
