"""Which of our files a model repository needs as remote code: entry files and all siblings they import."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent


def closure(entry_files: Iterable[str], folder: Path = PACKAGE) -> list[Path]:
    """The entry files and every sibling they import, directly or not, sorted by name.

    Raises:
        ValueError: an import that transformers cannot copy (see `relative_imports`).
    """
    found: set[Path] = set()
    waiting = [folder / name for name in entry_files]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [folder / f"{name}.py" for name in relative_imports(path)]
    return sorted(found)


def relative_imports(path: Path) -> set[str]:
    """Names of the sibling modules that a file imports, by its syntax tree.

    Raises:
        ValueError: a relative import that is not ``from .name import ...``: transformers copies only those.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level > 1 or not node.module or "." in node.module:
                raise ValueError(f"{path}:{node.lineno}: published code may only use 'from .name import ...'")
            names.add(node.module)
    return names
