"""What the feature cache buys: samples per second of head training, three ways.

    python benchmarks/feature_cache.py [--quick] [--json]

Trains the paper's head (MLP D-512-512-1, batches of 128) on the pre-logits of tf_efficientnet_lite0, 224 px:

- from the feature cache: `fit_head` on a cache that `build_feature_cache` made;
- forward pass each step: the frozen backbone runs for every batch (frozen graph, channels_last);
- joint training: forward and backward of backbone and head (channels_last).

The last two use the micro-batch that is fastest for them, and decoding is left out of all three. The gain is
given without the pass that builds the cache and with it, over 1 to 100 passes, decoding left out and counted.
Beside the cache stands what a user would write instead: a DataLoader over an HDF5 file, as the paper's authors
keep their features, or over the same rows in memory.

Rounds alternate between the contenders, so that a busy machine slows all alike; medians and ranges over
rounds are printed and, but for --quick, written to benchmarks/results/feature_cache.json. Images are
generated, since their content does not matter here. Needs h5py. About three minutes on two cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import feature_cache_contenders as contenders
import numpy as np
import torch
from feature_cache_contenders import BATCH, Contender
from PIL import Image
from report_files import provenance, run_as_command

from hub_models.assembly import new_model
from hub_models.backbones import image_processor
from hub_models.cli.options import print_table
from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.image_sources import FolderSource, SubsetSource, read_source_image
from hub_models.training.feature_cache import build_feature_cache
from hub_models.training.targets import make_targets
from hub_models.training.views import ViewMaker, Views

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "feature_cache.json"
BACKBONE = "tf_efficientnet_lite0"
MICRO_BATCHES = (16, 32, 64)
TRAINING_PASSES = 6  # of one timing of cached training; the default of a recipe
PASSES = (1, 6, 20, 100)
CACHED, FORWARD, JOINT = "from the feature cache", "forward pass each step", "joint training"
CACHE_PASS, DECODING, READ = "cache pass without decoding", "decoding and cropping", "read: feature cache"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    images: int
    views: int
    rounds: int


FULL = Size(images=512, views=12, rounds=5)
QUICK = Size(images=32, views=8, rounds=2)


def write_photos(folder: Path, count: int) -> FolderSource:
    """Generated JPEG files of 341 x 256 pixels: smooth colours with some grain."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((341, 256), Image.Resampling.BICUBIC), dtype=np.float32)
        grainy = smooth + generator.normal(0, 8, smooth.shape)
        Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04d}.jpg", quality=90)
    return FolderSource(folder)


def prepare(size: Size, folder: Path) -> tuple[dict[str, Contender], float]:
    """The contenders by name, each warmed up, and how many views a second went into the cache."""
    torch.manual_seed(0)
    model = new_model(ImageUncertaintyConfig(backbone=BACKBONE), "package")
    processor = image_processor(BACKBONE)
    photos = write_photos(folder / "photos", size.images)
    labels = np.random.default_rng(0).integers(0, model.config.num_classes, len(photos))

    start = time.perf_counter()
    views = Views(crops=size.views - 1)
    cache = build_feature_cache(model, processor, photos, views, folder / "cache", show_progress=False)
    losses = make_targets({"cross_entropy"}, model, cache, np.arange(len(photos)), labels.tolist(), seed=0)
    building = len(photos) * size.views / (time.perf_counter() - start)

    maker = ViewMaker(processor, views)
    first = [maker.make(read_source_image(photos, i % len(photos)), "", 0) for i in range(BATCH)]
    pixels = torch.stack(first).contiguous(memory_format=torch.channels_last)
    truth = torch.from_numpy(labels)[torch.arange(BATCH) % len(labels)]
    target = losses["cross_entropy"]
    hdf5 = folder / "features.hdf5"
    contenders.write_hdf5(hdf5, cache.pooled)
    from_hdf5, from_memory = contenders.hdf5_loader(hdf5, target), contenders.memory_loader(hdf5, target)
    work = {
        CACHED: contenders.cached(model, cache, target, TRAINING_PASSES),
        FORWARD: fastest(lambda b: contenders.forward_each_step(model.backbone, pixels, truth, b, batches=2)),
        JOINT: fastest(lambda b: contenders.joint(model.backbone, pixels, truth, b)),
        "HDF5 file, DataLoader": contenders.train_from_loader(from_hdf5),
        "tensors in memory, DataLoader": contenders.train_from_loader(from_memory),
        CACHE_PASS: contenders.cache_pass(model, pixels),
        DECODING: contenders.decode(SubsetSource(photos, range(min(64, len(photos)))), maker),
        READ: contenders.read_cache(model, cache),
        "read: HDF5 file, DataLoader": contenders.read_loader(from_hdf5),
        "read: tensors in memory, DataLoader": contenders.read_loader(from_memory),
    }
    for name in work.keys() - {FORWARD, JOINT}:
        work[name]()
    return work, building


def fastest(contender: Callable[[int], Contender]) -> Contender:
    """The contender in the micro-batch that suits it best, by one run of each after a warm-up."""
    candidates = [contender(size) for size in MICRO_BATCHES]
    candidates[0]()
    return max(candidates, key=rate)


def rate(work: Contender) -> float:
    """Samples per second of one run."""
    start = time.perf_counter()
    samples = work()
    return samples / (time.perf_counter() - start)


def measure(work: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Rates of every contender in each round; each round starts with another one."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    for number in range(rounds):
        for name in names[number:] + names[:number]:
            rates[name].append(rate(work[name]))
    return rates


def row(name: str, values: list[float], reference: list[float] | None = None) -> dict[str, Any]:
    """Median and range over rounds; ``ratio``: how many times faster the reference is, paired within rounds."""
    ratio = np.array(reference) / np.array(values) if reference else None
    return {
        "name": name,
        "samples_per_second": _four_digits(np.median(values)),
        "low": _four_digits(min(values)),
        "high": _four_digits(max(values)),
        "ratio": None if ratio is None else _four_digits(np.median(ratio)),
        "ratio_low": None if ratio is None else _four_digits(ratio.min()),
        "ratio_high": None if ratio is None else _four_digits(ratio.max()),
        "rounds": len(values),
    }


def with_building(rates: dict[str, list[float]], building: float) -> list[dict[str, Any]]:
    """How many times faster cached training is if the pass that builds the cache counts too, medians.

    With ``decoding``, every pass of the others decodes its images, and building the cache decodes them once.
    """
    seconds = {name: 1 / np.array(values) for name, values in rates.items()}
    lines = []
    for decoding in (False, True):
        once = 1 / building if decoding else seconds[CACHE_PASS]
        each = seconds[DECODING] if decoding else 0.0
        for passes in PASSES:
            gain = {
                key: passes * (seconds[other] + each) / (once + passes * seconds[CACHED])
                for key, other in (("forward", FORWARD), ("joint", JOINT))
            }
            medians = {key: _four_digits(np.median(values)) for key, values in gain.items()}
            lines.append({"passes": passes, "decoding": decoding, **medians})
    return lines


def run(size: Size) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="feature-cache-") as folder:
        work, building = prepare(size, Path(folder))
        rates = measure(work, size.rounds)
    readers = [name for name in rates if name.startswith("read")]
    parts = (CACHE_PASS, DECODING)
    trainers = [name for name in rates if name not in (*readers, *parts)]
    return {
        **provenance("python benchmarks/feature_cache.py", "torch", "timm", "numpy", "h5py"),
        "backbone": BACKBONE,
        "batch": BATCH,
        "cached_views": size.images * size.views,
        "rows": [row(name, rates[name], None if name == CACHED else rates[CACHED]) for name in trainers],
        "reading": [row(name, rates[name], None if name == READ else rates[READ]) for name in readers],
        "parts": [*(row(name, rates[name]) for name in parts), row("building the cache, all in", [building])],
        "with_building": with_building(rates, building),
    }


def print_report(report: dict[str, Any]) -> None:
    print(f"{report['backbone']}, batches of {report['batch']}, {report['machine']}")
    for key, title in (
        ("rows", "Training the head"),
        ("reading", "Reading cached rows in random order"),
        ("parts", "What building the cache takes"),
    ):
        table = [
            {
                "": line["name"],
                "samples/s": f"{line['samples_per_second']:,.5g}",
                "range": f"{line['low']:,.5g} - {line['high']:,.5g}",
            }
            for line in report[key]
        ]
        if key != "parts":
            for cells, line in zip(table, report[key], strict=True):
                ratio = (line["ratio"], line["ratio_low"], line["ratio_high"])
                cells["cache is faster by"] = (
                    "" if None in ratio else "{:,.4g}x ({:,.4g} - {:,.4g})".format(*ratio)
                )
        print_table(table, title=title)
    table = [
        {"passes": str(line["passes"]), "decoding": "counted" if line["decoding"] else "left out"}
        | {f"than {key}": f"{line[key]:,.3g}x" for key in ("forward", "joint")}
        for line in report["with_building"]
    ]
    print_table(table, title="Cached training with the pass that builds the cache is faster")


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    run_as_command(__doc__, lambda quick: run(QUICK if quick else FULL), print_report, RESULTS)
