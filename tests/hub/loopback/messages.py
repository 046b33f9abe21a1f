"""A request as the routes see it, and what they answer."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .accounts import Account
from .refusals import Refusal

PIECE = 1 << 16


@dataclass
class Request:
    """One request.

    Attributes:
        path: as sent, percent signs and all.
        account: who asks; None without a token.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    stream: BinaryIO
    account: Account | None = None

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.stream.readline().strip() or b"0", 16):
                yield self.stream.read(size)
                self.stream.readline()
            self.stream.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = self.stream.read(min(left, PIECE))
            if not piece:
                raise Refusal(400, "The request body is cut short")
            left -= len(piece)
            yield piece

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def json(self) -> Any:
        return json.loads(self.body() or b"{}")

    def asks(self, name: str) -> bool:
        """Whether a yes-or-no parameter is set."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass
class Reply:
    """An answer: ``content``, or the bytes ``start`` to ``stop`` of ``file``."""

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    start: int = 0
    stop: int = 0

    @property
    def size(self) -> int:
        return self.stop - self.start if self.file else len(self.content)

    def pieces(self) -> Iterator[bytes]:
        if self.file is None:
            yield self.content
            return
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            left = self.size
            while left > 0 and (piece := stream.read(min(left, PIECE))):
                left -= len(piece)
                yield piece


def in_json(document: Any, status: int = 200, **headers: str) -> Reply:
    """A reply that carries a document; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(json.dumps(document).encode(), status, {"Content-Type": "application/json", **named})


def in_bytes(file: Path, request: Request, headers: dict[str, str]) -> Reply:
    """A reply that carries a file, or the part of it that the request asks for.

    Raises:
        Refusal: the part begins past the end.
    """
    size = file.stat().st_size
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range") or "")
    if not match or match.group() == "bytes=-":
        return Reply(status=200, headers=headers, file=file, stop=size)
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or stop <= start:
        raise Refusal(416, "Requested range not satisfiable", Content_Range=f"bytes */{size}")
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Reply(status=206, headers=headers, file=file, start=start, stop=stop)


def by_pages(request: Request, items: list[Any], page_size: int, url: str) -> Reply:
    """One page of a listing, and where the next is found."""
    start = int(request.query.get("cursor", ["0"])[0])
    stop = start + min(page_size, int(request.query.get("limit", [str(page_size)])[0]))
    if stop >= len(items) or "limit" in request.query:
        return in_json(items[start:stop])
    query = urllib.parse.urlencode({**request.query, "cursor": [str(stop)]}, doseq=True)
    return in_json(items[start:stop], Link=f'<{url}{request.path}?{query}>; rel="next"')
