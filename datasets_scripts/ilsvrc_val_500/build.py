"""500 genuine ILSVRC-2012 validation photos of ten classes, with the ReaL re-assessed labels and votes."""

import json
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Features, Image, List, Value
from timm.data import ImageNetInfo

from hub_models.image_sources import TarSource

WORDNET_IDS = ImageNetInfo("imagenet-1k").label_names()
FEATURES = Features(
    {
        "image": Image(),
        "name": Value("string"),
        "label": ClassLabel(names=WORDNET_IDS),
        "real_labels": List(Value("int32")),
        "real_entropy": Value("float32"),
    }
)


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    def rows() -> Iterator[dict]:
        archive = data / "imagenette_224_with_real_labels.tar"
        source = TarSource(archive)
        with tarfile.open(archive) as tar:
            real = json.load(tar.extractfile("real.json"))
            raters = np.load(BytesIO(tar.extractfile("raters.npz").read()), allow_pickle=False)
            votes = vote_counts(raters["info"], raters["tensor"])
        for i, name in enumerate(source.names):
            if name.startswith("ilsvrc_val/"):
                file = Path(name).name
                real_labels = real[int(file.split("_")[-1].split(".")[0]) - 1]
                yield {
                    "image": {"bytes": source.read_bytes(i), "path": None},
                    "name": name,
                    "label": WORDNET_IDS.index(name.split("/")[1]),
                    "real_labels": real_labels,
                    "real_entropy": entropy(votes.get(file, []), real_labels),
                }

    return {"test": rows}


def vote_counts(info: np.ndarray, tensor: np.ndarray) -> dict[str, list[float]]:
    """File -> number of raters who said yes, for each label they were asked about."""
    counts: dict[str, list[float]] = {}
    for (file, _), yes in zip(info, tensor[:, :, 2].sum(axis=0), strict=True):
        counts.setdefault(str(file), []).append(float(yes))
    return counts


def entropy(votes: list[float], real_labels: list[int]) -> float:
    """Entropy in nats of the votes; without any yes, uniform over the ReaL labels; NaN where there are none."""
    weights = np.asarray(votes if sum(votes) > 0 else [1.0] * len(real_labels))
    if weights.sum() == 0:
        return float("nan")
    shares = weights[weights > 0] / weights.sum()
    return float(-(shares * np.log(shares)).sum())
