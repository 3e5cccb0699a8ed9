"""ratsvc: a streaming gateway. Typed gRPC in, HTTP streams out.

`ratsvc.streaming` and `ratsvc.quickmem` are imported when they are first used, as are the calls of the in-process
API, which stand here too for programs that import them from the top.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ratsvc import quickmem as quickmem
    from ratsvc import streaming as streaming
    from ratsvc.streaming import broadcast as broadcast
    from ratsvc.streaming import chunked_from_mapping as chunked_from_mapping
    from ratsvc.streaming import create_chunked_response as create_chunked_response
    from ratsvc.streaming import create_sse_channel as create_sse_channel
    from ratsvc.streaming import create_streaming_response as create_streaming_response
    from ratsvc.streaming import get_streaming_stats as get_streaming_stats
    from ratsvc.streaming import list_streaming_connections as list_streaming_connections
    from ratsvc.streaming import register_streaming_connection as register_streaming_connection
    from ratsvc.streaming import shutdown_streaming_system as shutdown_streaming_system
    from ratsvc.streaming import sse as sse
    from ratsvc.streaming import unregister_streaming_connection as unregister_streaming_connection

__version__ = "0.1.0"

_MODULES: Final = ("streaming", "quickmem")
_STREAMING: Final = (
    "broadcast",
    "chunked_from_mapping",
    "create_chunked_response",
    "create_sse_channel",
    "create_streaming_response",
    "get_streaming_stats",
    "list_streaming_connections",
    "register_streaming_connection",
    "shutdown_streaming_system",
    "sse",
    "unregister_streaming_connection",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"ratsvc.{name}")
    if name in _STREAMING:
        return getattr(import_module("ratsvc.streaming"), name)
    raise AttributeError(f"module 'ratsvc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *_STREAMING])
