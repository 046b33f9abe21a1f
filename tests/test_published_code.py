from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hub_models.families import FAMILIES
from hub_models.published_code import PACKAGE, closure, relative_imports

ALLOWED = sys.stdlib_module_names | {
    "huggingface_hub",
    "numpy",
    "PIL",
    "safetensors",
    "timm",
    "torch",
    "transformers",
}


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_the_closure_follows_imports_through_siblings_and_cycles(tmp_path: Path):
    write(
        tmp_path,
        entry="from .a import x\nimport os",
        a="def f():\n    from .b import y\n",
        b="from .a import x\nfrom .c import (\n    z,\n)",
        c="'''\nfrom .docs import nothing\n'''",
        unrelated="",
    )
    assert [path.stem for path in closure(["entry.py"], tmp_path)] == ["a", "b", "c", "entry"]


@pytest.mark.parametrize("line", ["from . import a", "from ..a import x", "from .a.b import x"])
def test_an_import_that_transformers_cannot_copy_is_refused(tmp_path: Path, line: str):
    write(tmp_path, entry=f"\n{line}\n")
    with pytest.raises(ValueError, match=r"entry\.py:2: published code may only use"):
        relative_imports(tmp_path / "entry.py")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.task)
def test_published_code_imports_only_what_every_user_has(family):
    from transformers.dynamic_module_utils import get_imports

    for path in closure(family.entry_files):
        assert set(get_imports(path)) <= ALLOWED, path.name


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.task)
def test_entry_files_import_every_sibling_directly_and_transformers_finds_the_same(family):
    """Older loaders copy direct imports only; the scanner of transformers is a regular expression."""
    from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports

    for entry in family.entry_files:
        siblings = {path.stem for path in closure([entry])} - {Path(entry).stem}
        scanned = {Path(name).stem for name in get_relative_import_files(PACKAGE / entry)}
        assert set(get_relative_imports(PACKAGE / entry)) == siblings == scanned
