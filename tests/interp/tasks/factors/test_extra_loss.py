import math

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from hooks import Snapshot, build
from interp.config.experiment import Experiment
from interp.randomness import generator
from interp.tasks import TASKS
from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.functions.simple import SimpleFunction
from interp.training.loop import train
from tests.planted import config_for

SMALL = {"factors": {"hue": 4, "shape": 3}, "pairs": 4, "d": 8, "test_prompts": 200, "held_out": 0}


def images(**options):
    return FactorLabels.model_validate(SMALL | options)


def plain(batch):
    return {name: batch[name] for name in ("inputs", "targets", "scored")}


@pytest.mark.parametrize(("extra", "outputs"), [("weights", 4 + 2 * 4), ("context", 4 + 2)])
def test_spare_outputs_follow_the_labels(extra, outputs):
    assert images(extra_loss=extra).sizes.d_vocab_out == outputs


@pytest.mark.parametrize("extra", ["weights", "context"])
def test_prompts_are_the_same_with_a_further_loss(extra):
    without, beside = (images(extra_loss=each).data(50, generator(1)) for each in (None, extra))
    assert_close(plain(beside), plain(without), rtol=0, atol=0)


def test_factors_are_asked_for_at_every_image():
    task = images(extra_loss="weights", maps=1, noise=0.0)
    batch = task.data(300, generator(0))
    inputs, side = batch["inputs"][:, ::2].flatten(0, 1), batch["side"][:, ::2].flatten(0, 1)
    one_image = (inputs[:, None] - inputs[None]).abs().amax(-1) < 1e-6
    one_side = (side[:, None] == side[None]).all(-1)
    assert torch.equal(one_image, one_side)  # noiseless vectors tell the factors, all of them
    assert len(side.unique(dim=0)) == 12


def test_the_asked_factor_is_that_of_the_labels():
    task = images(extra_loss="context", maps=1, noise=0.0)
    side = task.data(400, generator(0))["side"][:, ::2, 0]
    assert (side == side[:, :1]).all()
    labels = task.data(400, generator(0))["targets"][:, ::2]
    assert labels[side[:, 0] == 1].max() == 2  # shape has three values
    assert labels[side[:, 0] == 0].max() == 3


@pytest.mark.parametrize(("extra", "questions"), [("weights", 2), ("context", 1)])
def test_the_loss_is_that_of_the_labels_and_a_share_of_the_other(extra, questions):
    task = images(extra_loss=extra, extra_weight=0.25)
    batch = task.data(30, generator(0))
    logits = torch.randn(30, 8, task.sizes.d_vocab_out, generator=generator(1)).double()
    at_images = batch["scored"]
    labels = torch.nn.functional.cross_entropy(
        logits[at_images][:, :4], batch["targets"][at_images]
    )
    spare = logits[at_images][:, 4:].unflatten(-1, (questions, -1)).flatten(0, 1)
    side = torch.nn.functional.cross_entropy(spare, batch["side"][at_images].flatten())
    assert_close(task.loss(logits, batch), labels + 0.25 * side)


def test_metrics_are_of_the_labels_alone():
    task, without = images(extra_loss="weights"), images()
    batch = plain(task.data(30, generator(0)))
    logits = torch.randn(30, 8, task.sizes.d_vocab_out, generator=generator(1))
    logits[..., 4:] += 100  # none of them may be taken for an answer
    assert_close(task.grade(logits, batch), without.grade(logits[..., :4], batch))


def test_analyses_see_the_outputs_that_answer():
    task = images(extra_loss="weights")
    model = build(config_for(task.sizes), task.sizes, seed=0)
    snapshot = Snapshot.of(model, task.examples("fresh", None, 0))
    assert snapshot.logits().shape == (200, 8, 4)


def test_spare_outputs_learn_the_input(tmp_path):
    table = {
        "name": "side",
        "task": {"name": "simple_function", "d": 2, "pairs": 3, "extra_loss": "weights",
                 "test_prompts": 100},
        "model": {"kind": "read_in", "n_layers": 1, "d_model": 16, "n_heads": 2,
                  "initializer_range": -1.0},
        "training": {"steps": 300, "batch_size": 64, "lr": 1e-2, "optimizer": "adam",
                     "evaluate": {"every": 300}},
    }  # fmt: skip
    experiment = Experiment.model_validate(table)
    run = train(experiment, tmp_path / "run", device="cpu")
    batch, model = experiment.task.data(200, generator(9)), run.model()
    given = batch["inputs"][:, ::2]
    errors = (model(batch["inputs"])[:, ::2, 1:] - given).square().mean().item()
    assert errors < 0.1
    assert math.isfinite(run.series().metrics["test.error"].iloc[-1])


def test_a_question_that_all_prompts_ask_is_refused():
    with pytest.raises(ValidationError, match=r'all prompts ask the same; take "w'):
        SimpleFunction.model_validate({"extra_loss": "context"})


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"factor_labels", "simple_function"}))
def test_tasks_without_named_factors_refuse_a_further_loss(name):
    table = {"name": "x", "task": {"name": name, "extra_loss": "weights"}}
    with pytest.raises(ValidationError, match="extra_loss"):
        Experiment.model_validate(table)
