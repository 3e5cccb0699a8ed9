"""The documents of one connection with `delta=json-patch`: what patches are applied to."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

from ratsvc.client.frames import Patched, Received, Word
from ratsvc.errors import InvalidValue
from ratsvc.quickmem.patch import Operation, apply


class Documents:
    """The newest document of each stream and key, as the service knows that we have it."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], object] = {}

    def whole(self, word: Word) -> Word:
        """A record with its whole value, which is the caller's own; anything else as it is.

        Raises:
            InvalidValue: a patch does not fit the document that it is for, or there is none.
        """
        if not isinstance(word, Received):
            return word
        name = (word.stream, word.key)
        value = word.value
        if isinstance(word, Patched):
            if name not in self._of:
                raise InvalidValue(f"a patch for a document that never came: key {word.key!r} of {word.stream!r}")
            value = apply(self._of[name], cast(list[Operation], word.value))
        self._of[name] = value
        return Received(
            word.stream, word.offset, word.cursor, word.time, deepcopy(value), word.key, word.event, word.headers
        )
