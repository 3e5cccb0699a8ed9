"""What Python programs may publish, and what is refused rather than changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from uuid import UUID

import msgspec
import pytest

from ratsvc.errors import InvalidValue, RatError
from ratsvc.quickmem import from_data_value, from_json, pack, to_json, to_tree, unpack
from ratsvc.quickmem.plain import plain

ENCODERS: list[Callable[[object], object]] = [pack, to_json, to_tree, plain]


class Side(Enum):
    BUY = "buy"


class Level(IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


class Count(int):
    pass


@dataclasses.dataclass
class Point:
    x: int
    tags: tuple[str, ...]


class Trade(msgspec.Struct, rename="camel", tag="trade"):
    trade_id: UUID
    price: Decimal


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((1, 2), [1, 2]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (Side.BUY, "buy"),
        (Level.HIGH, 3),
        (Name("n"), "n"),
        ({Name("n"): 2}, {"n": 2}),
        ({Name("n"): Count(2)}, {"n": 2}),
        ({Side.BUY: True}, {"buy": True}),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal("1.50"), "1.50"),
        (Point(1, ("a",)), {"x": 1, "tags": ["a"]}),
        (
            [Trade(UUID(int=1), Decimal("0.1"))],
            [{"type": "trade", "tradeId": "00000000-0000-0000-0000-000000000001", "price": "0.1"}],
        ),
        (
            datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 1, 1, tzinfo=UTC),
        ),
    ],
)
def test_common_types_are_taken(given: object, taken: object) -> None:
    for result in (plain(given), unpack(pack(given)), from_data_value(to_tree(given))):
        assert result == taken
        assert type(result) is type(taken)
    if not isinstance(taken, bytes | datetime):
        assert from_json(to_json(given)) == taken


def cycle() -> object:
    within: list[object] = [1]
    within.append(within)
    return within


def wide_cycle() -> object:
    within: dict[str, object] = {}
    within["a"] = within["b"] = within["c"] = [within] * 10
    return within


def shared() -> object:
    value: object = 1
    for _ in range(32):
        value = [value] * 10
    return value


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        [Count(2**64)],
        {"a": {"b": 2**70}},
        {1: 2},
        {b"a": 1},
        {None: 1},
        {"a": {True: 1}},
        datetime(2026, 1, 1),
        [datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))],
        cycle(),
        wide_cycle(),
        shared(),
        {"k" * 257: 1},
        [[{"é" * 129: 1}]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_breaks_the_model_is_refused(encode: Callable[[object], object], value: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        encode(value)
    assert refused.value.field == "value"


@pytest.mark.parametrize("encode", ENCODERS[:3])
@pytest.mark.parametrize("value", ["\ud800", {"\udc00": 1}, [{"a": "x\ud834"}]])
def test_lone_surrogates_are_refused(encode: Callable[[object], object], value: object) -> None:
    with pytest.raises(InvalidValue):
        encode(value)


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize(
    "value", [{1, 2}, object(), date(2026, 1, 1), 1j, [print], Point, range(3)], ids=lambda value: type(value).__name__
)
def test_other_types_are_a_type_error(encode: Callable[[object], object], value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_a_bool_is_not_an_integer_and_an_integer_no_float() -> None:
    for value in (True, False, 1, 0, 1.0, -0.0, 2**53 + 1):
        for result in (unpack(pack(value)), from_data_value(to_tree(value)), from_json(to_json(value))):
            assert repr(result) == repr(value)


def test_a_refusal_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="integer"):
        pack(2**64)
    assert issubclass(InvalidValue, RatError)
