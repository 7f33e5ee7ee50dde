"""The built site in headless Chromium: ``python .ci/look.py [--shots FOLDER] [PAGE ...]``, after ``python -m docs``.

On a phone and at 1400 pixels, light and dark, from the folder of files and with no network: nothing scrolls sideways,
every formula is drawn, every picture loads, the console is silent, and the search finds. Needs ``chromium``, and
tornado, which comes with the extra ``docs``.
"""

import argparse
import asyncio
import base64
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

SITE = Path(__file__).resolve().parents[1] / "build" / "docs" / "html"
PAGES = ("index", "first_ten_minutes", "how_to/gain", "theory/fixed_points", "api/jnorm.statistics", "comparison")
STATE = """(() => ({
  wide: document.documentElement.scrollWidth - window.innerWidth,
  cut: [...document.querySelectorAll(".bd-article :is(h1, h2, h3, p, li, dt)")]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != "inline")
    .map(e => e.innerText.slice(0, 40)),
  raw: [...document.querySelectorAll("span.math, div.math")].filter(e => !e.querySelector("mjx-container")).length,
  wrong: document.querySelectorAll("mjx-merror, [data-mjx-error]").length,
  unloaded: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  height: document.documentElement.scrollHeight,
  hits: document.querySelectorAll("#search-results li").length,
}))()"""


class Tab:
    """A tab of a headless Chromium, over its debugging protocol."""

    def __init__(self, folder: str) -> None:
        command = [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
        ]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "about:blank"]
        self.browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.folder, self.count, self.said = folder, itertools.count(1), list[str]()

    async def open(self) -> None:
        """Connect to it."""
        port = Path(self.folder, "DevToolsActivePort")
        while not (port.exists() and port.read_text().count("\n") >= 1):
            await asyncio.sleep(0.1)
        number, address = port.read_text().split("\n")[:2]
        self.socket = await websocket_connect(f"ws://127.0.0.1:{number}{address}", max_message_size=2**28)
        self.session = ""
        target = await self.send("Target.createTarget", url="about:blank")
        self.session = (await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True))[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")

    async def send(self, method: str, **parameters: Any) -> Any:
        """One call; what the console says meanwhile is kept."""
        number = next(self.count)
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.write_message(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get("id") == number:
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.said.append(json.dumps(answer["params"])[:300])

    async def state(self, url: str, width: int, dark: bool) -> dict[str, Any]:
        """What a page shows when it has come to rest."""
        self.said.clear()
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send("Page.navigate", url=url)
        began, last = time.monotonic(), None
        while time.monotonic() - began < 20:
            await asyncio.sleep(0.5)
            found = (await self.send("Runtime.evaluate", expression=STATE, returnByValue=True))["result"]["value"]
            if found == last and found["raw"] == 0:
                break
            last = found
        return found

    async def shot(self, path: Path, width: int, height: int) -> None:
        """A picture of the page, in a window as high as that."""
        size = {"width": width, "height": min(height, 6000), "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **size)
        await asyncio.sleep(1)
        path.write_bytes(base64.b64decode((await self.send("Page.captureScreenshot"))["data"]))


async def look(pages: list[str], shots: Path | None) -> int:
    """Look at the pages and tell what is wrong; the number of complaints."""
    wrong = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tab = Tab(folder)
        try:
            await tab.open()
            for page, width, dark in itertools.product(pages, (390, 1400), (False, True)):
                found = await tab.state((SITE / f"{page}.html").as_uri(), width, dark)
                name = f"{page} at {width} {'dark' if dark else 'light'}"
                wrong += [f"{name}: {found['wide']} pixels too wide"] * (found["wide"] > 0)
                wrong += [f"{name}: {found['raw']} formulas not drawn, {found['wrong']} wrong"] * (
                    found["raw"] + found["wrong"] > 0
                )
                wrong += [f"{name}: cut off: {text}" for text in found["cut"]]
                wrong += [f"{name}: no picture from {source}" for source in found["unloaded"]]
                wrong += [f"{name}: {said}" for said in tab.said]
                if shots:
                    shots.mkdir(parents=True, exist_ok=True)
                    await tab.shot(
                        shots / f"{page.replace('/', '-')}-{width}-{'dark' if dark else 'light'}.png",
                        width,
                        found["height"],
                    )
            hits = (await tab.state(f"{(SITE / 'search.html').as_uri()}?q=layer_map", 1400, False))["hits"]
            wrong += ["the search finds nothing"] * (hits == 0)
        finally:
            tab.browser.terminate()
            tab.browser.wait()
    print(*wrong, f"{len(pages)} pages looked at; {hits} hits for layer_map; {len(wrong)} complaints", sep="\n")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=Path, help="a folder for pictures of the pages")
    parser.add_argument("pages", nargs="*", default=list(PAGES))
    options = parser.parse_args()
    sys.exit(asyncio.run(look(options.pages, options.shots)) > 0)
