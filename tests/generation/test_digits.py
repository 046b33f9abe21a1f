from __future__ import annotations

import torch

from hub_models.generation.digits import load_digits


def test_split_is_balanced_and_disjoint():
    train, test = load_digits("train"), load_digits("test")
    assert torch.bincount(train.labels).tolist() == [400] * 10
    assert torch.bincount(test.labels).tolist() == [100] * 10
    both = torch.cat([train.pixels, test.pixels]).flatten(1)
    assert len(both.unique(dim=0)) == 5000


def test_order_is_fixed_and_shuffled():
    digits = load_digits("train")
    assert torch.equal(digits.pixels, load_digits("train").pixels)
    assert len(digits.first(64).labels.unique()) == 10


def test_digits_lie_within_a_black_margin():
    digits = load_digits("test")
    assert digits.pixels.shape == (1000, 1, 32, 32)
    assert digits.pixels.dtype == torch.uint8
    assert digits.pixels[..., :2, :].sum() == digits.pixels[..., :, -2:].sum() == 0
    samples = digits.samples(slice(10))
    assert samples.min() == -1
    assert samples.max() == 1
    assert samples.shape == (10, 1, 32, 32)
