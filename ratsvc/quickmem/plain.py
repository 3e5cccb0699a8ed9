"""From what Python programs hold to the plain values of the model.

Plain values are None, bool, int, float, str, bytes, datetime in UTC, list, and dict with str keys, within the
limits. Also taken: tuples, bytearray and memoryview, Enum (its value), UUID and Decimal (as text), dataclasses
and msgspec structs (as maps). Anything else is a TypeError, and nothing is changed silently: an integer over
64 bits, a datetime without a zone, a key that is not text are refused.
Cost: about 0.15 µs a node; encoders come here only when `is_flat` does not settle it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import cast
from uuid import UUID

import msgspec

from ratsvc.errors import InvalidValue
from ratsvc.quickmem.limits import DEPTH, MAP_KEYS, MAX_INT, MIN_INT, NODES, SCALARS, check_keys, too_deep

_STR = frozenset({str})


def is_flat(value: object) -> bool:
    """Whether `value` is a plain scalar, or a list or map of plain scalars, within the limits of counts.

    Not looked at: the range of integers, the length of keys, and whether text can be UTF-8.
    """
    kind = type(value)
    if kind is dict:
        entries = cast(dict[object, object], value)
        return (
            len(entries) <= MAP_KEYS
            and _STR.issuperset(map(type, entries))
            and SCALARS.issuperset(map(type, entries.values()))
        )
    if kind is list:
        items = cast(list[object], value)
        return len(items) < NODES and SCALARS.issuperset(map(type, items))
    return kind in SCALARS


def plain(value: object) -> object:
    """Returns `value` as a plain value. It may share parts with `value`.

    Raises:
        InvalidValue: out of range, too deep (or within itself), too many nodes, a key that is not text.
        TypeError: of a type that has no encoding.
    """
    nodes = count(1)

    def convert(item: object, depth: int) -> object:
        if next(nodes) > NODES:
            raise InvalidValue(f"value has more than {NODES} nodes", field="value")
        if type(item) in SCALARS:
            if type(item) is int and not MIN_INT <= item <= MAX_INT:
                raise InvalidValue("value has an integer outside -2^63 to 2^64-1", field="value")
            return item
        item = _base(item)
        if isinstance(item, dict):
            if depth == DEPTH:
                raise too_deep()
            entries = {_key(key): convert(part, depth + 1) for key, part in item.items()}
            check_keys(entries)
            return entries
        if isinstance(item, list | tuple):
            if depth == DEPTH:
                raise too_deep()
            return [convert(part, depth + 1) for part in item]
        return item if type(item) in SCALARS and type(item) is not int else _leaf(item)

    return convert(value, 0)


def _base(item: object) -> object:
    """An Enum's value, a struct's or dataclass's fields; else the item itself."""
    if isinstance(item, Enum):
        return _base(item.value)
    if isinstance(item, msgspec.Struct):
        tag = item.__struct_config__
        fields = {} if tag.tag is None else {str(tag.tag_field): tag.tag}
        names = zip(item.__struct_encode_fields__, item.__struct_fields__, strict=True)
        return fields | {name: getattr(item, field) for name, field in names}
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return item


def _leaf(item: object) -> object:
    if isinstance(item, int):
        if not MIN_INT <= item <= MAX_INT:
            raise InvalidValue("value has an integer outside -2^63 to 2^64-1", field="value")
        return int(item)
    for kind, convert in _LEAVES.items():
        if isinstance(item, kind):
            return convert(item)
    raise TypeError(f"a value cannot hold a {type(item).__name__}")


def _key(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise InvalidValue("value has a map key that is not text", field="value")
    return key if type(key) is str else str.__str__(key)


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidValue("value has a time without a zone", field="value")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidValue("value has a time outside the years 1 to 9999", field="value") from None


_LEAVES: dict[type, Callable[..., object]] = {
    datetime: _utc,
    float: float,
    str: str.__str__,
    bytes: bytes,
    bytearray: bytes,
    memoryview: bytes,
    UUID: str,
    Decimal: str,
}
