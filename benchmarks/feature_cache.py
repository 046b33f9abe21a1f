"""What the feature cache buys: samples per second of head training, three ways.

    python benchmarks/feature_cache.py [--quick] [--json]

Trains the paper's head (MLP D-512-512-1, batches of 128) on the pre-logits of tf_efficientnet_lite0, 224 px:

- cached: `fit_head` on a cache that `build_feature_cache` made;
- forward: the frozen backbone runs for every batch (frozen graph, channels_last, fastest micro-batch);
- joint: forward and backward of backbone and head (channels_last, fastest micro-batch).

Decoding is left out of all three. The gain is given without the pass that builds the cache and with it, over
1 to 100 passes, decoding left out and counted. Beside the cache stands what a user would write instead: a
DataLoader over an HDF5 file, as the paper's authors keep their features, or over the same rows in memory.

Rounds alternate between the contenders, so that a busy machine slows all alike; medians and ranges over rounds
are printed and, but for --quick, written to benchmarks/results/feature_cache.json. Images are generated, since
their content does not matter here. Needs h5py. About three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import feature_cache_contenders as contenders
import numpy as np
import torch
from feature_cache_contenders import BATCH, Contender
from PIL import Image

from hub_models.assembly import new_model
from hub_models.atomic import write_text
from hub_models.backbones import image_processor
from hub_models.cli.options import print_json, print_table
from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig
from hub_models.evaluation.results import hardware
from hub_models.image_sources import FolderSource, SubsetSource, read_source_image
from hub_models.training.feature_cache import build_feature_cache
from hub_models.training.targets import make_targets
from hub_models.training.views import ViewMaker, Views

RESULTS = Path(__file__).parent / "results" / "feature_cache.json"
BACKBONE = "tf_efficientnet_lite0"
MICRO_BATCHES = (16, 32, 64)
TRAINING_PASSES = 6  # of one timing of cached training; the default of a recipe
PASSES = (1, 6, 20, 100)


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
        "cached": contenders.cached(model, cache, target, TRAINING_PASSES),
        "forward": fastest(
            lambda b: contenders.forward_each_step(model.backbone, pixels, truth, b, batches=2)
        ),
        "joint": fastest(lambda b: contenders.joint(model.backbone, pixels, truth, b)),
        "cache pass": contenders.cache_pass(model, pixels, MICRO_BATCHES[0]),
        "decoding": contenders.decode(SubsetSource(photos, range(min(64, len(photos)))), maker),
        "HDF5, DataLoader": contenders.train_from_loader(from_hdf5),
        "memory, DataLoader": contenders.train_from_loader(from_memory),
        "read: cache": contenders.read_cache(model, cache),
        "read: HDF5, DataLoader": contenders.read_loader(from_hdf5),
        "read: memory, DataLoader": contenders.read_loader(from_memory),
    }
    for name in work.keys() - {"forward", "joint"}:
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


def gains(rates: dict[str, list[float]], building: float) -> list[dict[str, Any]]:
    """How many times faster cached training is, paired within each round.

    With ``passes``, the pass that builds the cache counts too; with ``decoding`` also that every pass of the
    others decodes its images, and building the cache decodes them once.
    """
    seconds = {name: 1 / np.array(values) for name, values in rates.items()}
    lines = []
    for other in ("forward", "joint"):
        name = f"cached / {other}"
        lines.append(figure(name, "times", seconds[other] / seconds["cached"]))
        for passes in PASSES:
            with_building = seconds["cache pass"] + passes * seconds["cached"]
            gain = passes * seconds[other] / with_building
            lines.append(figure(name, "times", gain) | {"passes": passes, "decoding": False})
            with_decoding = 1 / building + passes * seconds["cached"]
            gain = passes * (seconds[other] + seconds["decoding"]) / with_decoding
            lines.append(figure(name, "times", gain) | {"passes": passes, "decoding": True})
    return lines


def figure(name: str, unit: str, values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """One line: the median and the range over rounds, four digits each."""
    spread = {"value": np.median(values), "low": min(values), "high": max(values)}
    rounded = {key: float(f"{value:.4g}") for key, value in spread.items()}
    return {"name": name, "unit": unit, **rounded, "rounds": len(values)}


def run(size: Size) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="feature-cache-") as folder:
        work, building = prepare(size, Path(folder))
        rates = measure(work, size.rounds)
    figures = [figure(name, "samples/s", values) for name, values in rates.items()]
    figures += [figure("building", "samples/s", [building]), *gains(rates, building)]
    return {
        "machine": hardware(),
        "versions": {name: version(name) for name in ("torch", "timm", "numpy", "h5py", "hub-models")},
        "command": "python benchmarks/feature_cache.py",
        "backbone": BACKBONE,
        "batch": BATCH,
        "cached_views": size.images * size.views,
        "figures": figures,
    }


def print_report(report: dict[str, Any]) -> None:
    figures = report["figures"]
    rates = [f for f in figures if f["unit"] == "samples/s"]
    print(f"{report['backbone']}, batches of {report['batch']}, {report['machine']}")
    for title, lines in (
        ("Training, and what it needs", [f for f in rates if not f["name"].startswith("read")]),
        ("Reading rows in random order", [f for f in rates if f["name"].startswith("read")]),
        ("Cached training is faster by", [f for f in figures if f["unit"] == "times" and "passes" not in f]),
    ):
        unit = lines[0]["unit"]
        rows = [
            {"": f["name"], unit: f"{f['value']:,.5g}", "range": f"{f['low']:,.5g} - {f['high']:,.5g}"}
            for f in lines
        ]
        print_table(rows, title=title)
    counted = [f for f in figures if "passes" in f]
    rows = [
        {"passes": str(passes)}
        | {
            f["name"] + (", decoding counted" if f["decoding"] else ""): f"{f['value']:,.3g}"
            for f in counted
            if f["passes"] == passes
        }
        for passes in PASSES
    ]
    print_table(rows, title="The same with the pass that builds the cache, times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small run to see that it works; writes nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    report = run(QUICK if arguments.quick else FULL)
    if arguments.json:
        print_json(report)
    else:
        print_report(report)
    if not arguments.quick:
        figures = ",\n    ".join(json.dumps(line) for line in report["figures"])  # one line each, for diffs
        head = json.dumps({k: v for k, v in report.items() if k != "figures"}, indent=2)
        write_text(RESULTS, f'{head[:-2]},\n  "figures": [\n    {figures}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
