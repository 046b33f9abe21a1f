"""Stanford Cars training photos: classes 0-97 for choosing between recipes (dev), 98-195 for the zero-shot test."""

import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from datasets import Features, Image, Value
from scipy.io import loadmat

from hub_models.image_sources import TarSource

FEATURES = Features({"image": Image(), "name": Value("string"), "label": Value("int32")})
FIRST_TEST_CLASS = 98


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    def rows(test: bool) -> Iterator[dict]:
        archive = data / "cars196_train_128x96.tar"
        source = TarSource(archive)
        with tarfile.open(archive) as tar:
            mat = loadmat(BytesIO(tar.extractfile("devkit/cars_train_annos.mat").read()))
        labels = {str(a["fname"][0]): int(a["class"][0, 0]) - 1 for a in mat["annotations"][0]}
        for i, name in enumerate(source.names):
            label = labels[Path(name).name]
            if (label >= FIRST_TEST_CLASS) == test:
                yield {"image": {"bytes": source.read_bytes(i), "path": None}, "name": name, "label": label}

    return {"dev": lambda: rows(test=False), "test": lambda: rows(test=True)}
