"""The bounds of a value, and the check of a decoded one.

A value is at most 32 levels deep (a scalar has none, each list or map adds one), has at most 65,536 nodes
and 10,000 keys a map, and its keys are text of at most 256 bytes. `check` walks level by level and never
recurses; its cost is about 0.03 µs a node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final

from ratsvc.errors import InvalidValue

DEPTH: Final = 32
NODES: Final = 65_536
MAP_KEYS: Final = 10_000
KEY_BYTES: Final = 256
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**64 - 1

#: The types of values that hold no others and need no look at what is in them.
SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_LEAVES = SCALARS | {datetime}
_STR = frozenset({str})


@dataclass(slots=True, frozen=True)
class ValueLimits:
    """The limits that a deployment may set."""

    value_bytes: int = 1024 * 1024
    """One record, serialised."""


def check(value: object, *, ints: bool = False) -> None:
    """Checks depth, nodes and keys of a value that a decoder made; with `ints`, also that integers fit 64 bits.

    Raises:
        InvalidValue: a limit is passed, or a key is not text.
    """
    level: list[object] = [value]
    nodes = 1
    for _ in range(DEPTH + 1):
        if ints:
            _check_ints(level)
        inner = [item for item in level if type(item) not in _LEAVES]
        if not inner:
            return
        level = list(chain.from_iterable(_items(item) for item in inner))
        nodes += len(level)
        if nodes > NODES:
            raise InvalidValue(f"value has more than {NODES} nodes", field="value")
    raise too_deep()


def check_keys(entries: dict[str, object]) -> None:
    """Checks the keys of one map: how many, of which type, how long.

    Raises:
        InvalidValue: a limit is passed, or a key is not text.
    """
    if len(entries) > MAP_KEYS:
        raise InvalidValue(f"value has a map of more than {MAP_KEYS} keys", field="value")
    if not _STR.issuperset(map(type, entries)):
        raise InvalidValue("value has a map key that is not text", field="value")
    if entries and len(max(entries, key=len)) * 4 > KEY_BYTES and _longest(entries) > KEY_BYTES:
        raise InvalidValue(f"value has a map key over {KEY_BYTES} bytes", field="value")


def too_deep() -> InvalidValue:
    """The error for a value that is nested too deeply."""
    return InvalidValue(f"value is nested deeper than {DEPTH} levels", field="value")


def _items(container: object) -> Iterable[object]:
    if isinstance(container, dict):
        check_keys(container)
        return container.values()
    assert isinstance(container, list)
    return container


def _longest(keys: Iterable[str]) -> int:
    return max(len(key.encode("utf-8", "surrogatepass")) for key in keys)


def _check_ints(level: list[object]) -> None:
    for item in level:
        if type(item) is int and not MIN_INT <= item <= MAX_INT:
            raise InvalidValue("value has an integer outside -2^63 to 2^64-1", field="value")
