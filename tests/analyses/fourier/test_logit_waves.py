import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from analyses.fourier.basis import fourier_basis
from analyses.fourier.logit_waves import (
    excluded,
    logit_waves,
    neuron_waves,
    readout_waves,
    restricted,
    sum_waves,
)
from tests.planted import waves

N = 11


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, n, n, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("n", [11, 12])
def test_planted_waves_explain_all_and_give_their_coefficients(n):
    fve, amplitude = logit_waves(waves(n, {2: 3.0, 5: -1.0}))
    assert fve.sum() == pytest.approx(1)
    assert_close(amplitude[[1, 4]], torch.tensor([3.0, -1.0]).double())


def test_at_half_an_even_modulus_the_wave_has_twice_the_norm():
    fve, amplitude = logit_waves(waves(12, {6: 2.0}))
    assert (fve[5], amplitude[5]) == (pytest.approx(1), pytest.approx(2))


def test_a_constant_over_classes_changes_nothing():
    logits = waves(N, {2: 3.0})
    assert_close(logit_waves(logits + noise(N)[..., :1])[0], logit_waves(logits)[0])


def test_planted_noise_leaves_the_known_share():
    logits, disturbance = waves(N, {2: 1.0}), noise(N)
    rest = disturbance - disturbance.mean(-1, keepdim=True)
    wave = logits / logits.norm()
    rest = rest - (rest * wave).sum() * wave
    noisy = logits + rest / rest.norm() * logits.norm() / 2  # a quarter of the signal's power
    assert logit_waves(noisy)[0][1] == pytest.approx(1 / 1.25)


def test_random_logits_are_not_explained():
    assert logit_waves(noise(23))[0].sum() < 0.05


def test_logits_that_never_change_explain_nothing():
    assert logit_waves(torch.ones(5, 5, 5).double())[0].tolist() == [0, 0]


def test_a_neuron_of_one_frequency_is_explained_by_it():
    x = 2 * math.pi * 3 * torch.arange(N).double() / N
    neuron = 1 + x.cos()[:, None] + 2 * x.sin() + x.sin()[:, None] * x.cos()
    best, fve = neuron_waves(neuron[..., None])
    assert (best.item(), fve.item()) == (3, pytest.approx(1))


def test_a_neuron_of_two_frequencies_is_explained_by_the_stronger_in_part():
    x = 2 * math.pi * torch.arange(N).double() / N
    neuron = 2 * (3 * x).cos()[:, None] + (5 * x).cos()
    best, fve = neuron_waves(neuron[..., None])
    assert (best.item(), fve.item()) == (3, pytest.approx(0.8))


def test_a_neuron_that_never_changes_has_no_share():
    best, fve = neuron_waves(torch.ones(5, 5, 1).double())
    assert (best.item(), math.isnan(fve.item())) == (0, True)


def test_sum_waves_are_orthonormal():
    found = sum_waves(12, [1, 4, 6]).flatten(1)
    assert_close(found @ found.T, torch.eye(5).double())


def test_restricted_logits_keep_the_planted_wave_and_lose_the_other():
    logits = waves(N, {2: 3.0, 5: 1.0})
    assert_close(restricted(logits, [2]), waves(N, {2: 3.0}))


def test_excluded_logits_lose_the_planted_wave_and_keep_the_other():
    logits = waves(N, {2: 3.0, 5: 1.0})
    assert_close(excluded(logits, [2]), waves(N, {5: 1.0}))


def test_restricted_and_excluded_add_up_to_the_logits_and_their_mean():
    logits = noise(N)
    both = restricted(logits, [1, 4]) + excluded(logits, [1, 4])
    assert_close(both, logits + logits.mean((0, 1)))


def test_restricting_to_no_frequency_leaves_each_class_its_mean():
    assert_close(restricted(noise(N), []), noise(N).mean((0, 1)).expand(N, N, N))


def test_readout_directions_that_carry_the_sum_are_found():
    n, f = 13, 4
    basis = fourier_basis(n)
    cosine, sine = basis[2 * f - 1], basis[2 * f]
    sums = 2 * math.pi * f * (torch.arange(n)[:, None] + torch.arange(n)).double() / n
    neurons = torch.stack([sums.cos(), sums.sin(), torch.ones(n, n).double()], dim=-1)
    W_L = torch.stack([cosine, sine, cosine]) * math.sqrt(n / 2)
    shares, slopes = readout_waves(neurons, W_L, f)
    assert shares == (pytest.approx(1), pytest.approx(1))
    assert slopes == (pytest.approx(1), pytest.approx(1))


def test_no_frequency_restricted_gives_at_best_uniform_loss():
    logits = restricted(waves(N, {2: 3.0}), [])
    answers = ((torch.arange(N)[:, None] + torch.arange(N)) % N).flatten()
    assert cross_entropy(logits.flatten(0, 1), answers).item() == pytest.approx(math.log(N))


def test_a_neuron_that_rounding_alone_moves_is_silent_beside_a_live_one():
    x = 2 * math.pi * 3 * torch.arange(N).double() / N
    live, moved = x.cos()[:, None].expand(N, N), 1e-8 * noise(N)[..., 0]
    best, fve = neuron_waves(torch.stack([live, moved], dim=-1))
    assert best.tolist() == [3, 0]
    assert fve.isnan().tolist() == [False, True]


def test_logits_alike_for_all_classes_but_for_rounding_explain_nothing():
    logits = 5 * noise(N)[..., :1] + 1e-8 * waves(N, {2: 1.0})
    assert logit_waves(logits)[0].tolist() == [0] * (N // 2)


def test_a_projection_that_never_changes_carries_no_wave():
    neurons = torch.ones(N, N, 4).double()
    shares, _ = readout_waves(neurons, torch.randn(4, N).double(), 3)
    assert all(map(math.isnan, shares))
