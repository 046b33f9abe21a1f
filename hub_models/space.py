"""How every Space of this project is served: loopback at home, nothing kept of what people upload, one look."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

try:
    from spaces import GPU as ZERO_GPU  # here, since it must come before anything touches CUDA
except ImportError:  # at home, or on a Space with a GPU of its own
    ZERO_GPU = None

if TYPE_CHECKING:
    import gradio

Function = TypeVar("Function", bound=Callable[..., object])

STYLE = Path(__file__).with_name("space.css")
FONT, FONT_OF_CODE = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")


def serve(page: gradio.Blocks, style: Path, largest_upload: str) -> None:
    """Serve a page until it is stopped; on 127.0.0.1, but for Hugging Face Spaces, where ``SPACE_ID`` is set.

    Args:
        style: its own style sheet, which comes after the shared one.
        largest_upload: of one file, such as ``8mb``.
    """
    import gradio

    # Stopped by a service it ends as by Ctrl-C, and removes what people uploaded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
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
        css_paths=[STYLE, style],
    )


def on_gpu(function: Function) -> Function:
    """Decorator: the function borrows a GPU on ZeroGPU, where the package ``spaces`` is; elsewhere nothing changes."""
    return function if ZERO_GPU is None else ZERO_GPU(function)
