import pytest
import torch

import analyses
from hooks import Series
from hooks.models import parameters_of
from tests.planted import random_model, tokens_as_examples

EXAMPLES = tokens_as_examples(torch.tensor([[1, 2, 7], [3, 5, 7]]))
STEPS = {step: parameters_of(random_model(seed=step)) for step in (0, 10)}
SERIES = Series.of(random_model(), STEPS, EXAMPLES)


@pytest.mark.parametrize("cls", [analyses.GrokkingPhases, analyses.SeedSpread])
def test_an_analysis_of_more_than_a_step_has_no_trace(cls):
    with pytest.raises(ValueError, match=rf"{cls.__name__} describes a whole (run: call|sweep)"):
        analyses.trace(SERIES, cls)


def test_an_analysis_of_single_steps_is_traced():
    assert analyses.trace(SERIES, analyses.WeightNorms)["step"].tolist() == [0, 10]
