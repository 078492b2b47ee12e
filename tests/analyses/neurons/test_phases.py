import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analyses.fourier.basis import best_frequencies, frequency_power
from analyses.neurons.phases import (
    coefficients,
    coefficients_at,
    gap_variation,
    order_parameter,
    variation,
)

angle = st.floats(0, 2 * math.pi)
SEEDS = st.integers(0, 1000)


def wave(n, frequency, phase, size=1.0):
    return size * torch.cos(2 * math.pi * frequency * torch.arange(n).double() / n - phase)[:, None]


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def turned(angles):
    return torch.polar(torch.ones(len(angles)).double(), torch.tensor(angles, dtype=torch.float64))


@given(angle, st.integers(1, 5), st.floats(0.1, 10))
def test_a_coefficient_has_the_waves_size_and_phase(phase, frequency, size):
    found = coefficients(wave(11, frequency, phase, size))[frequency - 1, 0]
    assert float(found.abs()) == pytest.approx(size * math.sqrt(11 / 2))
    assert math.cos(float(found.angle()) - phase) == pytest.approx(1)


@pytest.mark.parametrize("n", [7, 8])
def test_squared_sizes_are_the_powers_of_the_frequencies(n):
    waves = drawn(0, n, 3)
    power = frequency_power(waves.T[..., None])[:, 1:].T
    torch.testing.assert_close(coefficients(waves).abs().square(), power)


def test_a_single_wave_has_ratio_1_at_its_frequency():
    frequency, share, ratio = best_frequencies(coefficients(wave(67, 7, 0.3)).abs().square())
    assert int(frequency) == 7
    assert (float(share), float(ratio)) == (pytest.approx(1), pytest.approx(1))


def test_even_power_has_the_least_ratio():
    _, share, ratio = best_frequencies(torch.ones(33, 1).double())
    assert float(share) == float(ratio) == pytest.approx(1 / 33)


def test_a_neuron_without_power_has_no_share():
    frequency, share, ratio = best_frequencies(torch.zeros(3, 1).double())
    assert int(frequency) == 0
    assert share.isnan().all()
    assert ratio.isnan().all()


def test_each_neuron_keeps_the_coefficient_of_its_own_frequency():
    found = coefficients(drawn(1, 9, 4))
    own = coefficients_at(found, torch.tensor([1, 4, 2, 2]))
    assert own.tolist() == [complex(found[row, i]) for i, row in enumerate((0, 3, 1, 1))]


@given(st.lists(angle, min_size=1, max_size=8))
def test_doubled_phases_have_order_1(angles):
    assert order_parameter(turned(angles)[None], turned([2 * a for a in angles])) == pytest.approx(
        1
    )


@given(st.lists(st.tuples(angle, angle), min_size=1, max_size=8))
def test_added_phases_of_two_operands_have_order_1(pairs):
    first, second = zip(*pairs, strict=True)
    reads = torch.stack([turned(first), turned(second)])
    sums = turned([a + b for a, b in pairs])
    assert order_parameter(reads, sums) == pytest.approx(1)


def test_phases_that_turn_the_other_way_have_order_0():
    angles = [2 * math.pi * j / 5 for j in range(5)]
    written = turned([-a for a in angles])
    assert order_parameter(turned(angles)[None], written) == pytest.approx(0, abs=1e-12)


@given(SEEDS, angle)
def test_turning_all_neurons_keeps_gaps_and_order(seed, by):
    angles = drawn(seed, 6) * 3
    assert gap_variation(angles + by) == pytest.approx(gap_variation(angles), abs=1e-6)


def test_even_angles_have_gaps_of_variation_0():
    assert gap_variation(2 * math.pi * torch.arange(5).double() / 5 + 1) == pytest.approx(
        0, abs=1e-12
    )


def test_angles_in_one_place_have_the_largest_variation():
    assert gap_variation(torch.zeros(5).double()) == pytest.approx(math.sqrt(4))


def test_equal_values_do_not_vary():
    assert variation(torch.tensor([2.0, 2.0, 2.0])) == 0


def test_values_of_mean_0_have_no_variation():
    assert math.isnan(variation(torch.tensor([1.0, -1.0])))
