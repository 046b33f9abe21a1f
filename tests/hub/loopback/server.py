"""The loopback Hub: `with LoopbackHub(folder) as hub:` serves it at ``hub.url``."""

from __future__ import annotations

import threading
import time
import traceback
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import api_reading, api_repositories, api_writing  # noqa: F401 (they register their routes)
from .faults import Fault
from .messages import Reply, Request, in_json
from .refusals import Refusal
from .routing import dispatch
from .state import HubState


@dataclass(frozen=True)
class Seen:
    """A request that was answered.

    Attributes:
        user: whose token came with it, None without one.
        status: of the answer; 0 if the connection was broken instead.
    """

    method: str
    path: str
    user: str | None
    status: int


class LoopbackHub(HubState):
    """A Hub on a free port of 127.0.0.1, from entering until leaving a ``with`` block.

    Attributes:
        seen: every request, in order of its answer.
        crashes: tracebacks of errors in this server itself; none is what a test wants.
    """

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.seen: list[Seen] = []
        self.crashes: list[str] = []

    def __enter__(self) -> LoopbackHub:
        handler = type("BoundHandler", (Handler,), {"hub": self})
        # Two, as large files lie on another host than the Hub, where clients must not send their token.
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        self.url, self.store_url = (f"http://127.0.0.1:{each.server_address[1]}" for each in self._servers)
        self._threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02})
            for each in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()

    def fault(self, path: str, **what: Any) -> Fault:
        """Let requests whose path matches meet a `Fault`."""
        return self.faults.add(Fault(path, **what))

    def requests(self, path: str = "", method: str | None = None) -> list[Seen]:
        """The requests so far whose path contains this text."""
        return [seen for seen in self.seen if path in seen.path and method in (None, seen.method)]


class Handler(BaseHTTPRequestHandler):
    """From bytes to a `Request`, and from a `Reply` to bytes, by way of the faults."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    wbufsize = 1 << 16

    def log_message(self, *_: object) -> None:
        pass

    def handle_request(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(address.query, keep_blank_values=True)
        request = Request(self.command, address.path, query, self.headers, self.rfile)
        fault = self.hub.faults.take(request.method, urllib.parse.unquote(request.path))
        reply = self._reply(request, fault)
        lost = fault is not None and fault.lose_answer
        user = request.account.name if request.account else None
        self.hub.seen.append(Seen(request.method, request.path, user, 0 if lost else reply.status))
        if lost:
            self.close_connection = True
            return
        try:
            self._send(reply, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815 (names that the base class calls)

    def _reply(self, request: Request, fault: Fault | None) -> Reply:
        if fault is not None:
            if fault.first is not None:
                fault.first()
            time.sleep(fault.delay)
        try:
            if fault is not None and fault.status is not None:
                raise Refusal(fault.status, "the loopback Hub was told to fail")
            request.account = self.hub.account(request.headers.get("Authorization"))
            return dispatch(self.hub, request)
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message, **refusal.headers}
            if refusal.code is not None:
                headers["X-Error-Code"] = refusal.code
            self._skip_body(request)
            reply = in_json({"error": refusal.message}, refusal.status)
            reply.headers |= headers
            return reply
        except Exception:
            self.hub.crashes.append(traceback.format_exc())
            self.close_connection = True
            return in_json({"error": "the loopback Hub crashed"}, 500)

    def _skip_body(self, request: Request) -> None:
        """What was not read must not be taken for the next request: close instead."""
        if int(request.headers.get("Content-Length") or 0) or request.headers.get("Transfer-Encoding"):
            self.close_connection = True

    def _send(self, reply: Reply, fault: Fault | None) -> None:
        if fault is not None and fault.content is not None:
            reply.content, reply.file = fault.content, None
        size = reply.size
        if fault is not None and fault.size is not None:
            size = fault.size
            if "X-Linked-Size" in reply.headers:
                reply.headers["X-Linked-Size"] = str(size)
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(size)}.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        left = size if fault is None or fault.cut is None else fault.cut
        self.close_connection |= min(left, reply.size) < size
        for piece in reply.pieces():
            self.wfile.write(piece[:left])
            left -= len(piece)
            if left <= 0:
                break
