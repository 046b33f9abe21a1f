"""CUB-200-2010 birds: classes 0-99 for choosing between recipes (dev), 100-199 for the zero-shot test."""

from collections.abc import Callable, Iterator
from pathlib import Path

from datasets import Features, Image, Value

from hub_models.image_sources import TarSource

FEATURES = Features({"image": Image(), "name": Value("string"), "label": Value("int32")})
FIRST_TEST_CLASS = 100


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    def rows(test: bool) -> Iterator[dict]:
        source = TarSource(data / "cub200_2010_224.tar")
        for i, name in enumerate(source.names):
            label = int(name.split(".")[0]) - 1
            if (label >= FIRST_TEST_CLASS) == test:
                yield {"image": {"bytes": source.read_bytes(i), "path": None}, "name": name, "label": label}

    return {"dev": lambda: rows(test=False), "test": lambda: rows(test=True)}
