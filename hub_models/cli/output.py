"""Streamed results on standard output; what was skipped and warned of on standard error."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..prediction import Prediction, Skipped


def report_skipped(items: Iterable[Prediction | Skipped], skipped: list[Skipped]) -> Iterator[Prediction]:
    """The predictions among ``items``; the others are told on standard error and added to ``skipped``."""
    from ..prediction import Skipped

    for item in items:
        if isinstance(item, Skipped):
            print(f"skipped: {item.reason}", file=sys.stderr)
            skipped.append(item)
        else:
            yield item


def skipped_records(skipped: Iterable[Skipped]) -> list[dict[str, str]]:
    """As they stand in JSON."""
    return [{"name": item.name, "reason": item.reason} for item in skipped]


def stream_json(
    head: Mapping[str, Any],
    key: str,
    records: Iterable[Mapping[str, Any]],
    tail: Callable[[], Mapping[str, Any]],
) -> None:
    """One JSON object on standard output, written while it comes, so that it is never held whole.

    Args:
        head: its first fields.
        key: field of the list that ``records`` become.
        tail: its last fields, asked for once all records were written.
    """
    print(json.dumps(head)[:-1] + f", {json.dumps(key)}: [")
    separator = ""
    for record in records:
        print(f"{separator}{json.dumps(record, allow_nan=False)}", end="", flush=True)
        separator = ",\n"
    print("\n], " + json.dumps(tail())[1:])


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings as one line on standard error, without the place in the code."""
    from ..prediction import OutsideReferenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", OutsideReferenceWarning)
        warnings.showwarning = lambda message, *place: print(f"warning: {message}", file=sys.stderr)
        yield
