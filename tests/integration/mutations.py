"""Good input with a few bytes changed: what hostile input looks like when nobody has thought of it."""

from __future__ import annotations

from random import Random


def mutated(random: Random, data: bytes) -> bytes:
    """`data` with bytes changed, left out, put in, repeated, or cut off."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at, length = random.randrange(len(found) + 1), random.randrange(1, 8)
        match random.randrange(6):
            case 0 | 1 if at < len(found):
                found[at] = random.choice((random.randrange(256), 0x00, 0x7F, 0x80, 0xFF))
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = random.randbytes(length)
            case 4:
                found[at:at] = found[max(0, at - 20) : at]
            case 5 if random.random() < 0.2:
                del found[at:]
    return bytes(found)
