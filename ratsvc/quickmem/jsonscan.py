"""JSON documents, read in pieces: see `incremental`. A place in what is kept is counted from its start, `_at`."""

from __future__ import annotations

import re
from collections.abc import Generator

from ratsvc.quickmem.reading import MORE, Reading, broken, no_list

_BLANK = re.compile(rb"[ \t\r\n]*+")
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.S)
_SCALAR = re.compile(rb"[^ \t\r\n,\]}:]*+")
_BRACKET = re.compile(rb'["\[\]{}]')
_CLOSER = {ord("{"): ord("}"), ord("["): ord("]")}
_QUOTE, _COMMA, _COLON = b'",:'
_OPEN_LIST, _CLOSE_LIST, _OPEN_MAP, _CLOSE_MAP = b"[]{}"


class JsonScan(Reading):
    """One document."""

    def steps(self, path: tuple[str, ...]) -> Generator[object, None, None]:
        for key in path:
            if (yield from self._next()) != _OPEN_MAP:
                raise no_list(path)
            while (yield from self._name()) != key:
                yield from self._extent(keep=False)
                if not (yield from self._continues(_CLOSE_MAP)):
                    raise no_list(path)
        if (yield from self._next()) != _OPEN_LIST:
            raise no_list(path)
        if (yield from self._peek()) == _CLOSE_LIST:
            self._at += 1
        else:
            yield (yield from self._value())
            while (yield from self._continues(_CLOSE_LIST)):
                yield (yield from self._value())
        for _ in path:
            while (yield from self._continues(_CLOSE_MAP)):
                yield from self._name()
                yield from self._extent(keep=False)
        while self._blank() == len(self._data):
            self.is_whole = True
            yield MORE
        raise broken("is followed by something else")

    def _blank(self) -> int:
        """Goes over white space."""
        found = _BLANK.match(self._data, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _peek(self) -> Generator[object, None, int]:
        """The next byte that is not white space."""
        while self._blank() == len(self._data):
            yield MORE
        return self._data[self._at]

    def _next(self) -> Generator[object, None, int]:
        """`_peek`, and goes over it."""
        byte = yield from self._peek()
        self._at += 1
        return byte

    def _continues(self, closer: int) -> Generator[object, None, bool]:
        """Goes over a comma or the closer: whether it was a comma."""
        byte = yield from self._next()
        if byte not in (_COMMA, closer):
            raise broken("has something else where a comma or an end must be")
        return byte == _COMMA

    def _name(self) -> Generator[object, None, object]:
        """Goes over a name and its colon. An empty map has none, which no name equals."""
        if (yield from self._peek()) != _QUOTE:
            raise broken("has a map without a name where one must be")
        name = yield from self._value()
        if (yield from self._next()) != _COLON:
            raise broken("has a name without a colon")
        return name

    def _value(self) -> Generator[object, None, object]:
        """Goes over one value, and decodes it."""
        yield from self._peek()
        size = yield from self._extent(keep=True)
        value = self._codec.decode_json(self._data[self._at : self._at + size])
        self._at += size
        return value

    def _extent(self, keep: bool) -> Generator[object, None, int]:
        """The size of the next value; goes over it unless it is to be kept."""
        first = yield from self._peek()
        if first == _QUOTE:
            size = yield from self._text(1, keep)
        elif first in _CLOSER:
            size = yield from self._container(keep)
        else:
            size = yield from self._scalar(keep)
        if not keep:
            self._at += size
        return size

    def _scalar(self, keep: bool) -> Generator[object, None, int]:
        size = 0
        while True:
            found = _SCALAR.match(self._data, self._at + size)
            size = found.end() - self._at if found else size
            if self._at + size < len(self._data):
                if not size:
                    raise broken("has no value where one must be")
                return size
            self._check_size(size)
            yield MORE

    def _text(self, size: int, keep: bool) -> Generator[object, None, int]:
        """Where the text ends that begins before `size`."""
        while True:
            found = _TEXT.match(self._data, self._at + size)
            size = found.end() - self._at if found else size
            if self._at + size < len(self._data) and self._data[self._at + size] == _QUOTE:
                return size + 1
            size = yield from self._more(size, keep)

    def _container(self, keep: bool) -> Generator[object, None, int]:
        size, closers = 0, bytearray()
        while True:
            found = _BRACKET.search(self._data, self._at + size)
            if found is None:
                size = yield from self._more(len(self._data) - self._at, keep)
                continue
            size = found.end() - self._at
            byte = self._data[found.start()]
            if byte == _QUOTE:
                size = yield from self._text(size, keep)
            elif byte in _CLOSER:
                closers.append(_CLOSER[byte])
                if len(closers) > self._codec.max_depth:
                    raise broken(f"is nested deeper than {self._codec.max_depth} levels")
            elif closers.pop() != byte:
                raise broken("has a bracket that closes another one")
            elif not closers:
                return size

    def _more(self, size: int, keep: bool) -> Generator[object, None, int]:
        """Asks for more bytes, after `size` of the value: lets go of them unless they are to be kept."""
        if keep:
            self._check_size(size)
        else:
            self._at += size
            size = 0
        yield MORE
        return size
