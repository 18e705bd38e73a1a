"""A page opened in headless Chromium and driven through the DevTools protocol."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Quiet flags: the browser itself must not reach for a network either.
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
_START_S, _ANSWER_S = 60.0, 60.0


class Browser:
    """One page: commands in, answers out; events are kept as (session, method, parameters)."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._last = socket, 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.n_loading = 0  # events until the page stood there

    def call(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        self._last += 1
        mine = self._last
        message: dict[str, object] = {"id": mine, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            answer = self._receive()
            if answer is not None and answer.get("id") == mine:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
        raise TimeoutError(f"no answer to {method}")

    def listen(self, seconds: float) -> None:
        """Take in what happens for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._receive()

    def _receive(self) -> dict[str, Any] | None:
        from websocket import WebSocketTimeoutException

        try:
            message = json.loads(self._socket.recv())
        except WebSocketTimeoutException:
            return None
        if "method" in message:
            self.events.append((message["method"], message["params"]))
            if message["method"] == "Target.attachedToTarget":
                self._watch(message["params"]["sessionId"])
        return dict(message)

    def _watch(self, session: str) -> None:
        """Frames in a process of their own report through a session of their own."""
        for method in ("Log.enable", "Runtime.enable", "Network.enable", "Runtime.runIfWaitingForDebugger"):
            self._last += 1
            self._socket.send(json.dumps({"id": self._last, "method": method, "sessionId": session}))

    def open(self, path: Path, width: int) -> None:
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        for method in ("Log.enable", "Runtime.enable", "Network.enable", "Page.enable"):
            self.call(method)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline and not self.happened("Page.loadEventFired"):
            self.listen(0.2)
        self.listen(1.0)
        self.n_loading = len(self.events)

    def happened(self, method: str, *, before: int | None = None) -> list[dict[str, Any]]:
        """Parameters of the events of this kind; `before`: only of the first so many events of all kinds."""
        return [parameters for name, parameters in self.events[:before] if name == method]

    def frames(self) -> list[str]:
        """Sessions of the frames that have a process of their own, as sandboxed ones have."""
        attached = self.happened("Target.attachedToTarget")
        return [one["sessionId"] for one in attached if one["targetInfo"]["type"] == "iframe"]

    def evaluate(self, expression: str, *, frame: str = "") -> Any:
        """The value of an expression in the page, or in one of its frames."""
        answer = self.call("Runtime.evaluate", frame, expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {_ANSWER_S:.0f} s until {what}")
            self.listen(0.2)

    def click(self, x: float, y: float, *, frame: str = "") -> None:
        """A click at a place of the visible part of the page or of a frame.

        A click at a frame is given to the frame's own process. Given to the page, a browser under load may lose it:
        the page's process does not know yet which frame lies where.
        """
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", frame, type=kind, x=x, y=y, button="left", clickCount=1)


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """A new Chromium with an empty profile, ended when the block ends."""
    from websocket import create_connection

    command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(process, profile / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_START_S) as listing:
            page = next(target for target in json.load(listing) if target["type"] == "page")
        socket = create_connection(page["webSocketDebuggerUrl"], suppress_origin=True, timeout=_START_S)
        socket.settimeout(0.2)
        yield Browser(socket)
        socket.close()
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Chromium ended by itself with code {process.returncode}"
        lines = file.read_text().splitlines() if file.is_file() else []
        if lines:
            return int(lines[0])
        time.sleep(0.1)
    raise TimeoutError("Chromium did not open its port")
