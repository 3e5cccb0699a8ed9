"""A log as one file: what `ratsvc log export` writes and `ratsvc log import` reads, as JSON lines or as frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from ratsvc.formats.archive.frames import FrameWriter, read_frames
from ratsvc.formats.archive.lines import BEGIN, LineWriter, read_lines
from ratsvc.formats.archive.words import Head, ProducerState, StreamSettings, Summary, Word, Writer

__all__ = [
    "FrameWriter",
    "Head",
    "LineWriter",
    "ProducerState",
    "StreamSettings",
    "Summary",
    "Word",
    "Writer",
    "read_archive",
]


def read_archive(file: BinaryIO) -> Iterator[Word]:
    """The words of an archive of either form, its settings before its records, each batch checked.

    Raises:
        InvalidArgument: it is none, was cut, or was changed; names the line or the frame. What came before it was
            given already.
    """
    begin = file.read(len(BEGIN))
    return read_lines(file, begin) if begin == BEGIN else read_frames(file, begin)
