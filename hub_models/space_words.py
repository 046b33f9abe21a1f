"""What every Space says in the same way, as HTML."""

from __future__ import annotations

from html import escape


def refusal(reason: str, title: str = "That did not work") -> str:
    """What went wrong, and the next step; read aloud at once by screen readers.

    Args:
        reason: of any origin, such as the message of one of our errors; it is escaped.
        title: what cannot be had.
    """
    return f"<section class='refusal'><h2>{escape(title)}</h2><p role='alert'>{escape(reason)}</p></section>"
