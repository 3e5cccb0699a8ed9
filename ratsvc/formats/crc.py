"""CRC-32 of joined bytes, from those of its parts: what the end of a gzip member needs of bytes that were counted
for all readers at once.

A CRC is a polynomial over GF(2), modulo the generator (RFC 1952, section 8): that of A followed by B is that of A
times x^(8·len(B)), plus that of B. Bits are reversed: the highest bit of a number is the power 0.
Cost: 5 µs a product, and half as many products as the length has bits. It is paid when a reader leaves its lane.
"""

from __future__ import annotations

_GENERATOR = 0xEDB88320
_ONE = 1 << 31


def joined(first: int, second: int, size: int) -> int:
    """The CRC-32 of A followed by B.

    Args:
        first: that of A.
        second: that of B.
        size: bytes of B.
    """
    at = 0
    while size:
        if size & 1:
            first = _product(first, _power(at))
        size >>= 1
        at += 1
    return first ^ second


def _product(a: int, b: int) -> int:
    total = 0
    while a:
        if a & _ONE:
            total ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_GENERATOR if b & 1 else 0)
    return total


_powers = [1 << 23]
"""x^8, and each the square of the one before."""


def _power(at: int) -> int:
    while len(_powers) <= at:
        _powers.append(_product(_powers[-1], _powers[-1]))
    return _powers[at]
