"""Records as they are kept: as objects or as their run, the same records."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.draft import Draft
from ratsvc.core.kept import Kept
from ratsvc.core.record import Batch
from ratsvc.core.run import pieces

records = st.lists(st.integers(0, 300).map(bytes), max_size=6)


@given(raw=records)
def test_records_are_the_same_whichever_way_they_are_kept(raw: list[bytes]) -> None:
    run, sizes = b"".join(pieces(raw)), array("I", map(len, raw))
    for kept in (Kept(raw), Kept(raw, run), Kept(None, run, sizes), Kept(None, run, sizes, sum(sizes))):
        draft = Draft("s", kept)
        batch = draft.batch(range(1, len(raw) + 1), 0)
        assert (len(kept), kept.size, kept.each, kept.sizes) == (len(raw), sum(sizes), raw, sizes)
        assert b"".join(kept.pieces) == run
        assert (len(draft), len(batch), batch.size, batch.kept) == (len(raw), len(raw), sum(sizes), kept)
        rest = draft.batch(range(1, len(raw)), 0) if raw else batch
        assert rest.records == raw[1:]


@pytest.mark.parametrize("has_run", [True, False])
@given(raw=records.filter(lambda raw: len(raw) > 1))
def test_a_settled_batch_has_its_records_as_their_run_alone(has_run: bool, raw: list[bytes]) -> None:
    run = b"".join(pieces(raw))
    batch = Batch("s", range(len(raw)), 0, Kept(list(raw), run if has_run else None), values=list(raw))
    assert b"".join(batch.kept.pieces) == run
    for _ in range(2):
        batch.settle()
        assert (batch.records, batch.kept.pieces, batch.values) == (raw, [run], None)
        assert list(batch.kept.sizes) == list(map(len, raw))
        assert batch.part(1, len(raw)).records == raw[1:]
        assert b"".join(batch.part(1, len(raw)).kept.pieces) == b"".join(pieces(raw[1:]))


@pytest.mark.parametrize("raw", [[b"x" * 10], [b"x" * 5000, b"y" * 5000]])
def test_large_records_and_single_ones_stay_objects(raw: list[bytes]) -> None:
    batch = Batch("s", range(len(raw)), 0, Kept(raw, b"".join(pieces(raw))))
    batch.settle()
    assert batch.records is raw
    assert batch.kept.pieces == pieces(raw)
