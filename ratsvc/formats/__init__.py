"""Sans-IO encoders of what readers get: SSE, JSON lines and sequences, text, chunked, binary, pages; negotiation."""

from __future__ import annotations

from ratsvc.errors import InvalidArgument
from ratsvc.formats.base import Format, View, encode_items
from ratsvc.formats.binary import Binary
from ratsvc.formats.budget import Budget
from ratsvc.formats.compression import Compressor, GzipBody
from ratsvc.formats.jsonlines import JsonLines, JsonSequence
from ratsvc.formats.negotiation import negotiate, negotiate_coding, wants_html
from ratsvc.formats.raw import Chunked, Text
from ratsvc.formats.sse import Sse

__all__ = [
    "Budget", "Compressor", "Format", "GzipBody", "View", "encode_items", "make_format", "negotiate",
    "negotiate_coding", "wants_html",
]  # fmt: skip

_FORMATS: dict[str, type[Format]] = {fmt.name: fmt for fmt in (Sse, JsonLines, JsonSequence, Text, Chunked, Binary)}


def make_format(
    name: str, *, epoch: str, view: View = View.VALUE, int64_as_string: bool = False, retry_ms: int = 2000
) -> Format:
    """The streaming format called `name`.

    Raises:
        InvalidArgument: there is none.
    """
    if name not in _FORMATS:
        raise InvalidArgument(f"format must be one of {', '.join(_FORMATS)}", field="format")
    return _FORMATS[name](epoch, view, int64_as_string, retry_ms)
