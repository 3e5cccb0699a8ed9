"""From what Python programs hold to the plain values of the model.

Plain values are None, bool, int, float, str, bytes, datetime in UTC, list, and dict with str keys, within the
limits. Also taken: tuples, bytearray and memoryview, Enum (its value), UUID and Decimal (as text), dataclasses
and msgspec structs (as maps). Anything else is a TypeError, and nothing is changed silently: an integer over
64 bits, a datetime without a zone, a key that is not text are refused.
Cost: about 0.4 µs a node; what `limits.is_within` passes is not brought here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import msgspec

from ratsvc.errors import InvalidValue
from ratsvc.quickmem.limits import (
    MAX_INT,
    MIN_INT,
    SCALARS,
    SERVICE,
    Bounds,
    check_keys,
    not_an_int64,
    too_deep,
    too_many,
    too_many_containers,
)


def plain(value: object, bounds: Bounds = SERVICE) -> object:
    """Returns `value` as a plain value within `bounds`. It may share scalars with `value`, but no container.

    Raises:
        InvalidValue: out of range, too deep (or within itself), too many nodes, a key that is not text.
        TypeError: of a type that has no encoding.
    """
    nodes = 1
    containers = 0

    def convert(item: object, depth: int) -> object:
        nonlocal nodes, containers
        if type(item) is int and MIN_INT <= item <= MAX_INT:
            return item
        item = _base(item)
        if not isinstance(item, dict | list | tuple):
            return _leaf(item)
        nodes += len(item)
        containers += 1
        if bounds.nodes is not None and nodes > bounds.nodes:
            raise too_many(bounds.nodes)
        if bounds.containers is not None and containers > bounds.containers:
            raise too_many_containers(bounds.containers)
        if depth == bounds.depth:
            raise too_deep(bounds.depth)
        if not isinstance(item, dict):
            return [part if type(part) in _AS_THEY_ARE else convert(part, depth + 1) for part in item]
        entries = {
            key if type(key) is str else _key(key): part if type(part) in _AS_THEY_ARE else convert(part, depth + 1)
            for key, part in item.items()
        }
        check_keys(entries, bounds)
        return entries

    return convert(value, 0)


def _base(item: object) -> object:
    """An Enum's value, the fields of a struct or dataclass; else the item itself."""
    if type(item) in _COMMON:
        return item
    while isinstance(item, Enum):
        item = item.value
    if isinstance(item, msgspec.Struct):
        config = item.__struct_config__
        fields: dict[object, object] = {} if config.tag is None else {config.tag_field: config.tag}
        for name, field in zip(item.__struct_encode_fields__, item.__struct_fields__, strict=True):
            fields[name] = getattr(item, field)
        return fields
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return item


def _leaf(item: object) -> object:
    if item is None or isinstance(item, bool):
        return item
    if isinstance(item, int):
        if not MIN_INT <= item <= MAX_INT:
            raise not_an_int64()
        return int(item)
    for kind, convert in _LEAVES.items():
        if isinstance(item, kind):
            return convert(item)
    raise TypeError(f"a value cannot hold a {type(item).__name__}")


def _key(key: object) -> str:
    while isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise InvalidValue("value has a map key that is not text", field="value")
    return str.__str__(key)


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidValue("value has a time without a zone", field="value")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidValue("value has a time outside the years 1 to 9999", field="value") from None


_AS_THEY_ARE = SCALARS - {int}
_COMMON = frozenset({dict, list, tuple, datetime})
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
