"""Opens data directories and reads them, in a process of its own: a damaged file may kill it.

Each line of the input is a directory; each line of the output is JSON: `{"refused": why}`, or what was read of each
stream by itself and of all together: `{"streams": {name: [items]}, "all": [items]}`, where an item is
`[stream, offset, record in hex]` or `[after, to]` for a gap.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import structlog

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.items import Gap
from ratsvc.core.registry import Registry, StreamInfo
from ratsvc.core.retention import Retention
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb import LmdbLog

Item = list[object]


async def read_all(log: LmdbLog, streams: list[StreamInfo]) -> list[Item]:
    items: list[Item] = []
    position = told = 0
    while part := await log.read(streams, position, 20_000):
        for one in part:
            if isinstance(one, Gap):
                if one.to > told:
                    items.append([one.after, one.to])
                    told = one.to
            else:
                for offset, record in zip(one.offsets, one.records, strict=True):
                    items.append([one.stream, offset, record.hex()])
                position = one.last
        if isinstance(part[-1], Gap):
            position = max(position, told)
    return items


async def look(directory: Path) -> dict[str, object]:
    try:
        log = LmdbLog(Registry(1000), Dedupe(100, 10**12), directory, policy=lambda _: Retention())
    except LogRefused as error:
        return {"refused": error.detail}
    try:
        streams = list(log.registry)
        by_name = {info.name: await read_all(log, [info]) for info in streams}
        return {"streams": by_name, "all": await read_all(log, streams)}
    finally:
        await log.close()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        try:
            found = asyncio.run(look(Path(line.strip())))
        except Exception as error:
            found = {"failed": repr(error)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
