"""The journal as the tools read it: on past what is damaged, and never changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import msgspec

from ratsvc.logs.lmdb.journal import Group
from ratsvc.logs.lmdb.pages import Report

_HEAD = 8


def groups_left(path: Path, report: Report) -> Iterator[Group]:
    """What a journal holds, in order; nothing when there is none. An end that is torn is no damage: it was never
    acknowledged.

    Args:
        report: is told of damage.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    decoder = msgspec.msgpack.Decoder(Group)
    try:
        size, at = os.fstat(file).st_size, 0
        while size - at >= _HEAD:
            head = os.pread(file, _HEAD, at)
            length, crc = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            if not length or length > size - at - _HEAD:
                return
            data = os.pread(file, length, at + _HEAD)
            if google_crc32c.value(data) != crc:
                report(f"the journal is damaged: its entry at byte {at} does not match its checksum")
            else:
                try:
                    yield decoder.decode(data)
                except msgspec.MsgspecError as error:
                    report(f"the journal is damaged: its entry at byte {at} cannot be read: {error}")
            at += _HEAD + length
    finally:
        os.close(file)
