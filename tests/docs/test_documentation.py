"""Every python block of the guide and of the README runs, page by page, and the site builds without a warning."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub_models.publishing.card_examples import python_blocks, run_block
from hub_models.publishing.repositories import export_repository

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
MARK = "-- end of a block --"
SHOWN_AFTER = re.compile(r"\n```text\n(?P<output>.*?)```", re.DOTALL)
EXPORTED = re.compile(r"\"dist/hub/([\w-]+)\"")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if python_blocks(text_of(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_examples_of_a_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    blocks = python_blocks(text_of(page))
    for name in set(EXPORTED.findall("".join(blocks))):
        export_repository(name, tmp_path / "dist/hub")
    printed = run_block(f"print({MARK!r})\n".join(blocks), tmp_path).split(MARK)
    for block, output in zip(blocks, printed, strict=True):
        shown = SHOWN_AFTER.match(text_of(page).partition(f"```python\n{block}```\n")[2])
        if shown:
            assert output.strip() == shown["output"].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_in_this_repository_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text_of(page)):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    from hub_models.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    known |= {group.name for group in app.registered_groups}
    shown = set(re.findall(r"(?:^|`)hub-models ([a-z]+)", text_of(page), re.MULTILINE))
    assert shown <= known


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed; pip install 'hub-models[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    reference = (tmp_path / "site/reference/loading/index.html").read_text(encoding="utf-8")
    assert "hub_models.zoo.load" in reference
