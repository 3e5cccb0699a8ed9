"""MessagePack documents, read in pieces: see `incremental`."""

from __future__ import annotations

from collections.abc import Generator

from ratsvc.quickmem.codec import MAX_CONTAINERS
from ratsvc.quickmem.reading import MORE, Reading, broken, no_list
from ratsvc.quickmem.scan import skip

#: By kind: the first byte of its short form, the first bytes of its long forms with the width of their counts.
_LIST = (0x90, {0xDC: 2, 0xDD: 4})
_MAP = (0x80, {0xDE: 2, 0xDF: 4})


class PackedScan(Reading):
    """One document."""

    def steps(self, path: tuple[str, ...]) -> Generator[object, None, None]:
        beside = []
        for key in path:
            left = yield from self._count(_MAP, path)
            while left:
                left -= 1
                if (yield from self._value()) == key:
                    break
                yield from self._skip(1)
            else:
                raise no_list(path)
            beside.append(2 * left)
        for _ in range((yield from self._count(_LIST, path))):
            yield (yield from self._value())
        for values in reversed(beside):
            yield from self._skip(values)
        while self._at == len(self._data):
            self.is_whole = True
            yield MORE
        raise broken("is followed by something else")

    def _count(self, kind: tuple[int, dict[int, int]], path: tuple[str, ...]) -> Generator[object, None, int]:
        """Goes over the head of a list or map; how many items or entries it has."""
        short, long = kind
        while self._at >= len(self._data):
            yield MORE
        first = self._data[self._at]
        if short <= first < short + 16:
            self._at += 1
            return first & 15
        if first not in long:
            raise no_list(path)
        end = self._at + 1 + long[first]
        while end > len(self._data):
            end -= self._at
            yield MORE
            end += self._at
        count = int.from_bytes(self._data[self._at + 1 : end], "big")
        self._at = end
        return count

    def _value(self) -> Generator[object, None, object]:
        """Goes over one value, and decodes it."""
        at, values = self._at, 1
        while True:
            at, values = skip(self._data, at, values, MAX_CONTAINERS)
            self._check_size(at - self._at)
            if not values and at <= len(self._data):
                break
            at -= self._at
            yield MORE
            at += self._at
        value = self._codec.decode(self._data[self._at : at])
        self._at = at
        return value

    def _skip(self, values: int) -> Generator[object, None, None]:
        """Goes over so many values, keeping nothing."""
        while True:
            self._at, values = skip(self._data, self._at, values)
            if not values and self._at <= len(self._data):
                return
            yield MORE
