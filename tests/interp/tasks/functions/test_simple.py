import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from analyses import InContextCurve
from hooks import Snapshot, build
from interp.randomness import generator
from interp.tasks.functions.simple import SimpleFunction
from tests.planted import config_for


def test_values_are_linear_and_left_as_they_come():
    batch = SimpleFunction(d=6, pairs=8).data(20_000, generator(0))
    x, y = batch["inputs"][:, ::2].double(), batch["targets"][:, ::2].double()
    w = torch.linalg.lstsq(x, y[..., None]).solution
    assert_close((x @ w)[..., 0], y, atol=1e-4, rtol=0)
    assert y.var() == pytest.approx(6, rel=0.03)


def test_values_can_have_variance_one():
    batch = SimpleFunction(d=6, unit_variance=True, pairs=8).data(20_000, generator(0))
    assert batch["targets"][:, ::2].var() == pytest.approx(1, rel=0.03)


def test_labels_are_the_last_input():
    examples = SimpleFunction(d=3, pairs=4).examples("test", 9, 0)
    labels = torch.stack([examples.label(f"x_{i}") for i in range(3)], dim=1)
    assert torch.equal(labels, examples.model_inputs[:, 6])


@pytest.mark.parametrize("unit_variance", [True, False])
def test_the_prior_is_that_of_the_coefficients(unit_variance):
    task = SimpleFunction(d=3, pairs=6, unit_variance=unit_variance, test_prompts=300)
    model = build(config_for(task.sizes), task.sizes, seed=0)
    result = InContextCurve.measure(Snapshot.of(model, task.examples("test", None, 0)))
    assert abs(result.error("bayes") - result.error("least_squares")).max() < 1e-2


@pytest.mark.parametrize("options", [{"d": 0}, {"pairs": 1}, {"test_prompts": 0}])
def test_sizes_that_are_too_small_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        SimpleFunction.model_validate(options)


def test_data_without_a_count_are_refused():
    with pytest.raises(ValueError, match="draws without end"):
        SimpleFunction().data(None, generator(0))
