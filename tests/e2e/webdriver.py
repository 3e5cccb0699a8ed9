"""Debian's Firefox and WebKit, driven over WebDriver: Playwright drives only builds of these that are its own.

WebKitGTK's driver takes the commands over HTTP, Firefox itself over a socket (Marionette). Their names and bodies are
the same, so no geckodriver is needed, which comes from no package registry. A session has many tabs and does one thing
at a time; what is asked for is done in a thread, because the service under test runs in the test's loop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, Protocol

import httpx

STARTED_S = 60.0
SAID_S = 30.0
_PATHS = {
    "Navigate": ("POST", "/url"),
    "ExecuteAsyncScript": ("POST", "/execute/async"),
    "NewWindow": ("POST", "/window/new"),
    "SwitchToWindow": ("POST", "/window"),
    "GetWindowHandle": ("GET", "/window"),
    "CloseWindow": ("DELETE", "/window"),
    "TakeScreenshot": ("GET", "/screenshot"),
}
# What a page says to its console goes to the output; Firefox asks nobody on the network for anything.
_FIREFOX = {
    "marionette.port": 0,
    "devtools.console.stdout.content": True,
    "browser.dom.window.dump.enabled": True,
    "browser.startup.page": 0,
    "services.settings.server": "data:,",
    "app.normandy.enabled": False,
    "nimbus.rollouts.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "termsofuse.bypassNotification": True,
    "fission.webContentIsolationStrategy": 0,
    "dom.ipc.processPrelaunch.enabled": False,
}
_SAID = re.compile(r"^(?:JavaScript error: http|console\.error: (?!RSLoader)).*", re.M)
# WebKit does not tell what its consoles show: from a page's loading on, the page itself does.
_LISTEN = """() => {
    window.errors = [];
    const note = ({message, reason}) => errors.push(String(message ?? reason));
    addEventListener("error", note);
    addEventListener("unhandledrejection", note);
    console.error = (...words) => errors.push(words.join(" "));
}"""


class WebDriverError(Exception):
    """The browser refused a command, or the script threw."""


class Commands(Protocol):
    def __call__(self, command: str, **body: Any) -> Any: ...


class Tab:
    """A tab; calls are those of Playwright's Page."""

    def __init__(self, browser: WebDriver, handle: str) -> None:
        self._browser = browser
        self._handle = handle

    async def goto(self, url: str) -> None:
        await self._ask("Navigate", url=url)
        await self.evaluate(_LISTEN)

    async def evaluate(self, function: str, argument: object = None) -> Any:
        """What a function of the page's world returns, awaited."""
        script = f"""const [argument, done] = arguments;
            (async () => ({function})(argument))().then((value) => done([value]), (error) => done([0, `${{error}}`]));
        """
        value, *error = await self._ask("ExecuteAsyncScript", script=script, args=[argument])
        if error:
            raise WebDriverError(error[0])
        return value

    async def wait_for_function(self, function: str, timeout: float = 1000 * SAID_S) -> None:
        """Waits until a function returns something true; the timeout is in milliseconds."""
        async with asyncio.timeout(timeout / 1000):
            while not await self.evaluate(function):
                await asyncio.sleep(0.02)

    async def errors(self) -> list[str]:
        """The errors on its console since it was loaded; in Firefox also those of its loading."""
        return [*self._browser.said(), *await self.evaluate("() => errors")]

    async def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(await self._ask("TakeScreenshot")))

    async def close(self) -> None:
        await self._ask("CloseWindow")

    async def _ask(self, command: str, **body: Any) -> Any:
        return await asyncio.to_thread(self._browser.ask, self._handle, command, **body)


class WebDriver:
    """A running browser."""

    def __init__(self, name: str, version: str, commands: Commands, output: Path) -> None:
        self.name = name
        self.version = version
        self._commands = commands
        self._output = output
        self._told = 0
        self._first = self._current = str(_value(commands("GetWindowHandle")))

    async def new_page(self) -> Tab:
        kind = "tab" if self.name == "firefox" else "window"  # WebKit never draws a tab that is behind another
        opened = await asyncio.to_thread(self.ask, self._first, "NewWindow", type=kind)
        return Tab(self, opened["handle"])

    def ask(self, handle: str, command: str, **body: Any) -> Any:
        """Does something in a tab."""
        if handle != self._current:
            self._commands("SwitchToWindow", handle=handle)
            self._current = handle
        return _value(self._commands(command, **body))

    def said(self) -> list[str]:
        """The errors that Firefox says it had on its pages since it was last asked."""
        text = self._output.read_text(errors="replace")
        found, self._told = _SAID.findall(text, self._told), len(text)
        return found


def _value(answer: Any) -> Any:
    """Marionette wraps some of what it returns, and some not."""
    return answer["value"] if isinstance(answer, dict) and answer.keys() == {"value"} else answer


@contextmanager
def firefox() -> Iterator[WebDriver]:
    """Firefox, headless, with a profile of its own."""
    with ExitStack() as stack:
        profile = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in _FIREFOX.items())
        (profile / "user.js").write_text("".join(lines))
        command = ["firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
        output = profile / "output"
        stack.enter_context(_process(command, output))
        port = _soon(lambda: int((profile / "MarionetteActivePort").read_text()))
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), SAID_S + STARTED_S))
        stream = stack.enter_context(connection.makefile("rb"))

        def read() -> Any:
            size = b""
            while (byte := stream.read(1)) != b":":
                size += byte or _gone(output)
            return json.loads(stream.read(int(size)))

        read()  # a greeting
        count = 0

        def commands(command: str, **body: Any) -> Any:
            nonlocal count
            count += 1
            message = json.dumps([0, count, f"WebDriver:{command}", body]).encode()
            connection.sendall(b"%d:%b" % (len(message), message))
            _, _, error, value = read()
            if error:
                raise WebDriverError(error["message"])
            return value

        session = commands("NewSession", capabilities={})
        yield WebDriver("firefox", session["capabilities"]["browserVersion"], commands, output)


@contextmanager
def webkit() -> Iterator[WebDriver]:
    """WebKitGTK's MiniBrowser, on a display of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        shown, output = folder / "display", folder / "output"
        stack.enter_context(_process(["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24"], shown))
        display = f":{_soon(lambda: int(shown.read_text()))}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {"DISPLAY": display, "HOME": str(folder), "WEBKIT_DISABLE_DMABUF_RENDERER": "1"}
        stack.enter_context(_process(["WebKitWebDriver", f"--port={port}"], output, **env))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SAID_S + STARTED_S))
        _soon(lambda: client.get("/status"))

        def ask(method: str, path: str, body: dict[str, Any]) -> Any:
            response = client.request(method, path, json=body if method == "POST" else None)
            value = response.json()["value"]
            if response.is_error:
                raise WebDriverError(value["message"])
            return value

        options = {"webkitgtk:browserOptions": {"binary": str(minibrowser()), "args": ["--automation"]}}
        session = ask("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        path = f"/session/{session['sessionId']}"

        def commands(command: str, **body: Any) -> Any:
            method, rest = _PATHS[command]
            return ask(method, path + rest, body)

        yield WebDriver("webkit", session["capabilities"]["browserVersion"], commands, output)
        ask("DELETE", path, {})


def minibrowser() -> Path | None:
    """Where Debian has it: beside its libraries, on no PATH."""
    return max(Path("/usr/lib").glob("*/webkit*gtk-*/MiniBrowser"), default=None)


def missing(name: str) -> list[str]:
    """The Debian packages that a browser needs and that are not there."""
    if name == "firefox":
        return [] if shutil.which("firefox-esr") else ["firefox-esr"]
    needed = {"webkit2gtk-driver": shutil.which("WebKitWebDriver") and minibrowser(), "xvfb": shutil.which("Xvfb")}
    return [package for package, found in needed.items() if not found]


def _gone(output: Path) -> bytes:
    raise WebDriverError(f"the browser is gone: {output.read_text(errors='replace')[-2000:]}")


def _soon(found: Callable[[], Any]) -> Any:
    """What is found, as soon as it is."""
    end = monotonic() + STARTED_S
    while True:
        try:
            return found()
        except (OSError, ValueError, httpx.TransportError):
            if monotonic() > end:
                raise
            sleep(0.02)


@contextmanager
def _process(command: list[str], output: Path, **env: str) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **env})
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
