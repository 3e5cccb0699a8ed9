"""Idempotent producers: duplicates known, gaps and zombies refused, live ones never forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.dedupe import REMEMBERED, Claim, Dedupe
from ratsvc.core.draft import ProducerRef
from ratsvc.errors import Busy, OutOfSequence, ProducerFenced

DAY = 86400 * 10**9


def store(dedupe: Dedupe, ref: ProducerRef, count: int, offset: int, now: int = 0) -> tuple[int, int]:
    dropped, first = dedupe.duplicates(ref, count, now)
    if dropped < count:
        dedupe.claim(Claim(ref, ref.sequence + dropped, count - dropped, offset), now)
        dedupe.commit()
    return dropped, first


def test_a_retry_is_a_duplicate_with_its_first_offset() -> None:
    dedupe = Dedupe(10, DAY)
    assert store(dedupe, ProducerRef("p", 0, 1), 5, 100) == (0, 0)
    assert store(dedupe, ProducerRef("p", 0, 6), 5, 200) == (0, 0)
    assert store(dedupe, ProducerRef("p", 0, 1), 5, 999) == (5, 100)
    assert store(dedupe, ProducerRef("p", 0, 8), 2, 999) == (2, 202)
    assert store(dedupe, ProducerRef("p", 0, 9), 4, 300) == (2, 203)
    assert store(dedupe, ProducerRef("p", 0, 13), 1, 400) == (0, 0)


def test_a_jump_is_refused_and_changes_nothing() -> None:
    dedupe = Dedupe(10, DAY)
    with pytest.raises(OutOfSequence, match="expected 1"):
        dedupe.duplicates(ProducerRef("p", 0, 2), 1, 0)
    store(dedupe, ProducerRef("p", 0, 1), 3, 1)
    with pytest.raises(OutOfSequence, match="expected 4"):
        dedupe.duplicates(ProducerRef("p", 0, 5), 1, 0)
    assert store(dedupe, ProducerRef("p", 0, 4), 1, 10) == (0, 0)


def test_a_new_epoch_begins_with_one_and_shuts_out_the_old() -> None:
    dedupe = Dedupe(10, DAY)
    store(dedupe, ProducerRef("p", 1, 1), 3, 1)
    with pytest.raises(OutOfSequence):
        dedupe.duplicates(ProducerRef("p", 2, 4), 1, 0)
    assert store(dedupe, ProducerRef("p", 2, 1), 1, 10) == (0, 0)
    with pytest.raises(ProducerFenced):
        dedupe.duplicates(ProducerRef("p", 1, 4), 1, 0)


def test_over_the_limit_only_an_idle_producer_is_forgotten() -> None:
    dedupe = Dedupe(2, DAY)
    store(dedupe, ProducerRef("a", 0, 1), 1, 1, now=0)
    store(dedupe, ProducerRef("b", 0, 1), 1, 2, now=DAY // 2)
    with pytest.raises(Busy):
        store(dedupe, ProducerRef("c", 0, 1), 1, 3, now=DAY - 1)
    assert store(dedupe, ProducerRef("c", 0, 1), 1, 3, now=DAY) == (0, 0)
    assert set(dedupe.producers) == {"b", "c"}


def test_idempotency_keys_are_apart_from_producers_and_the_oldest_go() -> None:
    dedupe = Dedupe(1, DAY, max_keys=3)
    store(dedupe, ProducerRef("p", 0, 1), 1, 1)
    for number in range(5):
        store(dedupe, ProducerRef(f"~{number}", 0, 1), 1, 10 + number)
    assert list(dedupe.keys) == ["~2", "~3", "~4"]
    assert store(dedupe, ProducerRef("~3", 0, 1), 1, 99) == (1, 13)
    assert set(dedupe.producers) == {"p"}


def test_what_is_remembered_is_bounded() -> None:
    dedupe = Dedupe(1, DAY)
    for sequence in range(1, 5 * REMEMBERED):
        store(dedupe, ProducerRef("p", 0, sequence), 1, sequence)
    assert len(dedupe.producers["p"].sequences) <= 2 * REMEMBERED
    assert store(dedupe, ProducerRef("p", 0, 1), 1, 0) == (1, 0)
    newest = 5 * REMEMBERED - 1
    assert store(dedupe, ProducerRef("p", 0, newest), 1, 0) == (1, newest)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), max_size=40))
def test_whatever_is_sent_each_sequence_is_stored_once_and_in_order(sends: list[tuple[int, int]]) -> None:
    dedupe, stored = Dedupe(1, DAY), []
    for sequence, count in sends:
        try:
            dropped, first = store(dedupe, ProducerRef("p", 0, sequence), count, len(stored) + 1)
        except OutOfSequence:
            assert sequence > len(stored) + 1
            continue
        if dropped:
            assert first == sequence  # offsets equal sequences here
        stored += range(sequence + dropped, sequence + count)
    assert stored == list(range(1, len(stored) + 1))


def test_what_a_failed_commit_claimed_is_taken_back() -> None:
    dedupe = Dedupe(10, DAY)
    store(dedupe, ProducerRef("p", 1, 1), 3, 1)
    dedupe.claim(Claim(ProducerRef("p", 1, 4), 4, 2, 10), 1)
    dedupe.claim(Claim(ProducerRef("p", 2, 1), 1, 1, 12), 1)
    dedupe.claim(Claim(ProducerRef("q", 1, 1), 1, 1, 13), 1)
    dedupe.rollback()
    assert set(dedupe.producers) == {"p"}
    assert store(dedupe, ProducerRef("p", 1, 4), 2, 20) == (0, 0)
    assert store(dedupe, ProducerRef("p", 1, 1), 5, 99) == (5, 1)


def test_idle_producers_expire() -> None:
    dedupe = Dedupe(10, DAY)
    store(dedupe, ProducerRef("a", 0, 1), 1, 1, now=0)
    store(dedupe, ProducerRef("b", 0, 1), 1, 2, now=0)
    store(dedupe, ProducerRef("a", 0, 2), 1, 3, now=DAY // 2)
    dedupe.expire(DAY)
    assert (set(dedupe.producers), dedupe.forgotten) == ({"a"}, ["b"])
