import pytest
import torch
from torch.func import vmap

from hooks.transformer.dropout import Dropout, dropping

ONES = torch.ones(1000, 100)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_probability(probability):
    torch.manual_seed(0)
    dropped = (Dropout(probability)(ONES) == 0).double().mean()
    # Five standard errors of 100,000 draws.
    assert abs(float(dropped) - probability) < 5 * (probability * (1 - probability) / 1e5) ** 0.5


@pytest.mark.parametrize("probability", [0.1, 0.3, 1e-5])
def test_the_mean_stays(probability):
    torch.manual_seed(0)
    left = Dropout(probability)(ONES.double())
    rounded = round(probability * 65536) / 65536
    assert left.max() == pytest.approx(1 / (1 - rounded), rel=1e-12)
    assert left.mean() == pytest.approx(1, abs=5 * (probability / (1 - probability) / 1e5) ** 0.5)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(ONES).flatten() > 0).double() - 0.5
    for distance in (1, 2, 3, 4, 5):
        correlation = 4 * (kept[distance:] * kept[:-distance]).mean()
        assert abs(float(correlation)) < 5 / 1e5**0.5


def test_the_seed_decides():
    torch.manual_seed(3)
    first = Dropout(0.3)(ONES)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.3)(ONES), first)


def test_nothing_is_dropped_in_evaluation_mode():
    assert torch.equal(Dropout(0.5).eval()(ONES), ONES)


def test_the_gradient_is_what_is_left():
    inputs = ONES.clone().requires_grad_()
    left = Dropout(0.4)(inputs)
    left.sum().backward()
    assert torch.equal(inputs.grad, left.detach())  # pyright: ignore[reportArgumentType]  # backward fills it


def test_models_of_a_stack_drop_their_own():
    left = vmap(Dropout(0.5), randomness="different")(torch.ones(3, 50, 7))
    assert not torch.equal(left[0], left[1])


def test_a_size_that_four_does_not_divide_is_dropped_too():
    assert Dropout(0.5)(torch.ones(3, 1, 1)).shape == (3, 1, 1)


def test_no_dropout_is_no_module_that_draws():
    assert isinstance(dropping(0.0), torch.nn.Identity)
