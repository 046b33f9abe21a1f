"""Starts Spaces of the source tree on this machine: one, or several with a start page that leads to them."""

from __future__ import annotations

import html
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import RepoCard

from .errors import SpaceError
from .published_code import PACKAGE

HOST = "127.0.0.1"
SPACES = PACKAGE.parent / "spaces"
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hub-models: Spaces</title>
<style>
:root {{ color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif; }}
body {{ max-width: 40rem; margin: 4rem auto; padding: 0 1.5rem; }}
a {{ display: block; margin: 1rem 0; padding: 1rem 1.4rem; border: 1px solid #94a3b8; border-radius: 8px;
     color: inherit; text-decoration: none; }}
a:hover, a:focus-visible {{ border-color: #0f766e; box-shadow: inset 5px 0 0 #0f766e; }}
b {{ font-size: 1.2rem; }}
</style>
<main>
<h1>hub-models</h1>
<p>Each page needs some seconds for its first answer. All of it runs on this machine.</p>
{links}
</main>
"""
LINK = '<a href="{url}"><b>{emoji} {title}</b><br>{words}</a>'


def space_names() -> list[str]:
    """The Spaces of the source tree; none where only the package is installed."""
    return sorted(path.parent.name for path in SPACES.glob("*/app.py"))


def run_spaces(names: Sequence[str], port: int) -> None:
    """Serve Spaces on loopback until one of them ends or the process is interrupted, then stop them all.

    Args:
        names: one Space takes ``port`` itself; several take the ports after it, and ``port`` gets the start page.

    Raises:
        SpaceError: a name is unknown, a port is taken, or a Space ended by itself.
    """
    known = space_names()
    for name in names:
        if name not in known:
            raise SpaceError(
                f"Space {name!r} is unknown; choose from {', '.join(known) or 'none: clone the project'}"
            )
    first = port if len(names) == 1 else port + 1
    ports = {name: first + i for i, name in enumerate(names)}
    start = _start_page(ports, port) if len(names) > 1 else None
    servers = {name: _start(name, number) for name, number in ports.items()}
    print(f"http://{HOST}:{port}  (stop with Ctrl-C)", flush=True)
    try:
        _wait(servers)
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()
        if start is not None:
            start.shutdown()


def start_page(ports: Mapping[str, int]) -> str:
    """An HTML page with a link to each Space, in the words of its own README."""
    links = []
    for name, port in ports.items():
        about = RepoCard.load(SPACES / name / "README.md").data.to_dict()
        words = {key: html.escape(about[key]) for key in ("emoji", "title")}
        words["words"] = html.escape(about["short_description"])
        links.append(LINK.format(url=f"http://{HOST}:{port}", **words))
    return PAGE.format(links="\n".join(links))


def _start(name: str, port: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    return subprocess.Popen([sys.executable, str(SPACES / name / "app.py")], env=environment)


def _wait(servers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Until a Space ends, which is an error, or SIGINT or SIGTERM comes, which is not."""
    ended = threading.Event()
    asked = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        ended.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not ended.wait(0.5):
            for name, server in servers.items():
                if server.poll() is not None:
                    raise SpaceError(
                        f"Space {name!r} ended with status {server.returncode}; what it printed above says why "
                        "(a missing package: pip install 'hub-models[spaces]'; a port in use: --port)"
                    )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_page(ports: Mapping[str, int], port: int) -> ThreadingHTTPServer:
    page = start_page(ports).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in ("/", "/index.html")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page) if found else 0))
            self.end_headers()
            if found:
                self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the Spaces say what matters."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise SpaceError(
            f"port {port} of {HOST} cannot be used ({error.strerror}); choose another with --port"
        ) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
