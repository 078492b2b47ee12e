"""Closed forms: quadratics exactly, singular minima by quadrature and by known coefficients."""

import math

import pytest
import torch
from torch.testing import assert_close

from hooks.sgld import Langevin, Loss, downhill, gaussian_rise, largest_curvature, sgld

N = 1000
NBETA = N / math.log(N)  # 144.76
DOUBLE = torch.float64


def quadratic(curvatures):
    return Loss([lambda points: (torch.as_tensor(curvatures, dtype=DOUBLE) * points**2).sum(1) / 2])


def exact_of_quadratic(curvatures, walk):
    """Sum of (nbeta k / 2) / (h (1 - eps h / 4)) with h = nbeta k + gamma."""
    total = 0.0
    for curvature in curvatures:
        h = walk.nbeta * curvature + walk.gamma
        total += walk.nbeta * curvature / 2 / (h * (1 - walk.eps * h / 4))
    return total


def estimates(loss, start, walk):
    """A value a chain and point."""
    chains = sgld(loss, start, walk)
    drawn = chains.losses[walk.burn_in :].mean(0)
    return walk.nbeta * (drawn - chains.start_losses)


SETTINGS = {
    "eps 1e-3": ([1.0] * 10, 1.0, 1e-3, 5.1535),
    "eps 5e-3": ([1.0] * 10, 1.0, 5e-3, 6.0721),
    "eps 1e-2": ([1.0] * 10, 1.0, 1e-2, 7.8128),
    "gamma 100": ([1.0] * 10, 100.0, 1e-3, 3.1500),
    "curvatures that differ": ([1.0, 0.3, 0.1, 0.03, 0.0] * 8, 20.0, 1e-3, 8.8605),
}


@pytest.mark.parametrize(("curvatures", "gamma", "eps", "exact"), SETTINGS.values(), ids=SETTINGS)
def test_a_quadratic_has_its_exact_value_with_localisation_and_step_size(
    curvatures, gamma, eps, exact
):
    walk = Langevin(NBETA, gamma, eps, chains=64, burn_in=300, draws=1200)
    assert exact_of_quadratic(curvatures, walk) == pytest.approx(exact, rel=1e-4)
    start = torch.zeros(1, len(curvatures), dtype=DOUBLE)
    assert float(estimates(quadratic(curvatures), start, walk).mean()) == pytest.approx(
        exact, rel=0.02
    )


# K of each point, at its w*: x^2 y^2, x^2 y^4 and x^4 at 0, x^2 y^2 at (1, 0).
def crossings(points):
    x, y = points.unflatten(0, (-1, 4)).unbind(-1)
    powers = [x[:, 0] ** 2 * y[:, 0] ** 2, x[:, 1] ** 2 * y[:, 1] ** 4, x[:, 2] ** 4]
    return torch.stack([*powers, x[:, 3] ** 2 * y[:, 3] ** 2], 1).flatten()


CROSSINGS = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=DOUBLE)
QUADRATURE = torch.tensor([0.3614, 0.2095, 0.2431, 0.3805])  # n = 1,000, gamma 1


def gap_in_standard_errors(walk):
    values = estimates(Loss([crossings]), CROSSINGS, walk)
    errors = values.std(0) / math.sqrt(walk.chains)
    assert (errors < 0.08).all()  # a wide error would agree with anything
    return (values.mean(0) - QUADRATURE) / errors


def test_normal_crossings_are_as_by_quadrature():
    walk = Langevin(NBETA, 1.0, 1e-3, chains=16, burn_in=2000, draws=2500)
    assert (gap_in_standard_errors(walk).abs() < 4).all()


@pytest.mark.slow
def test_normal_crossings_are_as_by_quadrature_in_long_chains():
    walk = Langevin(NBETA, 1.0, 1e-3, chains=16, burn_in=4000, draws=16_000)
    assert (gap_in_standard_errors(walk).abs() < 4).all()


def reduced_rank(target):
    """|BA - C|^2 / 2 of points that hold A [3, 4] and B [4, 3], row by row."""

    def losses(points):
        a, b = points[:, :12].unflatten(1, (3, 4)), points[:, 12:].unflatten(1, (4, 3))
        maps = (b @ a).unflatten(0, (-1, len(target)))
        return (maps - target).square().sum((2, 3)).flatten() / 2

    return losses


def at(a, b):
    return torch.cat([a.flatten(), b.flatten()])


def reduced_rank_estimates(walk):
    """4-3-4 networks: rank 3; rank 1 with the unused units 0; rank 1, A of full rank; rank 0."""
    full, one, zero = torch.eye(3, 4), torch.zeros(3, 4), torch.zeros(3, 4)
    one[0, 0] = 1
    ends = [(full, full.T), (one, one.T), (full, one.T), (zero, zero.T)]
    target = torch.stack([b @ a for a, b in ends]).to(DOUBLE)
    start = torch.stack([at(a, b) for a, b in ends]).to(DOUBLE)
    return estimates(Loss([reduced_rank(target)]), start, walk).mean(0)


def assert_known(values):
    """Aoyagi and Watanabe 2005; the third point is no most singular one: (NH + r(M-H))/2."""
    assert_close(values, torch.tensor([7.5, 6.0, 6.5, 5.0], dtype=DOUBLE), rtol=0.25, atol=0)
    assert values[0] > values[1] > values[3]
    assert values[0] > values[2] > values[3]
    assert (values < 0.8 * 12).all()  # d/2


def test_reduced_rank_networks_are_in_order_and_within_a_quarter():
    assert_known(reduced_rank_estimates(Langevin(NBETA, 1.0, 1e-3, 8, burn_in=1000, draws=1500)))


@pytest.mark.slow
def test_reduced_rank_networks_are_within_a_quarter_with_more_examples_too():
    walk = Langevin(1e5 / math.log(1e5), 1.0, 1e-5, 8, burn_in=3000, draws=6000)
    assert_known(reduced_rank_estimates(walk))


def test_the_gaussian_control_of_a_quadratic_is_its_trace():
    walk = Langevin(NBETA, gamma=100.0)
    curvatures = torch.linspace(0, 2, 4000, dtype=DOUBLE)
    start = torch.zeros(1, 4000, dtype=DOUBLE)
    exact = NBETA * 4000 / (2 * 100.0)  # nbeta sum k / 2 gamma
    assert float(gaussian_rise(quadratic(curvatures), start, walk)) == pytest.approx(
        exact, rel=0.03
    )


def test_without_a_pull_there_is_no_gaussian_control():
    walk = Langevin(NBETA, gamma=0.0)
    start = torch.zeros(2, 3, dtype=DOUBLE)
    assert gaussian_rise(quadratic([1.0] * 3), start, walk).isnan().all()


def test_the_largest_curvature_is_the_hessians_eigenvalue():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, dtype=DOUBLE, generator=generator)
    matrix = root @ root.T + 20 * torch.outer(root[0], root[0])
    loss = Loss([lambda points: 0.25 * (points @ matrix * points).sum(1)] * 2)  # two halves
    start = torch.randn(3, 6, dtype=DOUBLE, generator=generator)
    largest = torch.linalg.eigvalsh(matrix)[-1]
    assert_close(largest_curvature(loss, start), largest.expand(3), rtol=1e-6, atol=0)


def test_curvature_of_a_flat_and_of_a_linear_loss_is_0():
    for loss in (quadratic([0.0] * 3), Loss([lambda points: points.sum(1)])):
        assert largest_curvature(loss, torch.ones(2, 3, dtype=DOUBLE)).tolist() == [0, 0]


def test_downhill_is_how_far_the_tempered_loss_falls_to_its_minimum():
    walk = Langevin(NBETA, gamma=10.0)
    start = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=DOUBLE)
    # nbeta k r^2/2 falls to its minimum between w* and 0: by (nbeta k r)^2 / 2(nbeta k + gamma).
    exact = (NBETA * 2 * 5) ** 2 / (2 * (NBETA * 2 + 10))
    assert downhill(quadratic([2.0, 2.0]), start, walk).tolist() == pytest.approx([0, exact])


def test_nothing_stops_the_fall_where_the_loss_curves_down():
    start = torch.ones(1, 2, dtype=DOUBLE)
    assert downhill(quadratic([-2.0, -2.0]), start, Langevin(NBETA, gamma=1.0)).isinf().all()


def test_a_chain_with_too_large_a_step_is_not_finite():
    walk = Langevin(NBETA, 1.0, eps=0.1, chains=2, burn_in=0, draws=2000)  # eps h = 14.6
    assert (
        not estimates(quadratic([1.0] * 4), torch.zeros(1, 4, dtype=DOUBLE), walk).isfinite().any()
    )


def test_the_first_loss_is_of_the_point_itself():
    start = torch.tensor([[1.0, 2.0]], dtype=DOUBLE)
    chains = sgld(quadratic([1.0, 1.0]), start, Langevin(NBETA, burn_in=0, draws=3))
    assert chains.losses[0].tolist() == [[2.5], [2.5]]
    assert (chains.losses[1:] != 2.5).all()


def test_chains_of_a_point_do_not_depend_on_other_points_or_further_chains():
    start = torch.tensor([[1.0, 2.0], [0.0, 0.5]], dtype=DOUBLE)
    walk = Langevin(NBETA, burn_in=5, draws=20, chains=2, seed=3)
    more = Langevin(NBETA, burn_in=5, draws=20, chains=3, seed=3)
    both, alone = (
        sgld(quadratic([1.0, 3.0]), start, more),
        sgld(quadratic([1.0, 3.0]), start[1:], walk),
    )
    assert_close(both.losses[:, :2, 1:], alone.losses)
    assert not torch.allclose(alone.losses[:, 0], alone.losses[:, 1])


def test_distance_is_that_of_the_prior_where_the_loss_is_flat():
    walk = Langevin(NBETA, gamma=100.0, eps=1e-3, chains=4, burn_in=100, draws=100)
    far = sgld(quadratic([0.0] * 4000), torch.ones(1, 4000, dtype=DOUBLE), walk).distances
    expected = math.sqrt(4000 / 100 / (1 - 1e-3 * 100 / 4))
    assert_close(far, torch.full_like(far, expected), rtol=0.05, atol=0)


def test_gradients_of_minibatches_add_heat():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 10, dtype=DOUBLE, generator=generator)
    errors = torch.randn(N, dtype=DOUBLE, generator=generator)
    errors -= inputs @ torch.linalg.lstsq(inputs, errors[:, None]).solution[:, 0]

    def whole(points):
        return (inputs @ points.T - errors[:, None]).square().mean(0) / 2

    def drawn(points, generators):
        rows = torch.stack([torch.randint(N, (8,), generator=each) for each in generators])
        rows = rows.repeat_interleave(len(points) // len(rows), 0)
        return ((inputs[rows] @ points[..., None])[..., 0] - errors[rows]).square().mean(1) / 2

    start = torch.zeros(1, 10, dtype=DOUBLE)
    walk = Langevin(NBETA, 1.0, 1e-3, chains=16, burn_in=200, draws=600)
    full = float(estimates(Loss([whole]), start, walk).mean())
    assert full == pytest.approx(5.15, rel=0.1)  # d/2 and what the step size adds
    assert float(estimates(Loss([whole], drawn), start, walk).mean()) > 1.5 * full


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nbeta": 0.0}, "nbeta = 0.0: give a number above 0"),
        ({"eps": -1e-4}, "eps = -0.0001: give a number above 0"),
        ({"gamma": -1.0}, "gamma = -1.0: give 0 or more"),
        ({"gamma": math.inf}, "gamma = inf: give 0 or more"),
        ({"chains": 0}, "chains = 0: give 1 or more"),
        ({"burn_in": -1}, "burn_in = -1: give 0 or more"),
        ({"draws": 1}, "draws = 1: give 2 or more"),
    ],
)
def test_a_walk_that_cannot_be_walked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Langevin(**{"nbeta": 1.0} | options)
