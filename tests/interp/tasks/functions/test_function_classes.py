"""Prompts, splits, prior and options of functions that are drawn from classes."""

import math

import pytest
import torch
from torch.testing import assert_close

from hooks import FunctionFacts, MixtureFacts, PromptFacts
from interp.config.experiment import Experiment, load_experiment
from interp.randomness import generator
from interp.training.loop import train
from tests.interp.tasks.prompts import pairs_of, solved, task_of

LINE_AND_WAVE = {
    "d": 1,
    "pairs": 12,
    "classes": [{"family": "dense"}, {"family": "sinusoid"}],
    "test_prompts": 700,
}


def test_a_prompt_is_inputs_and_answers_by_turns():
    batch = task_of(d=3).data(50, generator(0))
    assert batch["inputs"].shape == (50, 24, 3)
    assert torch.equal(batch["inputs"][:, 1::2, 0], batch["targets"][:, ::2])
    assert not batch["inputs"][:, 1::2, 1:].any()


def test_answers_are_read_where_inputs_are():
    batch = task_of(d=3).data(50, generator(0))
    assert batch["scored"].tolist() == [[True, False] * 12] * 50
    assert not batch["targets"][:, 1::2].any()


def test_weights_are_shares_of_the_classes():
    task = task_of(**LINE_AND_WAVE | {"weights": [3, 1], "test_prompts": 4000})
    classes = task.examples("test", None, 0).label("class")
    assert (classes == 0).float().mean() == pytest.approx(0.75, abs=0.03)


def test_a_class_of_weight_zero_is_never_drawn():
    task = task_of(**LINE_AND_WAVE | {"weights": [0, 1]})
    x, y = pairs_of(task)
    misses = (x @ solved(x, y)[..., None])[..., 0] - y
    assert misses.square().mean(1).min() > 1e-3  # no line fits any prompt


def test_a_label_that_is_the_same_in_all_prompts_is_left_out():
    for options in ({}, LINE_AND_WAVE | {"weights": [0, 1]}):
        examples = task_of(**options).examples("test", None, 0)
        assert (dict(examples.labels), examples.facts(PromptFacts).group) == ({}, "")


def test_noise_is_added_to_every_answer():
    clean, noisy = (pairs_of(task_of(d=5, noise=noise), 3000)[1] for noise in (0.0, 0.5))
    assert (noisy - clean).std() == pytest.approx(0.5, rel=0.03)


def test_a_combination_weighs_the_first_two_classes():
    task = task_of(**LINE_AND_WAVE | {"alphas": [0.25]})
    examples = task.examples("combination", None, 0)
    x, y = examples.model_inputs[:, ::2].double(), examples.targets[:, ::2].double()
    features = torch.cat([x, (3 * x).sin(), (3 * x).cos()], dim=2)
    found = solved(features[:, :8], y[:, :8])
    assert_close(torch.einsum("nkd,nd->nk", features, found), y, atol=3e-2, rtol=0)
    deviations = found.std(0).tolist()
    assert deviations == pytest.approx([0.25, 0.75, 0.75], rel=0.15)


def test_the_ends_of_a_combination_are_the_classes():
    task = task_of(**LINE_AND_WAVE)
    examples = task.examples("combination", None, 0)
    whole = examples.label("alpha") == 1
    x, y = examples.model_inputs[whole, ::2], examples.targets[whole, ::2]
    assert_close(y / x[..., 0], (y / x[..., 0])[:, :1].expand_as(y), rtol=1e-3, atol=1e-4)


def test_scales_multiply_the_values():
    examples = task_of(d=5, test_prompts=8000).examples("scale", None, 0)
    scale, y = examples.label("scale"), examples.targets[:, ::2]
    for each in (0.3, 1.0, 3.0, 10.0):
        assert y[scale == each].square().mean() == pytest.approx(each**2, rel=0.1)


def test_frequencies_are_multiplied():
    task = task_of(**LINE_AND_WAVE | {"frequency_factors": [2.0]})
    examples = task.examples("frequency", None, 0)
    x, y = examples.model_inputs[:, ::2].double(), examples.targets[:, ::2].double()
    features = torch.cat([(6 * x).sin(), (6 * x).cos()], dim=2)
    found = solved(features[:, :6], y[:, :6])
    assert_close(torch.einsum("nkd,nd->nk", features, found), y, atol=1e-2, rtol=0)


def test_sparsity_goes_through_all_numbers_of_coefficients():
    examples = task_of(d=5, test_prompts=3000).examples("sparsity", None, 0)
    nnz, y = examples.label("nnz"), examples.targets[:, ::2]
    found = solved(examples.model_inputs[:, ::2].double(), y.double())
    assert ((found.abs() > 1e-4).sum(1) == nnz).float().mean() > 0.99
    assert y[nnz == 1].square().mean() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize(
    ("options", "splits"),
    [
        ({"d": 5}, ("test", "scale", "sparsity")),
        (LINE_AND_WAVE, ("test", "combination", "scale", "frequency")),
        ({"classes": [{"family": "decision_tree"}]}, ("test", "scale")),
    ],
)
def test_splits_are_those_that_the_classes_allow(options, splits):
    assert task_of(**options).splits == splits


def test_splits_differ_from_each_other_and_from_training():
    task = task_of(d=5)
    drawn = [task.examples(split, None, 0).model_inputs for split in task.splits]
    drawn += [task.data(1280, generator(0, 0, 0))["inputs"]]
    firsts = {tuple(each[0, 0].tolist()) for each in drawn}
    assert len(firsts) == len(drawn)


def test_fewer_examples_are_the_first_of_all():
    task = task_of(d=5)
    assert torch.equal(
        task.examples("test", 7, 0).model_inputs, task.examples("test", None, 0).model_inputs[:7]
    )


def test_inactive_inputs_are_zero_and_coefficients_stay():
    x, y = pairs_of(task_of(d=8, active_inputs=2, pairs=9), 20_000)
    assert not x[..., 2:].any()
    assert y.square().mean() == pytest.approx(2 / 8, rel=0.05)


def test_fewer_pairs_shorten_training_prompts_alone():
    task = task_of(d=3, pairs=9, active_pairs=4)
    assert task.data(5, generator(0))["inputs"].shape == (5, 8, 3)
    assert task.examples("test", 5, 0).model_inputs.shape == (5, 18, 3)
    assert task.sizes == task_of(d=3, pairs=9).sizes


def test_the_prior_names_each_class_that_is_trained_on():
    classes = [{"family": "dense"}, {"family": "sparse", "nnz": 2}, {"family": "relu_network"}]
    prior = task_of(d=5, classes=classes, weights=[1, 3, 0]).facts(FunctionFacts).prior
    assert [getattr(each, "nnz", None) for each in prior] == [5, 2]
    assert [each.weight for each in prior] == [0.25, 0.75]
    assert [each.scale for each in prior] == pytest.approx([5**-0.5, 2**-0.5])


@pytest.mark.parametrize(
    "wave", [{"amplitude": "normal"}, {"phase": [0, 3]}, {"frequency": [1, 2]}, None]
)
def test_there_is_no_prior_where_evidence_is_not_exact(wave):
    family = {"family": "decision_tree"} if wave is None else {"family": "sinusoid"} | wave
    task = task_of(d=1, classes=[{"family": "dense"}, family])
    assert task.facts(FunctionFacts).prior == ()


def test_classes_of_one_family_are_numbered():
    classes = [{"family": "sparse", "nnz": nnz} for nnz in (1, 2)] + [{"family": "dense"}]
    names = task_of(classes=classes).facts(MixtureFacts).classes
    assert names == ("sparse 1", "sparse 2", "dense")


def test_the_loss_is_the_mean_square_at_the_inputs():
    task = task_of(d=3, pairs=2)
    batch = {
        "targets": torch.tensor([[1.0, 0, -2, 0]]),
        "scored": torch.tensor([[True, False, True, False]]),
    }
    logits = torch.tensor([[[0.0], [9.0], [1.0], [9.0]]])
    grade = {name: float(value) for name, value in task.grade(logits, batch).items()}
    assert grade == pytest.approx({"loss": 5.0, "error": 2.0, "explained": 1 - 9 / 4})


def test_always_answering_zero_has_error_one():
    task = task_of(d=3)
    batch = task.data(300, generator(0))
    grade = task.grade(torch.zeros(300, 24, 1), batch)
    assert grade["error"] == pytest.approx(1)
    assert grade["explained"] == pytest.approx(0)


def test_a_schedule_is_a_curriculum(tmp_path):
    full = {"name": "function_classes", "d": 4, "pairs": 6, "test_prompts": 32}
    few = full | {"active_inputs": 2, "active_pairs": 3}
    experiment = Experiment.model_validate(
        {
            "name": "curriculum",
            "task": full,
            "model": {"kind": "read_in", "d_model": 8, "n_heads": 2},
            "training": {
                "steps": 6, "batch_size": 4, "chunk": 2, "evaluate": {"every": 3},
                "schedule": [{"steps": 3, "tasks": [few]}, {"steps": 3, "tasks": [full]}],
            },
        }
    )  # fmt: skip
    run = train(experiment, tmp_path / "run", device="cpu")
    metrics = run.metrics
    assert metrics is not None
    assert list(metrics) == ["step", "test.loss", "test.error", "test.explained"]
    assert metrics["step"].tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d": 0}, "d: .* greater than or equal to 1 .*got 0"),
        ({"pairs": 1}, "pairs: .* greater than or equal to 2"),
        ({"noise": math.nan}, "noise: .*(less|greater) than or equal"),
        ({"classes": []}, "classes: .* at least 1 item"),
        ({"classes": [{"family": "spline"}]}, "classes.*'spline'"),
        ({"classes": [{"family": "sparse", "nnz": 21}]}, "nnz 21 is more than 20 inputs"),
        (
            {"active_inputs": 2, "classes": [{"family": "sparse", "nnz": 3}]},
            "nnz 3 is more than 2 inputs",
        ),
        ({"classes": [{"family": "sinusoid"}]}, "a sinusoid is of one input, d is 20: set d = 1"),
        ({"weights": [1, 1]}, "weights .*: one for each of 1 classes"),
        ({"weights": [0]}, "weights .* not all 0"),
        ({"weights": [1e308, 1e308], "classes": [{"family": "dense"}] * 2}, "only shares count"),
        ({"weights": [1e39]}, "only shares count; let their sum be near 1"),
        ({"weights": [1e-50]}, "only shares count; let their sum be near 1"),
        ({"weights": [math.nan]}, "weights"),
        ({"active_inputs": 21}, "active_inputs and active_pairs are at most d and pairs"),
        ({"active_pairs": 13}, "active_inputs and active_pairs are at most d and pairs"),
        ({"alphas": [1.5]}, "alphas .* between 0 and 1"),
        ({"scales": [0]}, r"scales\.0: .* greater than or equal to 0\.0"),
        ({"inputs": {"scale": 0}}, r"inputs\.scale: .* greater than or equal to 0\.0"),
    ],
)
def test_options_that_are_wrong_are_one_line_that_names_them(options, message, tmp_path):
    import tomli_w

    path = tmp_path / "wrong.toml"
    path.write_text(tomli_w.dumps({"task": {"name": "function_classes", "pairs": 12} | options}))
    with pytest.raises(ValueError, match=rf"\A[^\n]*wrong\.toml: task[^\n]*{message}[^\n]*\Z"):
        load_experiment(path)


def test_data_without_a_count_are_refused():
    with pytest.raises(ValueError, match="draws without end; say how many"):
        task_of().data(None, generator(0))
