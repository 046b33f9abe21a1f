"""What an FMEA table contradicts itself in, and the repairs, as HTML. Every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Collection
from html import escape

from table_review import Mending, Review

from hub_models.failure.consistency import Consistency, Finding
from hub_models.failure.ratings import logit
from hub_models.failure.repair_report import Change

SHOWN_CHANGES, SHOWN_WARNINGS = 15, 20


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


def state_page(review: Review, accepted: Collection[int], consistency: Consistency) -> str:
    """What is left to mend with the accepted repairs."""
    if not review.mendings:
        return ""
    left = [finding.failure for finding in consistency.findings if not finding.undecided]
    counted = (
        f"{len(accepted)} of {len(review.mendings)} repairs accepted, {len(review.changes(accepted)):,} numbers "
        "changed."
    )
    if not left:
        return (
            f"<section class='verdict calm'><h3>No contradiction is left</h3><p>{counted} Root causes are computed "
            "from this table.</p></section>"
        )
    shown = ", ".join(f"<b>{escape(name)}</b>" for name in left[:5]) + (
        " and others" if len(left) > 5 else ""
    )
    return (
        f"<section class='verdict alarm'><h3>{len(left)} contradiction{'s' * (len(left) != 1)} left</h3><p>{counted} "
        f"Still contradicted: {shown}. Root causes stay with the last table that had none.</p></section>"
    )


def changes_page(review: Review, accepted: Collection[int]) -> str:
    """Each repair with its numbers: old, new, who said it, where."""
    blocks = "".join(
        _mending(number, mending, number in accepted) for number, mending in enumerate(review.mendings)
    )
    return f"<section class='changes'><h3>The numbers of each repair</h3>{blocks}</section>" if blocks else ""


def repair_labels(review: Review) -> list[tuple[str, int]]:
    """(words, number) of each repair."""
    return [
        (
            f"{number + 1}. {mending.reason or 'Further numbers'} "
            f"({len(mending.changes)} number{'s' * (len(mending.changes) != 1)})",
            number,
        )
        for number, mending in enumerate(review.mendings)
    ]


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


def _mending(number: int, mending: Mending, accepted: bool) -> str:
    ordered = sorted(mending.changes, key=lambda change: -_moved(change))
    rows = "".join(map(_change, ordered[:SHOWN_CHANGES]))
    rest = len(ordered) - SHOWN_CHANGES
    more = f"<p class='detail'>and {rest:,} smaller changes; all are in the file</p>" if rest > 0 else ""
    state = "accepted" if accepted else "rejected"
    return (
        f"<details class='{state}'><summary>{number + 1}. {escape(mending.reason or 'Further numbers')} "
        f"<em>{state}</em></summary><div class='wide'><table><thead><tr><th scope='col'>number</th>"
        "<th scope='col'>expert</th><th scope='col'>old</th><th scope='col'>new</th><th scope='col'>where</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></div>{more}</details>"
    )


def _moved(change: Change) -> float:
    return abs(logit(change.new) - logit(change.old))


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
