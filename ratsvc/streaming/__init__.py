"""Streaming from a program's own Quart app, without the service: see docs/migration.md.

A view makes a response with a factory of `segqueue_unified`, gives its sender to whatever produces, and returns it.
"""

from ratsvc.streaming import segqueue_unified
from ratsvc.streaming.connections import (
    CONNECTIONS,
    ConnectionInfo,
    Connections,
    broadcast,
    get_streaming_stats,
    list_streaming_connections,
    register_streaming_connection,
    shutdown_streaming_system,
    unregister_streaming_connection,
)
from ratsvc.streaming.encoding import ResponseType
from ratsvc.streaming.errors import StreamFullError, StreamTypeError
from ratsvc.streaming.legacy import (
    ChunkedResponse,
    create_chunked_response,
    create_sse_channel,
    create_streaming_response,
)
from ratsvc.streaming.response import StreamingResponse
from ratsvc.streaming.routes import sse
from ratsvc.streaming.segqueue_unified import chunked_from_mapping
from ratsvc.streaming.sender import Sender, StreamChannel

__all__ = [
    "CONNECTIONS",
    "ChunkedResponse",
    "ConnectionInfo",
    "Connections",
    "ResponseType",
    "Sender",
    "StreamChannel",
    "StreamFullError",
    "StreamTypeError",
    "StreamingResponse",
    "broadcast",
    "chunked_from_mapping",
    "create_chunked_response",
    "create_sse_channel",
    "create_streaming_response",
    "get_streaming_stats",
    "list_streaming_connections",
    "register_streaming_connection",
    "segqueue_unified",
    "shutdown_streaming_system",
    "sse",
    "unregister_streaming_connection",
]
