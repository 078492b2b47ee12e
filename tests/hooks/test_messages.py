import pytest
import torch

from hooks.messages import did_you_mean, near_names, nearest_step
from hooks.models import parameters_of
from hooks.weights import weight
from tests.planted import random_model, tiny_config, tokens_as_examples

EXAMPLES = tokens_as_examples(torch.tensor([[1, 2, 7], [3, 5, 7]]))


def test_the_nearest_name_is_offered_first():
    assert near_names("W_EE", ["W_pos", "W_U", "W_E"])[0] == "W_E"


def test_the_case_of_letters_does_not_matter():
    assert near_names("fourierspectrum", ["FourierSpectrum", "WeightNorms"]) == ["FourierSpectrum"]


def test_a_message_ends_with_the_names_that_are_near():
    assert did_you_mean("tset", ["all", "train", "test"]) == "; did you mean test?"


def test_a_message_has_no_such_end_where_nothing_is_near():
    assert did_you_mean("validation", ["all", "train", "test"]) == ""


@pytest.mark.parametrize(("step", "nearest"), [(16, 20), (-3, 0), (99, 20), (4, 0)])
def test_the_nearest_step_is_offered(step, nearest):
    assert nearest_step(step, (0, 10, 20)) == f"; the nearest is {nearest}"


def test_without_steps_none_is_offered():
    assert nearest_step(5, ()) == ""


def test_a_misspelled_weight_is_refused_with_the_one_that_is_near():
    with pytest.raises(ValueError, match=r"no weight 'W_EE'; .*; did you mean W_E\b"):
        weight(tiny_config(), parameters_of(random_model()), "W_EE")


def test_a_misspelled_label_is_refused_with_the_one_that_is_near():
    with pytest.raises(
        ValueError, match=r"has no 'aa'; this task provides: a, b; did you mean a\?"
    ):
        EXAMPLES.label("aa")
