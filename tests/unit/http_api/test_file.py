"""Which part of a file `Range` asks for: RFC 9110, section 14."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.registry import StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.flow.file import File
from ratsvc.http_api.file import Part, part_asked
from ratsvc.http_api.head import Head


def asked(value: str, size: int, method: str = "GET") -> Part | None:
    file = File(StreamInfo("s", Retention(), 0), "n", size, bytes(32), 1, 2)
    return part_asked(Head(method, "/", {b"range": [value.encode()]}, None, False), file, '"e"')


SIZES = st.integers(0, 50)


@given(SIZES, SIZES, SIZES)
def test_a_range_is_what_it_cuts_out_of_the_file(first: int, last: int, size: int) -> None:
    data = bytes(range(size))
    for value, wanted in (
        (f"bytes={first}-", data[first:]),
        (f"bytes={first}-{last}", data[first : last + 1] if last >= first else None),
        (f"Bytes= -{last}", data[-last:] if last else b""),
    ):
        part = asked(value, size)
        assert (None if part is None else data[part.start : part.stop]) == wanted
        assert part is None or part.start >= 0


@given(st.text(alphabet="bytes=-,0123456789 \t", max_size=30))
def test_anything_else_asks_for_the_whole_file(value: str) -> None:
    part = asked(value, 10)
    if part is not None:
        assert value.strip().lower().startswith("bytes=")
        assert value.count("-") == 1
        assert "," not in value
    assert asked(value, 10, "HEAD") is None
