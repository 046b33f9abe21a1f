"""3,500 ImageNet-1k training photos: one of each class and 250 of each Imagenette class."""

from collections.abc import Callable, Iterator
from pathlib import Path

from datasets import ClassLabel, Features, Image, Value
from timm.data import ImageNetInfo

from hub_models.image_sources import TarSource

WORDNET_IDS = ImageNetInfo("imagenet-1k").label_names()
FEATURES = Features(
    {
        "image": Image(),
        "name": Value("string"),
        "label": ClassLabel(names=WORDNET_IDS),
        "part": Value("string"),
    }
)
NUMBER = {wordnet_id: i for i, wordnet_id in enumerate(WORDNET_IDS)}


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    def rows() -> Iterator[dict]:
        sample = TarSource(data / "imagenet_sample_1000_256.tar")
        for i, name in enumerate(sample.names):
            yield _row(sample, i, name, NUMBER[name.split("_")[0]], "sample")
        nette = TarSource(data / "imagenette_224_with_real_labels.tar")
        for i, name in enumerate(nette.names):
            if name.startswith("train/"):
                yield _row(nette, i, name, NUMBER[name.split("/")[1]], "imagenette")

    return {"train": rows}


def _row(source: TarSource, index: int, name: str, label: int, part: str) -> dict:
    return {
        "image": {"bytes": source.read_bytes(index), "path": None},
        "name": name,
        "label": label,
        "part": part,
    }
