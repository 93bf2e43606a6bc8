"""A real headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",
)
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Backspace": 8}


class Tab:
    """A tab of the browser, with a window of this size; a touch screen if it is a phone's."""

    def __init__(self, socket: Any):
        self.socket, self.count = socket, 0

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The result of a DevTools command."""
        self.count += 1
        await self.socket.send_json({"id": self.count, "method": method, "params": arguments})
        while (answer := await self.socket.receive_json(timeout=60)).get("id") != self.count:
            assert answer.get("method") != "Runtime.exceptionThrown", answer
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, page: Path, width: int, height: int, phone: bool = False) -> None:
        """Open a page and wait until its script has run."""
        await self.call("Runtime.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        await self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        await self.call("Page.enable")
        await self.call("Page.navigate", url=page.as_uri())
        while await self.value("document.readyState + location.protocol") != "completefile:":
            await asyncio.sleep(0.05)

    async def value(self, script: str) -> Any:
        """The value of an expression."""
        return (await self.call("Runtime.evaluate", expression=script, returnByValue=True))["result"].get(
            "value"
        )

    async def press(self, key: str) -> None:
        """Press and release a key."""
        code = {"windowsVirtualKeyCode": KEYS.get(key) or ord(key.upper())}
        text = {} if key in KEYS else {"text": key}
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    async def middle(self, selector: str) -> dict[str, float]:
        """The middle of the visible element that a CSS selector finds."""
        script = f"""(() => {{
            const all = [...document.querySelectorAll({selector!r})].filter(each => each.offsetParent);
            all[0].scrollIntoView({{block: "nearest"}});
            const box = all[0].getBoundingClientRect();
            return {{x: box.x + box.width / 2, y: box.y + box.height / 2}};
        }})()"""
        return await self.value(script)

    async def click(self, selector: str) -> None:
        """Click an element with a mouse."""
        for kind in ("mousePressed", "mouseReleased"):
            where = await self.middle(selector)
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    async def tap(self, selector: str) -> None:
        """Touch an element with a finger."""
        where = await self.middle(selector)
        await self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[where])
        await self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def screenshot(self, path: Path) -> None:
        """Save what the window shows as a PNG."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def chromium(profile: Path, downloads: Path) -> AsyncIterator[Tab]:
    """A browser that keeps what it keeps in `profile`; the browser ends after the block."""
    import aiohttp

    port = profile / "DevToolsActivePort"
    port.unlink(missing_ok=True)
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not port.exists() or "\n" not in port.read_text():
            assert process.poll() is None, "Chromium ended"
            await asyncio.sleep(0.05)
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
        async with aiohttp.ClientSession() as session:
            async with session.get(address) as answer:
                tab = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                found = Tab(socket)
                where = {"behavior": "allow", "downloadPath": str(downloads)}
                await found.call("Browser.setDownloadBehavior", **where)
                yield found
                await found.call("Browser.close")
                process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
