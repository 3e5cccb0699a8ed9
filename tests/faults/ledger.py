"""Ledgers: what producers and readers write down while they work, a line of JSON for some records at a time, and
what the log holds at the end, read from the service.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
from rat.v1 import record_pb2 as pb

from ratsvc.client import GapSeen, Received
from tests.faults.checker import Gap, LogNotes, ProducerNotes, ReaderNotes, Record, Stored
from tests.faults.payload import received, stored

BINARY = "application/vnd.rat.v1.frames+protobuf"


class Ledger:
    """A file of lines `[word, entry, …]`, each given to the system before `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, word: str, entries: Iterable[object]) -> None:
        """Adds a line."""
        self._file.write(msgspec.json.encode([word, *entries]) + b"\n")
        self._file.flush()


def sent(record: Record) -> tuple[str, int, str]:
    """An entry of a `sent` line."""
    return record.stream, record.number, record.payload


def seen(item: Received | GapSeen) -> tuple[object, ...]:
    """An entry of a reader's `items` line."""
    if isinstance(item, GapSeen):
        return item.after.partition("-")[2] or "0", item.cursor.partition("-")[2] or "0", item.reason
    record = received(item)
    epoch = item.cursor.partition("-")[0]
    return epoch, item.offset, record.stream, record.producer, record.number, record.payload


def producer_notes(name: str, path: Path) -> ProducerNotes:
    """What a producer's ledger says."""
    notes = ProducerNotes(name)
    for word, *entries in _lines(path):
        if word == "sent":
            notes.sent += [Record(stream, name, number, payload) for stream, number, payload in entries]
        elif word == "acknowledged":
            notes.acknowledged.update(entries)
        else:
            notes.failed.update(entries)
    return notes


def reader_notes(name: str, streams: tuple[str, ...], path: Path) -> ReaderNotes:
    """What a reader's ledger says."""
    notes = ReaderNotes(name, streams)
    for _, *entries in _lines(path):
        for entry in entries:
            if len(entry) == 3:
                notes.items.append(Gap(int(entry[0]), int(entry[1]), entry[2]))
            else:
                notes.items.append(Stored(entry[0], entry[1], Record(*entry[2:])))
    return notes


def log_notes(url: str, pattern: str = ">") -> LogNotes:
    """Everything the service has of `pattern`, read from the beginning up to now."""
    query = {"stream": pattern, "from": "earliest", "until": "now", "format": "binary"}
    notes = LogNotes("", [])
    rest = b""
    plain = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", f"{url}/v1/subscribe", params=query, headers=plain, timeout=60) as response:
        response.raise_for_status()
        for data in response.iter_raw():
            rest = _add_frames(notes, rest + data)
    if rest:
        raise ValueError(f"the log's end is {len(rest)} bytes of a broken frame")
    return notes


def _add_frames(notes: LogNotes, data: bytes) -> bytes:
    """Takes the whole frames; returns the rest."""
    at = 0
    while at < len(data):
        size, start = 0, at
        while start < len(data):
            byte = data[start]
            size |= (byte & 0x7F) << 7 * (start - at)
            start += 1
            if byte < 0x80:
                break
        else:
            break
        if start + size > len(data):
            break
        _add_frame(notes, pb.Frame.FromString(data[start : start + size]))
        at = start + size
    return data[at:]


def _add_frame(notes: LogNotes, frame: pb.Frame) -> None:
    if frame.WhichOneof("kind") == "start":
        notes.epoch = frame.start.epoch
    elif frame.WhichOneof("kind") == "batch":
        batch = frame.batch
        offsets = batch.offsets or range(batch.first_offset, batch.first_offset + len(batch.records))
        for offset, record in zip(offsets, batch.records, strict=True):
            notes.records.append(Stored(notes.epoch, offset, stored(batch.stream, record)))


def _lines(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
