"""The Bayesian Interchange Format (BIF, 1998), as pgmpy, pyAgrum, bnlearn and others read and write it.

Names of failures are free text, identifiers of BIF are not: a variable is written as ``f12_words_of_the_name`` with
the name and stage as properties, from which they are read back. Published code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .atomic import write_text
from .errors import FailureNetworkError
from .noisy_or import NoisyOr
from .noisy_or_full_tables import BinaryTable, network_of, tables_of
from .noisy_or_interchange import ABSENT, PRESENT, present_state

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BLOCK = re.compile(r"\b(network|variable|probability)\b([^{]*)\{", re.DOTALL)
_TYPE = re.compile(r"type\s+discrete\s*\[\s*(\d+)\s*\]\s*\{([^}]*)\}")
_PROPERTY = re.compile(r'property\s+(name|stage)\s*=\s*("(?:[^"\\]|\\.)*")\s*;')
_ROW = re.compile(r"\(([^)]*)\)\s*([^;]*);")
_TABLE = re.compile(r"\b(table|default)\s+([^;]*);")
_MOST_BYTES = 1 << 28


def write_bif(network: NoisyOr, path: str | Path) -> None:
    """Write a network with full tables, in one step.

    Raises:
        FailureNetworkError: names the failures with more than 15 causes.
    """
    tables = tables_of(network)
    word = {name: f"f{i}_{re.sub(r'[^A-Za-z0-9]+', '_', name)[:40]}" for i, name in enumerate(network.names)}
    parts = ["network failures {\n}\n"]
    for name in network.names:
        properties = {"name": name} | (
            {"stage": stage} if (stage := network.stage(network.index[name])) else {}
        )
        lines = "".join(f"  property {key} = {json.dumps(text)};\n" for key, text in properties.items())
        parts.append(
            f"variable {word[name]} {{\n  type discrete [ 2 ] {{ {ABSENT}, {PRESENT} }};\n{lines}}}\n"
        )
    for table in tables:
        parts.append(_probability(table, word))
    write_text(Path(path), "".join(parts))


def _probability(table: BinaryTable, word: Mapping[str, str]) -> str:
    if not table.causes:
        p = float(table.present)
        return f"probability ( {word[table.name]} ) {{\n  table {1 - p!r}, {p!r};\n}}\n"
    head = f"{word[table.name]} | {', '.join(word[cause] for cause in table.causes)}"
    rows = []
    for states in np.ndindex(table.present.shape):
        p = float(table.present[states])
        rows.append(f"  ({', '.join((ABSENT, PRESENT)[s] for s in states)}) {1 - p!r}, {p!r};\n")
    return f"probability ( {head} ) {{\n{''.join(rows)}}}\n"


@dataclass
class _Variable:
    states: list[str]
    name: str
    stage: str
    causes: list[str] = field(default_factory=list)
    values: np.ndarray | None = None


def read_bif(path: str | Path, present: Mapping[str, str] | None = None) -> NoisyOr:
    """Read a network whose variables are binary and whose tables are leaky noisy-ORs.

    Args:
        present: failure -> name of its present state, where that is not a word like "present", "true" or "yes".

    Raises:
        FailureNetworkError: names the file and the variable: not BIF, cut short, not binary, no noisy-OR.
    """
    variables = parse_bif(path)
    names = {word: variable.name for word, variable in variables.items()}
    tables = []
    for variable in variables.values():
        assert variable.values is not None
        values = variable.values
        for axis, part in enumerate([variable, *(variables[cause] for cause in variable.causes)]):
            values = values if present_state(part.name, part.states, present) else np.flip(values, axis)
        tables.append(BinaryTable(variable.name, tuple(names[cause] for cause in variable.causes), values[1]))
    stages = {variable.name: variable.stage for variable in variables.values()}
    return network_of(tables, stages if any(stages.values()) else None)


def parse_bif(path: str | Path) -> dict[str, _Variable]:
    """Variables by identifier: states, causes, and a table whose first axis is the variable itself.

    Raises:
        FailureNetworkError: see `read_bif`; tables of any number of states are read.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FailureNetworkError(
                f"{path} is larger than {_MOST_BYTES >> 20} MiB; tables this wide are not read"
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FailureNetworkError(f"{path} cannot be read as text: {error}") from error
    blocks = _blocks(path, _COMMENT.sub("", text))
    variables = {}
    for head, body in blocks["variable"]:
        kind = _TYPE.search(body)
        if not kind:
            raise FailureNetworkError(f"{path}: variable {head} has no line 'type discrete [ n ] {{ ... }}'")
        properties = {key: json.loads(value) for key, value in _PROPERTY.findall(body)}
        states = [state.strip().strip('"') for state in kind[2].split(",")]
        variables[head.strip('"')] = _Variable(
            states, properties.get("name", head.strip('"')), properties.get("stage", "")
        )
    if not variables:
        raise FailureNetworkError(f"{path} is not a BIF file: it declares no variable")
    for head, body in blocks["probability"]:
        _read_table(path, head, body, variables)
    for word, variable in variables.items():
        if variable.values is None:
            raise FailureNetworkError(f"{path}: {word} has no probabilities; the file may be cut short")
    return variables


def _blocks(path: Path, text: str) -> dict[str, list[tuple[str, str]]]:
    """Kind -> (head, body) of each block, by counting braces."""
    blocks: dict[str, list[tuple[str, str]]] = {"network": [], "variable": [], "probability": []}
    at = 0
    while match := _BLOCK.search(text, at):
        depth, end = 1, match.end()
        while depth:
            brace = re.compile(r"[{}]").search(text, end)
            if not brace:
                raise FailureNetworkError(
                    f"{path} is cut short: a block '{match[1]} {match[2].strip()}' never ends"
                )
            depth += 1 if brace[0] == "{" else -1
            end = brace.end()
        blocks[match[1]].append((match[2].strip(), text[match.end() : end - 1]))
        at = end
    return blocks


def _read_table(path: Path, head: str, body: str, variables: dict[str, _Variable]) -> None:
    words = [word.strip().strip('"') for word in re.split(r"[|,]", head.strip().strip("()")) if word.strip()]
    unknown = [word for word in words if word not in variables]
    if unknown or not words:
        raise FailureNetworkError(f"{path}: probability of ({head}) names unknown variables {unknown}")
    variable, causes = variables[words[0]], words[1:]
    shape = [len(variables[word].states) for word in words]
    values = np.full(shape, np.nan)
    for kind, numbers in _TABLE.findall(body):
        row = _numbers(path, words[0], numbers)
        wanted = int(np.prod(shape)) if kind == "table" else shape[0]
        if len(row) != wanted:
            raise FailureNetworkError(
                f"{path}: {words[0]} has {len(row)} probabilities in '{kind}', not {wanted}"
            )
        values[...] = row.reshape(shape) if kind == "table" else row.reshape(-1, *[1] * len(causes))
    for states, numbers in _ROW.findall(_TABLE.sub("", body)):
        chosen = [state.strip().strip('"') for state in states.split(",")]
        row = _numbers(path, words[0], numbers)
        try:
            place = [variables[c].states.index(state) for c, state in zip(causes, chosen, strict=True)]
            np.moveaxis(values, 0, -1)[tuple(place)] = row
        except ValueError as error:
            raise FailureNetworkError(
                f"{path}: {words[0]} has a row ({states}) that does not fit: {error}"
            ) from error
    if not (np.isfinite(values).all() and np.allclose(values.sum(axis=0), 1, atol=1e-3)):
        raise FailureNetworkError(
            f"{path}: the probabilities of {words[0]} are incomplete or do not sum to 1"
        )
    variable.causes, variable.values = causes, values


def _numbers(path: Path, word: str, text: str) -> np.ndarray:
    try:
        return np.array([float(number) for number in re.split(r"[,\s]+", text.strip()) if number])
    except ValueError as error:
        raise FailureNetworkError(f"{path}: {word} has a probability that is no number: {error}") from error
