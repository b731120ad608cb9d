"""Drives Debian's `chromium` through its debugging pipe, with nothing but the standard library."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """One browser. `open` gives a page; everything a page complains about or asks for is recorded."""

    def __init__(self, folder: Path):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high_in, high_out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out))

        def place():
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
                     "--disable-quic", "--disable-sync",
                     f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
        self.process = subprocess.Popen(
            [PROGRAM, *arguments], preexec_fn=place, pass_fds=(3, 4, high_in, high_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        for fd in (theirs_in, theirs_out, high_in, high_out):
            os.close(fd)
        self.read, self.write = ours_in, ours_out
        self.rest, self.last, self.events = b"", 0, []

    def call(self, method, session=None, **params):
        """The result of one command."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        wanted = self.last
        while True:
            answer = self._next()
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self.rest:
            piece = os.read(self.read, 1 << 20)
            if not piece:
                raise RuntimeError("chromium has gone")
            self.rest += piece
        raw, self.rest = self.rest.split(b"\0", 1)
        return json.loads(raw)

    def close(self):
        """Ends the browser."""
        self.process.kill()
        self.process.wait()
        os.close(self.read)
        os.close(self.write)

    def open(self, url, **settings):
        """A page at `url`; see `Page`."""
        return Page(self, url, **settings)


class Page:
    """One tab: size, colour scheme and scripts as asked, loaded from a file with the network off."""

    def __init__(self, browser, url, *, width=1280, height=900, scheme="light", scripts=True, media="", script=None):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        if script:
            self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        if not scripts:
            self.call("Emulation.setScriptExecutionDisabled", value=True)
        self.scripts = scripts
        start = time.monotonic()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")
        if scripts:
            self.wait("document.documentElement.dataset.ready === 'items'")
        self.seconds = time.monotonic() - start

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def js(self, expression):
        """The value of an expression, promises awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression, seconds=20):
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(expression):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.02)

    def key(self, name, code):
        """Presses a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def complaints(self):
        """Console messages, exceptions, policy reports and requests to anywhere but the page itself."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled":
                found.append(str(params["args"]))
            elif event["method"] == "Log.entryAdded":
                found.append(params["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent" and params["documentURL"] != params["request"]["url"]:
                found.append(params["request"]["url"])
        return found

    def picture(self, path: Path, *, whole=True):
        """A screenshot as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def top(self, path: Path, *, width: int, height: int):
        """A screenshot of the page's upper `width` × `height` pixels as PNG."""
        area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=area)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])
