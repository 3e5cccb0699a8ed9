"""The code on the migration page runs as it stands, and its views answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

import pytest
from quart import Quart

from .conftest import served

PAGE = Path(__file__).parents[3] / "docs" / "migration.md"


async def test_the_code_on_the_migration_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(block, str(PAGE), "exec"), names)
    async with served(cast(Quart, names["app"])) as site:
        events = (await site.http.get("/events")).text
        assert events.startswith('data: {"n":0}\n\ndata: {"n":1}\n\n')
        assert (
            "data: any text,\ndata: of any number of lines\n\nevent: custom\ndata: event data\n\nevent: end" in events
        )
        assert capsys.readouterr().out == "ended\n"
        assert (await site.http.get("/json")).text == '{"id":0}\n{"id":1}\n{"id":2}\n'
        assert (await site.http.get("/text")).text == "no line break is added\n"
        assert (await site.http.get("/chunked")).text == "text and bytes, with nothing between"
        for kind, lines in (("json", 1000), ("text", 100), ("binary", 0)):
            assert (await site.http.get(f"/lists/{kind}")).content.count(b"\n") == lines
        parts = [json.loads(line[6:]) for line in (await site.http.get("/file")).text.split("\n") if "part" in line]
    shown = [json.loads(line) for line in re.findall(r'^\{"part".*\}$', PAGE.read_text(), re.M)]
    shown[-1]["sha256"] = parts[-1]["sha256"]
    assert parts == shown
