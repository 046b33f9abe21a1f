"""Many visitors at once, each Space a real process: right answers, nobody else's, flat memory, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ..generated_images import draw_image
from .conftest import SPACES
from .serving import served
from .visitor import Visitor

AT_A_TIME = 8
VISITORS = 25  # who ask two questions each
LARGEST_GROWTH = 48 << 20  # bytes, between the second third of the visitors and the last
TABLE = """\
process step,cause,failure,occurrence,trigger,semantics
mixing,wear {number},crack,7,6,diez
mixing,crack,leak,9,6,diez
"""


@contextmanager
def loaded(name: str, folder: Path, largest: int) -> Iterator[tuple[str, psutil.Process]]:
    """A Space's address and process; when it ends, that it refused what is too large, and removed what it took."""
    app = SPACES / name / "app.py"
    uploads = folder / "uploads"
    (folder / "large.png").write_bytes(bytes(largest + (1 << 20)))
    with served(app, folder) as address:
        [server] = (each for each in psutil.Process().children() if str(app) in each.cmdline())
        own = files(uploads)
        yield address, server
        assert Visitor(address).is_refused(folder / "large.png")
    assert files(uploads) <= own


def files(folder: Path) -> set[Path]:
    """Those that hold something: gradio leaves an empty, nameless one behind for each upload that it reads."""
    return {path for path in folder.rglob("*") if path.is_file() and path.stat().st_size}


def visit_all(count: int, server: psutil.Process, visit: Callable[[int], None]) -> None:
    """All visits, eight at a time, and that the last third needs no more memory than the second.

    The first third warms up: every thread of the server makes its own pool of memory.
    """
    resident = []
    with ThreadPoolExecutor(AT_A_TIME) as visitors:
        for third in range(3):
            list(visitors.map(visit, range(count * third // 3, count * (third + 1) // 3)))
            resident.append(server.memory_info().rss)
    assert resident[2] - resident[1] < LARGEST_GROWTH


@pytest.mark.browser
def test_fifty_questions_to_safe_retrieval(tmp_path: Path) -> None:
    photos = [tmp_path / f"photo-{number}.png" for number in range(5)]
    for number, path in enumerate(photos):
        draw_image(number, side=120 + 40 * number).save(path)

    def ask(visitor: Visitor, photo: Path, limit: int) -> list[str]:
        mode = "Nearest photos"
        seen = visitor.ask("Photo", "change", visitor.upload(photo), mode, 90, 95)["result"]
        # The photo is not sent again: the server must have kept that of this visitor.
        return [seen, visitor.ask("Limit (%)", "change", None, mode, limit, 95)["result"]]

    with loaded("safe_retrieval", tmp_path, 32 << 20) as (address, server):
        alone = [ask(Visitor(address), photo, 40 + number) for number, photo in enumerate(photos)]
        for number, (seen, moved) in enumerate(alone):
            assert f"photo-{number}.png" in seen
            assert "limit 90%" in seen
            assert f"limit {40 + number}%" in moved

        def visit(number: int) -> None:
            which = number % len(photos)
            assert ask(Visitor(address), photos[which], 40 + which) == alone[which]

        visit_all(VISITORS, server, visit)


@pytest.mark.browser
def test_fifty_questions_to_root_cause_each_about_an_own_table(tmp_path: Path) -> None:
    def visit(number: int) -> None:
        table = tmp_path / f"table-{number}.csv"
        table.write_text(TABLE.format(number=number))
        visitor = Visitor(address)
        opened = visitor.ask("FMEA table", "change", visitor.upload(table), "this cause alone (Diez)")
        assert f"{table.name}: 3 failures" in opened["loaded"]
        # The table is not sent again, and its failures are no choices in anybody else's session.
        page = visitor.ask("Present", "input", None, [f"wear {number}", "leak"], [])["result"]
        assert f"wear {number}" in page
        others = {f"wear {other}" for other in range(VISITORS)} - {f"wear {number}"}
        assert not [other for other in others if f"{other}<" in page or f"{other}," in page]

    with loaded("root_cause", tmp_path, 8 << 20) as (address, server):
        visit_all(VISITORS, server, visit)


@pytest.mark.browser
@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_generations_at_once_are_those_that_were_asked_for(count: int, tmp_path: Path) -> None:
    pages: dict[tuple[str, int], set[str]] = {}

    def visit(number: int) -> None:
        digit, seed = str(number % 5), number % 5 + 100  # each asked for by several visitors
        page = Visitor(address).ask(
            "Generate", "click", model, digit, seed, "all its training digits", None, None, 5.0
        )["result"]
        assert f"Digit {digit}, seed {seed};" in page
        pages.setdefault((digit, seed), set()).add(page)

    model = "Learnt 64 digits by heart"
    with loaded("shielded_generation", tmp_path, 8 << 20) as (address, server):
        visit_all(count, server, visit)
    assert len(pages) == 5
    assert all(len(same) == 1 for same in pages.values())  # to the last pixel, whoever else was served
