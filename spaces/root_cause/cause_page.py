"""A diagnosis as HTML. Names come from tables that people uploaded, so every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cause_graph import Node, Role, draw_graph
from failure_session import DRAWN_CAUSES, Diagnosis, Session

from hub_models.failure.records import Problem
from hub_models.noisy_or_records import FailurePosterior, Posterior

SHOWN_PROBLEMS = 100
_SCALES = (0.05, 0.1, 0.25, 0.5, 1.0)  # where bars end
SHOWN_UNNAMED, LEAST_UNNAMED = 4, 0.01


def welcome(session: Session) -> str:
    """What stands there before the first observation."""
    return _box(
        "welcome",
        f"""
        <h2>What was observed?</h2>
        <ol>
          <li>Choose the failures that are <b>present</b>, and those that were looked for and are <b>absent</b>.</li>
          <li>Read which <b>root causes</b> explain them, each with its probability and interval, and along which
            paths.</li>
          <li>Look at what the page suggests to <b>inspect next</b>, say what you found, and see what fixing a cause
            <b>would change</b>.</li>
        </ol>
        <p class="detail">{described(session)}</p>""",
    )


def described(session: Session) -> str:
    """A network in one line."""
    network = session.network
    of = f" of {len(session.stages)} process steps" if session.stages else ""
    return (
        f"{escape(session.name)}: {len(network):,} failures{of}, {len(network.cause):,} relations, "
        f"{int(network.is_root.sum()):,} root causes"
    )


def loaded_page(session: Session) -> str:
    """A table that is in use now."""
    return _box(
        "loaded",
        f"<h2>This network is in use</h2><p>{described(session)}</p><p>Choose what was observed in the tab <b>Root "
        "causes</b>; the tab <b>Consistency</b> shows what was repaired.</p>",
    )


def problem_list(name: str, problems: Sequence[Problem]) -> str:
    """Everything that must be mended before a table can be used."""
    count = len(problems)
    rows = "".join(
        f"<tr><td>{escape(str(each.place or 'the file'))}</td><td>{escape(each.found)}</td>"
        f"<td>{escape(each.expected)}</td></tr>"
        for each in problems[:SHOWN_PROBLEMS]
    )
    more = f"<p class='detail'>and {count - SHOWN_PROBLEMS:,} more</p>" if count > SHOWN_PROBLEMS else ""
    return _box(
        "refusal problems",
        f"<h2>{escape(name)}: {count:,} problem{'s' * (count != 1)} to mend first</h2>"
        "<div class='wide'><table><thead><tr><th scope='col'>where</th><th scope='col'>what is wrong</th>"
        f"<th scope='col'>expected</th></tr></thead><tbody>{rows}</tbody></table></div>{more}",
    )


def diagnosis_page(diagnosis: Diagnosis) -> str:
    """All that is said about some observations, in words."""
    return "".join([_verdict(diagnosis), _ranking(diagnosis), _inspections(diagnosis)])


def paths_page(diagnosis: Diagnosis, session: Session) -> str:
    """The causal paths as a drawing; empty where there is none."""
    links = list(dict.fromkeys(link for path in diagnosis.paths for link in path))
    if not links:
        return ""
    names = list(dict.fromkeys(name for link in links for name in (link.cause, link.effect)))
    causes = {each.name for each in diagnosis.causes}
    records = {record.name: record for record in diagnosis.posterior}
    nodes = []
    for name in names:
        record = records[name]
        role: Role = "observed" if record.observed else "cause" if name in causes else "between"
        note = "observed" if record.observed else f"{record.probability:.1%}"
        nodes.append(Node(name, record.stage, role, note))
    told = "; ".join(
        " leads to ".join([path[0].cause, *(link.effect for link in path)]) for path in diagnosis.paths
    )
    return _box(
        "paths",
        f"<h3>How they get there</h3><div class='wide' tabindex='0' role='region' aria-label='causal paths'>"
        f"{draw_graph(nodes, links, session.stages, 'Causal paths: ' + told)}</div>"
        f"<p class='detail'>The likeliest ways from the first {min(DRAWN_CAUSES, len(diagnosis.causes))} causes. The "
        "wider a line, the more probable that this cause triggered this effect.</p>",
    )


def nothing_left(fixed: Sequence[str]) -> str:
    """A fix that makes the observations impossible."""
    return _box(
        "verdict calm",
        f"<h2>With this fixed, the observed failures could not occur at all</h2><p>Fixed: {_names(fixed)}. No other "
        "cause in the network leads to all of them.</p>",
    )


def percent(probability: float) -> str:
    """As many digits as can be read."""
    if 0 < probability < 0.001:
        return "&lt;0.1%"
    if 0.999 < probability < 1:
        return "&gt;99.9%"
    return f"{probability:.1%}" if probability < 0.1 else f"{probability:.0%}"


def _verdict(diagnosis: Diagnosis) -> str:
    seen = f"Present: {_names(diagnosis.present)}." if diagnosis.present else ""
    seen += f" Absent: {_names(diagnosis.absent)}." if diagnosis.absent else ""
    if not diagnosis.causes:
        headline = "No root cause is left to look for: all were observed"
    else:
        top = diagnosis.causes[0]
        headline = f"Most probable root cause: {escape(top.name)}, {percent(top.probability)}"
        if _tied(diagnosis.causes):
            headline += ", hardly ahead of the next"
    warnings = "".join(
        f"<p class='warning'><b>Mind:</b> {escape(each)}.</p>" for each in diagnosis.posterior.warnings
    )
    return _box(
        "verdict",
        f"<h2>{headline}</h2><p>{seen}</p>{_what_if(diagnosis)}{warnings}"
        f"<p class='detail method'>{_method(diagnosis.posterior)}</p>",
    )


def _tied(causes: Sequence[FailurePosterior]) -> bool:
    return len(causes) > 1 and causes[1].high >= causes[0].low


def _what_if(diagnosis: Diagnosis) -> str:
    if diagnosis.remaining is None:
        return ""
    share, low, high = diagnosis.remaining
    if share <= 1:
        change = f"<b>{percent(1 - share)} less often</b>"
        bounds = f"between {percent(max(0.0, 1 - high))} and {percent(max(0.0, 1 - low))}"
    else:
        change, bounds = f"<b>{share:.2f} times as often</b>", f"between {low:.2f} and {high:.2f}"
    return (
        f"<p class='what-if'>With {_names(diagnosis.fixed)} fixed, this would occur {change} ({bounds}). Below: what "
        "would cause it then.</p>"
    )


def _method(posterior: Posterior) -> str:
    if posterior.samples == 0:
        return f"Exact: summed over all states, in {posterior.seconds:.2f} s."
    return (
        f"{escape(posterior.method.capitalize())}: {posterior.samples:,} weighted samples, worth "
        f"{posterior.effective_samples:,.0f} independent ones; 95 % intervals of at most "
        f"&plusmn;{100 * posterior.precision:.1f} percentage points; in {posterior.seconds:.2f} s. Intervals are "
        "those of the computation, not of the experts' numbers."
    )


def _ranking(diagnosis: Diagnosis) -> str:
    if not diagnosis.causes:
        return ""
    highest = max(each.high for each in diagnosis.causes)
    end = next(each for each in _SCALES if each >= highest)
    rows = "".join(_cause(each, end) for each in diagnosis.causes)
    return _box(
        "ranking",
        f"<h3>Root causes</h3><ol>{rows}</ol><p class='detail'>Bars end at {end:.0%}; the bracket is the 95 % "
        f"interval.</p>{_unnamed(diagnosis)}",
    )


def _unnamed(diagnosis: Diagnosis) -> str:
    """Where the table ends: failures in the middle that arose of a cause which no row names."""
    largest = sorted(diagnosis.unnamed.items(), key=lambda each: -each[1])[:SHOWN_UNNAMED]
    shown = [f"<b>{escape(name)}</b> ({percent(p)})" for name, p in largest if p >= LEAST_UNNAMED]
    if not shown:
        return ""
    return (
        "<p class='detail'>It may also have begun further down the line, with a cause that no row of the table "
        f"names, of: {', '.join(shown)}.</p>"
    )


def _cause(cause: FailurePosterior, end: float) -> str:
    interval = "exact" if cause.low == cause.high else f"{percent(cause.low)} to {percent(cause.high)}"
    times = cause.probability / cause.prior if cause.prior > 0 else 1.0
    usual = f"{times:,.0f} times its usual {percent(cause.prior)}" if times >= 1.5 else "about as usual"
    stage = f"{escape(cause.stage)} &middot; " if cause.stage else ""
    return (
        f"<li style='--at:{cause.probability / end:.2%};--low:{cause.low / end:.2%};--high:{cause.high / end:.2%}'>"
        f"<span class='name'>{escape(cause.name)}<small>{stage}{usual}</small></span>"
        f"<i role='img' aria-label='{cause.probability:.1%}'><b></b></i>"
        f"<span class='number'>{percent(cause.probability)}<small>{interval}</small></span></li>"
    )


def _inspections(diagnosis: Diagnosis) -> str:
    if not diagnosis.inspections:
        return _box("next", "<h3>Look at next</h3><p>No single inspection would tell more.</p>")
    best = diagnosis.inspections[0].information
    rows = "".join(
        f"<li style='--at:{each.information / best:.1%}'><span class='name'>{escape(each.name)}"
        f"<small>{escape(each.stage)}</small></span><i></i><span class='number'>{each.information:.2f} bits"
        f"<small>present: {percent(each.probability)}</small></span></li>"
        for each in diagnosis.inspections
    )
    return _box(
        "next",
        f"<h3>Look at next</h3><ol>{rows}</ol><p class='detail'>Expected information about all root causes, at equal "
        "cost of each look.</p>",
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"<b>{escape(name)}</b>" for name in names)


def _box(kind: str, content: str) -> str:
    return f"<section class='{kind}'>{content}</section>"
