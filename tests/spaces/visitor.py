"""A visitor of a Space without a browser: what the page's own script sends, and what it gets back."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 240  # seconds: other visitors come first, and other work may keep the machine busy


class Visitor:
    """One session of one person; the events of our pages are private, so they are asked for as the page does it."""

    def __init__(self, address: str) -> None:
        self._session = secrets.token_hex(8)
        self._http = httpx.Client(base_url=f"{address}/gradio_api", timeout=PATIENCE)
        config = httpx.get(f"{address}/config", timeout=PATIENCE).json()
        self._events = config["dependencies"]
        self._components = {each["id"]: each["props"] for each in config["components"]}

    def upload(self, path: Path) -> dict[str, Any]:
        """Send a file, and give what the page then puts into its component."""
        answer = self._post_file(path)
        answer.raise_for_status()
        [stored] = answer.json()
        return {"path": stored, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def is_refused(self, path: Path) -> bool:
        """Whether the server does not take this file."""
        return self._post_file(path).status_code in (400, 413)

    def ask(self, name: str, event: str, *values: Any) -> dict[str, Any]:
        """Let an event happen, wait in the queue, and give the new values of the components with an ``elem_id``.

        Args:
            name: label of the component, or the words on the button.
            event: such as ``change``.
            values: of its inputs; None for what the server itself keeps of the session.
        """
        happened = next(each for each in self._events if self._is(each, name, event))
        join = {"data": values, "fn_index": happened["id"], "session_hash": self._session}
        self._http.post("/queue/join", json=join).raise_for_status()
        outputs = [self._components[number].get("elem_id") for number in happened["outputs"]]
        return {key: value for key, value in zip(outputs, self._completed(), strict=True) if key}

    def _post_file(self, path: Path) -> httpx.Response:
        with path.open("rb") as file:
            return self._http.post("/upload", files={"files": (path.name, file)})

    def _is(self, happening: dict[str, Any], name: str, event: str) -> bool:
        targets = [self._components[number] for number, of in happening["targets"] if of == event]
        return any(name in (each.get("label"), each.get("value")) for each in targets)

    def _completed(self) -> list[Any]:
        with self._http.stream("GET", "/queue/data", params={"session_hash": self._session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    assert message["success"], message
                    return message["output"]["data"]
        raise AssertionError("the server ended the stream without an answer")
