"""The bounds of a value, and the checks of one.

A value is at most 32 levels deep (a scalar has none, each list or map adds one), has at most 65,536 nodes
and 10,000 keys a map, and its keys are text of at most 256 bytes. The checks go level by level and never
recurse, so depth and cycles cannot hurt them; their cost is 0.1 µs a container and 0.05 µs a node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final

from ratsvc.errors import InvalidValue

DEPTH: Final = 32
NODES: Final = 65_536
MAP_KEYS: Final = 10_000
KEY_BYTES: Final = 256
#: Text of so many characters has at most `KEY_BYTES` bytes.
KEY_CHARACTERS: Final = KEY_BYTES // 4
#: Documents under this size cannot have too many nodes, or too many keys in a map (an entry takes 4 bytes).
SMALL: Final = 20_000
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**64 - 1

#: The types of values that hold no others and need no look at what is in them.
SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_LEAVES: Final = SCALARS | {datetime}


@dataclass(slots=True, frozen=True)
class ValueLimits:
    """The limits that a deployment may set."""

    value_bytes: int = 1024 * 1024
    """One record, serialised."""


@dataclass(slots=True, frozen=True)
class Bounds:
    """How deep and how large a value may be; None is no bound."""

    depth: int = DEPTH
    nodes: int | None = NODES
    map_keys: int | None = MAP_KEYS
    key_bytes: int | None = KEY_BYTES
    containers: int | None = None
    """Lists and maps."""


#: The bounds of values in the service.
SERVICE: Final = Bounds()


def is_within(value: object, leaves: frozenset[type] = SCALARS) -> bool:
    """Whether `value` is made of exactly dict, list and the types `leaves`, within all limits: 0.4 µs for four fields.

    False where a key is long enough to need a closer look, and for what holds itself. Not looked at: the range of
    integers, and whether text can be UTF-8.
    """
    if type(value) in leaves:
        return True
    if type(value) is dict and len(value) <= KEY_CHARACTERS and _is_flat(value, leaves):
        return True
    level = [value]
    nodes = 1
    for _ in range(DEPTH):
        inner: list[object] = []
        for item in level:
            if type(item) is dict:
                if len(item) > MAP_KEYS:
                    return False
                for key in item:
                    if type(key) is not str or len(key) > KEY_CHARACTERS:
                        return False
                parts: Collection[object] = item.values()
            elif type(item) is list:
                parts = item
            else:
                return False
            nodes += len(parts)
            if nodes > NODES:
                return False
            for part in parts:
                if type(part) not in leaves:
                    inner.append(part)  # noqa: PERF401 - a comprehension is slower for the few there are
        if not inner:
            return True
        level = inner
    return False


def _is_flat(entries: dict[str, object], leaves: frozenset[type]) -> bool:
    """Whether a map has only leaves, and so short keys that together they are within one's limit."""
    for part in entries.values():
        if type(part) not in leaves:
            return False
    try:
        return len("".join(entries)) <= KEY_CHARACTERS
    except TypeError:
        return False


def check(value: object) -> None:
    """Checks depth, nodes and keys of a value that a decoder made.

    Raises:
        InvalidValue: a limit is passed, or a key is not text.
    """
    if is_within(value, _LEAVES):
        return
    level: list[object] = [value]
    nodes = 1
    for _ in range(DEPTH + 1):
        inner = [item for item in level if type(item) not in _LEAVES]
        if not inner:
            return
        level = list(chain.from_iterable(map(_parts, inner)))
        nodes += len(level)
        if nodes > NODES:
            raise too_many()
    raise too_deep()


def check_keys(entries: dict[str, object], bounds: Bounds = SERVICE) -> None:
    """Checks the keys of one map: how many, of which type, how long.

    Raises:
        InvalidValue: a limit is passed, or a key is not text.
    """
    if bounds.map_keys is not None and len(entries) > bounds.map_keys:
        raise InvalidValue(f"value has a map of more than {bounds.map_keys} keys", field="value")
    limit = bounds.key_bytes
    for key in entries:
        if not isinstance(key, str):
            raise InvalidValue("value has a map key that is not text", field="value")
        if limit is not None and len(key) * 4 > limit and len(key.encode("utf-8", "surrogatepass")) > limit:
            raise InvalidValue(f"value has a map key over {limit} bytes", field="value")


def too_deep(depth: int = DEPTH) -> InvalidValue:
    """The error for a value that is nested too deeply."""
    return InvalidValue(f"value is nested deeper than {depth} levels", field="value")


def too_many(nodes: int = NODES) -> InvalidValue:
    """The error for a value of too many nodes."""
    return InvalidValue(f"value has more than {nodes} nodes", field="value")


def too_many_containers(limit: int) -> InvalidValue:
    """The error for a value of too many lists and maps."""
    return InvalidValue(f"value has more than {limit} lists and maps", field="value")


def not_an_int64() -> InvalidValue:
    """The error for an integer that no encoding holds."""
    return InvalidValue("value has an integer outside -2^63 to 2^64-1", field="value")


def lone_surrogates() -> InvalidValue:
    """The error for text that is not Unicode."""
    return InvalidValue("value has text with lone surrogates", field="value")


def _parts(container: object) -> Iterable[object]:
    if isinstance(container, dict):
        check_keys(container)
        return container.values()
    assert isinstance(container, list)
    return container
