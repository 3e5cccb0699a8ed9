"""CRC-32 of joined bytes."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from ratsvc.formats.crc import joined


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_crc_of_two_parts_gives_that_of_both(first: bytes, second: bytes) -> None:
    assert joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_a_long_second_part_costs_no_more_than_its_length_has_bits() -> None:
    size = 5_000_000
    assert joined(zlib.crc32(b"rats"), zlib.crc32(bytes(size)), size) == zlib.crc32(b"rats" + bytes(size))
    assert joined(7, 9, 2**60) != joined(7, 9, 2**60 + 1)
