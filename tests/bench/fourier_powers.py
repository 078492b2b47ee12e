"""Frequency powers of W_E over 500 checkpoints against a plain loop over dot products."""

import numpy as np
import torch

from analyses.fourier.basis import fourier_basis, frequencies_of_rows, frequency_power
from tests.bench import Comparison, interleaved


def plain_powers(weights: np.ndarray) -> np.ndarray:
    """Squared norms by checkpoint and frequency, a dot product at a time."""
    steps, p, _ = weights.shape
    waves = [
        np.full((1, p), 1 / np.sqrt(p)),
        *(
            np.sqrt(2 / p) * np.stack([np.cos(angle), np.sin(angle)])
            for angle in 2 * np.pi * np.outer(np.arange(1, p // 2 + 1), np.arange(p)) / p
        ),
    ]
    waves = [wave.astype(weights.dtype) for wave in waves]
    powers = np.empty((steps, len(waves)), dtype=weights.dtype)
    for step in range(steps):
        for frequency, wave in enumerate(waves):
            powers[step, frequency] = sum(np.sum(np.dot(each, weights[step]) ** 2) for each in wave)
    return powers


def compare_with_products() -> Comparison:
    """The same against one product with the basis a checkpoint, as a careful person writes it."""
    weights = torch.randn(500, 113, 128, generator=torch.Generator().manual_seed(0))
    basis = fourier_basis(113).float()
    groups = frequencies_of_rows(113)

    def products() -> torch.Tensor:
        components = torch.stack([(basis @ each).square().sum(-1) for each in weights])
        return torch.zeros(500, 57).index_add_(1, groups, components)

    torch.testing.assert_close(frequency_power(weights), products())
    plain, ours = interleaved(products, lambda: frequency_power(weights), repeats=7)
    return Comparison("the same against a product a checkpoint", plain, ours, goal=None)


def compare() -> Comparison:
    """Both sides in float32, as checkpoints are."""
    weights = torch.randn(500, 113, 128, generator=torch.Generator().manual_seed(0))
    array = weights.numpy()
    np.testing.assert_allclose(frequency_power(weights).numpy(), plain_powers(array), rtol=1e-3)
    plain, ours = interleaved(
        lambda: plain_powers(array), lambda: frequency_power(weights), repeats=7
    )
    return Comparison("Fourier powers of W_E, 500 checkpoints, p = 113", plain, ours, goal=10)
