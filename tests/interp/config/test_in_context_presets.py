"""Presets of functions in context: the settings that the papers give, and sweeps of them."""

from typing import cast

import pytest

from interp.config.experiment import load_experiment
from interp.config.training import Training
from interp.sweeps.sweep import load_sweep
from interp.tasks.functions.function_classes import FunctionClasses

# Pairs at the first stretch of Garg et al.'s curriculum, and how many more each next one has.
CURRICULA = {
    "in-context-linear-12L": (11, 2),
    "function-mixture-12L": (11, 2),
    "sparse-linear-12L": (11, 2),
    "relu-networks-12L": (26, 5),
    "decision-trees-12L": (26, 5),
    "relu-mixture-12L": (26, 5),
}
MEMBERS = {
    "function-mixture": 9,
    "function-mixture-12L": 5,
    "linear-and-sine": 9,
    "linear-and-sine-12L": 9,
    "relu-mixture-12L": 5,
}


@pytest.mark.parametrize(("name", "pairs"), CURRICULA.items())
def test_a_curriculum_goes_from_few_inputs_and_pairs_to_all(name, pairs):
    experiment = load_experiment(name)
    stretches = cast(Training, experiment.training).schedule
    tasks = [cast(FunctionClasses, each.tasks[0]) for each in stretches]
    assert [each.steps for each in stretches] == [2000] * 15 + [470_000]
    assert [each.active_inputs for each in tasks] == [*range(5, 20), None]
    first, more = pairs
    expected = [first + more * index for index in range(15)]
    assert [each.active_pairs for each in tasks] == [*expected, None]
    assert experiment.fields["task.d"] == 20
    assert experiment.fields["task.pairs"] == first + more * 15


@pytest.mark.parametrize("name", [*CURRICULA, "linear-and-sine-12L"])
def test_the_papers_model_has_twelve_layers(name):
    fields = load_experiment(name).fields
    assert [fields[f"model.{each}"] for each in ("n_layers", "d_model", "n_heads")] == [12, 256, 8]
    told = [fields[f"training.{each}"] for each in ("steps", "lr", "batch_size")]
    assert told == [500_000, 1e-4, 64]


@pytest.mark.parametrize("name", MEMBERS)
def test_mixtures_stand_beside_each_class_alone(name):
    members = load_sweep(name).experiments().values()
    weights = {tuple(each.fields["task.weights"]) for each in members}
    assert len(members) == MEMBERS[name]
    assert {(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)} <= weights
