"""The checker finds each kind of broken promise, and nothing where all were kept."""

from __future__ import annotations

from copy import deepcopy

import pytest

from tests.faults.checker import Gap, LogNotes, ProducerNotes, ReaderNotes, Record, Stored, check

A = [Record("s.a", "p", number, f"payload {number}") for number in range(1, 7)]
B = [Record("s.b", "q", number, f"payload {number}") for number in range(1, 4)]
ORDER = [A[0], A[1], B[0], A[2], B[1], A[3], B[2], A[4]]
"""What is stored, from offset 10 on in steps of 2. The last of A was never answered, and is not stored."""
LOG = [Stored("e", 10 + 2 * at, record) for at, record in enumerate(ORDER)]
OFFSET = {stored.record: stored.offset for stored in LOG}


class Case:
    """Notes of a run in which every promise was kept."""

    def __init__(self) -> None:
        self.p = ProducerNotes("p", list(A), {record.number: OFFSET[record] for record in A[:5]})
        self.q = ProducerNotes("q", list(B), {record.number: OFFSET[record] for record in B[:2]})
        self.all = ReaderNotes("all", ("s.>",), list(LOG))
        self.one = ReaderNotes("one", ("s.b",), [stored for stored in LOG if stored.record.stream == "s.b"])
        self.log = LogNotes("e", list(LOG))

    def violations(self) -> list[str]:
        return check([self.p, self.q], [self.all, self.one], self.log)


@pytest.fixture
def case() -> Case:
    return deepcopy(Case())


def test_kept_promises_are_no_violations(case: Case) -> None:
    assert case.violations() == []


def test_an_acknowledged_record_that_is_not_stored(case: Case) -> None:
    del case.log.records[1], case.all.items[1]
    assert any("acknowledged at offset 12, where nothing is stored" in line for line in case.violations())


def test_an_acknowledged_record_that_is_stored_elsewhere(case: Case) -> None:
    case.p.acknowledged[1], case.p.acknowledged[2] = case.p.acknowledged[2], case.p.acknowledged[1]
    assert [line for line in case.violations() if "something else is stored" in line]


def test_an_acknowledgement_whose_offset_is_not_known_any_more(case: Case) -> None:
    case.p.acknowledged[1] = 0
    assert case.violations() == []
    case.p.acknowledged[6] = 0
    assert case.violations() == [f"acknowledged, but not stored: {A[5]}"]


def test_an_acknowledgement_of_what_was_never_sent(case: Case) -> None:
    case.q.acknowledged[9] = 10
    assert case.violations() == ["record 9 of q was acknowledged and never sent"]


def test_a_stored_record_that_was_never_sent(case: Case) -> None:
    stranger = Stored("e", 99, Record("s.a", "r", 1, "payload 1"))
    case.log.records.append(stranger)
    case.all.items.append(stranger)
    assert case.violations() == [f"stored, but never sent: {stranger}"]


@pytest.mark.parametrize("change", [{"payload": "payload 1!"}, {"stream": "s.c"}])
def test_a_stored_record_that_is_not_as_it_was_sent(case: Case, change: dict[str, str]) -> None:
    values = {"stream": "s.b", "producer": "q", "number": 3, "payload": "payload 3"} | change
    changed = Stored("e", 22, Record(**values))  # type: ignore[arg-type]
    case.log.records[6] = case.all.items[6] = changed
    case.one.items.pop() if "stream" in change else case.one.items.__setitem__(2, changed)
    assert case.violations() == [f"stored otherwise than it was sent: {changed}"]


def test_a_record_that_is_stored_twice(case: Case) -> None:
    again = Stored("e", 26, A[4])
    case.log.records.append(again)
    case.all.items.append(again)
    assert case.violations() == [f"stored twice: {again}, and before at offset 24"]


def test_a_producers_records_out_of_order(case: Case) -> None:
    swapped = [Stored("e", LOG[0].offset, A[1]), Stored("e", LOG[1].offset, A[0])]
    case.log.records[:2] = swapped
    case.all.items[:2] = swapped
    case.p.acknowledged |= {1: 12, 2: 10}
    assert case.violations() == [f"out of order: {case.log.records[1]} comes after {case.log.records[0]}"]


def test_a_record_that_was_skipped_though_later_ones_are_stored(case: Case) -> None:
    del case.log.records[1], case.all.items[1], case.p.acknowledged[2]
    assert case.violations() == [f"skipped: {A[1]} is not stored, and later ones are"]
    case.p.failed.add(2)
    assert case.violations() == []


def test_a_log_that_is_read_out_of_order(case: Case) -> None:
    case.log.records[3:5] = [LOG[4], LOG[3]]
    assert case.violations() == [f"the log gives {LOG[3]} after {LOG[4]}"]


def test_a_reader_that_gets_a_record_twice(case: Case) -> None:
    case.one.items.insert(1, LOG[2])
    assert case.violations() == [f"reader one saw {LOG[2]} after {LOG[2]}"]


def test_a_reader_that_gets_what_it_did_not_ask_for(case: Case) -> None:
    case.one.items.append(LOG[7])
    assert case.violations() == [f"reader one saw {LOG[7]}, which it did not ask for"]


def test_a_hole_that_no_gap_tells_of(case: Case) -> None:
    del case.all.items[1:3]
    assert case.violations() == [
        f"reader all did not get 2 records, {LOG[1]} to {LOG[2]}, and no gap says so",
    ]


def test_a_hole_at_the_end(case: Case) -> None:
    case.one.items.pop()
    assert case.violations() == [f"reader one did not get 1 records, {LOG[6]}, and no gap says so"]


def test_a_hole_that_one_gap_tells_of(case: Case) -> None:
    case.all.items[1:3] = [Gap(10, 14, "slow")]
    assert case.violations() == []


def test_a_hole_that_two_gaps_tell_of(case: Case) -> None:
    case.one.items[1:2] = [Gap(14, 18), Gap(16, 18)]
    assert case.violations() == [f"reader one did not get 1 records, {LOG[4]}, and 2 gaps say so"]


def test_a_gap_over_what_the_reader_got(case: Case) -> None:
    case.one.items.insert(2, Gap(14, 18))
    assert case.violations() == ["reader one was told of a gap after 14 to 18, and got offset 18"]


def test_a_reader_of_several_streams_may_be_told_twice_and_get_some_of_it(case: Case) -> None:
    case.all.items[1:3] = [Gap(10, 16), Gap(12, 14)]
    assert case.violations() == []


def test_a_record_that_was_seen_and_vanished(case: Case) -> None:
    ghost = Stored("e", 26, A[5])
    case.all.items.append(ghost)
    assert case.violations() == [f"reader all saw {ghost}, which is not in the log"]


def test_a_record_that_changed_after_it_was_seen(case: Case) -> None:
    seen = Stored("e", 24, A[5])
    case.all.items[7] = seen
    assert case.violations() == [f"reader all saw {seen}; there is {LOG[7]}"]


def test_a_record_of_another_epoch(case: Case) -> None:
    case.one.items[0] = Stored("old", 14, B[0])
    assert case.violations() == [f"reader one saw {case.one.items[0]} in epoch old; the log's epoch is e"]


def test_what_retention_removed_is_no_violation(case: Case) -> None:
    del case.log.records[:3]
    case.log.evicted = 14
    assert case.violations() == []


def test_a_hole_in_what_retention_removed(case: Case) -> None:
    del case.log.records[:3], case.all.items[1]
    case.log.evicted = 14
    assert case.violations() == [f"reader all did not get 1 records, {LOG[1]}, and no gap says so"]
    case.all.items.insert(1, Gap(10, 12, "retention"))
    assert case.violations() == []
    del case.all.items[:2]  # it began later
    assert case.violations() == []


def test_readers_that_saw_different_records_where_retention_removed_them(case: Case) -> None:
    del case.log.records[:3]
    case.log.evicted = 14
    case.one.items[0] = Stored("e", 14, B[1])
    assert case.violations() == [f"reader one saw {case.one.items[0]}; there is {LOG[2]}"]


def test_of_many_violations_some_are_told_and_the_rest_counted(case: Case) -> None:
    case.log.records.clear()
    case.all.items.clear()
    case.one.items.clear()
    case.p.sent = [Record("s.a", "p", number, "") for number in range(1, 101)]
    case.p.acknowledged = {number: number for number in range(1, 101)}
    case.q.acknowledged = {}
    assert len(case.violations()) == 11
    assert case.violations()[-1] == "… and 90 more of that kind"
