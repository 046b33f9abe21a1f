"""An answer as HTML. Names and labels come from files that people chose, so every text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

from safe_search import CredibleAnswer, Look

from hub_models.prediction import Prediction
from hub_models.retrieval import Neighbour, Neighbours

#: Row of the gallery -> address of its picture, empty if it is gone.
Thumbnail = Callable[[int], str]
SHOWN_WITHHELD = 6


def welcome(gallery: str) -> str:
    """What stands there before the first photo."""
    return _box(
        "welcome",
        f"""
        <h2>Ask with a photo</h2>
        <ol>
          <li><b>Drop a photo</b>, or pick one of the examples.</li>
          <li>The model says <b>how uncertain</b> it is, and looks for what is most alike among
            {escape(gallery)}.</li>
          <li>What is too uncertain is <b>withheld</b>, with the reason. The slider sets how much is too
            much.</li>
        </ol>""",
    )


def answer_page(look: Look, answer: Neighbours, percent: float, thumbnail: Thumbnail) -> str:
    """All that is said about one photo."""
    parts = [_verdict(look.prediction, answer.abstained, percent), _labels(look.labels)]
    if answer.abstained is None:
        parts.append(_neighbours(answer, thumbnail))
    if answer.withheld:
        parts.append(_withheld(answer, thumbnail))
    return "".join(parts)


def credible_page(look: Look, answer: CredibleAnswer, percent: float, thumbnail: Thumbnail) -> str:
    """The set of one photo: all that may show the same, as far as the model can tell."""
    found, prediction = answer.found, look.prediction
    cards = "".join(_card(neighbour, thumbnail) for neighbour in answer.shown)
    more = len(found) - len(answer.shown)
    rest = f"<p>and {more:,} more</p>" if more else ""
    none = "<p>None: nothing in the gallery is near enough.</p>"
    return _box(
        "verdict answered",
        f"""
        <p class="chip">Credible set</p>
        <h2><b>{len(found):,}</b> of {answer.gallery_size:,} photos are in its {percent:.0f}% credible region</h2>
        {_region(found.share)}
        <p>Wherever this photo belongs on the sphere of embeddings, it is in this region with a probability of
          {percent:.0f}%, says the model. A clear photo has a small region, an ambiguous one a large one.</p>
        <p class="detail">{escape(prediction.name)} &middot; concentration {prediction.concentration:.1f} &middot;
          similarity from {found.cosine:.2f}</p>""",
    ) + _box(
        "neighbours",
        f"<h3>The set, nearest first</h3><div class='cards'>{cards}</div>{rest}" if cards else none,
    )


def _region(share: float) -> str:
    covered = f"{share:.1%}" if share >= 0.0005 else "less than 0.1%"
    return f"""
      <div class="region" style="--share:{share:.2%}" role="img" aria-label="{covered} of the sphere"><i></i></div>
      <div class="scale"><span>covers {covered} of the sphere</span><span>all of it</span></div>"""


def in_words(percentile: float) -> str:
    """A percentile in [0, 1] as a sentence without its full stop."""
    if percentile < 0.005:
        return "More certain than nearly all ordinary photos"
    if percentile >= 0.995:
        return "More uncertain than nearly all ordinary photos"
    return f"More uncertain than <b>{percentile:.0%}</b> of ordinary photos"


def _verdict(prediction: Prediction, abstained: str | None, percent: float) -> str:
    percentile = prediction.percentile  # never None: the policy's yardstick is the reference
    state, chip = ("answered", "Answered") if abstained is None else ("withheld", "Withheld")
    outside = (
        "<p class='warning'><b>Unlike the reference.</b> This image differs so much from ordinary photos that"
        " its percentile may mislead: do not rely on it.</p>"
        if prediction.outside_reference
        else ""
    )
    why = "" if abstained is None else f"<p class='why'>No answer: it is {escape(abstained)}.</p>"
    return _box(
        f"verdict {state}",
        f"""
        <p class="chip">{chip}</p>
        <h2>{in_words(percentile)}</h2>
        {_gauge(percentile, percent)}
        {why}{outside}
        <p class="detail">{escape(prediction.name)} &middot; uncertainty {prediction.uncertainty:+.2f}, where
          higher is less certain</p>""",
    )


def _gauge(percentile: float, percent: float) -> str:
    return f"""
      <div class="gauge" style="--limit:{percent:.0f}%; --at:{percentile:.1%}" role="img"
        aria-label="percentile {percentile:.0%}, limit {percent:.0f}%">
        <span class="limit">limit {percent:.0f}%</span><span class="needle"></span>
      </div>
      <div class="scale"><span>certain</span><span>uncertain</span></div>"""


def _labels(labels: Iterable[tuple[str, float]]) -> str:
    rows = "".join(
        f"<li style='--at:{probability:.1%}'>"
        f"<span>{escape(label)}</span><i></i><span>{probability:.0%}</span></li>"
        for label, probability in labels
    )
    return _box("labels", f"<h3>What the classifier sees</h3><ul>{rows}</ul>") if rows else ""


def _neighbours(answer: Neighbours, thumbnail: Thumbnail) -> str:
    if not answer.neighbours:
        return _box("neighbours", "<h3>Nearest photos</h3><p>None is certain enough: raise the limit.</p>")
    cards = "".join(_card(neighbour, thumbnail) for neighbour in answer.neighbours)
    return _box("neighbours", f"<h3>Nearest photos</h3><div class='cards'>{cards}</div>")


def _withheld(answer: Neighbours, thumbnail: Thumbnail) -> str:
    """Neighbours that are not given: of a photo that was answered each has a reason of its own."""
    answered = answer.abstained is None
    title = "Withheld: near, but too uncertain themselves" if answered else "Withheld: these would be guesses"
    shown = answer.withheld[:SHOWN_WITHHELD]
    cards = "".join(_card(each.neighbour, thumbnail, each.reason if answered else None) for each in shown)
    more = len(answer.withheld) - len(shown)
    rest = f"<p>and {more:,} more</p>" if more else ""
    return _box("passed-over", f"<h3>{title}</h3><div class='cards'>{cards}</div>{rest}")


def _card(neighbour: Neighbour, thumbnail: Thumbnail, reason: str | None = None) -> str:
    name = escape(neighbour.name)
    short = escape(neighbour.name.rsplit("/", 1)[-1])
    source = thumbnail(neighbour.item)
    picture = f"<img src='{escape(source)}' alt='{name}'>" if source else "<p>The file is gone.</p>"
    of_class = "" if neighbour.class_name is None else f"<span>{escape(neighbour.class_name)}</span>"
    if reason is not None:
        certainty = f"<span class='reason'>{escape(reason)}</span>"
    elif neighbour.percentile is not None:
        certainty = f"<span>percentile {neighbour.percentile:.0%}</span>"
    else:
        certainty = ""
    return f"""
      <figure>
        {picture}
        <figcaption>
          <b title="{name}">{short}</b>{of_class}<span>similarity {neighbour.similarity:.2f}</span>{certainty}
        </figcaption>
      </figure>"""


def _box(kind: str, content: str) -> str:
    return f"<section class='{kind}'>{content}</section>"
