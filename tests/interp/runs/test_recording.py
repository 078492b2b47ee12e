"""Run folders of models that somebody's own code trains: what goes in comes out."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import interp
from analyses import AttentionSparsity, FourierCircuit, FourierSpectrum, GrokkingPhases
from hooks import (
    Examples,
    Facts,
    FunctionFacts,
    InputFacts,
    LinearPrior,
    MixtureFacts,
    ModularFacts,
    PromptFacts,
    SentenceFacts,
    Sizes,
    Snapshot,
    WavePrior,
    build,
)
from hooks.models import MLPConfig, ReadInConfig
from hooks.models.post_norm import PostNormConfig
from interp.measure.analyze import analyze
from interp.pages import write_report
from interp.pages.tables import overview
from interp.runs.recording import _tried
from interp.runs.results import saved
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests import lens
from tests.planted import SIZES, random_model, tiny_config, tokens_as_examples

ROOT = Path(__file__).parents[3]
PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def examples():
    return tokens_as_examples(PAIRS)


def states_of(model, steps=(0, 10)):
    """A state for each step, each of other numbers."""
    return {
        step: {name: value + step for name, value in model.state_dict().items()} for step in steps
    }


def assert_equal(one, other):
    """Two Examples are the same in every field, bit for bit."""
    for name in ("targets", "scored", "tokens", "inputs", "lengths"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        assert left is None or (left.dtype == right.dtype and torch.equal(left, right)), name
    assert one.labels.keys() == other.labels.keys()
    for name, value in one.labels.items():
        assert value.dtype == other.labels[name].dtype
        assert torch.equal(value, other.labels[name])
    assert (one.trees, one.words, one.facts) == (other.trees, other.words, other.facts)


FACTS = {
    "modular": ModularFacts(p=7, operation="add", wave="cos", ordered_pairs=True),
    "inputs": InputFacts(names=("a", "b"), relevant=(True, False), bias_input=1),
    "prompts": PromptFacts(pairs=3, asked="a", asked_names=("x",), candidates=(1, 3)),
    "functions": FunctionFacts(
        d=3, noise=0.1, prior=(LinearPrior(nnz=2, law="sign"), WavePrior(frequency=0.3)),
        wave_features=(0.1, 0.2),
    ),
    "mixture": MixtureFacts(
        classes=("a", "b"), shares=(0.25, 0.75), splits=("test",), inside={"test": (0.5, 1.0)}
    ),
    "sentences": SentenceFacts(subjects=("one", "many"), predicates=("is",)),
}  # fmt: skip


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_facts_of_every_kind_come_back(model, examples, facts, tmp_path):
    given = Facts(chance=1 / 7, outputs=7, vocabulary=tuple("abcdefgh"), groups=(facts,))
    run = interp.save_run(
        tmp_path / "run", model, states_of(model), dataclasses.replace(examples, facts=given)
    )
    assert interp.load(run.path).facts == given


def test_tokens_with_all_that_is_true_of_them_come_back(model, tmp_path):
    tokens = PAIRS[:4].clone()
    tokens[1, 2:], tokens[2, 1:] = 0, 0
    lengths = torch.tensor([3, 2, 1, 3])
    given = Examples(
        targets=torch.tensor([[5, 1, 3], [0, 4, 0], [2, 0, 0], [0, 6, 0]]),
        scored=torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool(),
        tokens=tokens,
        lengths=lengths,
        labels={
            "whole": torch.arange(4),
            "small": torch.tensor([1, 2, 255, 0], dtype=torch.uint8),
            "real": torch.tensor([0.1, -1e300, math.pi, 0.0], dtype=torch.float64),
            "by position": torch.arange(12).reshape(4, 3).to(torch.int32),
            "odd": torch.tensor([True, False, True, False]),
        },
        trees=((0, (1, 2)), (0, 1), 0, ((0, 1), 2)),
        facts=Facts(chance=0.25),
        words=(("a", "ß\n", ""), ("</script>", "\0"), ("x",), ('"', "[", "\\")),
    )
    run = interp.save_run(tmp_path / "run", model, states_of(model), given)
    assert_equal(interp.load(run.path).examples(), given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_inputs_and_answers_come_back(dtype, tmp_path):
    model: Any = build(
        ReadInConfig(d_model=8, n_heads=2), Sizes(d_in=3, d_vocab_out=1, n_ctx=4), seed=0
    )
    given = Examples(
        targets=torch.randn(5, 4, dtype=dtype),
        scored=torch.ones(5, 4, dtype=torch.bool),
        inputs=torch.randn(5, 4, 3, dtype=dtype),
    )
    run = interp.save_run(tmp_path / "run", model, {0: model.state_dict()}, given)
    assert_equal(run.examples(), given)
    assert set(run.experiment.task.score(run.snapshot())) == {"loss", "error", "explained"}


def test_parameters_come_back_bit_for_bit(model, examples, tmp_path):
    states = states_of(model)
    run = interp.save_run(tmp_path / "run", model, states, examples)
    assert run.steps == (0, 10)
    for step, state in states.items():
        for name, value in run.parameters(step).items():
            assert torch.equal(value, state[name])


def test_metrics_come_back(model, examples, tmp_path):
    frame = pd.DataFrame({"step": [0, 5, 10], "train.loss": [2.5, 0.1, math.nan], "lr": [1, 1, 0]})
    run = interp.save_run(tmp_path / "run", model, states_of(model), examples, metrics=frame)
    pd.testing.assert_frame_equal(run.metrics, frame.astype({"lr": float}))


def test_rows_of_metrics_are_put_in_the_order_of_their_steps(model, examples, tmp_path):
    rows = [{"step": 10, "a": np.float32(0.5)}, {"step": np.int64(0), "b": torch.tensor(2)}]
    run = interp.save_run(tmp_path / "run", model, states_of(model), examples, metrics=rows)
    assert run.metrics["step"].tolist() == [0, 10]
    assert run.metrics["a"].tolist()[1] == 0.5


def test_splits_keep_their_names_and_examples(model, examples, tmp_path):
    train, rest = examples.at(torch.arange(30)), examples.at(torch.arange(30, 49))
    run = interp.save_run(
        tmp_path / "run", model, states_of(model), {"train": train, "other": rest}
    )
    assert run.experiment.task.splits == ("all", "train", "other")
    assert_equal(run.examples("train"), train)
    assert_equal(run.examples("other"), rest)
    assert len(run.examples()) == 49


SHARED = r"run: 10 of the 19 test examples are also training examples, and say nothing of"


def test_test_examples_that_are_trained_on_are_counted_when_a_run_is_made(
    model, examples, tmp_path
):
    splits = {"train": examples.at(torch.arange(40)), "test": examples.at(torch.arange(30, 49))}
    states = states_of(model)
    with pytest.warns(UserWarning, match=SHARED) as warned:
        interp.save_run(tmp_path / "run", model, states, splits)
    assert len(warned) == 1
    interp.save_run(tmp_path / "run", model, states, splits)  # the second time says nothing
    assert len(interp.load(tmp_path / "run").examples("test")) == 19
    with pytest.warns(UserWarning, match=SHARED):
        interp.record(tmp_path / "other_run", model, splits).close()
    interp.record(tmp_path / "other_run", model, splits).close()


def test_splits_of_several_lengths_are_padded_at_the_end(model, examples, tmp_path):
    short = Examples(
        targets=torch.tensor([[3]]), scored=torch.tensor([[True]]), tokens=torch.tensor([[1, 2]]),
        labels={"a": torch.tensor([1]), "b": torch.tensor([2])}, facts=examples.facts,
    )  # fmt: skip
    run = interp.save_run(
        tmp_path / "run", model, states_of(model), {"test": short, "train": examples}
    )
    again: Any = run.examples("test")
    assert again.tokens.tolist() == [[1, 2, 0]]
    assert again.targets.tolist() == [[0, 3, 0]]
    assert again.lengths.tolist() == [2]
    alone = Snapshot.of(run.model(0), short).logits()
    torch.testing.assert_close(run.snapshot(0, "test").logits()[:, :2], alone)


def test_one_of_our_tasks_stands_in_place_of_examples(model, tmp_path):
    task = ModularArithmetic(p=7, train_fraction=0.5)
    run = interp.save_run(tmp_path / "run", model, states_of(model), task, seed=3)
    assert run.experiment.task == task
    assert_equal(run.examples("train"), task.examples("train", None, 3))
    assert not (run.path / "examples.npz").exists()


def test_a_folder_can_be_moved_with_its_data(model, examples, tmp_path, monkeypatch):
    run = interp.save_run(tmp_path / "run", model, states_of(model), examples)
    analyze(run, ["WeightNorms"])
    moved = shutil.move(run.path, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert_equal(interp.load(moved).examples(), examples)
    assert [summary.kept for summary in analyze(interp.load(moved), ["WeightNorms"])] == [2]
    assert str(tmp_path) not in (tmp_path / "elsewhere" / "experiment.toml").read_text()


def test_changed_data_are_noticed(model, examples, tmp_path):
    run = interp.save_run(tmp_path / "run", model, states_of(model), examples)
    other = interp.save_run(tmp_path / "other", model, states_of(model), examples.head(5))
    shutil.copy(other.path / "examples.npz", run.path)
    with pytest.raises(ValueError, match=r"task\.file: .*examples\.npz has changed since the run"):
        interp.load(run.path).snapshot()


@pytest.fixture(scope="module")
def fixture_and_copy(tmp_path_factory):
    """The stored run, and the same saved from its model, states and examples."""
    run = interp.load(ROOT / "fixtures" / "modular-addition")
    states = {step: dict(run.parameters(step)) for step in run.steps[-2:]}
    place = tmp_path_factory.mktemp("saved") / "modular-addition"
    copy = interp.save_run(place, run.model(), states, run.examples(), metrics=run.metrics)
    analyze(copy, ["FourierSpectrum", "FourierCircuit", "AttentionSparsity", "GrokkingPhases"])
    return run, copy


@pytest.mark.parametrize("cls", [FourierSpectrum, FourierCircuit, AttentionSparsity])
def test_results_of_a_saved_run_are_those_of_the_run_itself(fixture_and_copy, cls):
    run, copy = fixture_and_copy
    step = copy.steps[-1]
    (stored,) = [one for one in saved(run) if one.cls is cls]
    for name, value in vars(stored.load(step)).items():
        ours = getattr(copy.result(cls, step), name)
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(ours, value, rtol=1e-4, atol=1e-5)  # other processors
        else:
            assert np.array_equal(np.asarray(ours, object), np.asarray(value, object)), name


def test_phases_of_a_saved_run_are_those_of_the_run_itself(fixture_and_copy):
    run, copy = fixture_and_copy
    (stored,) = [one for one in saved(run) if one.cls is GrokkingPhases]
    assert copy.result(GrokkingPhases).summary() == stored.load().summary()


def test_a_saved_run_has_a_page_with_its_curves(fixture_and_copy, tmp_path):
    _, copy = fixture_and_copy
    page = write_report([copy], tmp_path / "report").parent / "runs" / "modular-addition.html"
    text = page.read_text()
    assert "Accuracy over training" in text
    assert "Not trained by interp: its checkpoints were recorded from a live model" in text
    assert "interp train" not in text
    assert str(copy.path.parent) not in text


def test_a_large_vocabulary_is_cut_where_settings_are_shown(model, examples, tmp_path):
    facts = Facts(vocabulary=tuple(f"word{n}" for n in range(50)))
    given = dataclasses.replace(examples, facts=facts)
    larger = random_model(SIZES.model_copy(update={"d_vocab": 50}))
    run = interp.save_run(tmp_path / "run", larger, states_of(larger), given)
    assert run.facts.vocabulary == facts.vocabulary
    shown_settings = overview(run, "run.html").settings
    assert "word0, word1, word2, … (50)" in shown_settings
    assert "word3" not in shown_settings


def test_the_same_call_finds_its_run_and_changes_nothing(model, examples, tmp_path):
    states = states_of(model)
    run = interp.save_run(tmp_path / "run", model, states, examples)
    analyze(run, ["WeightNorms"])
    before = {file: file.stat().st_mtime_ns for file in run.path.rglob("*")}
    assert interp.save_run(tmp_path / "run", model, states, examples) == run
    assert {file: file.stat().st_mtime_ns for file in run.path.rglob("*")} == before


@pytest.mark.parametrize("change", ["a state", "a step", "the examples", "metrics"])
def test_a_folder_of_another_run_is_refused_and_left_as_it_is(model, examples, tmp_path, change):
    states = states_of(model)
    run = interp.save_run(tmp_path / "run", model, states, examples)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    arguments = {"states": states, "examples": examples, "metrics": None} | {
        "a state": {"states": states | {10: states[0]}},
        "a step": {"states": {0: states[0]}},
        "the examples": {"examples": examples.head(9)},
        "metrics": {"metrics": [{"step": 0, "a": 1.0}]},
    }[change]
    with pytest.raises(ValueError, match=r"run is not empty, and holds another run; choose a new"):
        interp.save_run(run.path, model, **arguments)
    assert {f: f.read_bytes() for f in run.path.rglob("*") if f.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


class Own(nn.Module):
    """A model without hook points."""


@dataclasses.dataclass(frozen=True)
class MyFacts:
    """Facts of a user's own kind."""

    bits: int = 3


def test_facts_of_ones_own_kind_are_left_out_with_a_warning(model, examples, tmp_path):
    own = dataclasses.replace(examples, facts=Facts(groups=(MyFacts(),)))
    with pytest.warns(
        UserWarning, match=r"facts of the kind MyFacts are left out, .* do not apply"
    ):
        run = interp.save_run(tmp_path / "run", model, states_of(model), own)
    assert run.facts.groups == ()


def altered(**changes):
    return lambda state: state | changes


STATES = {
    "none": ({}, "states is empty: give a state_dict"),
    "a negative step": ({-1: None}, r"step -1: give a whole number from 0"),
    "a step of words": ({"last": None}, r"step 'last': give a whole number"),
    "a fraction": ({0.5: None}, r"step 0\.5: give a whole number"),
    "a list": ({0: [1]}, r"states: step 0: a list: give the model's state_dict\(\)"),
    "nothing in it": ({3: {}}, r"states: step 3: it holds no parameters"),
}


@pytest.mark.parametrize(("states", "message"), STATES.values(), ids=STATES)
def test_states_that_are_none_are_refused(model, examples, tmp_path, states, message):
    with pytest.raises((ValueError, TypeError), match=message):
        interp.save_run(tmp_path / "run", model, states, examples)
    assert not any(tmp_path.iterdir())


WRONG_STATES = {
    "a missing parameter": (
        lambda state: {n: v for n, v in state.items() if n != "embed.W_E"},
        r"states: step 10: parameter embed\.W_E is missing, the model has \[8, 8\]",
    ),
    "another shape": (
        altered(**{"embed.W_E": torch.zeros(2, 2)}),
        r"states: step 10: parameter embed\.W_E is \[2, 2\], the model has \[8, 8\]; is this",
    ),
    "another parameter": (
        altered(mine=torch.zeros(2)), r"step 10: parameter mine is \[2\], the model has none"
    ),
    "half precision": (
        altered(**{"embed.W_E": torch.zeros(8, 8, dtype=torch.half)}),
        r"states: step 10: parameter embed\.W_E holds torch\.float16: give float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_state_of_another_model_is_named_and_nothing_is_written(
    model, examples, tmp_path, change, message
):
    states = states_of(model)
    with pytest.raises(ValueError, match=message):
        interp.save_run(tmp_path / "run", model, states | {10: change(states[10])}, examples)
    assert not any(tmp_path.iterdir())


METRICS = {
    "no step": ([{"train.loss": 1.0}], r"metrics: row 0 has no 'step'; give each row its step"),
    "a repeated step": ([{"step": 1}, {"step": 1}], r"metrics: two rows are of step 1; give one"),
    "a text": ([{"step": 1, "a": "x"}], r"metrics: a is 'x': give one number"),
    "a truth value": ([{"step": 1, "a": True}], r"metrics: a is True: give one number"),
    "a list": ([{"step": 1, "a": torch.ones(2)}], r"metrics: a is .*: give one number"),
    "no name": ([{"step": 1, "": 1}], r"metrics: '' names no metric; give a name such as"),
    "a number for a name": ([{"step": 1, 3: 1}], r"metrics: 3 names no metric"),
}


@pytest.mark.parametrize(("metrics", "message"), METRICS.values(), ids=METRICS)
def test_metrics_that_are_none_are_refused(model, examples, tmp_path, metrics, message):
    with pytest.raises(ValueError, match=message):
        interp.save_run(tmp_path / "run", model, states_of(model), examples, metrics=metrics)
    assert not any(tmp_path.iterdir())


def changed(**changes):
    return lambda examples: dataclasses.replace(examples, **changes)


WRONG_EXAMPLES = {
    "no split": (lambda examples: {}, r"examples: there is no split"),
    "a split of something else": (lambda examples: {"a": 3}, r"examples: 'a' is a int: give Exa"),
    "a split called all": (lambda e: {"all": e}, r"'all' means all splits together: rename"),
    "a split of slashes": (lambda e: {"a/b": e}, r"examples: split\[0\]: \"a/b\"; give a name"),
    "other labels": (
        lambda e: {"a": e, "b": dataclasses.replace(e, labels={})},
        r"examples: labels of 'a' and 'b' differ",
    ),
    "other facts": (
        lambda e: {"a": e, "b": dataclasses.replace(e, facts=Facts())},
        r"examples: facts of 'a' and 'b' differ: .*give both the same",
    ),
    "other tokens": (
        lambda e: dataclasses.replace(e, tokens=e.tokens + 1), r"tokens hold 8: ids are 0 to 7"
    ),
    "more positions": (
        lambda e: Examples(torch.zeros(2, 4).long(), torch.ones(2, 4) > 0, torch.ones(2, 4).long()),
        r"4 positions, the model's n_ctx is 3",
    ),
    "a task of other sizes": (
        lambda e: ModularArithmetic(p=5), r"d_vocab is 8 in the model and 6 in the task modular_ar"
    ),
    "a label of a strange shape": (
        lambda e: dataclasses.replace(e, labels={"x": torch.zeros(49, 2)}),
        r"examples: label\.x: an array \[49, 2\] .*; give numbers or booleans",
    ),
    "a label of a strange type": (
        lambda e: dataclasses.replace(e, labels={"x": torch.zeros(49, dtype=torch.bfloat16)}),
        r"examples: label\.x holds torch\.bfloat16: give another type",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG_EXAMPLES.values(), ids=WRONG_EXAMPLES)
def test_examples_that_are_not_the_models_are_refused(model, examples, tmp_path, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        interp.save_run(tmp_path / "run", model, states_of(model), change(examples))
    assert not any(tmp_path.iterdir())


def test_examples_that_are_none_are_refused():
    with pytest.raises(TypeError, match=r"examples is a list: give hooks\.Examples"):
        _tried([1, 2], 0)


def test_a_model_that_is_not_causal_is_refused_padded_examples(examples, tmp_path):
    model = random_model(attention_dir="bidirectional")
    interp.save_run(tmp_path / "run", model, states_of(model), examples)  # of one length
    padded = Examples(
        torch.zeros(2, 3).long(), torch.tensor([[True, False, False]] * 2),
        torch.zeros(2, 3).long(), lengths=torch.tensor([1, 3]),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"padded at the end, and this model is not causal"):
        interp.save_run(tmp_path / "padded", model, states_of(model), padded)


def test_a_model_without_hook_points_is_refused(examples, tmp_path):
    with pytest.raises(TypeError, match="a model with hook points is wanted"):
        interp.save_run(tmp_path / "run", Own(), {0: {}}, examples)


KINDS = {
    "token": (tiny_config(), SIZES),
    "post_norm": (PostNormConfig(n_layers=1, d_model=8, n_heads=2), SIZES),
    "mlp": (MLPConfig(d_model=8, d_mlp=16), Sizes(d_vocab=7, d_vocab_out=7, n_ctx=2)),
}


@pytest.mark.parametrize(("config", "sizes"), KINDS.values(), ids=KINDS)
def test_every_kind_of_model_is_saved_with_the_logits_it_has(config, sizes, tmp_path):
    model: Any = build(config, sizes, seed=1)
    task = ModularArithmetic(p=7, equals=sizes.n_ctx == 3)
    given = task.examples("all", None, 0)
    run = interp.save_run(tmp_path / "run", model, {4: model.state_dict()}, given)
    expected = Snapshot.of(model, given)
    torch.testing.assert_close(run.snapshot().logits(), expected.logits(), rtol=0, atol=0)
    assert run.experiment.task.score(run.snapshot()) == task.score(expected)


class Plain(nn.Module):
    """What DataParallel does to names, on any machine."""

    def __init__(self, module):
        super().__init__()
        self.module = module


WRAPPERS = {"compiled": lambda m: torch.compile(m), "parallel": Plain}
WRAPPERS["both"] = lambda m: Plain(torch.compile(m))


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch's
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_are_taken_off_the_model_and_its_states(examples, tmp_path, wrap):
    model = random_model()
    wrapped = wrap(model)
    run = interp.save_run(tmp_path / "run", wrapped, {0: wrapped.state_dict()}, examples)
    assert set(run.parameters(0)) == set(dict(model.named_parameters()))
    with interp.record(tmp_path / "recorded", wrapped, examples) as recorder:
        recorder.step(0)
    assert recorder.run.checkpoint_hash(0) == run.checkpoint_hash(0)


@lens.needs_hooked_transformer
def test_transformer_lens_hooked_transformer_is_saved_with_its_logits(tmp_path):
    theirs = lens.randomised(lens.theirs())
    tokens = torch.randint(11, (6, 7))
    given = Examples(torch.zeros_like(tokens), torch.ones(6, 7).bool(), tokens)
    run = interp.save_run(tmp_path / "run", theirs, {0: theirs.state_dict()}, given)
    torch.testing.assert_close(run.snapshot().logits(), theirs(tokens).detach())


@pytest.mark.skipif(lens.HookedTransformer is not None, reason="TransformerLens 3.9 has no bridge")
def test_a_bridge_and_its_states_are_saved_under_our_names(tmp_path):
    from hooks import to_transformer_lens

    sizes = Sizes(d_vocab=8, d_vocab_out=8, n_ctx=3)
    ours: Any = build(tiny_config(), sizes, seed=0)
    bridge = to_transformer_lens(ours)
    run = interp.save_run(
        tmp_path / "run", bridge, {0: bridge.state_dict()}, tokens_as_examples(PAIRS)
    )
    assert set(run.parameters(0)) == set(dict(ours.named_parameters()))
    with interp.record(tmp_path / "recorded", bridge, tokens_as_examples(PAIRS)) as recorder:
        recorder.step(0)
        with torch.no_grad():
            bridge.unembed.original_component.weight.add_(1)
        recorder.step(1)
    torch.testing.assert_close(recorder.run.snapshot(0).logits(), run.snapshot().logits())
    torch.testing.assert_close(recorder.run.snapshot(1).logits(), bridge(PAIRS).detach())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_model_on_a_gpu_is_recorded_and_left_there(examples, tmp_path):
    model: Any = random_model()
    model.to("cuda").train()
    with interp.record(tmp_path / "run", model, examples) as recorder:
        recorder.step(0, {"train.loss": torch.tensor(1.0, device="cuda")})
    assert next(model.parameters()).is_cuda
    assert model.training
    assert torch.equal(recorder.run.parameters(0)["embed.W_E"], model.W_E.cpu())


def nudge(model, amount):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount)


@pytest.fixture
def live():
    return random_model(seed=4)


def test_each_step_keeps_the_model_as_it_is_then(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        for step in (0, 5, 9):
            recorder.step(step, {"train.loss": 2.0 - step / 5, "note": math.nan})
            assert torch.equal(recorder.run.parameters(step)["embed.W_E"], live.W_E)
            nudge(live, 1.0)
    run = interp.load(tmp_path / "run")
    assert run.steps == (0, 5, 9)
    assert run.metrics["train.loss"].tolist() == [2.0, 1.0, 2.0 - 9 / 5]
    assert run.metrics["note"].isna().tolist() == [True] * 3


def test_recording_leaves_training_as_it_was(live, examples, tmp_path):
    live.train()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in live.state_dict().items()}
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0)
    assert live.training
    assert all(parameter.requires_grad for parameter in live.parameters())
    assert all(torch.equal(value, before[name]) for name, value in live.state_dict().items())
    assert torch.equal(torch.rand(3), expected)


def test_rows_may_be_denser_than_checkpoints(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"train.loss": 3.0})
        recorder.log(1, {"train.loss": 2.0})
        recorder.log(2, {"train.loss": 1.0})
        recorder.step(2)
    assert recorder.run.steps == (0, 2)
    assert recorder.run.metrics["step"].tolist() == [0, 1, 2]


def test_a_recorded_run_is_reported_while_it_is_open(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"train.loss": 3.0})
        index = write_report([recorder.run], tmp_path / "report")
        with pytest.raises(ValueError, match=r"or a recorder is open; .* close the recorder"):
            analyze(recorder.run, ["WeightNorms"])
    page = (index.parent / "runs" / "run.html").read_text()
    assert "Loss (train) over training" in page
    assert analyze(recorder.run, ["WeightNorms"])[0].measured == 1


def test_the_same_call_goes_on_and_passes_over_what_is_there(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"a": 1.0})
    before = recorder.run.checkpoint(0).stat().st_mtime_ns
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"a": 1.0})
        recorder.step(1, {"a": 2.0})
    assert recorder.run.checkpoint(0).stat().st_mtime_ns == before
    assert recorder.run.metrics["a"].tolist() == [1.0, 2.0]


def test_a_step_that_was_recorded_otherwise_is_refused(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(5, {"a": 1.0})
        with pytest.raises(ValueError, match=r"step 5 has other metrics already; .*resume_at=4"):
            recorder.step(5, {"a": 2.0})
        with pytest.raises(ValueError, match=r"step 4 comes after step 5; .*resume_at=3"):
            recorder.step(4)
        with pytest.raises(ValueError, match=r"step 4 comes after step 5"):
            recorder.log(4, {"a": 1.0})
        nudge(live, 1.0)
        with pytest.raises(ValueError, match=r"step 5 is recorded with other parameters; to train"):
            recorder.step(5, {"a": 1.0})
    assert recorder.run.steps == (5,)
    assert recorder.run.metrics["a"].tolist() == [1.0]


def test_training_again_from_an_earlier_step_deletes_what_is_later(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        for step in (0, 5, 10):
            recorder.step(step, {"a": float(step)})
    nudge(live, 1.0)
    with interp.record(tmp_path / "run", live, examples, resume_at=7) as recorder:
        assert recorder.run.steps == (0, 5)
        recorder.step(10, {"a": 0.5})
    assert recorder.run.metrics["a"].tolist() == [0.0, 5.0, 0.5]
    assert torch.equal(recorder.run.parameters(10)["embed.W_E"], live.W_E)


def test_other_parameters_at_step_0_take_a_new_folder(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"a": 1.0})
        nudge(live, 1.0)
        with pytest.raises(ValueError, match=r"step 0 is recorded with other.*new folder") as said:
            recorder.step(0, {"a": 1.0})
    assert "resume_at" not in str(said.value)
    assert f"or delete {tmp_path / 'run'} to begin anew" in str(said.value)


def test_training_does_not_go_on_from_beyond_its_end(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"a": 1.0})
        recorder.step(50)
    with pytest.raises(ValueError, match=r"resume_at=999: the last step recorded in .*run is 50;"):
        interp.record(tmp_path / "run", live, examples, resume_at=999)
    with interp.record(tmp_path / "run", live, examples, resume_at=50) as recorder:
        assert recorder.run.steps == (0, 50)
        recorder.log(60, {"a": 2.0})
    interp.record(tmp_path / "run", live, examples, resume_at=60).close()
    with pytest.raises(ValueError, match=r"resume_at=1: .*other has no step to go on from; leave"):
        interp.record(tmp_path / "other", live, examples, resume_at=1)


def test_a_checkpoint_whose_row_was_never_written_gets_it(live, examples, tmp_path):
    """As a kill between the two leaves them."""
    with interp.record(tmp_path / "run", live, examples) as recorder:
        recorder.step(0, {"a": 1.0})
        recorder.step(5)
    with (recorder.run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "a')
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "half-written|.*half-written last line passed over")
        with interp.record(tmp_path / "run", live, examples) as recorder:
            recorder.step(5, {"a": 2.0})
    assert recorder.run.metrics["a"].tolist() == [1.0, 2.0]


def test_a_folder_begun_with_other_examples_is_refused(live, examples, tmp_path):
    interp.record(tmp_path / "run", live, examples).close()
    with pytest.raises(ValueError, match=r"was not begun with this model and these examples"):
        interp.record(tmp_path / "run", live, examples.head(5))
    with pytest.raises(ValueError, match=r"was not begun with this model and these examples"):
        interp.record(tmp_path / "run", random_model(act_fn="gelu"), examples)


def test_a_second_recorder_is_refused_until_the_first_is_closed(live, examples, tmp_path):
    recorder = interp.record(tmp_path / "run", live, examples)
    with pytest.raises(ValueError, match="is in use"):
        interp.record(tmp_path / "run", live, examples)
    assert recorder.close() == recorder.run
    interp.record(tmp_path / "run", live, examples).close()


def test_an_error_in_the_loop_frees_the_folder(live, examples, tmp_path):
    with pytest.raises(ZeroDivisionError), interp.record(tmp_path / "run", live, examples) as rec:
        rec.step(1 // 0)
    interp.record(tmp_path / "run", live, examples).close()


def test_a_closed_recorder_records_nothing(live, examples, tmp_path):
    recorder = interp.record(tmp_path / "run", live, examples)
    recorder.close()
    with pytest.raises(
        ValueError, match=r"the recorder is closed; interp\.record with the same fol"
    ):
        recorder.step(0)
    assert recorder.run.steps == ()


def test_a_model_that_has_changed_its_shape_is_refused(live, examples, tmp_path):
    with interp.record(tmp_path / "run", live, examples) as recorder:
        live.half()
        with pytest.raises(ValueError, match=r"holds torch\.float16: give float32"):
            recorder.step(0)
    assert recorder.run.steps == ()


def test_a_recorder_writes_where_it_began_wherever_the_loop_goes(
    live, examples, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with interp.record("run", live, examples) as recorder:
        monkeypatch.chdir(tmp_path / "other")
        recorder.step(0)
    assert interp.load(tmp_path / "run").steps == (0,)


KILLED = """
import os, sys
import torch
import interp
from hooks import Examples
from tests.planted import random_model, tokens_as_examples
tokens = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
model = random_model(seed=4)
recorder = interp.record(sys.argv[1], model, tokens_as_examples(tokens))
recorder.step(0, {"a": 1.0})
os._exit(9)
"""


def test_a_killed_loop_leaves_what_it_recorded_and_no_lock(live, examples, tmp_path):
    place = str(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", KILLED, place], cwd=ROOT, check=False)
    assert done.returncode == 9
    with interp.record(place, live, examples) as recorder:
        recorder.step(0, {"a": 1.0})  # the same
        recorder.step(1, {"a": 2.0})
    assert recorder.run.metrics["a"].tolist() == [1.0, 2.0]


def test_the_machine_of_a_recorded_run_is_known(live, examples, tmp_path):
    run = interp.record(tmp_path / "run", live, examples).close()
    assert json.loads((run.path / "environment.json").read_text())["device"] == "cpu"
