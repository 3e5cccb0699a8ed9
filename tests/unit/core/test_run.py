"""Runs: what is joined comes out again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
