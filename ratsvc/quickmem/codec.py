"""The codec for programs: values of any size to bytes and back, one at a time or in batches.

A document is the `packed` one of the service (MessagePack), with bounds of its own: 100 MiB, 64 levels, 2 million
lists and maps; 10,000 values a batch. Types are kept exactly, as `plain` says; whatever breaks a bound, and input
that is truncated, trailed by more or not a document, is a ValueError, found in bounded memory.
Cost (msgspec 0.22, one core): to encode 60 ns a node, nearly all of it the check; to decode 60 ns a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

import msgspec
from rat.v1.value_pb2 import DataValue

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import jsontext
from ratsvc.quickmem.limits import Bounds, lone_surrogates, not_an_int64
from ratsvc.quickmem.packed import COMMON_DEPTH, decode_any, decode_short, encode_plain
from ratsvc.quickmem.plain import plain
from ratsvc.quickmem.pool import BufferPool, PoolStats
from ratsvc.quickmem.scan import check_containers
from ratsvc.quickmem.shape import LEAVES, is_plain
from ratsvc.quickmem.tree import from_data_value

MAX_BYTES: Final = 100 * 1024 * 1024
MAX_ITEMS: Final = 10_000
MAX_DEPTH: Final = 64
MAX_CONTAINERS: Final = 2_000_000
_ROOM: Final = 4096
_POOL = BufferPool()
T = TypeVar("T")
R = TypeVar("R")
_encode_into = msgspec.msgpack.Encoder().encode_into
_json = msgspec.json.Encoder().encode


class QuickCodec:
    """Values to bytes and back, within bounds. Has no state: one codec serves all threads.

    Args:
        max_bytes: of one document.
        max_items: of a batch.
        max_depth: levels of lists and maps, 1 to 64.
    """

    __slots__ = ("_bounds", "max_bytes", "max_depth", "max_items")

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH) -> None:
        if not 1 <= max_depth <= MAX_DEPTH:
            raise ValueError(f"max_depth must be 1 to {MAX_DEPTH}, got {max_depth}")
        self.max_bytes = max_bytes
        self.max_items = max_items
        self.max_depth = max_depth
        self._bounds = Bounds(max_depth, None, None, None, MAX_CONTAINERS)

    def encode(self, value: object) -> bytes:
        """Returns `value` as one document.

        Raises:
            ValueError: it is over a bound, within itself, or has what no encoding holds: see `plain`.
            TypeError: it holds something that has no encoding.
        """
        return self._sized(encode_plain(self._checked(value)))

    def encode_json(self, value: object) -> bytes:
        """Returns `value` as one JSON document. Raises what `encode` does."""
        checked = self._checked(value)
        encode_plain(checked)  # Refuses what is out of range.
        return self._sized(_json(checked))

    def encode_large(self, value: object) -> bytes:
        """`encode`, into a buffer that is used again: for documents of 100 KB and more. Raises what `encode` does."""
        room = len(value) if isinstance(value, bytes | str) else _ROOM
        buffer = _POOL.take(room)
        try:
            return self._encode_in(buffer, value)
        finally:
            _POOL.give(buffer, len(buffer))

    def decode(self, data: bytes | bytearray | memoryview) -> object:
        """Returns the value of one document.

        Raises:
            ValueError: it is not one document and nothing more, or over a bound.
            TypeError: `data` is not bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"Expected bytes data, got {type(data).__name__}")
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size > self.max_bytes:
            raise self._too_large()
        if size > MAX_CONTAINERS:
            check_containers(bytes(data), MAX_CONTAINERS)
        if self.max_depth >= COMMON_DEPTH:
            try:
                return decode_short(data)
            except ValueError:
                pass  # Deeper, or with bytes or times in it: the exact way decides.
        value = decode_any(data, self.max_depth)
        self._check_decoded(value)
        return value

    def decode_json(self, data: bytes | bytearray | memoryview) -> object:
        """Returns the value of one JSON document. Raises what `decode` does."""
        if len(data) > self.max_bytes:
            raise self._too_large()
        value = jsontext.decode_any(data, self.max_depth)
        self._check_decoded(value)
        encode_plain(value)  # Refuses integers that are out of range.
        return value

    def roundtrip(self, value: object) -> object:
        """Returns what comes back of `value`: equal to it, unless a tuple, Enum or the like became what is kept."""
        return self.decode(self.encode(value))

    def encode_batch(self, values: Iterable[object]) -> list[bytes]:
        """Returns a document for each value.

        Raises:
            ValueError, TypeError: what `encode` raises; the message names the item. Too many items are a ValueError.
        """
        return self._each(partial(self._encode_in, bytearray()), values)

    def decode_batch(self, documents: Iterable[bytes]) -> list[object]:
        """Returns the value of each document. Raises what `decode` does; the message names the item."""
        return self._each(self.decode, documents)

    def _each(self, convert: Callable[[T], R], items: Iterable[T]) -> list[R]:
        found: list[R] = []
        try:
            for item in items:
                if len(found) == self.max_items:
                    raise InvalidValue(f"a batch must have at most {self.max_items} items", field="items")
                found.append(convert(item))
        except InvalidValue as error:
            if error.field == "items":
                raise
            raise InvalidValue(f"items[{len(found)}]: {error.detail}", field="items") from None
        except TypeError as error:
            raise TypeError(f"items[{len(found)}]: {error}") from None
        return found

    def _encode_in(self, buffer: bytearray, value: object) -> bytes:
        """`encode`, by way of a buffer: what `_encode` returns may have as much room again behind it."""
        checked = self._checked(value)
        try:
            _encode_into(checked, buffer)
        except OverflowError:
            raise not_an_int64() from None
        except UnicodeEncodeError:
            raise lone_surrogates() from None
        return self._sized(bytes(buffer))

    def _checked(self, value: object) -> object:
        """`value`, or what it is as a plain value; not looked at: the range of integers, text that is not Unicode."""
        if isinstance(value, bytes | str) and len(value) > self.max_bytes:
            raise self._too_large()
        return value if is_plain(value, self.max_depth, MAX_CONTAINERS) else plain(value, self._bounds)

    def _check_decoded(self, value: object) -> None:
        if not is_plain(value, self.max_depth, MAX_CONTAINERS, LEAVES):
            plain(value, self._bounds)  # Says why.

    def _sized(self, data: bytes) -> bytes:
        if len(data) > self.max_bytes:
            raise self._too_large()
        return data

    def _too_large(self) -> InvalidValue:
        return InvalidValue(f"value must have at most {self.max_bytes} bytes", field="value")


class Converter:
    """Between Python values and `rat.v1.DataValue` messages."""

    __slots__ = ("_codec",)

    def __init__(self, codec: QuickCodec) -> None:
        self._codec = codec

    def python_to_data_value(self, value: object) -> DataValue:
        """Returns `value`, packed, as a message. Raises what `QuickCodec.encode` does."""
        return DataValue(packed=self._codec.encode(value))

    def data_value_to_python(self, value: DataValue) -> object:
        """Returns the value of a message of any kind. Raises ValueError when it is not one."""
        return self._codec.decode(value.packed) if value.HasField("packed") else from_data_value(value)

    def encode_to_bytes(self, value: object) -> bytes:
        """Returns `value` as one document. Raises what `QuickCodec.encode` does."""
        return self._codec.encode(value)

    def encode_to_bytes_large_buffer(self, value: object) -> bytes:
        """Returns `value` as one document, made in a buffer that is used again."""
        return self._codec.encode_large(value)


CODEC: Final = QuickCodec()
"""With the default bounds."""
GLOBAL_CONVERTER: Final = Converter(CODEC)
encode = encode_to_bytes = CODEC.encode
encode_to_bytes_large_buffer = CODEC.encode_large
decode = CODEC.decode
encode_batch = CODEC.encode_batch
decode_batch = CODEC.decode_batch


def get_pool_stats() -> PoolStats:
    """Returns the figures of the buffers behind `encode_to_bytes_large_buffer`."""
    return _POOL.stats()
