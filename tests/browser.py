"A browser and servers for the tests: a Chromium found or installed, servers on free loopback ports."

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
FLAGS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no host but this one
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
]
HELP = """The tests need a Chromium or a Chrome, found none that starts, and could not install one.
Do one of these, then run them again:
    {python} -m playwright install --with-deps chromium
    apt-get install chromium          (Debian; as root)
    install Google Chrome             (https://www.google.com/chrome)
What was tried:
{tried}"""


def installers():
    "Commands that bring a Chromium: Playwright's own, then the system's where we may."
    yield [sys.executable, "-m", "playwright", "install", "chromium"]
    if shutil.which("apt-get") and os.geteuid() == 0:
        yield ["apt-get", "update"]
        yield ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]


def candidates(playwrights):
    "Paths at which a browser may stand; `playwrights` is where Playwright puts its own."
    paths = [shutil.which(name) for name in NAMES] + [*PLACES, playwrights]
    return [path for path in paths if path and Path(path).exists()]


def trouble(command):
    "Run a command; the end of what it says if it fails, else nothing."
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-500:] or "failed"


def starts(path):
    "What is wrong with the browser at `path`, or nothing."
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", f"--user-data-dir={profile}", *FLAGS]
        return trouble([path, *options, "--dump-dom", "about:blank"])


def find_chromium(playwrights):
    "The path of a browser that starts; installs one if the system has none."
    tried = []
    for installer in [None, *installers()]:
        if installer and (wrong := trouble(installer)):
            tried.append(f"{' '.join(installer)}: {wrong}")
        for path in candidates(playwrights):
            if not (wrong := starts(path)):
                return path
            tried.append(f"{path}: {wrong}")
    raise RuntimeError(HELP.format(python=sys.executable, tried="\n".join(tried)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(command, port, path="/", **options):
    "Run a server until the block ends; yields its address once it answers there."
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
        )
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(url + path, timeout=5).close()
                    break
                if process.poll() is not None:
                    break
                time.sleep(0.2)
            else:
                process.kill()
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"{' '.join(command)} does not serve {url}:\n{log.read()}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def serve(folder, base="/"):
    "Serve a folder at the path `base`, as a host of static pages does, until the block ends."

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path):
            return super().translate_path("/" + path.removeprefix(base))

        def send_error(self, code, *rest):
            page = Path(folder) / "404.html"
            text = page.read_bytes() if page.exists() else b""
            self.send_response(code)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    def handler(*args):
        return Handler(*args, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}{base}"
        finally:
            httpd.shutdown()
            thread.join()
