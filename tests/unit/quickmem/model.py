"""The value model as strategies, and equality that sees types, signs of zero and NaN."""

from __future__ import annotations

import random
from datetime import UTC

from hypothesis import strategies as st

from ratsvc.quickmem.limits import MAX_INT, MIN_INT

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = text
ints = st.integers(MIN_INT, MAX_INT) | st.sampled_from([MIN_INT, 2**63 - 1, 2**63, MAX_INT, 2**53 + 1, -(2**53) - 1])
#: Without `fold`, which says nothing in UTC.
times = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
scalars = st.none() | st.booleans() | ints | st.floats() | text | st.binary(max_size=300) | times


def nested(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Values with these scalars."""
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


values = nested(scalars)
#: What JSON can say.
json_values = nested(st.none() | st.booleans() | ints | st.floats(allow_nan=False, allow_infinity=False) | text)


def same(one: object, other: object) -> bool:
    """Whether two values are the same, types included; of maps the order is not compared."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def deep(levels: int, kind: str, leaf: object = 1) -> object:
    """`leaf` within so many lists, maps or both in turn."""
    value = leaf
    for level in range(levels):
        value = {"k": value} if kind == "map" or (kind == "both" and level % 2) else [value]
    return value


def broken(data: bytes, chance: random.Random) -> bytes:
    """These bytes with one to three of them changed, added, or cut off with all that follows."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(3):
            case 0:
                found[at : at + 1] = [chance.randrange(256)]
            case 1:
                del found[at:]
            case _:
                found.insert(at, chance.randrange(256))
    return bytes(found)
