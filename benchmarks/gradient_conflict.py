"""Does a loss predictor that shares its backbone with a classifier harm both? (PVU, section 3)

    HUB_MODELS_DATA=... python benchmarks/gradient_conflict.py

Trains a small ResNet from scratch on 10,000 CIFAR-10 training images with a loss predictor beside the
classifier: with the stop-gradient, and without it at two weights of the loss predictor, three seeds each.
After each epoch it measures, on 2,000 other training images, accuracy and how well the predicted loss tells
wrong predictions from right ones. (The CIFAR-10 test images are kept for CIFAR-10H.) About ten minutes on one
core; what is finished stays in benchmarks/results/gradient_conflict.jsonl, and a cut-off run goes on.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from hub_models.atomic import write_text
from hub_models.evaluation.ranking import auroc
from hub_models.paths import data_dir
from hub_models.training.gradient_conflict import JointModel, predict, train_jointly

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gradient_conflict.jsonl"
PICTURE = ROOT / "docs" / "gradient_conflict.png"
COMMAND = "python benchmarks/gradient_conflict.py"
MODEL = "resnet10t at half width, stem for 32 px"

SEEDS = (0, 1, 2)
EPOCHS = 10
#: (stop_gradient, lambda). With the stop-gradient the weight cannot change the backbone, so one will do.
SETTINGS = ((True, 1.0), (False, 1.0), (False, 10.0))
TRAIN, HELD_OUT = 1000, 200  # images of each of the ten classes


def load_cifar(archive: Path, first: int, count: int) -> tuple[Tensor, Tensor]:
    """Training images ``first`` to ``first + count`` of each class: uint8 (N, 3, 32, 32) and labels (N,)."""
    rows = []
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            split, *place = member.name.removeprefix("./").split("/")
            if split != "train" or not member.isfile():
                continue
            kind, number = place[0], int(Path(place[1]).stem)
            if first <= number < first + count:
                content = tar.extractfile(member)
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as image:
                    rows.append((kind, number, np.asarray(image.convert("RGB"))))
    rows.sort(key=lambda row: row[:2])
    classes = sorted({kind for kind, _, _ in rows})
    images = torch.from_numpy(np.stack([pixels for _, _, pixels in rows])).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor([classes.index(kind) for kind, _, _ in rows])


def small_resnet(num_classes: int) -> nn.Module:
    backbone = timm.create_model(
        "resnet10t", num_classes=num_classes, stem_width=16, channels=(32, 64, 128, 256)
    )
    backbone.maxpool = nn.Identity()  # at 32 px the stride of the stem is enough
    return backbone.to(memory_format=torch.channels_last)


def epochs_of(
    setting: tuple[bool, float],
    seed: int,
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    epochs: int,
) -> Iterator[dict]:
    """A line for each epoch of one training."""
    stop_gradient, weight = setting
    torch.manual_seed(seed)
    model = JointModel(small_resnet(int(train[1].max()) + 1), stop_gradient)
    images, labels = held_out
    for epoch in train_jointly(model, *train, weight=weight, epochs=epochs, seed=seed):
        predicted, loss = predict(model, images)
        wrong = (predicted != labels).numpy()
        yield {
            "model": MODEL,
            "seed": seed,
            "stop_gradient": stop_gradient,
            "lambda": weight,
            "epoch": epoch,
            "accuracy": round(1 - float(wrong.mean()), 4),
            "auroc": round(auroc(loss.numpy(), wrong), 4),
            "n": len(labels),
            "command": COMMAND,
        }


def run(
    results: Path,
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    seeds: tuple[int, ...],
    epochs: int,
) -> list[dict]:
    """Every training that is not in ``results`` yet; the file is rewritten after each epoch."""
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in seeds:
        for setting in SETTINGS:
            of_this = [r for r in lines if (r["stop_gradient"], r["lambda"], r["seed"]) == (*setting, seed)]
            if len(of_this) == epochs:
                continue
            lines = [r for r in lines if r not in of_this]  # cut off: its epochs come out the same again
            for line in epochs_of(setting, seed, train, held_out, epochs):
                lines.append(line)
                write_text(results, "\n".join(map(json.dumps, lines)) + "\n")
                print(
                    json.dumps({k: v for k, v in line.items() if k not in ("model", "command")}), flush=True
                )
    return lines


def draw(lines: list[dict], picture: Path) -> None:
    """Accuracy and error-AUROC against epochs: mean over seeds, band from the lowest to the highest seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {"accuracy": "Accuracy of the classifier", "auroc": "AUROC of the predicted loss for errors"}
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    seeds = len({line["seed"] for line in lines})
    for (stop_gradient, weight), colour in zip(SETTINGS, ("#0072b2", "#e69f00", "#d55e00"), strict=True):
        label = "with stop-gradient" if stop_gradient else f"without, $\\lambda$ = {weight:g}"
        of_this = [r for r in lines if (r["stop_gradient"], r["lambda"]) == (stop_gradient, weight)]
        epochs = sorted({r["epoch"] for r in of_this})
        for axis, metric in zip(axes, titles, strict=True):
            values = np.array([[r[metric] for r in of_this if r["epoch"] == epoch] for epoch in epochs])
            axis.plot(epochs, values.mean(axis=1), color=colour, label=label)
            axis.fill_between(epochs, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, lw=0)
    for axis, title in zip(axes, titles.values(), strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, title="loss predictor", loc="lower right")
    figure.suptitle(
        f"Classifier and loss predictor on one backbone ({MODEL}; CIFAR-10, {lines[0]['n']:,} held-out "
        f"images, {seeds} seeds: mean and range)",
        fontsize=9,
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)


def main() -> None:
    data = data_dir()
    if data is None:
        sys.exit("set HUB_MODELS_DATA to the folder that holds cifar10_jpeg.tar.gz")
    train, held_out = (
        load_cifar(data / "cifar10_jpeg.tar.gz", first, count)
        for first, count in ((0, TRAIN), (TRAIN, HELD_OUT))
    )
    draw(run(RESULTS, train, held_out, SEEDS, EPOCHS), PICTURE)
    print(f"wrote {RESULTS.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
