"""Values as `rat.v1.DataValue`: the tree that any protobuf speaker can make, and the kinds that hold a whole.

Exact both ways: an integer is `int_value` where it fits and else `uint_value`; doubles keep their bits; times
have microseconds. The limits of values hold, and a `packed` or `json` kind is a whole value, never a part.
Cost: about 1 µs a node; the service itself converts no value to a tree.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rat.v1.value_pb2 import DataValue

from ratsvc.errors import InvalidValue
from ratsvc.quickmem.jsontext import from_json
from ratsvc.quickmem.limits import DEPTH, MAP_KEYS, NODES, check_keys, lone_surrogates, too_deep, too_many
from ratsvc.quickmem.packed import pack, unpack
from ratsvc.quickmem.plain import plain

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_tree(value: object) -> DataValue:
    """Returns `value` as a tree.

    Raises:
        InvalidValue: it breaks the value model: see `plain`.
        TypeError: it holds something that has no encoding.
    """
    tree = DataValue()
    try:
        _fill(tree, plain(value))
    except UnicodeEncodeError:
        raise lone_surrogates() from None
    return tree


def to_data_value(value: object) -> DataValue:
    """Returns `value` packed. Raises what `pack` does."""
    return DataValue(packed=pack(value))


def from_data_value(value: DataValue) -> object:
    """Returns the value of any kind: tree, packed or json.

    Raises:
        InvalidValue: a kind is not set, or it breaks the value model.
    """
    kind = value.WhichOneof("kind")
    if kind == "packed":
        return unpack(value.packed)
    if kind == "json":
        return from_json(value.json)
    return _Reader().read(value, 0)


def _fill(tree: DataValue, value: object) -> None:
    """Writes a plain value into an empty tree; `plain` has bounded the depth."""
    if value is None:
        tree.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        tree.bool_value = value
    elif isinstance(value, int):
        if value < 2**63:
            tree.int_value = value
        else:
            tree.uint_value = value
    elif isinstance(value, float):
        tree.double_value = value
    elif isinstance(value, str):
        tree.string_value = value
    elif isinstance(value, bytes):
        tree.bytes_value = value
    elif isinstance(value, datetime):
        since = value - _EPOCH
        tree.timestamp_value.SetInParent()
        tree.timestamp_value.seconds = since.days * 86_400 + since.seconds
        tree.timestamp_value.nanos = since.microseconds * 1000
    elif isinstance(value, list):
        tree.list_value.SetInParent()
        for item in value:
            _fill(tree.list_value.items.add(), item)
    elif isinstance(value, dict):
        tree.map_value.SetInParent()
        for key, item in value.items():
            _fill(tree.map_value.entries[key], item)


class _Reader:
    """Reads one tree, and counts its nodes."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes = 0

    def read(self, tree: DataValue, depth: int) -> object:
        """The value of a tree that stands `depth` levels deep."""
        self._nodes += 1
        if self._nodes > NODES:
            raise too_many()
        kind = tree.WhichOneof("kind")
        if kind == "list_value":
            _go_deeper(depth)
            return [self.read(item, depth + 1) for item in tree.list_value.items]
        if kind == "map_value":
            _go_deeper(depth)
            entries = tree.map_value.entries
            if len(entries) > MAP_KEYS:
                raise InvalidValue(f"value has a map of more than {MAP_KEYS} keys", field="value")
            result = {key: self.read(item, depth + 1) for key, item in entries.items()}
            check_keys(result)
            return result
        scalar = _SCALARS.get(kind or "")
        if scalar is None:
            raise InvalidValue(
                "value has no kind set" if kind is None else f"value has a part of kind {kind}; only a whole can be",
                field="value",
            )
        return scalar(tree)


def _go_deeper(depth: int) -> None:
    if depth == DEPTH:
        raise too_deep()


def _time(tree: DataValue) -> datetime:
    stamp = tree.timestamp_value
    try:
        if 0 <= stamp.nanos < 10**9:
            return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        pass  # Said below.
    raise InvalidValue("value has a time outside the years 1 to 9999", field="value")


_SCALARS: dict[str, Callable[[DataValue], object]] = {
    "null_value": lambda tree: None,
    "bool_value": lambda tree: tree.bool_value,
    "int_value": lambda tree: tree.int_value,
    "uint_value": lambda tree: tree.uint_value,
    "double_value": lambda tree: tree.double_value,
    "string_value": lambda tree: tree.string_value,
    "bytes_value": lambda tree: tree.bytes_value,
    "timestamp_value": _time,
}
