"""What an FMEA table contradicts itself in, and the repairs, as HTML. Every text is escaped."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby

from table_review import NumberRepair, Review

from hub_models.failure.consistency import Finding
from hub_models.failure.experts import pooled
from hub_models.failure.repair_report import Change

SHOWN_WARNINGS = 20


def no_table() -> str:
    """A network that came without its table."""
    return (
        "<section class='welcome'><h2>No table to check</h2><p>This network came without the experts' numbers. Load "
        "an FMEA table to see whether its numbers contradict each other.</p></section>"
    )


def findings_page(review: Review) -> str:
    """The contradictions of a table as it was read."""
    found = review.consistency
    certain = sum(not finding.undecided for finding in found.findings)
    if certain:
        kind = "alarm"
        headline = f"{certain} contradiction{'s' * (certain != 1)} in {escape(review.source.name)}"
    else:
        kind, headline = "calm", f"No number of {escape(review.source.name)} contradicts another"
    rows = "".join(map(_finding, found.findings))
    return (
        f"<section class='verdict {kind}'><h2>{headline}</h2><p>{found.checked:,} stated occurrences were compared "
        f"with what their causes imply; {found.undecided} stayed undecided. Experts are far apart on "
        f"{len(found.disagreements):,} numbers.</p></section>"
        + (f"<section class='findings'><h3>Where</h3><ul>{rows}</ul></section>" if rows else "")
        + _warnings(review)
    )


def state_page(review: Review) -> str:
    """Whether everything is mended, around the numbers whose repair was rejected."""
    if review.consistency.consistent:
        return ""
    kept = f" {_counted(len(review.kept), 'number')} kept as the experts gave them." if review.kept else ""
    if review.problem:
        return (
            f"<section class='verdict alarm'><h3>Not all contradictions can be mended</h3><p>{escape(review.problem)}."
            f"{kept} Root causes stay with the last table that had none.</p></section>"
        )
    changed = _counted(len(review.repairs), "number")
    return (
        f"<section class='verdict calm'><h3>No contradiction is left</h3><p>{changed} changed.{kept} Root causes are "
        "computed from this table.</p></section>"
    )


def changes_page(review: Review) -> str:
    """Contradiction by contradiction, each number that moves: old, new, who said it, where."""
    if not review.repairs:
        return ""
    blocks = []
    for number, (reason, repairs) in enumerate(groupby(review.repairs, key=lambda each: each.reason), 1):
        rows = "".join(_change(change) for each in repairs for change in each.changes)
        blocks.append(
            f"<details><summary>{number}. {escape(reason or 'Further numbers')}</summary><div class='wide'><table>"
            "<thead><tr><th scope='col'>number</th><th scope='col'>expert</th><th scope='col'>old</th>"
            f"<th scope='col'>new</th><th scope='col'>where</th></tr></thead><tbody>{rows}</tbody></table></div>"
            "</details>"
        )
    return f"<section class='changes'><h3>Why, and who said what</h3>{''.join(blocks)}</section>"


def repair_labels(review: Review) -> list[tuple[str, str]]:
    """(words, number) of each repair, and of those that were rejected."""
    labels = []
    for number, (_, repairs) in enumerate(groupby(review.repairs, key=lambda each: each.reason), 1):
        labels += [(f"{number}. {_moved(each)}", each.what) for each in repairs]
    return labels + [(f"kept: {what}", what) for what in sorted(review.kept)]


def _finding(finding: Finding) -> str:
    state = "open" if finding.undecided else "certain"
    what = finding.failure if finding.cause is None else f"{finding.cause} → {finding.failure}"
    verb = "may be" if finding.undecided else "are"
    text = (
        f"stated {finding.stated:.2g}, but its causes alone imply {finding.implied:.2g}"
        if finding.cause is None
        else f"stated {finding.stated:.2g}, less than what unnamed causes {verb} worth, {finding.implied:.2g}"
    )
    times = f", {finding.factor:.1f} times as much" if math.isfinite(finding.factor) else ""
    alone = (
        f"<small>Already forced by: {', '.join(map(escape, finding.alone[:3]))}"
        f"{' and others' if len(finding.alone) > 3 else ''}</small>"
        if finding.alone
        else "<small>No cause alone forces it; together they do.</small>"
    )
    where = f"<small>{escape(str(finding.places[0]))}</small>" if finding.places else ""
    return f"<li class='{state}'><b>{escape(what)}</b>: {text}{times} ({escape(finding.method)}).{alone}{where}</li>"


def _moved(repair: NumberRepair) -> str:
    """The number, and what its experts together say before and after."""
    old, new = (
        pooled([getattr(each, side) for each in repair.changes]) for side in ("opinion", "new_opinion")
    )
    return f"{repair.what}: {old:.2g} → {new:.2g}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s are' if count != 1 else ' is'}"


def _change(change: Change) -> str:
    old = f"{change.old:.2g}" + (f" (rating {change.old_rating})" if change.old_rating else "")
    new = f"{change.new:.2g} ({'rating' if change.exact else 'nearest rating'} {change.new_rating})"
    cells = (f"{change.kind}: {change.what}", change.expert, old, new, str(change.place))
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _warnings(review: Review) -> str:
    if not review.warnings:
        return ""
    shown = "".join(f"<li>{escape(str(each))}</li>" for each in review.warnings[:SHOWN_WARNINGS])
    more = len(review.warnings) - SHOWN_WARNINGS
    rest = f"<p class='detail'>and {more:,} more</p>" if more > 0 else ""
    return f"<section class='warnings'><h3>Worth a look</h3><ul>{shown}</ul>{rest}</section>"
