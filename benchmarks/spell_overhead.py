"""What a shield costs: its share of a pipeline's time, against the number of references and the batch size.

    python benchmarks/spell_overhead.py [--rounds N] [--folder FOLDER]

The digits generator makes digits in 20 steps, plain and under shields of 64 to 50,000 references held in memory: the
digits it was trained on, then copies of them with noise. `--folder` adds a set of 1,281,167 references in FOLDER,
which is made if it is not there (3 GB and its index, minutes) and stays for the next run. The radius is such that 5 %
of held-out digits are inside.

Each round makes the same digits plain and under every shield, and takes the time of the whole call and, within it, of
all that the shield adds; putting it on, once for many calls, is left out. Figures are medians over rounds with
bootstrap intervals: the share (shield's time over that of its own call, so a busy machine slows both alike), the
ratio (shielded over plain call of one round) and the milliseconds a step. The generator is small, 1.1 million
parameters: a larger one spends the same milliseconds and a smaller share. Threads: OMP_NUM_THREADS. Results go to
benchmarks/results/spell_overhead.jsonl, the picture to docs/spell_overhead.png. About a minute on one core.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generated_samples import STEPS, nearest_by_brute_force

from hub_models.evaluation.bootstrap import bootstrap
from hub_models.evaluation.results import Result, Run, read_results, write_results
from hub_models.generation.checkpoints import load_pipeline, revision
from hub_models.generation.image_sets import load_images
from hub_models.generation.labelled_images import LabelledImages
from hub_models.generation.sampling import generate
from hub_models.spell import ReferenceSet, attach_spell
from hub_models.spell.spell_class_conditional import SpellClassConditionalPipeline
from hub_models.spell.spell_protected import Protected
from hub_models.spell.spell_reference_manifest import MANIFEST

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "spell_overhead.jsonl"
PICTURE = ROOT / "docs" / "spell_overhead.png"
MODEL, TASK, SEED = "digits-flow", "spell-overhead@1", 0
COUNTS, LARGE = (64, 1000, 4000, 50_000), 1_281_167
BATCHES = (1, 4, 16)
INSIDE = 0.05  # share of held-out digits within the radius
NOISE = 0.2  # standard deviation; it puts a copy about a radius away from its digit
ROUNDS = 5


class NoisyDigits:
    """Images, then copies of each with different noise, made when they are read.

    Args:
        images: shape (n, 1, H, W), in [-1, 1].
        count: references in all, at most n * n.
    """

    def __init__(self, images: torch.Tensor, count: int) -> None:
        self._images, self._count = images, count
        self._noise = NOISE * torch.randn(images.shape, generator=torch.Generator().manual_seed(SEED))

    def __len__(self) -> int:
        """Number of references."""
        return self._count

    def __getitem__(self, rows: slice) -> torch.Tensor:
        """Some references, shape (m, 1, H, W), in [-1, 1]."""
        row = torch.arange(*rows.indices(self._count))
        copy, image = row // len(self._images), row % len(self._images)
        noise = self._noise[(image + copy) % len(self._images)] * (copy > 0).view(-1, 1, 1, 1)
        return (self._images[image] + noise).clamp(-1, 1)


class Timed:
    """A pipeline, under a shield or not, with a watch on what the shield adds."""

    def __init__(
        self, references: torch.Tensor | Protected | None = None, radius: float | None = None
    ) -> None:
        self._pipe: SpellClassConditionalPipeline = load_pipeline(MODEL)
        self._inside = 0.0
        if references is not None:
            attachment: Any = attach_spell(self._pipe, references, radius)
            attachment.moved_output = self._watched(
                attachment.moved_output
            )  # before each step of the scheduler
            attachment.finish = self._watched(attachment.finish)  # after the last

    def __call__(self, labels: list[int], seed: int) -> tuple[float, float]:
        """Seconds of one call, and those of the shield in it."""
        self._inside = 0.0
        start = time.perf_counter()
        generate(self._pipe, labels, seed, steps=STEPS, batch_size=len(labels))
        return time.perf_counter() - start, self._inside

    def _watched(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            start = time.perf_counter()
            result = work(*args)
            self._inside += time.perf_counter() - start
            return result

        return watched


def prepare(folder: Path | None) -> tuple[Timed, dict[int, Timed]]:
    """The plain pipeline, and the shielded ones by their number of references."""
    training = load_images("digits", "train")
    radius = radius_of(training)
    references = NoisyDigits(training.samples(), LARGE)
    in_memory = references[: max(COUNTS)]
    shielded = {count: Timed(in_memory[:count], radius) for count in COUNTS}
    if folder is not None:
        shielded[LARGE] = Timed(open_large(folder, references), radius)
    return Timed(), shielded


def radius_of(training: LabelledImages) -> float:
    nearest = nearest_by_brute_force(load_images("digits", "test").samples(), training)
    return float(np.quantile(nearest, INSIDE))


def open_large(folder: Path, references: NoisyDigits) -> ReferenceSet:
    """The large set, ready to search; made where it is missing, continued where it is not finished."""
    finished = (folder / MANIFEST).is_file()
    large = ReferenceSet.open(folder) if finished else ReferenceSet.build(latents=references, folder=folder)
    if len(large) != len(references):
        raise SystemExit(
            f"{folder}: holds {len(large):,} references, not {len(references):,}; choose another"
        )
    large.prepare()
    return large


def measure(plain: Timed, shielded: dict[int, Timed], batch: int, rounds: int) -> Iterator[Result]:
    """Figures of one batch size for every number of references."""
    labels = [i % 10 for i in range(batch)]
    seconds = defaultdict(list)
    for number in range(rounds + 1):  # the first one is to warm up
        of_plain, _ = plain(labels, number)
        for count, timed in shielded.items():
            seconds[count].append((of_plain, *timed(labels, number)))
    run = Run(MODEL, revision(MODEL), SEED, "python benchmarks/spell_overhead.py")
    for count, lines in seconds.items():
        of_plain, total, inside = np.array(lines[1:]).T
        figures = {
            "share": bootstrap(_median_ratio, inside, total),
            "ratio": bootstrap(_median_ratio, total, of_plain),
            "milliseconds a step": bootstrap(_median_ratio, 1000 * inside, np.full(rounds, STEPS)),
        }
        shown = (f"{name} {f.value:.3g} [{f.low:.3g}, {f.high:.3g}]" for name, f in figures.items())
        print(f"{count:,} references, batch {batch}: {', '.join(shown)}", flush=True)
        for name, figure in figures.items():
            yield run.result(TASK, name, f"{count} references, batch {batch}", figure)


def _median_ratio(above: np.ndarray, below: np.ndarray) -> float:
    return float(np.median(above / below))


def draw(results: list[Result], picture: Path) -> None:
    """The share of time against the number of references, a line for each batch size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    for batch, colour in zip(BATCHES, ("#0072b2", "#e69f00", "#d55e00"), strict=True):
        lines = [r for r in results if r.metric == "share" and r.read_out.endswith(f", batch {batch}")]
        points = sorted((int(r.read_out.split()[0]), 100 * r.value, 100 * r.low, 100 * r.high) for r in lines)
        count, share, low, high = np.array(points).T
        axis.errorbar(
            count,
            share,
            [share - low, high - share],
            color=colour,
            marker="o",
            capsize=3,
            label=f"batch {batch}",
        )
    axis.set(
        xscale="log", xlabel="protected references", ylabel="share of the pipeline's time, %", ylim=(0, None)
    )
    counts = sorted({int(r.read_out.split()[0]) for r in results})
    axis.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
    axis.minorticks_off()
    axis.set_title(f"What the shield costs ({MODEL}, {STEPS} steps, {results[0].hardware})", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, help=f"of a set of {LARGE:,} references, made if missing")
    arguments = parser.parse_args()
    plain, shielded = prepare(arguments.folder)
    for batch in BATCHES:
        write_results(RESULTS, measure(plain, shielded, batch, arguments.rounds))
    draw(read_results(RESULTS), PICTURE)
    print(f"wrote {RESULTS.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
