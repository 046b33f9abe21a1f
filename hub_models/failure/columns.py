"""The many ways in which people head the columns of an FMEA, and what they mean.

Classic (AIAG 4th edition) and AIAG-VDA worksheets, English and German, one column for all experts or one for each:
``occurrence (Anna)``, ``occurrence [Anna]`` and ``occurrence: Anna`` are Anna's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .grids import Cell

#: Meaning: how it is spelled, in small letters and without punctuation.
SPELLINGS = """
failure: failure, failures, failure mode, failure modes, potential failure mode, fault, error, name, failure name,
    fehler, fehlerart, fehlerbild, potentieller fehler
effect: effect, effects, failure effect, failure effects, potential effect, potential effects, effect of failure,
    effects of failure, potential effect of failure, potential effects of failure, potential effect s of failure,
    fault effect, target, fehlerfolge, fehlerfolgen, wirkung
cause: cause, causes, failure cause, failure causes, potential cause, potential causes, cause of failure,
    potential cause of failure, potential causes of failure, potential cause s of failure, root cause,
    fault root cause, source, fehlerursache, fehlerursachen, ursache
process step: process step, process steps, step, process, process item, process stage, process function, stage,
    operation, station, system element, prozessschritt, prozess
severity: severity, sev, s, severity s, severity rating, severity ranking, bedeutung, bedeutung b
occurrence: occurrence, occurence, occ, o, occurrence o, occurrence rating, occurrence ranking,
    occurrence probability o, auftreten, auftreten a
detection: detection, det, d, detection d, detection rating, detection ranking, detectability, entdeckung,
    entdeckung e
occurrence probability: occurrence probability, probability of occurrence, failure probability, p occurrence, prior,
    auftretenswahrscheinlichkeit
trigger: trigger, trigger rating, relation, relation rating, strength, auslösung
trigger probability: trigger probability, relation probability, probability, trigger p, q, auslösewahrscheinlichkeit
effect trigger: effect trigger, effect trigger rating
effect trigger probability: effect trigger probability
expert: expert, experts, rated by, author, assessor, experte, bewertet von
trust: trust, confidence, weight, vertrauen, gewicht
description: description, function, failure description, functional unit, beschreibung
comment: comment, comments, remark, remarks, note, notes, bemerkung, bemerkungen, kommentar
reason: reason, rationale, because, explanation, why, begründung
setting: setting, key, einstellung
value: value, wert
rating: rating, bewertung
"""
_MEANINGS = {
    spelling.strip(): meaning.strip()
    for meaning, spellings in (line.split(":") for line in SPELLINGS.replace(",\n", ",").strip().splitlines())
    for spelling in spellings.split(",")
}

_ABBREVIATION = re.compile(
    r"\((?:fm|fe|fc|s|o|d|fc/fm|fm/fc|1\s*(?:-|–|to|bis|\.\.+)\s*10|0\s*(?:-|\.\.+)\s*1)\)"
)
_OF_WHAT = re.compile(r"^(severity|occurrence|detection|occ|sev|det) of (?:fe|fc|fm|fc fm|fm fc)$")
_EXPERT = re.compile(
    r"^(?P<what>[^(\[:]+?)\s*(?:\((?P<a>[^)]+)\)|\[(?P<b>[^\]]+)\]|:(?P<c>.+))\s*$", re.DOTALL
)
#: A worksheet often has a title and some lines about the team above its header.
_HEADER_WITHIN = 25


@dataclass(frozen=True)
class Column:
    """A column that is understood: what it holds, whose numbers ("" if the header does not say), and where."""

    meaning: str
    expert: str
    index: int
    header: str


def recognise(headers: Sequence[Cell]) -> list[Column]:
    """The columns that are understood; others are left out."""
    columns = []
    for index, header in enumerate(headers):
        if isinstance(header, str) and header.strip():
            meaning, expert = _meaning(header)
            if meaning:
                columns.append(Column(meaning, expert, index, " ".join(header.split())))
    return columns


def header_row(rows: Sequence[Sequence[Cell]]) -> int:
    """Index of the row, among the first ones, in which most columns are understood; 0 if there is no such row."""
    counts = [len({column.meaning for column in recognise(row)}) for row in rows[:_HEADER_WITHIN]]
    return counts.index(max(counts)) if counts and max(counts) > 1 else 0


def _meaning(header: str) -> tuple[str | None, str]:
    text = unicodedata.normalize("NFKC", header)
    whole = _MEANINGS.get(_simplified(text))
    if whole:
        return whole, ""
    named = _EXPERT.match(text)
    if not named:
        return None, ""
    expert = named["a"] or named["b"] or named["c"]
    return _MEANINGS.get(_simplified(named["what"])), " ".join(expert.split())


def _simplified(text: str) -> str:
    text = _ABBREVIATION.sub(" ", text.casefold())
    text = " ".join(re.sub(r"[\s_\-./()]+", " ", text).split())
    of_what = _OF_WHAT.match(text)
    return of_what[1] if of_what else text
