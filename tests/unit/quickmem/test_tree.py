"""Trees: exact both ways, also over the wire and in the deepest messages that carry them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rat.v1.consumer_pb2 import FetchResponse
from rat.v1.record_pb2 import Frame, Record, RecordBatch
from rat.v1.value_pb2 import DataValue

from ratsvc.errors import InvalidValue
from ratsvc.quickmem import from_data_value, pack, to_data_value, to_json, to_tree

from . import model


@given(model.values)
def test_a_value_comes_back_itself(value: object) -> None:
    for encode in (to_tree, to_data_value):
        assert model.same(from_data_value(DataValue.FromString(encode(value).SerializeToString())), value)


@given(model.json_values)
def test_a_json_kind_is_read_too(value: object) -> None:
    assert model.same(from_data_value(DataValue(json=to_json(value))), value)


def test_each_type_has_its_kind() -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    kinds: dict[str, object] = {
        "null_value": None,
        "bool_value": True,
        "int_value": 2**63 - 1,
        "uint_value": 2**63,
        "double_value": 1.0,
        "string_value": "",
        "bytes_value": b"",
        "timestamp_value": moment,
        "list_value": [],
        "map_value": {},
    }
    for kind, value in kinds.items():
        tree = to_tree(value)
        assert tree.WhichOneof("kind") == kind
        assert model.same(from_data_value(tree), value)
    assert to_tree(moment).timestamp_value.ToDatetime(UTC) == moment


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        tree = DataValue.FromString(data)
    except Exception:
        return
    try:
        value = from_data_value(tree)
    except InvalidValue:
        return
    assert model.same(from_data_value(to_tree(value)), value)


def _list(*items: DataValue) -> DataValue:
    tree = DataValue()
    tree.list_value.items.extend(items)
    return tree


def _map(**entries: DataValue) -> DataValue:
    tree = DataValue()
    for key, item in entries.items():
        tree.map_value.entries[key].CopyFrom(item)
    return tree


def _time(seconds: int, nanos: int = 0) -> DataValue:
    tree = DataValue()
    tree.timestamp_value.seconds = seconds
    tree.timestamp_value.nanos = nanos
    return tree


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (DataValue(), "no kind"),
        (_list(DataValue(int_value=1), DataValue()), "no kind"),
        (_map(a=DataValue()), "no kind"),
        (_list(DataValue(packed=pack(1))), "packed"),
        (_map(a=DataValue(json=b"1")), "json"),
        (DataValue(packed=b""), "MessagePack"),
        (DataValue(json=b""), "JSON"),
        (_time(253_402_300_800), "years"),
        (_time(-62_135_596_801), "years"),
        (_time(2**63 - 1), "years"),
        (_time(0, -1), "years"),
        (_time(0, 10**9), "years"),
        (_map(**{"k" * 257: DataValue(int_value=1)}), "256 bytes"),
        (_map(**{str(n): DataValue(int_value=1) for n in range(10_001)}), "10000 keys"),
        (_list(*[DataValue(bool_value=True)] * 65_536), "nodes"),
    ],
)
def test_trees_that_are_no_value_are_refused(tree: DataValue, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        from_data_value(tree)


def test_times_are_cut_to_microseconds() -> None:
    assert from_data_value(_time(-1, 999_999_999)) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["list", "map", "both"])
def test_32_levels_are_taken_and_33_refused(kind: str) -> None:
    value = model.deep(32, kind)
    assert from_data_value(to_tree(value)) == value
    too_deep = DataValue(int_value=1)
    for level in range(33):
        too_deep = _map(k=too_deep) if kind == "map" or (kind == "both" and level % 2) else _list(too_deep)
    with pytest.raises(InvalidValue, match="deeper than 32"):
        from_data_value(too_deep)
    with pytest.raises(InvalidValue, match="deeper than 32"):
        to_tree(model.deep(33, kind))


@pytest.mark.parametrize(
    "carry",
    [
        lambda record: record,
        lambda record: Frame(batch=RecordBatch(records=[record])),
        lambda record: FetchResponse(batches=[RecordBatch(records=[record])]),
    ],
    ids=["record", "frame", "page"],
)
def test_protobuf_carries_the_deepest_tree(carry: Callable[[Record], Record | Frame | FetchResponse]) -> None:
    deepest = model.deep(32, "map", datetime(2026, 1, 1, tzinfo=UTC))
    message = carry(Record(value=to_tree(deepest)))
    assert type(message).FromString(message.SerializeToString()) == message
