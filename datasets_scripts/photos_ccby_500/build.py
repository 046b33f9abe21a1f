"""500 CC BY photos with ImageNet-1k labels that are not from ImageNet."""

import csv
import tarfile
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
        "author": Value("string"),
    }
)


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    def rows() -> Iterator[dict]:
        archive = data / "photos_ccby_500_256.tar"
        source = TarSource(archive)
        with tarfile.open(archive) as tar:
            table = csv.DictReader(tar.extractfile("images.csv").read().decode().splitlines())
            records = {record["ImageId"]: record for record in table}
        for i, name in enumerate(source.names):
            record = records[Path(name).stem]
            yield {
                "image": {"bytes": source.read_bytes(i), "path": None},
                "name": name,
                "label": int(record["TrueLabel"]) - 1,  # 1-based in the file
                "author": record["Author"],
            }

    return {"test": rows}
