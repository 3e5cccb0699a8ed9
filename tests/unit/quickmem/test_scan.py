"""Where MessagePack values end."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.errors import InvalidValue
from ratsvc.quickmem.scan import check_containers, skip

from . import model

raw = msgspec.msgpack.Encoder().encode


@given(st.lists(model.values, min_size=1, max_size=4), st.integers(1, 7))
def test_values_end_where_they_end_also_in_pieces(values: list[object], step: int) -> None:
    documents = list(map(raw, values))
    data = b"".join(documents)
    assert skip(data, 0, 1) == (len(documents[0]), 0)
    assert skip(data, 0, len(values)) == (len(data), 0)
    at, left = 0, len(values)
    for end in range(step, len(data) + step, step):
        at, left = skip(data[:end], at, left)
    assert (at, left) == (len(data), 0)


@pytest.mark.parametrize("head", range(0xC4, 0xE0))
def test_every_kind_of_head_is_known(head: int) -> None:
    blank = bytes([head]) + bytes(20)
    at, left = skip(blank, 0, 1)
    assert left == 0
    try:
        msgspec.msgpack.Decoder(ext_hook=lambda code, data: None).decode(blank[:at])
    except msgspec.MsgspecError as error:
        pytest.fail(f"{error}")


def test_lists_and_maps_are_counted() -> None:
    data = raw([[], {}, {"a": [1]}])
    skip(data, 0, 1, 5)
    with pytest.raises(InvalidValue, match="more than 4 lists and maps"):
        skip(data, 0, 1, 4)
    with pytest.raises(InvalidValue, match="more than 4"):
        check_containers(data, 4)
    check_containers(raw(b"\x90" * 100), 4)
