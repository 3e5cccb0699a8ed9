"""The index of the newest record of each key, against a dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.newest import Newest
from ratsvc.core.record import Batch

KEYS, EVENTS = ["", "a", "b", "c"], ["", "x", "y"]
rows = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(EVENTS)), min_size=1, max_size=60)
filters = st.none() | st.sets(st.sampled_from(KEYS[1:])).map(frozenset)
types = st.none() | st.sets(st.sampled_from(EVENTS), min_size=1).map(frozenset)


@given(st.lists(rows, max_size=8), st.data())
def test_it_says_what_looking_through_everything_says(
    batches: list[list[tuple[str, str]]], data: st.DataObject
) -> None:
    newest, all_rows, gone = Newest(), dict[int, tuple[str, str]](), 0
    for batch in batches:
        first = len(all_rows) + 1
        all_rows.update(enumerate(batch, first))
        keys, events = [key for key, _ in batch], [event for _, event in batch]
        newest.add(
            Batch(
                "s", range(first, first + len(batch)), 0, [b""] * len(batch),
                keys if any(keys) else None, events if any(events) else None,
            )
        )  # fmt: skip
        gone = data.draw(st.integers(gone, len(all_rows)))
        newest.forget(gone)
        wanted_keys, wanted_events = data.draw(filters), data.draw(types)
        after = data.draw(st.integers(0, len(all_rows)))
        point, count = data.draw(st.integers(after, len(all_rows) + 1)), data.draw(st.integers(1, 9))
        expected: dict[str, int] = {}
        for offset, (key, event) in all_rows.items():
            if (
                key
                and (wanted_keys is None or key in wanted_keys)
                and (wanted_events is None or event in wanted_events)
            ):
                expected[key] = offset
        offsets = sorted(offset for offset in expected.values() if max(after, gone) < offset <= point)
        assert newest.after(after, point, count, wanted_keys, wanted_events) == offsets[:count]
        labels = {row: offset for offset, row in all_rows.items() if row[0]}
        assert len(newest) == sum(offset > gone for offset in labels.values())
