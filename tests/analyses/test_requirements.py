"""What an analysis needs is said in one sentence, with the remedy."""

from dataclasses import replace

import pytest
import torch

from analyses import ANALYSES, ClockPizza, CompositionGraph, FourierCircuit, FourierSpectrum
from analyses.requirements import WORDS
from analyses.result import SweepResult, check_needs, missing
from hooks import Snapshot
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import random_model


def snapshot_of(task=None, **model):
    task = ModularArithmetic.model_validate({"p": 7} | (task or {}))
    return Snapshot.of(random_model(task.sizes, **model), task.examples("all", None, 0))


@pytest.mark.parametrize(
    ("cls", "snapshot", "sentences"),
    [
        (
            FourierCircuit,
            snapshot_of({"ordered": False}),
            ["all ordered pairs: set task.ordered = true"],
        ),
        (
            ClockPizza,
            snapshot_of({"p": 2, "operation": "multiply", "ordered": False, "train_fraction": 0.5}),
            [
                "an operation that waves compute: set task.operation to add or subtract, or to "
                "multiply with an odd prime p",
                "all ordered pairs: set task.ordered = true",
            ],
        ),
        (
            CompositionGraph,
            snapshot_of(),
            ["at least 2 layers, and this model has 1: set model.n_layers"],
        ),
        (
            FourierSpectrum,
            snapshot_of(attn_only=True),
            ["neurons: set model.attn_only = false"],
        ),
    ],
)
def test_what_is_missing_is_said_with_the_remedy(cls, snapshot, sentences):
    assert missing(cls, snapshot) == sentences


def test_a_task_that_lacks_facts_is_told_which_it_has(snapshot):
    bare = snapshot.on(replace(snapshot.examples, constants={"n": 3}))
    wanted = (
        "ClockPizza needs a task with the constants p, operation, wave, ordered_pairs, and this "
        "one has n; a task with the labels c, and this one has a, b"
    )
    with pytest.raises(ValueError, match=wanted):
        check_needs(ClockPizza, bare)


def test_real_inputs_and_targets_are_told(snapshot):
    real = replace(
        snapshot.examples, tokens=None, inputs=torch.zeros(49, 3, 2), targets=torch.zeros(49, 3),
        labels={},
    )  # fmt: skip
    wanted = [WORDS[need] for need in ("tokens", "classes", "labels", "trees")]
    cls = type("Any", (FourierCircuit,), {"needs": ("tokens", "classes", "labels", "trees")})
    assert missing(cls, snapshot.on(real)) == wanted


def test_weights_that_a_model_lacks_are_named(snapshot):
    cls = type("Any", (FourierCircuit,), {"needs": ("weights.W_pos", "weights.W_K_V")})
    assert missing(cls, snapshot) == ["a model with the weights W_K_V"]


def test_metrics_are_no_matter_of_a_snapshot(snapshot):
    assert missing(ANALYSES["GrokkingPhases"], snapshot) == []


@pytest.mark.parametrize("name", ANALYSES)
def test_needs_are_said_in_words(name, snapshot):
    if issubclass(ANALYSES[name], SweepResult):
        pytest.skip("a sweep needs no snapshot")
    bare = snapshot.on(replace(snapshot.examples, constants={}, labels={}))
    sentences = " ".join(missing(ANALYSES[name], bare))
    assert not [need for need in ANALYSES[name].needs if "." in need and need in sentences]
