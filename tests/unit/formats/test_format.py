"""What all formats have in common."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from ratsvc.core.items import End, Gap, GapReason, Heartbeat, Item, Reconnect
from ratsvc.errors import InvalidArgument
from ratsvc.formats import View, encode_items, make_format
from tests.unit.formats.items import EPOCH, make

STREAMING = ["sse", "ndjson", "json-seq", "text", "chunked", "binary"]


@pytest.mark.parametrize("name", STREAMING)
def test_a_batch_is_encoded_once_for_all_readers_of_a_format(name: str) -> None:
    batch = make([1, 2])
    one, other = (make_format(name, epoch=EPOCH, retry_ms=retry_ms) for retry_ms in (1000, 2000))
    assert one.batch(batch) is other.batch(batch)


@pytest.mark.parametrize("name", STREAMING)
def test_options_that_change_the_bytes_change_the_key(name: str) -> None:
    batch = make([2**60])
    by_key: dict[Hashable, bytes] = {}
    for view in View:
        for int64_as_string in (False, True):
            fmt = make_format(name, epoch=EPOCH, view=view, int64_as_string=int64_as_string)
            data = fmt.batch(make([2**60]))
            assert by_key.setdefault(fmt.key, data) == data
            assert fmt.batch(batch) == data
    assert len(set(by_key.values())) == len(by_key)


def test_formats_do_not_share_keys() -> None:
    assert len({make_format(name, epoch=EPOCH).key for name in STREAMING}) == len(STREAMING)


@pytest.mark.parametrize("name", STREAMING)
def test_items_are_encoded_in_order(name: str) -> None:
    fmt = make_format(name, epoch=EPOCH)
    first, second = make([1]), make([2], first=50)
    gap, end = Gap(41, 49, GapReason.RETENTION), End(60, "ended")
    items: list[Item] = [first, gap, second, Heartbeat(55), Reconnect(55, 9, "drain"), end]
    assert encode_items(fmt, items) == [
        fmt.batch(first),
        fmt.gap(gap),
        fmt.batch(second),
        fmt.heartbeat(55),
        fmt.reconnect(Reconnect(55, 9, "drain")),
        fmt.end(end),
    ]


@pytest.mark.parametrize("name", ["page", "", "SSE", "frames"])
def test_a_format_that_does_not_stream_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="format must be one of sse, ndjson, json-seq, text, chunked, binary"):
        make_format(name, epoch=EPOCH)
