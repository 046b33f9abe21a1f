"""Numbers as they stand in cells: as text, with decimal commas, in per cent, as "1 in 2000"."""

from __future__ import annotations

import math
import re
import unicodedata

from .grids import Cell

_CONTROLS = dict.fromkeys(
    [*range(32), *range(127, 160), 0xFFFE, 0xFFFF], " "
)  # no name moves a terminal's cursor
_BLANK = {"", "-", "–", "—", "/", "n/a", "n.a.", "na", "?", "none"}
_LABELLED = re.compile(r"^(\d{1,2})\s*[-–—:(=]\s*[^\W\d]")  # a choice of a drop-down: "7 - high"
_ONE_IN = re.compile(r"^(.+?)\s*(?:/|\bin\b|:)\s*(.+)$")


def text_of(cell: Cell) -> str:
    """The text of a cell: control characters and doubled blanks taken away, composed letters unified."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # a spreadsheet stores the name 12 as 12.0
    text = str(cell)
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text).translate(_CONTROLS)
    return " ".join(text.split())


def is_blank(cell: Cell) -> bool:
    """Whether a cell gives no number: empty, or what people write for "none"."""
    return cell is None or (isinstance(cell, str) and text_of(cell).casefold() in _BLANK)


def as_rating(cell: Cell) -> int:
    """A whole number from 1 to 10.

    Raises:
        ValueError: says what was expected.
    """
    labelled = _LABELLED.match(text_of(cell))
    number = float(labelled[1]) if labelled else _number(cell)
    if not number.is_integer() or not 1 <= number <= 10:
        raise ValueError(
            "a whole number from 1 to 10 (a probability needs a column 'occurrence probability')"
        )
    return int(number)


def as_probability(cell: Cell) -> float:
    """A number from 0 to 1; "70 %", "1/2000" and "1 in 2000" are understood.

    Raises:
        ValueError: says what was expected.
    """
    text = text_of(cell)
    if text.endswith("%"):
        number = _number(text[:-1]) / 100
    elif (ratio := _ONE_IN.match(text)) and _number(ratio[2]) > 0:
        number = _number(ratio[1]) / _number(ratio[2])
    else:
        number = _number(cell)
    if not 0 <= number <= 1:
        raise ValueError("a probability from 0 to 1")
    return number


def as_trust(cell: Cell) -> float:
    """A positive weight.

    Raises:
        ValueError: says what was expected.
    """
    number = _number(cell)
    if not 1e-6 <= number <= 1e6:
        raise ValueError("a weight above 0, 1 being usual")
    return number


def _number(cell: Cell) -> float:
    if isinstance(cell, str):
        text = unicodedata.normalize("NFKC", cell).replace(" ", "").replace("'", "").replace("−", "-")
        if "," in text and "." in text:
            thousands = min(",.", key=text.rindex)
            text = text.replace(thousands, "")
        text = text.replace(",", ".", 1)
        if "_" in text:  # float() takes 1_0 for 10
            raise ValueError("a number")
        try:
            number = float(text)
        except ValueError:
            raise ValueError("a number") from None
    else:
        try:
            number = math.nan if cell is None else float(cell)
        except OverflowError:
            raise ValueError("a number") from None
    if not math.isfinite(number):
        raise ValueError("a number")
    return number
