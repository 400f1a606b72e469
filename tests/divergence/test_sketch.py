"""Sketches: linear, unbiased, and as exact as they say."""

import numpy as np
import torch

from gala.divergence.sketch import Sketcher, distances_to_mean, relative_error

P = 10_001


def vector(seed: int) -> torch.Tensor:
    return torch.randn(P, generator=torch.Generator().manual_seed(seed))


def test_it_is_linear() -> None:
    sketch = Sketcher(P, 64)
    a, b = vector(1), vector(2)
    np.testing.assert_allclose(
        sketch(2 * a - 3 * b), 2 * sketch(a) - 3 * sketch(b), rtol=1e-3, atol=1e-2
    )


def test_all_agents_use_the_same_signs() -> None:
    assert np.array_equal(Sketcher(P, 64)(vector(1)), Sketcher(P, 64)(vector(1)))
    assert not np.array_equal(Sketcher(P, 64, seed=1)(vector(1)), Sketcher(P, 64)(vector(1)))


def test_by_hand() -> None:
    sketch = Sketcher(5, 2)
    signs = sketch._signs[:5]
    x = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])
    expected = [float((signs * x)[0::2].sum()), float((signs * x)[1::2].sum())]
    assert sketch(x).tolist() == expected


def test_norms_are_unbiased_with_the_error_it_claims() -> None:
    x = vector(1)
    exact = float(x.norm())
    ratios = np.array(
        [np.linalg.norm(Sketcher(P, 64, seed=seed)(x)) / exact for seed in range(150)]
    )
    assert abs((ratios**2).mean() - 1) < 0.06
    assert abs(ratios.std() / relative_error(64) - 1) < 0.25


def test_distances_to_the_mean_by_hand() -> None:
    rows = np.array([[0.0, 0.0], [0.0, 6.0], [0.0, 3.0]])
    assert distances_to_mean(rows).tolist() == [3.0, 3.0, 0.0]


def test_distances_from_sketches_are_near_the_exact_ones() -> None:
    base, sketch = vector(0), Sketcher(P, 1024)
    vectors = torch.stack([base + 0.01 * (i + 1) * vector(i + 1) for i in range(4)])
    exact = distances_to_mean(vectors.double().numpy())
    rough = distances_to_mean(np.stack([sketch(v) for v in vectors]).astype(np.float64))
    np.testing.assert_allclose(rough, exact, rtol=5 * relative_error(1024))
