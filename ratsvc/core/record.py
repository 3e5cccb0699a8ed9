"""Records as they go through the service: columns of a batch, never an object per record.

What one publish brings is a draft (see `draft`); the sequencer turns it into a `Batch`, which has offsets and a time.
Both hold each record as the bytes of a serialised `rat.v1.Record`, opaque here (see `kept`), beside the columns that
the service itself looks at (keys, event types). A batch keeps what was made of it, per format, for all its readers,
until it cools (leaves the tail).

Cost: the columns of plain records (no key, no event) are None, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from ratsvc.core.kept import MAX_JOINED_BYTES, Kept
from ratsvc.core.trace import Traced

Encoding = bytes | memoryview
"""A batch's bytes in a format: of their own, or a view of its record."""
Framing = Callable[[Encoding], Encoding]
"""How bytes are framed on a connection."""


def _uncounted(size: int) -> None:
    """What is kept of a batch is nobody's yet."""


class Batch:
    """Records of one stream with their offsets and the time of their commit (Unix, nanoseconds)."""

    __slots__ = (
        "_encoded", "_grew", "_settled", "encoded_size", "events", "kept", "keys", "offsets", "size", "stream",
        "time_ns", "trace", "values",
    )  # fmt: skip

    def __init__(
        self,
        stream: str,
        offsets: Sequence[int],
        time_ns: int,
        records: Kept | list[bytes],
        keys: list[str] | None = None,
        events: list[str] | None = None,
        values: list[object] | None = None,
        trace: Traced | None = None,
    ) -> None:
        self.stream = stream
        self.offsets = offsets
        """A `range` when consecutive."""
        self.time_ns = time_ns
        self.kept = kept = records if isinstance(records, Kept) else Kept(records)
        self.keys = keys
        self.events = events
        self.values = values
        """The decoded values, until the commit that brought them was delivered."""
        self.size = kept.size
        self.trace = trace
        """What of it is traced, where that is known: else its records' headers say."""
        self.encoded_size = 0
        """Bytes of all encodings kept that are not the records' own."""
        self._encoded: dict[Hashable, Encoding] = {}
        self._grew: Callable[[int], None] | None = _uncounted
        self._settled = False

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def point(self) -> int:
        """The point of the snapshot that these records are told in; 0: in none."""
        return 0

    @property
    def patches(self) -> Sequence[Sequence[object] | None] | None:
        """By record, the operations that make its value of its key's record before it, where those are told instead;
        None where there are none at all."""
        return None

    @property
    def records(self) -> list[bytes]:
        """Each a serialised `rat.v1.Record`."""
        return self.kept.each

    def settle(self) -> None:
        """Called once the batch was delivered: lets go of the decoded values, and settles how its records are kept."""
        self.values, self._settled = None, True
        self.kept.settle()

    def decoded(self, decode: Callable[[Batch], list[object]]) -> list[object]:
        """The values: made by `decode` where they are not there; of small records kept until it is settled."""
        values = self.values
        if values is None:
            values = decode(self)
            if not self._settled and self.size <= MAX_JOINED_BYTES * len(values):
                self.values = values
        return values

    @property
    def first(self) -> int:
        """The offset of the first record."""
        return self.offsets[0]

    @property
    def last(self) -> int:
        """The offset of the last record."""
        return self.offsets[-1]

    def encoded(self, key: Hashable, encode: Callable[[Batch], Encoding]) -> Encoding:
        """The batch's bytes under `key`: made by `encode` on first use, shared after, not kept once cool."""
        data = self._encoded.get(key)
        if data is None:
            data = encode(self)
            if self._grew is not None:
                self._encoded[key] = data
                if type(data) is bytes or self.kept.is_run:  # a view is then of a record cut from the run
                    self.encoded_size += len(data)
                    self._grew(len(data))
        return data

    def is_encoded(self, key: Hashable) -> bool:
        """Whether its bytes under `key` are there."""
        return key in self._encoded

    @property
    def encodings(self) -> Mapping[Hashable, Encoding]:
        """What is kept of what was made of it, by key."""
        return self._encoded

    def count(self, grew: Callable[[int], None]) -> None:
        """From now on `grew` is called with the bytes of each encoding that is kept."""
        self._grew = grew

    def again(self, grew: Callable[[int], None]) -> Batch:
        """The same records as a batch of its own, of which nothing was made yet; see `count`."""
        one = Batch(self.stream, self.offsets, self.time_ns, self.kept, self.keys, self.events)
        one._settled, one._grew = True, grew
        return one

    def cool(self) -> None:
        """Lets go of what can be made again; from now on nothing is kept."""
        self._grew = None
        self._encoded.clear()
        self.encoded_size = 0
        self.trace = None

    def part(self, start: int, stop: int) -> Batch:
        """Records `start` to `stop` (indices, half open) as a batch of its own; itself when that is all."""
        if start <= 0 and stop >= len(self):
            return self
        cut = slice(start, stop)
        records = self.records
        return Batch(
            self.stream,
            self.offsets[cut],
            self.time_ns,
            records[cut],
            self.keys[cut] if self.keys else None,
            self.events[cut] if self.events else None,
            self.values[cut] if self.values else None,
            trace=self.trace,
        )

    def picked(self, at: Sequence[int]) -> Batch | None:
        """The records at the indices `at`, in order; itself when that is all, None when `at` is empty."""
        if not at:
            return None
        if len(at) == len(self):
            return self
        records = self.records
        return Batch(
            self.stream,
            [self.offsets[i] for i in at],
            self.time_ns,
            [records[i] for i in at],
            [self.keys[i] for i in at] if self.keys else None,
            [self.events[i] for i in at] if self.events else None,
            [self.values[i] for i in at] if self.values else None,
            trace=self.trace,
        )


class Told(Batch):
    """A batch as it is told to one reader, or to several in the same state. Shares what the batch holds.

    Args:
        point: of the snapshot that the records are told in.
        patches: by record, its patch, or None where its whole value is told.
        bases: by record, the offset of the record that its patch is for; 0 where there is none.
    """

    __slots__ = ("_bases", "_batch", "_patches", "_point")

    def __init__(
        self,
        batch: Batch,
        point: int = 0,
        patches: Sequence[Sequence[object] | None] | None = None,
        bases: tuple[int, ...] = (),
    ) -> None:
        for name in Batch.__slots__:
            setattr(self, name, getattr(batch, name))
        self._encoded, self._grew, self.encoded_size = {}, _uncounted, 0
        self._batch = batch
        self._point = point
        self._patches = patches
        self._bases = bases

    @property
    def point(self) -> int:
        return self._point

    @property
    def patches(self) -> Sequence[Sequence[object] | None] | None:
        return self._patches

    def part(self, start: int, stop: int) -> Batch:
        found = super().part(start, stop)
        patches = self._patches[start:stop] if self._patches else None
        return found if found is self else Told(found, self._point, patches, self._bases[start:stop])

    def encoded(self, key: Hashable, encode: Callable[[Batch], Encoding]) -> Encoding:
        if not self._bases:
            return super().encoded(key, encode)
        return self._batch.encoded((key, self._bases), lambda _: encode(self))

    def is_encoded(self, key: Hashable) -> bool:
        return self._batch.is_encoded((key, self._bases)) if self._bases else super().is_encoded(key)
