"""How every Space of this project is served: loopback at home, nothing kept of what people upload, one look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio

FONT, FONT_OF_CODE = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")


def serve(page: gradio.Blocks, style: Path, largest_upload: str) -> None:
    """Serve a page until it is stopped; on 127.0.0.1, but for Hugging Face Spaces, where ``SPACE_ID`` is set.

    Args:
        style: its style sheet.
        largest_upload: of one file, such as ``8mb``.
    """
    import gradio

    page.queue(max_size=32).launch(
        server_name="0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1",
        max_file_size=largest_upload,
        footer_links=["gradio", "settings"],
        run_history=False,  # nothing of what people upload is kept
        theme=gradio.themes.Default(
            primary_hue="teal",
            secondary_hue="teal",
            neutral_hue="slate",
            font=FONT,
            font_mono=FONT_OF_CODE,
        ),
        css_paths=style,
    )
