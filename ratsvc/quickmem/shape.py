"""Whether a value of any size is plain already: exactly lists, maps with text keys, and leaves.

What passes can be encoded as it is; what does not is brought into shape, or refused, by `plain`.
The look goes level by level and never recurses; a value within itself ends at the bound of its depth, one that holds
the same part again and again at the bound of its lists and maps. Cost: 0.1 µs a list or map, 0.04 µs a node.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from ratsvc.quickmem.limits import SCALARS, too_many_containers

LEAVES: Final = SCALARS | {datetime}
"""What a decoder may give; to encode, a datetime needs a look at its zone."""
_LONG: Final = 16


def is_plain(value: object, depth: int, containers: int, leaves: frozenset[type] = SCALARS) -> bool:
    """Whether `value` is plain, and at most `depth` levels deep.

    Raises:
        InvalidValue: it has more than `containers` lists and maps.
    """
    if type(value) in leaves:
        return True
    level = [value]
    found = 0
    for _ in range(depth):
        found += len(level)
        if found > containers:
            raise too_many_containers(containers)
        inner: list[object] = []
        for item in level:
            if type(item) is dict:
                for key in item:
                    if type(key) is not str:
                        return False
                parts: Collection[object] = item.values()
            elif type(item) is list:
                parts = item
            else:
                return False
            if len(parts) > _LONG and leaves.issuperset(set(map(type, parts))):
                continue
            for part in parts:
                if type(part) not in leaves:
                    inner.append(part)  # noqa: PERF401 - a comprehension is slower for the few there are
        if not inner:
            return True
        level = inner
    return False
