"""Root cause: choose the failures that were observed, and read what caused them, how sure that is, and what to do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from cause_page import (
    diagnosis_page,
    loaded_page,
    nothing_left,
    paths_page,
    problem_list,
    welcome,
)
from consistency_page import changes_page, findings_page, no_table, repair_labels, state_page
from failure_session import Diagnosis, NothingLeftError, Session
from table_review import Review

from hub_models.errors import HubModelsError
from hub_models.failure.records import InvalidTableError
from hub_models.space import serve
from hub_models.space_words import refusal

NETWORK = "HUB_MODELS_FAILURE_NETWORK"
HERE = Path(__file__).parent
EXPORTED = HERE / "battery_fmea"  # `hub-models export` puts the table beside the app
BATTERY = EXPORTED if EXPORTED.is_dir() else HERE.parents[1] / "datasets_scripts/battery_fmea"
STATED, DIEZ, HENRION = "the file says it", "this cause alone (Diez)", "unnamed causes included (Henrion)"
MEANINGS = {STATED: None, DIEZ: "diez", HENRION: "henrion"}
SWITCHES = 6

#: Component -> what it shows now; those left out stay as they are.
Shown = dict[Any, Any]

INTRODUCTION = """\
# Root cause
From observed failures back to their causes, by the FMEA tables of your experts.
"""
EXPLANATION = """\
- **Network.** Every failure is a node, every row of the table a relation. A cause triggers its effect with the
  probability that the experts gave; what they rate higher than its causes explain comes of *unnamed causes*.
- **Intervals.** Small networks are summed exactly. In large ones the page draws weighted samples until every
  interval is at most one percentage point on either side, for half a second at most, and says what they are worth.
  An interval is that of the computation: it does not cover what the experts do not know.
- **What if.** Fixing is not the same as observing. A fixed cause is taken out of the process, and the page tells how
  often the same failures would still occur.
- **Look at next.** What you expect to learn about all root causes by one look, in bits.
- **Contradictions.** Experts give each number by itself. Where an effect is stated rarer than its causes make it, no
  network can hold the table; the second tab shows where, and the closest numbers that fit. Reject one, and the
  others are found anew around it.

Method: FMEA-based Bayesian networks in the spirit of Kirchhof et al. (2020), with leaky noisy-OR relations. The battery
table is a plausible teaching set, not data of any factory.
"""


def build(shipped: Session) -> gr.Blocks:
    """The page, which starts with the shipped network."""

    def answer(
        session: Session, here: list[str], not_here: list[str], repaired: list[str]
    ) -> tuple[Shown, Diagnosis | None]:
        if not here and not not_here:
            return {result: welcome(session), paths: ""}, None
        try:
            diagnosis = session.diagnose(here, not_here, repaired)
        except NothingLeftError:
            return {result: nothing_left(repaired), paths: ""}, None
        except HubModelsError as error:
            return {result: refusal(str(error), "This cannot be"), paths: ""}, None
        return {result: diagnosis_page(diagnosis), paths: paths_page(diagnosis, session)}, diagnosis

    def observe(session: Session | None, here: list[str], not_here: list[str]) -> Shown:
        """New observations: what was fixed is forgotten, since its switches change with the ranking."""
        told, diagnosis = answer(session or shipped, here, not_here, [])
        causes = diagnosis.causes[:SWITCHES] if diagnosis else ()
        switches = [(f"{each.name} ({each.probability:.1%})", each.name) for each in causes]
        name = diagnosis.inspections[0].name if diagnosis and diagnosis.inspections else None
        return {
            **told,
            fixed: gr.update(choices=switches, value=[], visible=bool(switches)),
            suggestion: name,
            ask: f"Next, look at **{name}**. What do you find?" if name else "",
            found: gr.update(visible=name is not None),
            missing: gr.update(visible=name is not None),
        }

    def suppose(session: Session | None, here: list[str], not_here: list[str], repaired: list[str]) -> Shown:
        return answer(session or shipped, here, not_here, repaired)[0]

    def load(path: str | None, words: str) -> Shown:
        """Another network; a table that cannot be used leaves everything as it is."""
        if path is None:
            return {loaded: "", **start_anew(None)}
        try:
            session = Session.open(path, MEANINGS[words])
        except InvalidTableError as error:
            return {loaded: problem_list(Path(path).name, error.problems)}
        except HubModelsError as error:
            reason = str(error).replace(
                str(Path(path).parent) + os.sep, ""
            )  # of this server, not of the visitor
            return {loaded: refusal(reason, "This table cannot be used")}
        return {loaded: loaded_page(session), **start_anew(session)}

    def start_anew(session: Session | None) -> Shown:
        names = gr.update(choices=(session or shipped).choices(), value=[])
        current = {own: session, present: names, absent: names}
        return {**current, **observe(session, [], []), **check(session or shipped)}

    def check(session: Session) -> Shown:
        review = session.review
        if review is None:
            hidden = gr.update(visible=False)
            return {findings: no_table(), accepted: hidden, state: "", changes: "", download: hidden}
        return {findings: findings_page(review), **repairs(review)}

    def repairs(review: Review) -> Shown:
        ticked = [each.what for each in review.repairs]
        labels = repair_labels(review)
        return {
            accepted: gr.update(choices=labels, value=ticked, visible=bool(labels)),
            state: state_page(review),
            changes: changes_page(review),
            download: gr.update(visible=not review.problem),
        }

    def decide(session: Session | None, ticked: list[str], here: list[str], not_here: list[str]) -> Shown:
        """Some repairs were accepted or rejected: the rest is mended around them, and the network built anew."""
        current = session or shipped
        review = current.review
        assert review is not None  # the switches are only shown with a table
        offered = review.kept.union(each.what for each in review.repairs)
        current = current.keeping(offered.difference(ticked))
        assert current.review is not None
        return {own: current, **repairs(current.review), **observe(current, here, not_here)}

    def write(session: Session | None) -> Iterator[Any]:
        """The repaired table; gradio keeps a copy of its own, so this one goes at once."""
        review = (session or shipped).review
        assert review is not None
        with tempfile.TemporaryDirectory() as folder:
            try:
                written = str(review.write(Path(folder)))
                yield gr.update(value=written, visible=True)
            except HubModelsError as error:
                raise gr.Error(str(error)) from None

    html: dict[str, Any] = {"elem_classes": "answer", "apply_default_css": False}
    with gr.Blocks(title="Root cause", delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        own = gr.State()
        suggestion = gr.State()
        with gr.Tabs():
            with gr.Tab("Root causes"):
                with gr.Row():
                    with gr.Column(scale=4, min_width=320):
                        choices = shipped.choices()
                        present = gr.Dropdown(
                            choices,
                            value=[],
                            multiselect=True,
                            label="Present",
                            info="Failures that were observed.",
                        )
                        absent = gr.Dropdown(
                            choices,
                            value=[],
                            multiselect=True,
                            label="Absent",
                            info="Looked for, and not there.",
                        )
                        with gr.Row():
                            example = gr.Button("Show an example")
                            clear = gr.Button("Start again")
                        ask = gr.Markdown("", elem_id="ask")
                        with gr.Row():
                            found = gr.Button("It is there", visible=False)
                            missing = gr.Button("It is not there", visible=False)
                        fixed = gr.CheckboxGroup(
                            [], label="What if this were fixed?", visible=False, elem_classes="switches"
                        )
                    with gr.Column(scale=7, min_width=320):
                        result = gr.HTML(welcome(shipped), elem_id="result", **html)
                paths = gr.HTML(elem_id="paths", **html)
            with gr.Tab("Consistency"):
                review = shipped.review
                findings = gr.HTML(
                    findings_page(review) if review else no_table(), elem_id="findings", **html
                )
                labels = repair_labels(review) if review else []
                accepted = gr.CheckboxGroup(
                    labels,
                    value=[name for _, name in labels],
                    label="Repairs",
                    info="The closest numbers that fit together, and what they are for. Take the tick away to keep "
                    "a number as it was: others are then mended in its place.",
                    visible=bool(labels),
                    elem_classes=["switches", "many"],
                )
                state = gr.HTML(state_page(review) if review else "", elem_id="state", **html)
                download = gr.Button("Make the repaired table", visible=review is not None)
                workbook = gr.File(label="Repaired table", visible=False, interactive=False)
                changes = gr.HTML(changes_page(review) if review else "", elem_id="changes", **html)
            with gr.Tab("Table"):
                file = gr.File(
                    label="FMEA table",
                    file_types=[".csv", ".tsv", ".xlsx", ".json"],
                    type="filepath",
                )
                meaning = gr.Radio(
                    list(MEANINGS),
                    value=STATED,
                    label="What a relation's number means",
                    info="How often the effect occurs if this cause is present and no other named one. Are unnamed "
                    "causes part of it?",
                )
                loaded = gr.HTML(elem_id="loaded", **html)
        with gr.Accordion("How to read this", open=False):
            gr.Markdown(EXPLANATION)

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        seen = [own, present, absent]
        told = [result, paths, fixed, suggestion, ask, found, missing]
        checked = [findings, accepted, state, changes, download]
        # .input and .then, not .change: what the page itself sets must not ask once more.
        for choice in (present, absent):
            choice.input(observe, seen, told, trigger_mode="always_last", **quiet)
        fixed.input(suppose, [*seen, fixed], [result, paths], trigger_mode="always_last", **quiet)
        for button, act, given, set_to in (
            (example, lambda session: ((session or shipped).example(), []), [own], [present, absent]),
            (clear, lambda: ([], []), [], [present, absent]),
            (found, lambda names, name: [*names, name], [present, suggestion], [present]),
            (missing, lambda names, name: [*names, name], [absent, suggestion], [absent]),
        ):
            button.click(act, given, set_to, **quiet).then(observe, seen, told, **quiet)
        for change in (file.change, meaning.input):
            change(
                load,
                [file, meaning],
                [loaded, own, present, absent, *told, *checked],
                api_visibility="private",
            )
        accepted.input(
            decide,
            [own, accepted, present, absent],
            [own, accepted, state, changes, download, *told],
            trigger_mode="always_last",
            **quiet,
        )
        download.click(write, own, workbook, api_visibility="private")
    return page


def main() -> None:
    """Load the network and serve."""
    source = Path(os.environ.get(NETWORK) or BATTERY)
    if not source.exists():
        raise SystemExit(
            f"error: {source}: no such file or folder; set {NETWORK} to an FMEA table or to a saved network"
        )
    try:
        shipped = Session.open(source)
    except HubModelsError as error:
        raise SystemExit(f"error: {error}") from None
    shipped.diagnose(shipped.example())  # the first answer compiles, if numba is there
    serve(build(shipped), Path(__file__).with_name("style.css"), "8mb")


if __name__ == "__main__":
    main()
