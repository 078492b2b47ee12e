"""What an analysis needs is said in one sentence, with the remedy."""

from dataclasses import replace

import pytest
import torch

from analyses import (
    ANALYSES,
    ClockPizza,
    CompositionGraph,
    EdgeCircuit,
    FourierCircuit,
    FourierSpectrum,
)
from analyses.requirements import (
    WORDS,
    Needs,
    check_needs,
    check_options,
    option_defaults,
    pairs_for,
    takes_pairs,
)
from analyses.result import SweepResult
from hooks import Facts, InputFacts, ModularFacts, PromptFacts, Snapshot
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
        (
            EdgeCircuit,
            snapshot_of(n_key_value_heads=1),
            [
                "a graph of edges: edges are not defined with n_key_value_heads = 1: heads share "
                "keys and values"
            ],
        ),
    ],
)
def test_what_is_missing_is_said_with_the_remedy(cls, snapshot, sentences):
    assert cls.needs.missing(snapshot) == sentences


def test_a_task_that_lacks_facts_is_told_which_it_has(snapshot):
    facts = Facts(groups=(PromptFacts(pairs=3), InputFacts(names=())))
    bare = snapshot.on(replace(snapshot.examples, facts=facts))
    wanted = (
        "ClockPizza needs a task with the facts ModularFacts, and this one has PromptFacts, "
        "InputFacts; a task with the labels c, and this one has a, b"
    )
    with pytest.raises(ValueError, match=wanted):
        check_needs(ClockPizza, bare)


def test_real_inputs_and_targets_are_told(snapshot):
    real = replace(
        snapshot.examples, tokens=None, inputs=torch.zeros(49, 3, 2), targets=torch.zeros(49, 3),
        labels={},
    )  # fmt: skip
    needs = Needs(tokens=True, classes=True, trees=True, any_label=True)
    wanted = [WORDS[need] for need in ("tokens", "classes", "trees", "any_label")]
    assert needs.missing(snapshot.on(real)) == wanted


def test_weights_that_a_model_lacks_are_named(snapshot):
    needs = Needs(weights=("W_pos", "W_K_V"))
    assert needs.missing(snapshot) == ["a model with the weights W_K_V"]


def test_a_fact_that_a_task_leaves_empty_is_named(snapshot):
    prompts = replace(snapshot.examples, facts=Facts(groups=(PromptFacts(pairs=3),)))
    needs = Needs(facts={PromptFacts: ("pairs", "asked")})
    wanted = ["a task that tells PromptFacts.asked, and this one does not"]
    assert needs.missing(snapshot.on(prompts)) == wanted


def test_a_need_of_a_fact_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="ModularFacts has no 'q'; it has: p, operation, wave"):
        Needs(facts={ModularFacts: ("p", "q")})


def test_metrics_are_no_matter_of_a_snapshot(snapshot):
    assert ANALYSES["GrokkingPhases"].needs.missing(snapshot) == []


@pytest.mark.parametrize("name", ANALYSES)
def test_needs_are_said_in_words(name, snapshot):
    if issubclass(ANALYSES[name], SweepResult):
        pytest.skip("a sweep needs no snapshot")
    bare = snapshot.on(replace(snapshot.examples, facts=Facts(), labels={}))
    needs = ANALYSES[name].needs
    sentences = needs.missing(bare)
    told = [*needs.labels, *(kind.__name__ for kind in needs.facts)]
    assert [word for word in told if word not in " ".join(sentences)] == []
    assert all(" " in sentence for sentence in sentences)


def test_hook_points_of_which_a_model_has_none_are_named(snapshot):
    needs = Needs(any_hook_points=("hook_pattern", "blocks.9.hook_resid_post"))
    names = "hook_pattern, blocks.9.hook_resid_post"
    assert needs.missing(snapshot) == [f"a model with one of the hook points {names}"]
    assert Needs(any_hook_points=("hook_pattern", "hook_embed")).missing(snapshot) == []


def test_a_model_with_more_layers_than_wanted_is_told():
    deep = snapshot_of(n_layers=3)
    assert Needs(most_layers=3).missing(deep) == []
    assert Needs(most_layers=2).missing(deep) == ["at most 2 layers, and this model has 3"]


def test_a_class_that_takes_pairs_has_the_option_change():
    assert option_defaults(EdgeCircuit)["change"] == ""
    check_options(EdgeCircuit, {"change": "a"})
    with pytest.raises(ValueError, match=r"analyses.EdgeCircuit.change: .* \(got 3\)"):
        check_options(EdgeCircuit, {"change": 3})
    assert "pairs" not in option_defaults(EdgeCircuit)
    assert "change" not in option_defaults(FourierSpectrum)


def test_control_pairs_are_those_whose_answer_stays():
    task = ModularArithmetic(p=7)

    def draw(change):
        return task.input_pairs("all", 4, 0, change or None)

    given = pairs_for(EdgeCircuit, task.changes, draw, "b")
    assert [pairs and pairs.change for pairs in given.values()] == ["b", "swap"]
    assert [*given] == ["pairs", "control"]
    assert pairs_for(FourierSpectrum, task.changes, draw, "") == {}


def test_there_may_be_no_control_pairs():
    def draw(change):
        if change == "swap":
            raise ValueError("no two inputs differ so")
        return ModularArithmetic(p=7).input_pairs("all", 4, 0, change)

    assert pairs_for(EdgeCircuit, {"a": False, "swap": True}, draw, "a")["control"] is None
    assert pairs_for(EdgeCircuit, {"a": False}, draw, "a")["control"] is None


@pytest.mark.parametrize("name", ANALYSES)
def test_what_takes_pairs_needs_them(name):
    if takes_pairs(ANALYSES[name]):
        assert ANALYSES[name].needs.pairs
