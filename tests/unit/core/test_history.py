"""The history: what is read a second time is kept and shared, as long as it may be told, within its bound."""

from __future__ import annotations

import pytest

from ratsvc.core import history
from ratsvc.core.history import MAX_STRETCHES, STRETCH_BYTES, History
from ratsvc.core.items import Gap, GapReason
from ratsvc.core.record import Batch
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention

NAMES = ("s",)


def registered(*names: str) -> Registry:
    registry = Registry(100)
    for name in names:
        registry.add(StreamInfo(name, Retention(), 0))
    return registry


def batch(first: int, count: int = 2, size: int = 10, stream: str = "s") -> Batch:
    return Batch(stream, range(first, first + count), 0, [b"x" * size] * count)


def kept(one: History, after: int, *batches: Batch | Gap, names: tuple[str, ...] = NAMES) -> None:
    """Two readers come to a place, and the log gives both these batches."""
    for _ in range(2):
        assert one.read(names, after) is None
        assert list(map(rows, one.take(names, after, batches))) == list(map(rows, batches))


def rows(item: Batch | Gap) -> object:
    return (item.stream, list(item.offsets), item.records) if isinstance(item, Batch) else item


def encoded(found: list[Batch] | None, key: str, size: int) -> None:
    for one in found or ():
        one.encoded(key, lambda _: b"y" * size)


def test_what_is_read_a_second_time_is_shared_from_then_on() -> None:
    one = History(registered("s"), 100_000)
    log = [batch(1), batch(3)]
    assert one.take(NAMES, 0, log) is log
    assert one.read(NAMES, 0) is None
    told = one.take(NAMES, 0, log)
    found = one.read(NAMES, 0)
    assert found is told
    assert found is not None
    assert [found[0] is log[0], list(map(rows, found))] == [False, list(map(rows, log))]
    found[0].encoded("sse", lambda _: b"bytes")
    assert found[0].is_encoded("sse")
    assert not log[0].is_encoded("sse")  # the log's own stays as it is
    assert (one.hits, one.misses) == (1, 1)


def test_a_reader_within_a_stretch_gets_the_rest_of_it_and_goes_on_at_its_end() -> None:
    one = History(registered("s"), 100_000)
    kept(one, 0, batch(1, 4), batch(5, 4))
    found = one.read(NAMES, 2)
    assert found is not None
    assert [list(part.offsets) for part in found] == [[3, 4], [5, 6, 7, 8]]
    found = one.read(NAMES, 4)
    assert found is not None
    assert [list(part.offsets) for part in found] == [[5, 6, 7, 8]]
    assert one.read(NAMES, 8) is None
    assert one.read(("t",), 0) is None


def test_a_place_that_a_note_covers_is_kept_though_it_is_another_one() -> None:
    one = History(registered("s"), 100_000)
    one.take(NAMES, 0, [batch(1, 4), batch(5, 4)])
    one.take(NAMES, 2, [batch(3, 2), batch(5, 4), batch(9, 4)])
    assert one.read(NAMES, 0) is None
    assert one.read(NAMES, 11) is not None
    one.take(NAMES, 0, [batch(1, 4), batch(5, 4)])
    assert one.read(NAMES, 0) is not None
    assert len(one) == 2


@pytest.mark.parametrize("how", ["retention", "purge", "deletion"])
def test_what_is_removed_is_not_told(how: str) -> None:
    registry = registered("s", "t")
    one = History(registry, 100_000)
    names = ("*",)
    kept(one, 0, batch(1), batch(3, stream="t"), names=names)
    info = registry.get("s")
    if how == "deletion":
        registry.remove(info)
        registry.add(StreamInfo("s", Retention(), 1))
    else:
        info.evicted_through = 1 if how == "retention" else 2
    assert one.read(names, 0) is None
    assert (len(one), one.bytes) == (0, 0)


def test_what_was_removed_before_the_stretch_does_no_harm() -> None:
    registry = registered("s")
    registry.get("s").evicted_through = 2
    one = History(registry, 100_000)
    kept(one, 0, batch(3))
    assert one.read(NAMES, 0) is not None


def test_damage_is_not_kept() -> None:
    one = History(registered("s"), 100_000)
    kept(one, 0, batch(1), Gap(2, 4, GapReason.CORRUPT), batch(5))
    assert one.read(NAMES, 0) is None
    assert one.bytes < 2 * STRETCH_BYTES


def test_the_bound_holds_whatever_is_read_and_made_of_it() -> None:
    one = History(registered("s"), 50_000)
    for place in range(0, 2_000, 100):
        kept(one, place, batch(place + 1, 100, 50))
        found = one.read(NAMES, place)
        assert found is not None
        for key in range(8):
            encoded(found, str(key), 1_500)
            held = sum(len(data) for data in found[0].encodings.values())
            assert found[0].encoded_size == held
            assert held < one.bytes <= 50_000
    assert 1 <= len(one) < 4
    encoded(found, "huge", 60_000)
    assert (len(one), one.bytes) == (0, 0)
    encoded(found, "another", 10)
    assert not found[0].encodings  # who still holds a batch keeps nothing with it


def test_the_one_that_was_not_used_for_the_longest_time_goes_first() -> None:
    one = History(registered("s"), 10_000)
    for place in (0, 10, 20):
        kept(one, place, batch(place + 1, 10))
    assert one.read(NAMES, 0) is not None
    kept(one, 30, batch(31, 10, 600))
    assert [one.read(NAMES, place) is not None for place in (0, 10, 20, 30)] == [True, False, False, True]


def test_who_reads_what_nobody_else_does_drives_nothing_out() -> None:
    one = History(registered("s"), 10_000_000)
    kept(one, 0, batch(1, 10, 10_000))
    size = one.bytes
    for place in range(10, 10_000, 10):
        assert one.read(NAMES, place) is None
        one.take(NAMES, place, [batch(place + 1, 10, 10_000)])
    assert one.bytes - size < 1_000 * (STRETCH_BYTES + 200)
    assert one.read(NAMES, 0) is not None


def test_notes_are_bounded_with_the_names_that_they_hold() -> None:
    one = History(registered("s"), 10_000_000)
    for number in range(MAX_STRETCHES + 100):
        one.take(NAMES, 2 * number, [batch(2 * number + 1)])
    assert len(one) == MAX_STRETCHES
    one = History(registered("s"), 100_000)
    for place in range(100):
        one.take((str(place) * 20_000,), 0, [batch(1)])
    assert len(one) <= 100_000 // 20_000


def test_labels_count() -> None:
    one = History(registered("s"), 10_000_000)
    labels = ["\U0001f600" * 50] * 100
    kept(one, 0, Batch("s", range(1, 101), 0, [b"x"] * 100, labels, labels))
    assert one.bytes > 2 * 100 * 4 * 50


def test_what_nobody_asks_for_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(history, "monotonic", lambda: clock[0])
    one = History(registered("s"), 100_000)
    kept(one, 0, batch(1))
    kept(one, 2, batch(3))
    clock[0] = history.IDLE_S - 1
    assert one.read(NAMES, 2) is not None
    one.tend()
    assert len(one) == 2
    clock[0] += 2
    one.tend()
    assert [one.read(NAMES, 0), one.read(NAMES, 2) is None] == [None, False]
    clock[0] += history.IDLE_S + 1
    one.tend()
    assert (len(one), one.bytes) == (0, 0)


def test_it_can_be_off() -> None:
    one = History(registered("s"), 0)
    kept(one, 0, batch(1))
    assert one.read(NAMES, 0) is None
    assert (len(one), one.bytes) == (0, 0)
