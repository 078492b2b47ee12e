import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from analyses.fourier.basis import (
    drop_frequencies,
    fourier_basis,
    frequency_power,
    frequency_shares,
    keep_frequencies,
    keys_by_median,
    keys_by_share,
    keys_by_vote,
    residue_order,
    transform_2d,
    without_rounding,
)
from tests.planted import circle_embedding

sizes = st.integers(2, 30)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(sizes)
def test_the_basis_is_orthonormal(n):
    basis = fourier_basis(n)
    assert_close(basis @ basis.T, torch.eye(n, dtype=torch.float64))


def test_the_basis_holds_the_constant_then_cosines_and_sines():
    x = 2 * math.pi * torch.arange(5).double() / 5
    rows = [torch.ones(5).double() / math.sqrt(2), x.cos(), x.sin(), (2 * x).cos(), (2 * x).sin()]
    assert_close(fourier_basis(5), torch.stack(rows) * math.sqrt(2 / 5))


def test_a_basis_of_one_residue_is_refused():
    with pytest.raises(ValueError, match="n = 1: a Fourier basis needs at least two"):
        fourier_basis(1)


@given(sizes, st.integers(0, 5))
def test_power_sums_to_squared_norm(n, seed):
    weights = random(n, 3, seed=seed)
    assert_close(frequency_power(weights).sum(), weights.square().sum())


@given(sizes)
def test_power_equals_that_of_the_fast_fourier_transform(n):
    weights = random(n, 3)
    spectrum = torch.fft.fft(weights, dim=0).abs().square().sum(1) / n
    folded = spectrum[: n // 2 + 1] + torch.cat([torch.zeros(1), spectrum.flip(0)[: n // 2]])
    folded[n // 2] /= 1 if n % 2 else 2  # frequency n/2 is its own mirror image
    assert_close(frequency_power(weights), folded)


@given(sizes, st.integers(0, 30))
def test_power_does_not_change_when_residues_are_shifted(n, shift):
    weights = random(n, 3)
    power = frequency_power(weights)
    assert_close(frequency_power(weights.roll(shift, 0)), power)


def test_power_of_a_series_is_that_of_each_step():
    series = random(5, 2, 11, 3)
    each = torch.stack([frequency_power(weights) for weights in series.flatten(0, 1)])
    assert_close(frequency_power(series), each.reshape(5, 2, 6))


def test_known_frequencies_of_an_embedding_are_recovered():
    power = frequency_power(circle_embedding(53, [3, 14, 20]))
    assert_close(power[[3, 14, 20]], torch.full((3,), 53.0).double())
    assert power.sum() == pytest.approx(3 * 53)


def test_keys_by_share_are_the_fewest_that_reach_it():
    shares = torch.tensor([0.05, 0.6, 0.05, 0.3])
    assert keys_by_share(shares, 0.9) == (2, 4)
    assert keys_by_share(shares, 0.91) == (2, 4, 1)
    assert keys_by_share(shares, 1.0) == (2, 4, 1, 3)


@pytest.mark.parametrize("share", [0, 2])
def test_a_share_beyond_one_is_refused(share):
    with pytest.raises(ValueError, match="give a share above 0 and at most 1"):
        keys_by_share(torch.ones(4) / 4, share)


def test_there_are_no_keys_without_power():
    shares = frequency_shares(torch.zeros(5))
    assert keys_by_share(shares) == ()


def test_keys_by_median_stand_out_from_the_median():
    assert keys_by_median(torch.tensor([99.0, 1, 1, 11, 1, 30])) == (5, 3)


def test_keys_by_vote_are_every_neurons_best():
    assert keys_by_vote(torch.tensor([7, 2, 7, 7, 2, 5])) == (7, 2, 5)


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("add", lambda a, b: a + b),
        ("subtract", lambda a, b: a - b),
        ("multiply", lambda a, b: a * b),
    ],
)
def test_in_its_order_every_operation_is_addition(operation, answer):
    a, b, c = residue_order(operation, 13)
    n = len(a)
    sums = (torch.arange(n)[:, None] + torch.arange(n)) % n
    assert_close(answer(a[:, None], b) % 13, c[sums])


@pytest.mark.parametrize(("operation", "p"), [("sum_of_squares", 13), ("multiply", 12)])
def test_an_operation_without_a_group_is_refused(operation, p):
    with pytest.raises(ValueError, match="no wave fits"):
        residue_order(operation, p)


def test_keeping_and_dropping_frequencies_add_up_to_the_weights_and_their_mean():
    weights, order = random(9, 4), torch.arange(9)
    kept = keep_frequencies(weights, [1, 3], order=order)
    dropped = drop_frequencies(weights, [1, 3], order=order)
    assert_close(kept + dropped, weights + weights.mean(0))


def test_kept_frequencies_are_all_the_power_there_is():
    kept = keep_frequencies(random(9, 4), [2], order=torch.arange(9))
    assert frequency_power(kept)[[1, 3, 4]].sum() == pytest.approx(0, abs=1e-20)


def test_rows_beyond_the_residues_stay_as_they_are():
    weights = random(10, 4)
    kept = keep_frequencies(weights, [2], order=torch.arange(9))
    assert torch.equal(kept[9], weights[9])


def test_the_transform_in_two_dimensions_is_one_after_the_other():
    grid = random(7, 7, 3)
    basis = fourier_basis(7)
    slow = torch.stack([basis @ grid[..., z] @ basis.T for z in range(3)], dim=-1)
    assert_close(transform_2d(grid), slow)


def rounded(value, n=13, d=8):
    """Weights that are alike but for the last place of float32, in float64."""
    flips = torch.randint(-1, 2, (n, d), generator=torch.Generator().manual_seed(0))
    return (value * (1 + flips * torch.finfo(torch.float32).eps)).double()


def test_weights_that_are_alike_but_for_rounding_have_no_frequency():
    power = without_rounding(frequency_power(rounded(0.1)))
    assert power[0] == pytest.approx(13 * 8 * 0.01, rel=1e-5)
    assert power[1:].tolist() == [0] * 6
    assert keys_by_share(frequency_shares(power)) == ()
    assert keys_by_median(power) == ()


def test_powers_of_what_varies_stay_as_they_are():
    power = frequency_power(torch.stack([circle_embedding(13, [2]), rounded(1.0, d=2)]))
    kept = without_rounding(power)
    assert_close(kept[0], power[0], rtol=0, atol=0)
    assert kept[1, 1:].tolist() == [0] * 6


def test_beside_a_pure_wave_rounding_is_no_key_frequency_however_small_the_median():
    power = torch.tensor([1.0, 1e-33, 50.0, 1e-33, 1e-30, 1e-33, 1e-33]).double()
    assert keys_by_median(power) == (2,)


def test_a_neuron_without_a_frequency_has_no_vote():
    assert keys_by_vote(torch.tensor([0, 3, 0, 0, 3, 1])) == (3, 1)
