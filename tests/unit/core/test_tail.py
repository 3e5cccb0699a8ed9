"""The tail and batches: encoded once, bounded, cool when they leave."""

from __future__ import annotations

from ratsvc.core.record import Batch
from ratsvc.core.tail import Tail


def batch(first: int, size: int = 10) -> Batch:
    return Batch("s", range(first, first + 1), 0, [b"x" * size])


def test_a_batch_is_encoded_once_a_format() -> None:
    one, calls = batch(1), []

    def encode(what: Batch) -> bytes:
        calls.append(what)
        return b"bytes"

    assert one.encoded("sse", encode) is one.encoded("sse", encode)
    one.encoded("ndjson", encode)
    assert len(calls) == 2


def test_the_tail_is_bounded_with_its_encodings_and_what_leaves_cools() -> None:
    tail = Tail(100)
    batches = [batch(i) for i in range(1, 20)]
    for one in batches:
        one.encoded("sse", lambda _: b"y" * 30)
        tail.add(one)
        assert tail.bytes <= 100
    assert len(tail) == 2
    assert [one.encoded_size for one in batches] == [0] * 17 + [30] * 2
    batches[0].encoded("sse", lambda _: b"again")
    assert batches[0].encoded_size == 0


def test_what_is_made_of_a_batch_that_is_in_the_tail_counts_too() -> None:
    tail = Tail(100)
    batches = [batch(i) for i in range(1, 5)]
    for one in batches:
        tail.add(one)
    batches[1].encoded("sse", lambda _: b"y" * 30)
    assert (tail.bytes, len(tail)) == (70, 4)
    batches[3].encoded("sse", lambda _: b"y" * 35)
    assert (tail.bytes, list(tail.batches), tail.floor) == (95, batches[1:], 1)
    batches[1].encoded("ndjson", lambda _: b"y" * 30)  # it drives itself out
    assert (tail.bytes, list(tail.batches), tail.floor) == (55, batches[2:], 2)
    assert not batches[1].encodings
    batches[3].encoded("ndjson", lambda _: b"y" * 1000)
    assert list(tail.batches) == batches[3:]  # the newest is always kept


def test_one_batch_over_the_bound_is_still_the_tail() -> None:
    tail = Tail(100)
    tail.add(batch(1, 1000))
    assert len(tail) == 1


def test_parts_keep_offsets_and_columns() -> None:
    one = Batch("s", range(5, 9), 1, [b"a", b"b", b"c", b"d"], ["", "k", "", "l"], ["e", "", "", ""], [1, 2, 3, 4])
    part = one.part(1, 3)
    assert (list(part.offsets), part.records, part.keys, part.values) == ([6, 7], [b"b", b"c"], ["k", ""], [2, 3])
    picked = one.picked([0, 3])
    assert picked is not None
    assert (picked.offsets, picked.records, picked.events, picked.size) == ([5, 8], [b"a", b"d"], ["e", ""], 2)
    assert one.part(0, 4) is one
    assert one.picked([]) is None
