"""Modified Bessel functions of the first kind for directional statistics: log I_v and I_{v+1} / I_v.

Published code. Everything is written in y = kappa^2, since

    log_scaled_bessel(y, v) = log( I_v(kappa) / kappa^v )    and    2 d/dy of it = I_{v+1}(kappa) / (kappa I_v(kappa))

are smooth in y down to y = 0, where logarithms and quotients in kappa are not. Orders v from 0 to some thousands,
kappa from 0 to 1e6 and beyond, without a fitted table and without a call into SciPy:

- at a high order u, Debye's uniform expansion (DLMF 10.41), its coefficients made by exact recursion and taken
  as the series of the logarithm, so that every derivative is a polynomial in t = u / sqrt(u^2 + y);
- from there down to the order asked for, r_{u-1} = 1 / (2u + y r_u) with r_u = I_{u+1} / (kappa I_u) and the first
  two derivatives of that line: the direction in which errors shrink.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

#: The expansion is used from this order on, with this many terms: what it leaves out is below 1e-15.
EXPANSION_ORDER = 20
EXPANSION_TERMS = 12
#: Derivatives in y that have a formula here: three, that is two of the ratio.
HIGHEST_DERIVATIVE = 3

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def log_scaled_bessel(squared: Tensor, order: float) -> Tensor:
    """log( I_v(kappa) / kappa^v ), elementwise, differentiable three times in ``squared``.

    Args:
        squared: y = kappa^2, at least 0. Computed in float64 and returned in the dtype given.
        order: v, at least 0.
    """
    return _Derivative.apply(squared, order, 0)


def bessel_ratio(squared: Tensor, order: float) -> Tensor:
    """I_{v+1}(kappa) / (kappa I_v(kappa)), elementwise, differentiable twice in ``squared``; arguments as above."""
    return 2 * _Derivative.apply(squared, order, 1)


def bessel_ratio_slope(squared: Tensor, order: float) -> Tensor:
    """Derivative of `bessel_ratio` in ``squared``, differentiable once more."""
    return 2 * _Derivative.apply(squared, order, 2)


class _Derivative(torch.autograd.Function):
    """The n-th derivative of `log_scaled_bessel` in y; its own gradient is the next one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(squared: Tensor, order: float, derivative: int) -> Tensor:
        if derivative > HIGHEST_DERIVATIVE:
            raise NotImplementedError(f"no formula for derivative {derivative} of a Bessel function")
        y = squared.double()
        start = order + max(0, math.ceil(EXPANSION_ORDER - order))
        ratios = _expanded_ratio(y, start, derivative)
        product = torch.ones_like(y)
        for step in range(round(start - order)):
            ratios = _ratio_one_order_lower(ratios, y, start - step)
            product = product * ratios[0]
        value = _expanded_log(y, start) - product.log() if derivative == 0 else ratios[derivative - 1] / 2
        return value.to(squared.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, int], output: Tensor) -> None:
        squared, ctx.order, ctx.derivative = inputs
        ctx.save_for_backward(squared)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (squared,) = ctx.saved_tensors
        return gradient * _Derivative.apply(squared, ctx.order, ctx.derivative + 1), None, None


def _ratio_one_order_lower(ratios: list[Tensor], y: Tensor, order: float) -> list[Tensor]:
    """r_{u-1} from r_u, with as many derivatives in y as come in; every term of a line has one sign."""
    ratio, *derivatives = ratios
    lower = 1 / (2 * order + y * ratio)
    result = [lower]
    if derivatives:
        growth = ratio + y * derivatives[0]
        result.append(-lower.square() * growth)
    if len(derivatives) > 1:
        curvature = 2 * derivatives[0] + y * derivatives[1]
        result.append(lower.square() * (2 * lower * growth.square() - curvature))
    return result


def _expanded_log(y: Tensor, order: float) -> Tensor:
    root = (y + order * order).sqrt()
    correction = _polynomial(order / root, _expansion(order)[0])
    return root - order * (order + root).log() - _HALF_LOG_2PI - root.log() / 2 + correction


def _expanded_ratio(y: Tensor, order: float, derivative: int) -> list[Tensor]:
    """The ratio at a high order and its derivatives, those that the ``derivative``-th one of the log needs."""
    root = (y + order * order).sqrt()
    inverse, head, t = 1 / root, 1 / (order + root), order / root
    _, first, second, third = _expansion(order)
    result = [head - _polynomial(t, first)]
    if derivative > 1:
        result.append((_polynomial(t, second) - head.square() * inverse) / 2)
    if derivative > 2:
        lead = head.square() * inverse.square() * (head + inverse / 2)
        result.append((lead - _polynomial(t, third) / 2) / 2)
    return result


def _polynomial(t: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Horner's scheme, the constant first."""
    value = torch.full_like(t, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value.mul_(t).add_(coefficient)
    return value


@lru_cache(maxsize=256)
def _expansion(order: float) -> tuple[tuple[float, ...], ...]:
    """Coefficients in t of L, M = t^2 (t L' + 1/2) / u^2, t^3 M' / u^2 and t^3 (t^3 M')' / u^4, u the order.

    L is the logarithm of Debye's series, and d/dy = -t^3 / (2 u^2) d/dt turns each into the next, up to factors;
    the 1/2 stands for the -1/2 log(root) beside L.
    """
    terms = _log_debye_polynomials()
    size = 3 * len(terms) + 1
    log = [0.0] * size
    for k, coefficients in enumerate(terms, start=1):
        for j, coefficient in enumerate(coefficients):
            log[k + 2 * j] += float(coefficient) / order**k
    first = [power * value for power, value in enumerate(log)]  # t L'
    first = [0.0, 0.0, *first]
    first[2] += 0.5
    first = [value / order**2 for value in first]
    second = [0.0, 0.0, *(power * value / order**2 for power, value in enumerate(first))]
    third = [0.0, 0.0, *(power * value / order**2 for power, value in enumerate(second))]
    return tuple(tuple(_trimmed(series)) for series in (log, first, second, third))


def _trimmed(series: list[float]) -> list[float]:
    """Without the last coefficients that are too small to matter, all |t| being at most 1."""
    limit = 1e-18 * max(map(abs, series))
    while len(series) > 1 and abs(series[-1]) < limit:
        series = series[:-1]
    return series


@lru_cache(maxsize=1)
def _log_debye_polynomials() -> list[list[Fraction]]:
    """D_k with log(1 + sum u_k(t) / v^k) = sum D_k(t) / v^k; entry [k - 1][j] multiplies t^(k + 2j)."""
    debye: list[list[Fraction]] = [[Fraction(1)]]
    for k in range(EXPANSION_TERMS):
        following = [Fraction(0)] * (k + 2)
        for j, value in enumerate(debye[-1]):
            power = k + 2 * j
            following[j] += value * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            following[j + 1] -= value * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        debye.append(following)
    logs: list[list[Fraction]] = []
    for k in range(1, EXPANSION_TERMS + 1):
        total = [k * value for value in debye[k]]
        for earlier, log in enumerate(logs, start=1):
            for i, left in enumerate(log):
                for j, right in enumerate(debye[k - earlier]):
                    total[i + j] -= earlier * left * right
        logs.append([value / k for value in total])
    return logs
