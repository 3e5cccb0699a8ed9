"""SegQueue: nothing lost, nothing twice, each producer's order kept."""

from __future__ import annotations

import sys
import threading
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ratsvc.core.segqueue import SEGMENT_SLOTS, SegQueue

PRODUCERS = 8
EACH = 250_000


@pytest.mark.timeout(120)
def test_eight_threads_lose_nothing_repeat_nothing_and_keep_their_order() -> None:
    queue: SegQueue[tuple[int, int]] = SegQueue(1 << 60, 1 << 60)
    start = threading.Barrier(PRODUCERS + 1)

    def produce(who: int) -> None:
        start.wait()
        for number in range(EACH):
            queue.push((who, number), 3)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many more switches between threads than usual
    try:
        threads = [threading.Thread(target=produce, args=(who,)) for who in range(PRODUCERS)]
        for thread in threads:
            thread.start()
        start.wait()
        expected = [0] * PRODUCERS
        taken = 0
        while taken < PRODUCERS * EACH:
            alive = any(thread.is_alive() for thread in threads)
            items = queue.drain()
            for who, number in items:
                assert number == expected[who]
                expected[who] += 1
            taken += len(items)
            assert items or alive, f"{PRODUCERS * EACH - taken} items are lost"
    finally:
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert expected == [EACH] * PRODUCERS
    assert queue.drain() == []
    assert (queue.pending_bytes, queue.pending_items) == (0, 0)


def test_a_slot_that_is_claimed_but_not_filled_holds_back_what_comes_after_it() -> None:
    queue: SegQueue[str] = SegQueue(100, 100)
    queue.push("first")
    slot = queue._tail.claim()  # a producer that was interrupted between its two steps
    queue.push("third")
    assert queue.drain() == ["first"]
    queue._tail.slots[slot] = ("second", 0, 1)
    assert queue.drain() == ["second", "third"]


def test_push_asks_for_a_pause_over_either_bound_and_never_refuses() -> None:
    queue: SegQueue[int] = SegQueue(max_bytes=10, max_items=3)
    assert not queue.push(1, 10)
    assert queue.push(2, 1)
    assert queue.drain() == [1, 2]
    assert not queue.push(3, 0, 3)
    assert queue.push(4, 0, 1)
    assert queue.drain() == [3, 4]
    assert not queue.is_full


class QueueMachine(RuleBasedStateMachine):
    """Against a deque, across many segments."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: SegQueue[int] = SegQueue(1_000, 500)
        self.model: deque[tuple[int, int]] = deque()
        self.number = 0

    @rule(count=st.integers(1, 2 * SEGMENT_SLOTS), size=st.integers(0, 20))
    def push(self, count: int, size: int) -> None:
        for _ in range(count):
            self.model.append((self.number, size))
            pause = self.queue.push(self.number, size)
            assert pause == (sum(s for _, s in self.model) > 1_000 or len(self.model) > 500)
            self.number += 1

    @rule()
    def drain(self) -> None:
        assert self.queue.drain() == [item for item, _ in self.model]
        self.model.clear()

    @invariant()
    def counts_are_true(self) -> None:
        assert self.queue.pending_items == len(self.model)
        assert self.queue.pending_bytes == sum(size for _, size in self.model)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
