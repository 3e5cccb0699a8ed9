"""Runs: what is joined comes out again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.record import Batch
from ratsvc.core.run import cut, head, is_run, pieces

records = st.lists(st.integers(0, 300).map(bytes), max_size=6)
LARGE = [b"", b"x" * 127, b"y" * 128, b"z" * 4096, b"a" * 16_383, b"b" * 16_384, b"c" * 3_000_000]


def check(raw: list[bytes]) -> None:
    run, sizes = b"".join(pieces(raw)), list(map(len, raw))
    assert cut(run, sizes) == raw
    assert is_run(run, sizes)
    assert not is_run(run + b"\0", sizes)


@given(records)
def test_records_come_out_of_their_run(raw: list[bytes]) -> None:
    check(raw)


def test_records_of_every_size_of_length_come_out_of_their_run() -> None:
    check(LARGE)
    assert head(300) == b"\x12\xac\x02"


@pytest.mark.parametrize("has_run", [True, False])
@given(raw=records.filter(lambda raw: len(raw) > 1))
def test_a_settled_batch_has_its_records_as_their_run_alone(has_run: bool, raw: list[bytes]) -> None:
    run = b"".join(pieces(raw))
    batch = Batch("s", range(len(raw)), 0, list(raw), values=list(raw), run=run if has_run else None)
    assert b"".join(batch.run) == run
    for _ in range(2):
        batch.settle()
        assert (batch.records, batch.run, batch.values) == (raw, [run], None)
        assert list(batch.sizes) == list(map(len, raw))
        assert batch.part(1, len(raw)).records == raw[1:]
        assert b"".join(batch.part(1, len(raw)).run) == b"".join(pieces(raw[1:]))


@pytest.mark.parametrize("raw", [[b"x" * 10], [b"x" * 5000, b"y" * 5000]])
def test_large_records_and_single_ones_stay_objects(raw: list[bytes]) -> None:
    batch = Batch("s", range(len(raw)), 0, raw, run=b"".join(pieces(raw)))
    batch.settle()
    assert batch.records is raw
    assert batch.run == pieces(raw)
