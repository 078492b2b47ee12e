"""A headless Chromium without a network, driven through its DevTools pipe by plain JSON.

Debian's package, and nothing to install for Python. The browser has a network namespace of its own
with nothing in it where the system allows one; elsewhere every address but `file:` is refused.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next((name for name in NAMES if shutil.which(name)), None)
INSTALL = "no Chromium here; `apt-get update && apt-get install -y chromium` as root installs it"
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe",
    "--proxy-server=127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
# When a page of a report has drawn everything.
DRAWN = "document.documentElement?.dataset.drawn === 'yes'"
# How many pixels of a picture are not of its first pixel's colour.
PIXELS = """(async function () {{
  const image = new Image();
  image.src = "data:image/png;base64,{data}";
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), brush = canvas.getContext("2d");
  brush.drawImage(image, 0, 0);
  const pixels = new Uint32Array(brush.getImageData(0, 0, image.width, image.height).data.buffer);
  return pixels.filter(function (pixel) {{ return pixel !== pixels[0]; }}).length;
}})()"""
PATIENCE = 120  # seconds: a busy machine draws slowly


class Browser:
    """A running Chromium."""

    def __init__(self, command: list[str]) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The protocol wants descriptors 3 and 4; a shell that puts them there is simplest.
        line = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["bash", "-c", line, "bash", *command],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._count, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; events that come before it are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") != self._count:
                self.events.append(answer)
            elif "error" in answer:
                raise ValueError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            if not part:
                raise ValueError("Chromium has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def close(self) -> None:
        """Ends the browser."""
        os.close(self._write)
        os.close(self._read)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Tab:
    """One page, open in a browser."""

    def __init__(self, browser: Browser, width: int, height: int, **media: str) -> None:
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        features = [{"name": name.replace("_", "-"), "value": media[name]} for name in media]
        self.call("Emulation.setEmulatedMedia", features=features)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def open(self, file: Path, until: str = "document.readyState === 'complete'") -> None:
        """Loads a file and waits until an expression holds."""
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.wait(until)

    def run(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True)  # fmt: skip
        if "exceptionDetails" in found:
            raise ValueError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression holds."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.05)

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """What the page has reported so far."""
        self.run("0")
        mine = (event for event in self.browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in mine if event["method"] in methods]

    def errors(self) -> list[str]:
        """Uncaught exceptions, and errors on the console."""
        thrown = self.events("Runtime.exceptionThrown")
        logged = [each["entry"] for each in self.events("Log.entryAdded")]
        said = self.events("Runtime.consoleAPICalled")
        return [
            *(str(each["exceptionDetails"]) for each in thrown),
            *(str(each) for each in logged if each["level"] == "error"),
            *(str(each["args"]) for each in said if each["type"] in ("error", "assert")),
        ]

    def requests(self) -> list[str]:
        """Addresses that the page has asked for."""
        return [each["request"]["url"] for each in self.events("Network.requestWillBeSent")]

    def screenshot(self, path: Path | None = None, *, full: bool = False) -> bytes:
        """The page as a PNG file."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        content = base64.b64decode(shot["data"])
        if path is not None:
            path.write_bytes(content)
        return content

    def pdf(self) -> bytes:
        """The page on paper."""
        shot = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(shot["data"])

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self.target)


@contextmanager
def offline_browser(profile: Path):
    """A Chromium with no network; a new profile."""
    assert PROGRAM is not None, INSTALL
    command = [PROGRAM, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    browser = Browser([*(["unshare", "-rn"] if can_unshare() else []), *command])
    try:
        yield browser
    finally:
        browser.close()


def can_unshare() -> bool:
    """Whether a process may have a network of its own here."""
    try:
        return subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def unfold(tab):
    """Opens every fold of a page, and waits until what is in them is drawn."""
    tab.run("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    tab.wait("![...document.querySelectorAll('.drawing')].some(node => !node.dataset.drawn)")


def scrub(tab, place):
    """Moves the page's scrubber to a stop, as a reader does."""
    tab.run(f"""(range => {{ range.value = {place};
      for (const name of ['input', 'change']) range.dispatchEvent(new Event(name));
    }})(document.getElementById('scrubber'))""")


def ids(tab, selector):
    return tab.run(f"[...document.querySelectorAll('{selector}')].map(node => node.id)")


def box(tab, target):
    """Where an element lies on the screen, scrolled to."""
    tab.run(f"{target}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tab.run(f"{target}.getBoundingClientRect().toJSON()")


def pixels(tab, identifier):
    """How many pixels of an element's picture are drawn on."""
    place = box(tab, f"document.getElementById('{identifier}')")
    clip = {name: place[name] for name in ("x", "y", "width", "height")} | {"scale": 1}
    clip["y"] += tab.run("scrollY")
    data = tab.call("Page.captureScreenshot", format="png", clip=clip)["data"]
    assert base64.b64decode(data)
    return tab.run(PIXELS.format(data=data))


def empty(tab, selector):
    """The elements that nothing is drawn in: fewer pixels than a line of text has."""
    return [each for each in ids(tab, selector) if pixels(tab, each) < 200]


def outside(tab):
    return [url for url in tab.requests() if not url.startswith(("file:", "data:", "about:"))]


def press(tab, key, text=""):
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                 windowsVirtualKeyCode={"Enter": 13, "Escape": 27}[key])  # fmt: skip


def click(tab, x, y):
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
