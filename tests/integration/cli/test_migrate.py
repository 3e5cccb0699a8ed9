"""`ratsvc migrate`: old code becomes new code that runs; what is unclear is left alone and said."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from quart import Quart

from ratsvc.cli.rewriting import rewrite
from ratsvc.streaming import StreamingResponse

OLD = '''\
"""Old."""
# Streaming.
import json
from rat_engine import (
    create_chunked_response,
    create_sse_channel,  # sse
    register_streaming_connection,
)
import rat_engine

segqueue = rat_engine.streaming.segqueue_unified


@app.sse("/sse")
def sse_endpoint():
    sse_channel = create_sse_channel()  # one
    sender = sse_channel.get_sender()
    register_streaming_connection("id", "addr", sse_channel, {"k": 1})
    sender.send_event("message", json.dumps({"data": "value"}))

    def later():
        sender.send_data("later")

    later()
    sse_channel.get_sender().send_data("last")
    sender.end_stream()
    return sse_channel


def chunked_endpoint():
    chunked_response = create_chunked_response()
    chunked_response.send_chunk("data")
    chunked_response.add_chunk(b"\\x00")
    chunked_response.send_chunk(f"{1}")
    chunked_response.add_large_file_chunks(b"x" * 10, chunk_size=3)
    chunked_response.finish()
    return chunked_response
'''
NEW = '''\
"""Old."""
# Streaming.
import json
from ratsvc import register_streaming_connection
from ratsvc.streaming.segqueue_unified import create_segqueue_chunked_response, create_segqueue_sse_channel
from ratsvc.streaming import sse
import ratsvc

segqueue = ratsvc.streaming.segqueue_unified


@sse(app, "/sse")
def sse_endpoint():
    sse_channel = create_segqueue_sse_channel()  # one
    sender = sse_channel.get_sender()
    register_streaming_connection("id", "addr", sse_channel.get_sender(), {"k": 1})
    sender.send_sse_event("message", json.dumps({"data": "value"}))

    def later():
        sender.send_sse_data("later")

    later()
    sse_channel.get_sender().send_sse_data("last")
    sender.end_stream()
    return sse_channel


def chunked_endpoint():
    chunked_response = create_segqueue_chunked_response()
    chunked_response_sender = chunked_response.get_sender()
    chunked_response_sender.send_text_chunk("data")
    chunked_response_sender.send_binary_chunk(b"\\x00")
    chunked_response_sender.send_text_chunk(f"{1}")
    chunked_response_sender.send_large_file("message", b"x" * 10, chunk_size=3)
    chunked_response_sender.end_stream()
    return chunked_response
'''


def test_old_code_becomes_new_code() -> None:
    found = rewrite(OLD.encode())
    assert found.after.decode() == NEW
    assert found.notes == []
    assert rewrite(found.after).after.decode() == NEW


async def test_the_new_code_runs_without_a_warning() -> None:
    names: dict[str, object] = {"app": Quart("new")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(rewrite(OLD.encode()).after, "new.py", "exec"), names)
        bodies = []
        for view in ("sse_endpoint", "chunked_endpoint"):
            response = names[view]()  # type: ignore[operator]
            assert isinstance(response, StreamingResponse)
            bodies.append(await response.get_data(as_text=False))
    assert bodies[0].startswith(b'data: {"data": "value"}\n\ndata: later\n\ndata: last\n\nevent: end\n')
    assert bodies[1] == b"data\x001" + b"x" * 10


@pytest.mark.parametrize(
    ("old", "new", "notes"),
    [
        ("import other\nsender.send_data(1)\n", None, []),
        ("def f(sender):\n    'rat_engine'\n    sender.send_data(1)\n", None, []),
        ("import rat_engine as r\nx = r.create_sse_channel()\n",
         "import ratsvc as r\nx = r.streaming.segqueue_unified.create_segqueue_sse_channel()\n", []),
        ("import rat_engine\nf(rat_engine, rat_engine=1)\nx.rat_engine = 2\n",
         "import ratsvc\nf(ratsvc, rat_engine=1)\nx.rat_engine = 2\n", []),
        ("from rat_engine import streaming, quickmem\n", "from ratsvc import streaming, quickmem\n", []),
        ("from rat_engine.streaming import get_streaming_stats as s\n",
         "from ratsvc.streaming import get_streaming_stats as s\n", []),
        ("from rat_engine.streaming import segqueue_unified as q, sse\n",
         "from ratsvc.streaming import segqueue_unified as q, sse\n", []),
        ("from rat_engine.streaming.segqueue_unified import create_segqueue_sse_channel, none\n",
         "from rat_engine.streaming.segqueue_unified import none\n"
         "from ratsvc.streaming.segqueue_unified import create_segqueue_sse_channel\n",
         [(1, "ratsvc.streaming.segqueue_unified has no none")]),
        ("from rat_engine.quickmem import GLOBAL_CONVERTER, encode\nfrom rat_engine import errors\n",
         "from ratsvc.quickmem import GLOBAL_CONVERTER, encode\nfrom rat_engine import errors\n",
         [(2, "ratsvc has no errors")]),
        ("from rat_engine import RatApp, streaming\n", "from rat_engine import RatApp\nfrom ratsvc import streaming\n",
         [(1, "ratsvc has no RatApp")]),
        ("from rat_engine import create_streaming_response\ndef f(x):\n    r = create_streaming_response()\n"
         "    r.send_chunk(x)\n    return r\n",
         "from ratsvc import create_streaming_response\ndef f(x):\n    r = create_streaming_response()\n"
         "    r.send_chunk(x)\n    return r\n",
         [(4, "whether send_chunk gets text or bytes does not show: left as it is")]),
        ("from rat_engine import create_sse_channel\nclass A:\n    def __init__(self):\n"
         "        self.s = create_sse_channel().get_sender()\n    def f(self):\n        self.s.send_event('a', 'b')\n",
         "from ratsvc.streaming.segqueue_unified import create_segqueue_sse_channel\n"
         "class A:\n    def __init__(self):\n        self.s = create_segqueue_sse_channel().get_sender()\n"
         "    def f(self):\n"
         "        self.s.send_sse_event('a', 'b')\n", []),
        ("import rat_engine\n@app.sse('/a')\ndef sse():\n    pass\n",
         "import ratsvc\nfrom ratsvc.streaming import sse as streaming_sse\n@streaming_sse(app, '/a')\ndef sse():\n"
         "    pass\n", []),
    ],
)  # fmt: skip
def test_only_what_is_clear_is_changed(old: str, new: str | None, notes: list[tuple[int, str]]) -> None:
    found = rewrite(old.encode())
    assert found.after.decode() == (old if new is None else new)
    assert found.notes == notes


def ratsvc(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ratsvc", *args], capture_output=True, text=True, timeout=60)


def test_the_command_shows_the_diff_and_writes_only_when_told(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".venv").mkdir()
    files = [tmp_path / "a.py", tmp_path / "deep" / "b.py"]
    for file in [*files, tmp_path / ".venv" / "c.py"]:
        file.write_text(OLD)
    (tmp_path / "other.py").write_text("x = 1\n")
    done = ratsvc("migrate", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.count("\n+    sender = ") == 0
    assert done.stdout.count('\n+@sse(app, "/sse")\n') == 2
    assert done.stderr == "3 files looked at, 2 would change\n"
    assert files[0].read_text() == OLD
    done = ratsvc("migrate", str(tmp_path), "--write")
    assert (done.returncode, done.stderr) == (0, "3 files looked at, 2 changed\n")
    assert [file.read_text() for file in files] == [NEW, NEW]
    assert (tmp_path / ".venv" / "c.py").read_text() == OLD
    assert ratsvc("migrate", str(files[0])).stderr == "1 files looked at, 0 would change\n"


def test_a_file_that_is_not_python_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import rat_engine\ndef (\n")
    (tmp_path / "b.py").write_text("import rat_engine\n")
    done = ratsvc("migrate", str(tmp_path), "--write")
    assert done.returncode == 1
    assert f"{tmp_path}/a.py: cannot be read: " in done.stderr
    assert done.stderr.endswith("ratsvc: 1 files could not be read\n")
    assert (tmp_path / "b.py").read_text() == "import ratsvc\n"
    assert ratsvc("migrate", str(tmp_path / "none.py")).returncode == 2
