"""An import that is killed at any moment leaves the whole log, or a directory that says what to do."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratsvc.cli.archive import Export, Form, remake
from ratsvc.errors import LogRefused
from ratsvc.logs.lmdb.check import Findings, check
from ratsvc.logs.lmdb.directory import is_unfinished
from ratsvc.logs.lmdb.stopped import StoppedLog
from tests.integration.cli.logs import make, opened, records


def archive_of(directory: Path) -> bytes:
    parts: list[bytes] = []
    log = StoppedLog(directory, lambda line: None)
    Export(log, [], Form.BINARY, parts.append).run()
    log.close()
    return b"".join(parts)


def killed_at(step: int, target: Path, archive: bytes) -> bool:
    """Imports in a process that is killed before its `step`-th operation on a file below `target`. False when it had
    ended before."""
    child = os.fork()
    if not child:
        left = [step]

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            if event.startswith(("open", "os.", "shutil.", "fcntl.")) and str(target) in str(arguments):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            asyncio.run(remake(target, io.BytesIO(archive), lambda: None))
        finally:
            os._exit(0)
    return bool(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def test_an_import_that_is_killed_leaves_a_whole_log_or_says_what_to_do(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    make(tmp_path / "log", commits=5)
    whole, archive, target = records(tmp_path / "log"), archive_of(tmp_path / "log"), tmp_path / "new"
    found: Counter[str] = Counter()
    step = 1
    while killed_at(step, target, archive):
        step += 1
        state = state_of(target)
        found[state] += 1
        if state == "unfinished" or not (target / "data.mdb").exists():
            asyncio.run(remake(target, io.BytesIO(archive), lambda: None))
        else:
            with pytest.raises(LogRefused, match="holds a log already"):
                asyncio.run(remake(target, io.BytesIO(archive), lambda: None))
        asyncio.run(opened(target).close())
        assert sorted(file.name for file in target.iterdir()) == ["data.mdb", "journal", "lock", "mark"]
        findings = Findings()
        log = StoppedLog(target, findings.add)
        check(log, findings)
        log.close()
        assert findings.lines == []
        assert records(target) == whole
        for file in target.iterdir():
            file.unlink()
        target.rmdir()
    figure(f"killed at {step - 1} moments: " + ", ".join(f"{count} {state}" for state, count in found.items()))
    assert found["unfinished"] > 10
    assert found["whole"] >= 1


def state_of(directory: Path) -> str:
    """What a service finds: nothing yet, an unfinished import, or a log."""
    if not directory.exists() or {file.name for file in directory.iterdir()} <= {"lock"}:
        return "nothing"
    if not is_unfinished(directory):
        asyncio.run(opened(directory).close())
        return "whole"
    for look in (opened, lambda path: StoppedLog(path, print)):
        with pytest.raises(LogRefused, match="was not finished: run `ratsvc log import` again"):
            look(directory)
    return "unfinished"
