"""The von Mises-Fisher maths: how exact against mpmath and scipy, how fast against the Ulrich/Wood scheme and scipy.

    python benchmarks/vmf.py [--quick] [--json]

- Accuracy: the largest error of log C_D, A_D and A_D' over D from 2 to 4096 and kappa from 1e-3 to 1e6 against
  forty digits, float64 and float32, and where SciPy's scaled Bessel function gives no finite number.
- Draws: microseconds a draw with 256 distributions and 16 draws of each (and the many draws of a circle that the
  controlled experiment of MCInfoNCE needs), against the scheme of Ulrich and Wood written two ways
  (benchmarks/vmf_contenders.py), SciPy, and the Gaussian numbers alone; without and with gradients.
- Normaliser: nanoseconds a value, against SciPy and mpmath.

Contenders take turns within rounds; medians over rounds of times and of ratios paired within rounds. Processor
time of one thread, so that a busy machine disturbs less. Writes benchmarks/results/vmf.json, but for --quick.
About a minute and a half.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import torch
from report_files import provenance, run_as_command
from scipy import special
from torch import Tensor
from vmf_contenders import scipy_rows, wood_householder, wood_projected

from hub_models.cli.options import print_table
from hub_models.von_mises_fisher import log_normalizer, mean_resultant_length, sample

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "vmf.json"
DIMS = (2, 3, 8, 16, 42, 128, 512, 4096)
CONCENTRATIONS = (1e-3, 0.1, 1.0, 10.0, 30.0, 100.0, 1e3, 1e4, 1e6)
#: D, distributions, draws of each, concentration.
SETTINGS = (
    (2, 256, 16, 20.0),
    (3, 256, 16, 20.0),
    (4, 256, 16, 20.0),
    (8, 256, 16, 20.0),
    (16, 256, 16, 30.0),
    (64, 256, 16, 50.0),
    (128, 256, 16, 50.0),
    (512, 256, 16, 100.0),
    (512, 256, 16, 1000.0),
    (2, 1536, 512, 20.0),
)
OURS, PROJECTED, HOUSEHOLDER = "hub_models", "Ulrich/Wood, projected", "Ulrich/Wood, Householder"
Work = Callable[[], object]


def accuracy(dims: tuple[int, ...]) -> list[dict[str, Any]]:
    """Largest errors by dimension, relative or absolute, whichever is smaller."""
    mpmath.mp.dps = 40
    lines = []
    for dim in dims:
        line: dict[str, Any] = {"dim": dim}
        for dtype in (torch.float64, torch.float32):
            kappa = torch.tensor(CONCENTRATIONS, dtype=dtype, requires_grad=True)
            length = mean_resultant_length(kappa, dim)
            (slope,) = torch.autograd.grad(length.sum(), kappa)
            truth = np.array([_truth(mpmath.mpf(k), dim) for k in kappa.tolist()]).T
            measured = (log_normalizer(kappa, dim), length, slope)
            for name, values, exact in zip(("log_c", "a", "a_slope"), measured, truth, strict=True):
                errors = [
                    float(abs(mpmath.mpf(v) - e) / max(1, abs(e)))
                    for v, e in zip(values.tolist(), exact, strict=True)
                ]
                line[f"{name}_{str(dtype)[-2:]}"] = float(f"{max(errors):.2g}")
        with np.errstate(divide="ignore"):
            line["scipy_not_finite"] = int((~np.isfinite(_scipy_log_normalizer(CONCENTRATIONS, dim))).sum())
        lines.append(line)
    return lines


def _truth(kappa: mpmath.mpf, dim: int) -> list[mpmath.mpf]:
    half = mpmath.mpf(dim) / 2
    bessel = mpmath.besseli(half - 1, kappa)
    length = mpmath.besseli(half, kappa) / bessel
    log_c = (half - 1) * mpmath.log(kappa) - half * mpmath.log(2 * mpmath.pi) - mpmath.log(bessel)
    return [log_c, length, 1 - length**2 - (dim - 1) * length / kappa]


def _scipy_log_normalizer(kappa: Any, dim: int) -> np.ndarray:
    kappa, half = np.asarray(kappa), dim / 2
    log_bessel = np.log(special.ive(half - 1, kappa)) + kappa
    return (half - 1) * np.log(kappa) - half * np.log(2 * np.pi) - log_bessel


def samplers(dim: int, rows: int, n: int, kappa: float) -> tuple[dict[str, Work], dict[str, Work]]:
    """Draws without and with gradients, by contender."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=-1)
    concentration = torch.full((rows,), kappa)
    weights = torch.randn(n, rows, dim, generator=generator)
    schemes = {OURS: sample, PROJECTED: wood_projected, HOUSEHOLDER: wood_householder}

    def plain(scheme: Callable[[Tensor, Tensor, int], Tensor]) -> Work:
        return lambda: scheme(mean, concentration, n)

    def differentiated(scheme: Callable[[Tensor, Tensor, int], Tensor]) -> Work:
        leaves = (mean.clone().requires_grad_(), concentration.clone().requires_grad_())
        return lambda: torch.autograd.grad(scheme(*leaves, n), leaves, weights)

    without = {name: plain(scheme) for name, scheme in schemes.items()}
    without["Gaussian numbers alone"] = lambda: torch.randn(n, rows, dim)
    if rows * n <= 4096:
        without["scipy"] = lambda: scipy_rows(mean, concentration, n)
    return without, {name: differentiated(scheme) for name, scheme in schemes.items()}


def normalizers(count: int) -> dict[str, Work]:
    """log C_512 of many concentrations; mpmath of the first twenty."""
    kappa = torch.linspace(20, 2000, count, dtype=torch.float64)
    return {
        OURS: lambda: log_normalizer(kappa, 512),
        "scipy": lambda: _scipy_log_normalizer(kappa.numpy(), 512),
        "mpmath": lambda: [_truth(mpmath.mpf(k), 512)[0] for k in kappa[:20].tolist()],
    }


def measure(work: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in each round."""
    for contender in work.values():
        contender()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.thread_time()
            work[name]()
            seconds[name].append(time.thread_time() - start)
    return seconds


def lines_of(seconds: dict[str, list[float]], counts: dict[str, int], **setting: Any) -> list[dict[str, Any]]:
    """Seconds a value, and how many times faster ours is, with the range over rounds."""
    ours = np.array(seconds[OURS]) / counts[OURS]
    lines = []
    for name, values in seconds.items():
        each = np.array(values) / counts[name]
        ratio = each / ours
        figures = (np.median(each), np.median(ratio), *np.quantile(ratio, [0.1, 0.9]))
        keys = ("seconds_each", "ratio", "ratio_low", "ratio_high")
        lines.append(
            setting | {"name": name} | {k: float(f"{v:.4g}") for k, v in zip(keys, figures, strict=True)}
        )
    return lines


def run(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    rounds = 3 if quick else 21
    draws = []
    for dim, rows, n, kappa in SETTINGS[:2] if quick else SETTINGS:
        for gradients, work in zip((False, True), samplers(dim, rows, n, kappa), strict=True):
            # SciPy takes a second, and the large case does for each contender: fewer rounds say as much.
            seconds = measure(work, min(rounds, 5) if rows * n > 4096 else rounds)
            setting = {"dim": dim, "distributions": rows, "draws": n, "kappa": kappa, "gradients": gradients}
            draws += lines_of(seconds, dict.fromkeys(seconds, rows * n), **setting)
    count = 1000 if quick else 100_000
    counts = {OURS: count, "scipy": count, "mpmath": 20}
    return {
        **provenance("python benchmarks/vmf.py", "torch", "numpy", "scipy", "mpmath"),
        "accuracy": accuracy(DIMS[:2] if quick else DIMS),
        "draws": draws,
        "normalizer": lines_of(measure(normalizers(count), 5), counts),
    }


def print_report(report: dict[str, Any]) -> None:
    rows = [{key: f"{value:.2g}" for key, value in line.items()} for line in report["accuracy"]]
    print_table(rows, title="Largest error against forty digits (log C, A, A'; float64, float32)")
    rows = [
        {
            "": f"D {line['dim']}, {line['distributions']} x {line['draws']}, kappa {line['kappa']:g}",
            "gradients": "yes" if line["gradients"] else "no",
            "by": line["name"],
            "us/draw": f"{1e6 * line['seconds_each']:.3g}",
            "ours is faster by": "{ratio:.3g}x ({ratio_low:.3g} - {ratio_high:.3g})".format(**line),
        }
        for line in report["draws"]
    ]
    print_table(rows, title=f"Draws, {report['machine']}")
    rows = [
        {
            "": line["name"],
            "ns/value": f"{1e9 * line['seconds_each']:.3g}",
            "ours is faster by": f"{line['ratio']:.3g}x",
        }
        for line in report["normalizer"]
    ]
    print_table(rows, title="log C, D = 512")


if __name__ == "__main__":
    run_as_command(__doc__, run, print_report, RESULTS)
