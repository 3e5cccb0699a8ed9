"""Patches, with the package `jsonpatch` as the judge of what they mean."""

from __future__ import annotations

from copy import deepcopy

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import to_json
from ratsvc.quickmem.patch import Operation, apply, diff

names = st.sampled_from(["a", "b", "", "/", "~", "~1", "a/b", "0", "-", "é"])
leaves = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0, 1.5]) | st.sampled_from("xyz")
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=4), max_leaves=25
)


@st.composite
def changed(draw: st.DrawFn) -> tuple[object, object]:
    """A document, and one that a few changes made of it."""
    old = draw(values)
    new = deepcopy(old)
    for _ in range(draw(st.integers(0, 3))):
        inner = [new]
        at: object = new
        while isinstance(at, dict | list) and at and draw(st.booleans()):
            at = draw(st.sampled_from(list(at.values()) if isinstance(at, dict) else at))
            inner.append(at)
        for one in reversed(inner):
            if isinstance(one, dict):
                one[draw(names)] = draw(values)
                break
            if isinstance(one, list):
                place = draw(st.integers(0, len(one)))
                one[place : place + draw(st.integers(0, 2))] = draw(st.lists(values, max_size=2))
                break
    return old, new


def as_json(patch: list[Operation]) -> list[dict[str, object]]:
    return [dict(msgspec.to_builtins(operation)) for operation in patch]


def exact(value: object) -> object:
    """A value in which 1, 1.0 and true, and 0.0 and -0.0, are not the same, and the order of names does not count."""
    if isinstance(value, dict):
        return "object", frozenset((name, exact(item)) for name, item in value.items())
    if isinstance(value, list):
        return "list", tuple(map(exact, value))
    return type(value), repr(value)


@given(changed() | st.tuples(values, values))
def test_a_patch_makes_the_new_document_of_the_old_one(pair: tuple[object, object]) -> None:
    old, new = pair
    patch = diff(old, new)
    if patch is None:
        assert not (isinstance(old, dict | list) and type(old) is type(new))
        return
    assert exact(jsonpatch.apply_patch(deepcopy(old), as_json(patch))) == exact(new)
    assert exact(apply(deepcopy(old), patch)) == exact(new)
    assert bool(patch) == (exact(old) != exact(new))


paths = st.sampled_from(["/a", "/b", "/0", "/1", "/a/a", "/a/0", "/0/a", "/0/0", "/a~1b", "/~0"])


@given(values, st.lists(st.tuples(st.sampled_from(["add", "remove", "replace"]), paths, leaves), max_size=4))
def test_a_patch_is_applied_or_refused_as_others_do(document: object, steps: list[tuple[str, str, object]]) -> None:
    patch = [Operation(op, path) if op == "remove" else Operation(op, path, value) for op, path, value in steps]
    try:
        expected = exact(jsonpatch.apply_patch(deepcopy(document), as_json(patch)))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        with pytest.raises(InvalidValue):
            apply(deepcopy(document), patch)
    else:
        assert exact(apply(deepcopy(document), patch)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("replace", "/b", 3)]),
        ({"a": 1}, {"b": 1}, [("remove", "/a"), ("add", "/b", 1)]),
        ([1, 2, 3, 4], [1, 3, 4], [("remove", "/1")]),
        ([1, 3, 4], [1, 2, 3, 4], [("add", "/1", 2)]),
        ([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [("remove", "/0"), ("add", "/4", 6)]),
        ([1, 2, 3, 4, 5, 6], [9, 2, 3, 8, 5, 7], [("replace", "/0", 9), ("replace", "/3", 8), ("replace", "/5", 7)]),
        ({"bids": [[1, 5], [2, 6]]}, {"bids": [[1, 5], [2, 7]]}, [("replace", "/bids/1/1", 7)]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, [("replace", "/a~1b/~0", 2)]),
        ({"a": 1}, {"a": 1.0}, [("replace", "/a", 1.0)]),
        ({"a": 1}, {"a": 1}, []),
        ("same", "same", []),
        ("one", "other", None),
        ({}, [], None),
    ],
)
def test_small_changes_are_small_patches(old: object, new: object, expected: list[tuple[str, str]] | None) -> None:
    patch = None if expected is None else [Operation(*one) for one in expected]
    assert diff(old, new) == patch


def test_what_is_too_much_to_compare_has_no_patch() -> None:
    old: list[object] = [[n, n] for n in range(1000)]
    new: list[object] = [[n, n + 1] for n in range(1000)]
    assert diff(old, new, nodes=500) is None
    assert diff(old, new) is not None


@pytest.mark.parametrize(
    "operation",
    [
        Operation("add", "", 1),
        Operation("add", "x", 1),
        Operation("add", "/l/5", 1),
        Operation("add", "/l/-1", 1),
        Operation("add", "/l/x", 1),
        Operation("add", "/l/²", 1),
        Operation("remove", "/none"),
        Operation("replace", "/none", 1),
        Operation("replace", "/n/x", 1),
        Operation("move", "/n"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(operation: Operation) -> None:
    with pytest.raises(InvalidValue, match="does not fit"):
        apply({"l": [1, 2], "n": 1}, [operation])


def test_what_is_applied_shares_nothing_with_the_patch() -> None:
    inner = {"a": [1]}
    patched = apply({}, [Operation("add", "/x", inner)])
    inner["a"].append(2)
    assert to_json(patched) == b'{"x":{"a":[1]}}'
