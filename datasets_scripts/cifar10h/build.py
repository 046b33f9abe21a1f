"""The CIFAR-10 test images with CIFAR-10H: how 47 to 63 people labelled each."""

import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Features, Image, List, Value

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FEATURES = Features(
    {
        "image": Image(),
        "name": Value("string"),
        "label": ClassLabel(names=CLASSES),
        "votes": List(Value("int32")),
    }
)


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    def rows() -> Iterator[dict]:
        with tarfile.open(data / "cifar10_jpeg.tar.gz") as tar:
            files = {
                m.name: tar.extractfile(m).read()
                for m in tar
                if m.isfile() and not m.name.startswith("train/")
            }
        votes = np.load(BytesIO(files["cifar10h-counts.npy"]), allow_pickle=False)
        labels = np.load(BytesIO(files["cifar10_test_labels.npy"]), allow_pickle=False)
        seen = [0] * len(
            CLASSES
        )  # the k-th image of a class folder is the k-th of that class in the original order
        for row, label in enumerate(labels.tolist()):
            name = f"test/{CLASSES[label]}/{seen[label]:04d}.jpg"
            seen[label] += 1
            yield {
                "image": {"bytes": files[name], "path": None},
                "name": name,
                "label": label,
                "votes": votes[row].astype(int).tolist(),
            }

    return {"test": rows}
