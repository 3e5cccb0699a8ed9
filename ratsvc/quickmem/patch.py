"""JSON Patch (RFC 6902) between two values: made with `add`, `replace` and `remove` alone, and applied.

Objects are compared name by name; lists by what they have in common at both ends, and place by place between. That is
not the shortest patch for lists that were reordered: whoever asks compares its size with that of the whole. Values are
the same only when their types are: 1, 1.0 and true differ, and so do 0.0 and -0.0.
Cost: 0.1 µs a value that is compared, at most `nodes` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import msgspec

from ratsvc.errors import InvalidValue

MAX_NODES = 8_192
_ABSENT = object()


class Operation(msgspec.Struct, frozen=True):
    """One step of a patch; `add` and `replace` have a value."""

    op: str
    path: str
    value: object = msgspec.UNSET


class _TooMuch(Exception):
    """There is more to compare than is worth it."""


def diff(old: object, new: object, nodes: int = MAX_NODES) -> list[Operation] | None:
    """The patch that makes `new` of `old`; None when there is none but the whole, or more than `nodes` values have to
    be compared."""
    if type(old) is not type(new) or not isinstance(old, dict | list):
        return [] if _same_leaf(old, new) else None
    differ = _Differ(nodes)
    try:
        differ.compare("", old, new)
    except _TooMuch:
        return None
    return differ.operations


class _Differ:
    """One comparison, and what came of it so far."""

    __slots__ = ("_left", "operations")

    def __init__(self, nodes: int) -> None:
        self.operations: list[Operation] = []
        self._left = nodes

    def compare(self, path: str, old: object, new: object) -> None:
        """Notes how the value at `path` changes."""
        if isinstance(old, dict) and isinstance(new, dict):
            self._objects(path, old, new)
        elif isinstance(old, list) and isinstance(new, list):
            self._lists(path, old, new)
        elif not _same_leaf(old, new):
            self.operations.append(Operation("replace", path, new))

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _TooMuch

    def _objects(self, path: str, old: dict[str, object], new: dict[str, object]) -> None:
        self._spend(len(old) + len(new))
        for name in old:
            if name not in new:
                self.operations.append(Operation("remove", f"{path}/{_escaped(name)}"))
        for name, value in new.items():
            before = old.get(name, _ABSENT)
            if before is _ABSENT:
                self.operations.append(Operation("add", f"{path}/{_escaped(name)}", value))
            elif type(before) is not type(value):
                self.operations.append(Operation("replace", f"{path}/{_escaped(name)}", value))
            elif before is not value and (isinstance(value, dict | list) or not _same_leaf(before, value)):
                self.compare(f"{path}/{_escaped(name)}", before, value)

    def _lists(self, path: str, old: list[object], new: list[object]) -> None:
        shorter = min(len(old), len(new))
        start = 0
        while start < shorter and self._same(old[start], new[start]):
            start += 1
        end = 0
        while end < shorter - start and self._same(old[-1 - end], new[-1 - end]):
            end += 1
        both = shorter - end
        for at in range(start, both):
            self._spend(1)
            if type(old[at]) is type(new[at]):
                self.compare(f"{path}/{at}", old[at], new[at])
            else:
                self.operations.append(Operation("replace", f"{path}/{at}", new[at]))
        for at in range(len(old) - end - 1, both - 1, -1):
            self.operations.append(Operation("remove", f"{path}/{at}"))
        for at in range(both, len(new) - end):
            self.operations.append(Operation("add", f"{path}/{at}", new[at]))

    def _same(self, old: object, new: object) -> bool:
        self._spend(1)
        if isinstance(old, dict) and isinstance(new, dict):
            return len(old) == len(new) and all(
                (before := old.get(name, _ABSENT)) is not _ABSENT and self._same(before, value)
                for name, value in new.items()
            )
        if isinstance(old, list) and isinstance(new, list):
            return len(old) == len(new) and all(map(self._same, old, new))
        return _same_leaf(old, new)


def _same_leaf(old: object, new: object) -> bool:
    if type(old) is not type(new):
        return False
    return old == new and (type(new) is not float or new != 0 or str(old) == str(new))


def _escaped(name: str) -> str:
    """A name as part of a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


def apply(document: object, patch: Sequence[Operation]) -> object:
    """The document that `patch` makes of `document`, which is changed in place.

    Raises:
        InvalidValue: the patch does not fit the document.
    """
    for operation in patch:
        try:
            _apply(document, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            raise InvalidValue(f"a patch does not fit its document: {operation.op} {operation.path!r}") from None
    return document


def _apply(document: object, operation: Operation) -> None:
    root, *parts = operation.path.split("/")
    if root or not parts:
        raise ValueError
    *way, last = (part.replace("~1", "/").replace("~0", "~") for part in parts)
    for part in way:
        document = document[_index(part, len(document) - 1)] if isinstance(document, list) else document[part]  # type: ignore[index]
    value = deepcopy(operation.value)
    match operation.op, document:
        case "add", list():
            document.insert(_index(last, len(document)), value)
        case "replace", list():
            document[_index(last, len(document) - 1)] = value
        case "remove", list():
            del document[_index(last, len(document) - 1)]
        case "add", dict():
            document[last] = value
        case "replace", dict() if last in document:
            document[last] = value
        case "remove", dict():
            del document[last]
        case _:
            raise KeyError(last)


def _index(part: str, most: int) -> int:
    if not (part.isascii() and part.isdigit()) or int(part) > most:
        raise IndexError(part)
    return int(part)
