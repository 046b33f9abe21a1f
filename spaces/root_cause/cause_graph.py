"""Causal paths as a drawing: process stages from left to right, the wider a line the likelier it was the way.

A layered layout in the manner of Sugiyama: columns by stage and, within a stage, by depth; lines that cross columns get
places of their own there, so that none runs behind a box; places are sorted by the mean place of their neighbours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

import networkx as nx
from cause_paths import Link

Role = Literal["cause", "between", "observed"]
WIDTH, GAP, ROW_GAP, LANE = 142, 36, 14, 14
LINE, MARGIN, HEAD = 19, 4, 40
_LETTERS, _LINES = 15, 4
_SWEEPS = 6


@dataclass(frozen=True)
class Node:
    """A failure in the drawing: what it is called, where it belongs, and what is said of it."""

    name: str
    stage: str
    role: Role
    note: str


@dataclass(eq=False)
class _Place:
    """A box, or where a line crosses a column."""

    lines: list[str]
    height: float
    column: int
    middle: float = 0.0


def draw_graph(nodes: Sequence[Node], links: Sequence[Link], stages: Sequence[str], description: str) -> str:
    """An SVG that needs nothing else but the page's style.

    Args:
        nodes: all ends of the links.
        links: no cycle among them.
        stages: in the order of the process.
        description: said by screen readers.
    """
    columns, headings = _columns(nodes, links, stages)
    boxes = {node.name: _Place(_wrapped(node.name), 0.0, columns[node.name]) for node in nodes}
    for box in boxes.values():
        box.height = (len(box.lines) + 1) * LINE + 14
    routes = {link: _route(boxes[link.cause], boxes[link.effect]) for link in links}
    layers: list[list[_Place]] = [[] for _ in headings]
    for place in dict.fromkeys([*boxes.values(), *(place for route in routes.values() for place in route)]):
        layers[place.column].append(place)
    _arrange(layers, list(routes.values()))
    height = max(place.middle + place.height / 2 for layer in layers for place in layer) + MARGIN
    width = len(layers) * (WIDTH + GAP) - GAP + 2 * MARGIN
    drawn = [
        _line(link, route) for link, route in sorted(routes.items(), key=lambda each: each[0].probability)
    ]
    drawn += [_box(node, boxes[node.name]) for node in nodes]
    drawn += [
        f'<text class="stage" x="{_left(column)}" y="20">{escape(heading)}</text>'
        for column, heading in enumerate(headings)
        if heading and (column == 0 or headings[column - 1] != heading)
    ]
    return (
        f'<svg role="img" aria-label="{escape(description)}" viewBox="0 0 {width} {height:.0f}" '
        f'style="--width:{width}px">{"".join(drawn)}</svg>'
    )


def _columns(
    nodes: Sequence[Node], links: Sequence[Link], stages: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """Column of each name, and the stage of each column; what has no stage stands with its causes."""
    order = {stage: number for number, stage in enumerate(stages)}
    stage_of = {node.name: node.stage for node in nodes}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(stage_of)
    graph.add_edges_from((link.cause, link.effect) for link in links)
    key: dict[str, tuple[int, int]] = {}
    for name in nx.topological_sort(graph):
        own = order.get(stage_of[name], -1)
        before = [key[cause] for cause in graph.predecessors(name)]
        stage = max([own, *(each[0] for each in before)])
        key[name] = (stage, max((depth + 1 for at, depth in before if at == stage), default=0))
    used = sorted(set(key.values()))
    number = {each: column for column, each in enumerate(used)}
    headings = [stages[stage] if stage >= 0 else "" for stage, _ in used]
    return {name: number[each] for name, each in key.items()}, headings


def _route(start: _Place, end: _Place) -> list[_Place]:
    crossed = [_Place([], LANE, column) for column in range(start.column + 1, end.column)]
    return [start, *crossed, end]


def _arrange(layers: list[list[_Place]], routes: list[list[_Place]]) -> None:
    """Sort each column by the mean place of its neighbours, from the left, then from the right, and so on."""
    neighbours: dict[_Place, list[_Place]] = {place: [] for layer in layers for place in layer}
    for route in routes:
        for a, b in pairwise(route):
            neighbours[a].append(b)
            neighbours[b].append(a)
    tallest = max(_height(layer) for layer in layers)
    for layer in layers:
        _stack(layer, tallest)
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            layer.sort(key=lambda place: _mean(place, neighbours[place]))
            _stack(layer, tallest)


def _mean(place: _Place, neighbours: list[_Place]) -> float:
    return sum(each.middle for each in neighbours) / len(neighbours) if neighbours else place.middle


def _height(layer: list[_Place]) -> float:
    return sum(place.height for place in layer) + ROW_GAP * (len(layer) - 1)


def _stack(layer: list[_Place], tallest: float) -> None:
    top = HEAD + (tallest - _height(layer)) / 2
    for place in layer:
        place.middle = top + place.height / 2
        top += place.height + ROW_GAP


def _left(column: int) -> int:
    return MARGIN + column * (WIDTH + GAP)


def _line(link: Link, route: list[_Place]) -> str:
    start = route[0]
    path = f"M{_left(start.column) + WIDTH} {start.middle:.1f}"
    x, y = float(_left(start.column) + WIDTH), start.middle
    for place in route[1:]:
        left = float(_left(place.column))
        path += f"C{x + GAP / 2:.1f} {y:.1f} {left - GAP / 2:.1f} {place.middle:.1f} {left:.1f} {place.middle:.1f}"
        x, y = left, place.middle
        if place is not route[-1]:
            x += WIDTH
            path += f"H{x:.1f}"
    told = f"{link.cause} triggered {link.effect} with probability {link.probability:.0%}"
    return (
        f'<path class="link" d="{path}" stroke-width="{1 + 11 * link.probability:.1f}">'
        f"<title>{escape(told)}</title></path>"
    )


def _box(node: Node, place: _Place) -> str:
    left, top = _left(place.column), place.middle - place.height / 2
    rows = [(line, "name") for line in place.lines] + [(node.note, "note")]
    text = "".join(
        f'<text class="{kind}" x="{left + 9}" y="{top + 7 + LINE * (row + 0.75):.1f}">{escape(line)}</text>'
        for row, (line, kind) in enumerate(rows)
    )
    return (
        f'<g class="node {node.role}"><title>{escape(node.name)}: {escape(node.note)}</title>'
        f'<rect x="{left}" y="{top:.1f}" width="{WIDTH}" height="{place.height:.1f}" rx="6"/>{text}</g>'
    )


def _wrapped(name: str) -> list[str]:
    return textwrap.wrap(name, _LETTERS, max_lines=_LINES, placeholder=" …") or [name]
