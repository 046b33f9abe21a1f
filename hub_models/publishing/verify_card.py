"""Checks of a repository's card: its metadata, its figures, its examples."""

from __future__ import annotations

import fnmatch
import json
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..checkpoint_folder import RESULTS
from ..errors import CheckpointError
from .card_examples import READERS_OWN, python_blocks, run_block
from .verification import NotMade, require
from .verify_files import REQUIREMENTS, files_of

README = "README.md"
#: Kind of repository -> metadata that its card must have.
REQUIRED = {
    "model": ("license", "library_name", "tags"),
    "dataset": ("license", "pretty_name", "configs"),
    "space": ("license", "title", "sdk", "sdk_version", "app_file"),
}
#: HTML that would run where a card is shown without being escaped.
_ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|form)\b|\bon\w+\s*=\s*[\"']|javascript:", re.IGNORECASE
)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"\A---\n.*?^---$", re.MULTILINE | re.DOTALL)
#: What holds digits but states no figure: code, addresses, arXiv numbers, versions.
_NO_FIGURE = re.compile(r"`[^`]*`|\S*://\S+|\b\d{4}\.\d{4,5}\b|\b\d+\.\d+\.\d+\S*")
_DECIMAL = re.compile(r"(?<![\w.])\d+\.(\d{2,})(?![\w.]*\d)")
#: Decimals from which a number in running text must be a measured one. In a table: two.
DECIMALS_OF_A_FIGURE = 3


def metadata(folder: Path, kind: str) -> str:
    """The header parses as the Hub's, has what it must, and names files that are there; no active HTML."""
    text = card_text(folder)
    data = _parsed(folder, kind)
    complaints = [f"{README}: {field} is missing" for field in REQUIRED[kind] if not data.get(field)]
    if data.get("license") == "other" and not data.get("license_name"):
        complaints.append(f"{README}: license is other, license_name is missing")
    if kind == "dataset":
        complaints += _missing_data_files(folder, data)
    if kind == "space":
        complaints += _space_complaints(folder, data)
    active = _ACTIVE.search(_FENCED.sub("", text))
    if active:
        complaints.append(f"{README}: holds {active[0]!r}, which could run where the card is shown")
    require(complaints)
    return f"has {', '.join(REQUIRED[kind])}"


def figures(folder: Path) -> str:
    """Every figure is a value or a bound of results.jsonl, or their mean or deviation over seeds, rounded.

    Figures are the numbers in tables with two or more decimals, those in running text with three or more, and the
    metrics of the header's index. Code and what it prints are not looked at: `examples` runs them.
    """
    recorded = list(_recorded(folder))
    shown = [*_shown(card_text(folder)), *_indexed(folder)]
    untraced = [text for text in shown if not any(_rounds_to(value, text) for value in recorded)]
    require([f"{README}: {', '.join(dict.fromkeys(untraced))} not in {RESULTS}"] if untraced else [])
    if not shown:
        raise NotMade("the card states no figure")
    return f"{len(shown)} figures are in {RESULTS}"


def examples(folder: Path, name: str, allowed: bool) -> str:
    """Every python block runs in a fresh process, with the repository's name meaning this folder.

    Args:
        allowed: whether to run code from the card.
    """
    blocks = python_blocks(card_text(folder))
    if not blocks:
        raise NotMade("no python block")
    if not allowed:
        raise NotMade("runs code from the card: add --run-examples if you trust it")
    ours = [block for block in blocks if READERS_OWN not in block]
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, name).symlink_to(folder.resolve(), target_is_directory=True)
        for block in ours:
            run_block(block, Path(scratch))
    left_out = len(blocks) - len(ours)
    if not ours:
        raise NotMade(f"{left_out} of {len(blocks)} need a checkpoint of the reader's own")
    return f"{len(ours)} run" + (f", {left_out} need a checkpoint of the reader's own" if left_out else "")


def card_text(folder: Path) -> str:
    """The card.

    Raises:
        CheckpointError: it is missing, or no text.
    """
    try:
        return (folder / README).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{README}: cannot be read ({error})") from error


def _parsed(folder: Path, kind: str) -> dict[str, Any]:
    from huggingface_hub import DatasetCard, ModelCard, SpaceCard
    from yaml import YAMLError

    cards = {"model": ModelCard, "dataset": DatasetCard, "space": SpaceCard}
    try:
        return dict(cards[kind](card_text(folder)).data.to_dict())
    except (ValueError, TypeError, KeyError, YAMLError) as error:
        raise CheckpointError(f"{README}: its header cannot be parsed ({error})") from error


def _missing_data_files(folder: Path, data: dict[str, Any]) -> Iterator[str]:
    names = files_of(folder)
    for config in data.get("configs") or ():
        for entry in config.get("data_files", ()):
            if not fnmatch.filter(names, entry["path"]):
                yield f"{README}: no file {entry['path']} of split {entry['split']}"


def _space_complaints(folder: Path, data: dict[str, Any]) -> Iterator[str]:
    if not (folder / str(data.get("app_file"))).is_file():
        yield f"{README}: app_file {data.get('app_file')} is missing"
    pin = f"{data.get('sdk')}=={data.get('sdk_version')}"
    requirements = folder / REQUIREMENTS
    if not requirements.is_file() or pin not in requirements.read_text(encoding="utf-8").splitlines():
        yield f"{README}: sdk_version is not what {REQUIREMENTS} pins ({pin})"


def _shown(text: str) -> Iterator[str]:
    body = _FENCED.sub("", _HEADER.sub("", text))
    for line in body.splitlines():
        for found in _DECIMAL.finditer(_NO_FIGURE.sub(" ", line)):
            if line.lstrip().startswith("|") or len(found[1]) >= DECIMALS_OF_A_FIGURE:
                yield found[0]


def _indexed(folder: Path) -> Iterator[str]:
    for model in _parsed(folder, "model").get("model-index") or ():
        for result in model["results"]:
            yield from (str(metric["value"]) for metric in result["metrics"])


def _recorded(folder: Path) -> Iterator[float]:
    path = folder / RESULTS
    groups: dict[tuple[str, ...], list[float]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            yield from (float(line[field]) for field in ("value", "low", "high"))
            key = tuple(str(line[field]) for field in ("model", "task", "metric", "read_out"))
            groups.setdefault(key, []).append(float(line["value"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{RESULTS}: a line is not a result ({error})") from error
    for values in groups.values():
        if len(values) > 1:
            yield from (statistics.mean(values), statistics.stdev(values))


def _rounds_to(value: float, text: str) -> bool:
    """Whether ``text`` is ``value``, or its absolute value, or as a percentage, rounded."""
    decimals = len(text.partition(".")[2])
    return any(f"{each:.{decimals}f}" == text for each in (value, abs(value), 100 * abs(value)))
