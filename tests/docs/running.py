"""Runs the blocks of a page, in order, against a service of its own.

A page says 127.0.0.1:8080 and 127.0.0.1:50051; here each port that it names is one that was free, so the addresses
are changed in what is run, and changed back in what was printed.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import random
import re
import signal
import socket
from contextlib import AsyncExitStack, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from playwright.async_api import Browser, ConsoleMessage, Error, async_playwright

from tests.docs.pages import ROOT, Block
from tests.e2e.conftest import CHROMIUM, CHROMIUM_ARGS

TIMEOUT_S = 100
_ADDRESS = re.compile(r"\b(127\.0\.0\.1|localhost|0\.0\.0\.0):(\d{4,5})\b")
HTTP, GRPC = "8080", "50051"
BASH = ("bash", "-eu", "-o", "pipefail", "-c")
SERVE = "ratsvc serve --set drain_s=0.2"


class Output:
    """What a block prints; whoever waits for it is told."""

    def __init__(self, ports: dict[str, str]) -> None:
        self._documented = {free: port for port, free in ports.items()}
        self._changed = asyncio.Event()
        self._text = ""

    def write(self, text: str) -> int:
        """Takes more of it."""
        self._text += text
        self._changed.set()
        return len(text)

    def flush(self) -> None:
        """There is nothing to flush."""

    @property
    def text(self) -> str:
        """All so far, with the addresses that the page has."""
        return _ADDRESS.sub(lambda found: f"{found[1]}:{self._documented.get(found[2], found[2])}", self._text)

    def has_begun(self, block: Block) -> bool:
        """Whether it begins as the page says; where it says nothing, whether there is a line."""
        return re.match(r"[^\n]*\n" if block.shown is None else _pattern(block.shown), self.text) is not None

    async def begins(self, block: Block) -> None:
        """Waits until it has begun so."""
        while not self.has_begun(block):
            self._changed.clear()
            await self._changed.wait()

    def is_all(self, block: Block) -> bool:
        """Whether it is what the page says, if it says anything."""
        return block.shown is None or re.fullmatch(_pattern(block.shown), self.text.rstrip("\n") + "\n") is not None


def _pattern(shown: str) -> str:
    """`…` alone on a line is any number of lines, elsewhere any run of characters in a line."""
    lines = [r"(?:[^\n]*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", r"[^\n]*") + r"\n"
             for line in shown.rstrip("\n").split("\n")]  # fmt: skip
    return "".join(lines)


class Page:
    """A page that is being run. An async context manager: at its end everything that it started is stopped."""

    def __init__(self, page: list[Block], folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, object] = {"__name__": "page"}
        self._serves = any("serves" in block.marks for block in page)
        named = {port for block in page for _, port in _ADDRESS.findall(block.code)}
        self._ports = _free_ports(named | {HTTP, GRPC})
        self._addresses = {f"RATSVC_{name}": f"127.0.0.1:{self._ports[port]}"
                           for name, port in (("HTTP", HTTP), ("GRPC", GRPC))}  # fmt: skip
        self._stack = AsyncExitStack()
        self._browser: Browser | None = None
        _link(ROOT, folder, besides={".venv", ".git"})
        (folder / ".venv").mkdir()
        _link(ROOT / ".venv", folder / ".venv", besides={".installed"})
        (folder / ".venv" / ".installed").touch()  # for make: nothing is to be set up

    async def __aenter__(self) -> Self:
        if not self._serves:
            try:
                await self.run(Block(ROOT / "README.md", 0, "sh", SERVE, {"serves": ""}))
            except BaseException:
                await self._stack.aclose()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self, block: Block) -> None:
        """Runs a block; what it prints must be what the page says."""
        code = _ADDRESS.sub(lambda found: f"{found[1]}:{self._ports.get(found[2], found[2])}", block.code)
        output = Output(self._ports)
        run = {"sh": self._sh, "python": self._python, "js": self._js, "toml": self._toml, "json": self._json}
        assert block.language in run, f"{block.place}: nobody runs {block.language or 'a block without a language'}"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if before := block.marks.get("before"):
                    await self.run(Block(block.page, block.line, "sh", before))
                await run[block.language](block, code, output)
        except TimeoutError:
            raise AssertionError(f"{block.place}: it printed only\n{output.text}\nand not\n{block.shown}") from None
        except Exception as error:
            error.add_note(f"in {block.place}, which printed\n{output.text}")
            raise
        assert block.goes_on or output.is_all(block), f"{block.place} prints\n{output.text}\nand not\n{block.shown}"

    async def _sh(self, block: Block, code: str, output: Output) -> None:
        path = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
        env = os.environ | self._addresses | {"PATH": path, "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}
        errors = (self._folder / f"errors-{block.line}").open("w+")
        self._stack.callback(errors.close)
        process = await asyncio.create_subprocess_exec(
            *BASH, code, stdin=-3, stdout=-1, stderr=errors, cwd=self._folder, env=env, start_new_session=True
        )
        self._stack.push_async_callback(_stop, process)
        assert process.stdout is not None
        reading = asyncio.create_task(_copy(process.stdout, output))
        self._stack.callback(reading.cancel)
        if block.goes_on:
            begun = asyncio.create_task(output.begins(block))
            await asyncio.wait({begun, reading}, return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            said = output.text + Path(errors.name).read_text()
            assert output.has_begun(block), f"{block.place} ended, with\n{said}\nand not\n{block.shown}"
            return
        await reading
        status = await process.wait()
        assert status == 0, f"{block.place}: exit code {status}\n{output.text}{Path(errors.name).read_text()}"

    async def _python(self, block: Block, code: str, output: Output) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        with redirect_stdout(output):
            ran = eval(compile(code, block.place, "exec", flags), self._names)
            if not inspect.iscoroutine(ran):
                return
            running = asyncio.ensure_future(ran)
            if not block.goes_on:
                await running
                return
            begun = asyncio.ensure_future(output.begins(block))
            await asyncio.wait({running, begun}, return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            assert output.has_begun(block), f"{block.place} ended, with\n{output.text}\nand not\n{block.shown}"

    async def _chromium(self) -> Browser:
        if self._browser is None:
            playwright = await self._stack.enter_async_context(async_playwright())
            self._browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            self._stack.push_async_callback(self._browser.close)
        return self._browser

    async def _js(self, block: Block, code: str, output: Output) -> None:
        browser = await self._chromium()
        async with await browser.new_context(bypass_csp=True) as context:
            page = await context.new_page()
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def threw(error: Error) -> None:
                if not failed.done():
                    failed.set_exception(error)

            def printed(message: ConsoleMessage) -> None:
                if message.type != "error":  # the browser's own: what it could not load
                    output.write(message.text + "\n")

            page.on("pageerror", threw)
            page.on("console", printed)
            await page.goto(f"http://{self._addresses['RATSVC_HTTP']}/healthz")
            await page.evaluate("globalThis.over = new Promise((resolve) => { globalThis.ran = resolve; }); 0")
            await page.add_script_tag(type="module", content=code + "\nglobalThis.ran();")
            waited = output.begins(block) if block.goes_on else page.evaluate("globalThis.over")
            over = asyncio.ensure_future(waited)
            await asyncio.wait({over, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                over.cancel()
                failed.result()
            if block.shown is not None:
                await output.begins(block)

    async def _toml(self, block: Block, code: str, output: Output) -> None:
        (self._folder / "settings.toml").write_text(code)
        await self._sh(block, "ratsvc config check settings.toml >&2", output)

    async def _json(self, block: Block, code: str, output: Output) -> None:
        try:
            json.loads(code)
        except json.JSONDecodeError:
            for line in code.splitlines():
                json.loads(line)


def _link(source: Path, folder: Path, besides: set[str]) -> None:
    for entry in source.iterdir():
        if entry.name not in besides:
            (folder / entry.name).symlink_to(entry)


async def _copy(stream: asyncio.StreamReader, output: Output) -> None:
    while piece := await stream.readline():
        output.write(piece.decode())


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ends a block and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise AssertionError("it did not stop on SIGTERM") from None


def _free_ports(named: set[str]) -> dict[str, str]:
    """A free port for each that a page names: below those that the system gives to whoever connects, so that nobody
    takes it before the page's service does."""
    free: dict[str, str] = {}
    for port in sorted(named):
        while port not in free:
            chosen = random.randint(15_000, 32_000)
            with suppress(OSError), socket.create_server(("127.0.0.1", chosen)):
                if str(chosen) not in free.values():
                    free[port] = str(chosen)
    return free
