"""The documents of one connection with `delta=json-patch`: what patches are applied to.

At most so many are kept, those that changed last. A patch for one that was forgotten ends the connection: on the next,
from the place before the patch, each document comes whole first. So a connection brings at least as many records as
documents may be kept, and those whose keys never come again cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import cast

from ratsvc.client.frames import ComeBack, Patched, Received, Word
from ratsvc.errors import InvalidValue
from ratsvc.quickmem.patch import Operation, apply

FORGOTTEN_WAIT_S = 0.1


class Documents:
    """The newest document of each stream and key, as the service knows that we have it.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: OrderedDict[tuple[str, str], object] = OrderedDict()
        self._has_forgotten = False

    def whole(self, word: Word) -> Word:
        """A record with its whole value, which is the caller's own; anything else as it is. ComeBack instead of a patch
        for a document that was forgotten.

        Raises:
            InvalidValue: a patch does not fit the document that it is for, or there is none.
        """
        if not isinstance(word, Received):
            return word
        name = (word.stream, word.key)
        value = word.value
        if isinstance(word, Patched):
            if name not in self._of:
                if self._has_forgotten:
                    return ComeBack(word.cursor, FORGOTTEN_WAIT_S)
                raise InvalidValue(f"a patch for a document that never came: key {word.key!r} of {word.stream!r}")
            value = apply(self._of[name], cast(list[Operation], word.value))
        self._of[name] = value
        self._of.move_to_end(name)
        if len(self._of) > self._most:
            self._of.popitem(last=False)
            self._has_forgotten = True
        return Received(
            word.stream, word.offset, word.cursor, word.time, deepcopy(value), word.key, word.event, word.headers
        )
