"""The table of addresses: each route is registered with the decorator `route`."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable

from .messages import Reply, Request
from .refusals import Refusal, no_repository
from .state import HubState

Answer = Callable[..., Reply]
FIELDS = {
    "kinds": r"(?P<kind>models|datasets|spaces)",
    "prefix": r"(?:(?P<kind>datasets|spaces)/)?",
    "repo": r"(?P<repo>[^/]+/[^/]+)",
    "path": r"(?P<path>.+)",
}
ROUTES: list[tuple[frozenset[str], re.Pattern[str], Answer]] = []


def route(methods: str, pattern: str) -> Callable[[Answer], Answer]:
    """Register the answer to some methods at addresses of a pattern.

    Names in braces match a part of the path and are given to the function, unquoted; ``kinds`` and ``prefix``
    give it ``kind``: model, dataset or space.
    """

    def field(match: re.Match[str]) -> str:
        return FIELDS.get(match[1], rf"(?P<{match[1]}>[^/]+)")

    compiled = re.compile(re.sub(r"\{(\w+)\}", field, pattern))

    def register(answer: Answer) -> Answer:
        ROUTES.append((frozenset(methods.split()), compiled, answer))
        return answer

    return register


def dispatch(hub: HubState, request: Request) -> Reply:
    """Let the first route that fits answer.

    Raises:
        Refusal: none fits, or the route refuses.
    """
    for methods, pattern, answer in ROUTES:
        match = pattern.fullmatch(request.path)
        if match and request.method in methods:
            captured = match.groupdict()
            parts = {name: urllib.parse.unquote(text) for name, text in captured.items() if text is not None}
            if "kind" in captured:
                parts["kind"] = parts.get("kind", "models").removesuffix("s")
            return answer(hub, request, **parts)
    if re.match(r"/api/(models|datasets|spaces)/", request.path):
        raise no_repository(known_user=request.account is not None)
    raise Refusal(404, f"the loopback Hub has no route for {request.method} {request.path}")
