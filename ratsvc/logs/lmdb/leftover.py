"""The journal as the tools read it: on past what is damaged, and never changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ratsvc.logs.lmdb.journal import Group, whole_entries
from ratsvc.logs.lmdb.pages import Report


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
        for entry in whole_entries(file):
            if entry.data is None:
                report(f"the journal is damaged: its entry at byte {entry.at} does not match its checksum")
                continue
            try:
                yield decoder.decode(entry.data)
            except msgspec.MsgspecError as error:
                report(f"the journal is damaged: its entry at byte {entry.at} cannot be read: {error}")
    finally:
        os.close(file)
