"""Replicas of a stack train as they would alone; those that cannot share one are refused."""

import math
from collections import Counter

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from hooks import Examples, Facts, Sizes
from interp.config.experiment import Experiment
from interp.config.training import Seeds
from interp.randomness import generator
from interp.tasks import Task, model_inputs
from interp.training.batches import BatchBlock, batch_source, device_batches
from interp.training.loop import LoneStepper, train
from interp.training.stack import train_stack
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.interp.training.stacks import dropping, folders, replicas, rows_of
from tests.planted import tiny_experiment

# What replicas may differ in, and batches of every kind. A few steps, in float64: the sign of a
# weight, which L1 reads, and Adam's quotients make more of the last digits with every step.
FEW = {"steps": 8, "evaluate": {"every": 2}, "checkpoints": {"every": 4}}
SETTINGS = {
    "adamw": {},
    "adam, L1 and L2": {"optimizer": "adam", "l1": 1e-4, "weight_decay": 1e-2},
    "adamw, L1 and L2": {"l1": 0.1, "weight_decay": 0.5},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "l1": 1e-4},
    "sgd without momentum": {"optimizer": "sgd", "lr": 0.1},
    "clipped": {"grad_clip": 0.05},
    "minibatches": {"batch_size": 10},
    "linear decay": {"lr_decay": "linear", "lr_decay_steps": 7},
    "cosine decay": {"lr_decay": "cosine"},
    "scaled": {"init_scale": 2.0, "loss_scale": 0.5},
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_a_replica_is_the_model_trained_alone(options, tmp_path):
    experiments = replicas(**FEW | options)
    together = train_stack(folders(experiments, tmp_path / "stack"), device="cpu")
    for index, (run, experiment) in enumerate(zip(together, experiments, strict=True)):
        alone = train(experiment, tmp_path / "alone" / str(index), device="cpu")
        for mine, other in zip(rows_of(run), rows_of(alone), strict=True):
            assert mine == pytest.approx(other, rel=1e-9, abs=1e-9)
        assert_close(dict(run.parameters(8)), dict(alone.parameters(8)), rtol=0, atol=1e-9)


def test_in_float32_a_replica_starts_as_the_model_alone(tmp_path):
    options = {"dtype": "float32", "steps": 10, "evaluate": {"every": 1}}
    experiments = replicas(**options)
    together = train_stack(folders(experiments, tmp_path / "stack"), device="cpu")
    for index, (run, experiment) in enumerate(zip(together, experiments, strict=True)):
        alone = train(experiment, tmp_path / "alone" / str(index), device="cpu")
        for mine, other in zip(rows_of(run), rows_of(alone), strict=True):
            assert mine["train.loss"] == pytest.approx(other["train.loss"], rel=1e-4)


class Endless(Task):
    """A number below 7, to be repeated, drawn anew without end."""

    splits = ("test",)
    evaluated = ("test",)
    positions = "last"
    name: str = "endless"

    @property
    def sizes(self):
        return Sizes(d_vocab=7, d_vocab_out=7, n_ctx=2)

    @property
    def facts(self):
        return Facts(chance=1 / 7)

    @property
    def train_count(self):
        return None

    def data(self, count, generator):
        tokens = torch.randint(7, (count or 0, 2), generator=generator)
        return {"tokens": tokens, "targets": tokens[:, 1:], "scored": tokens[:, 1:] >= 0}

    def examples(self, split, count, seed):
        drawn = self.data(20, generator(seed, 9))
        targets = torch.cat([torch.zeros_like(drawn["targets"]), drawn["targets"]], dim=1)
        scored = torch.tensor([False, True]).expand(20, 2)
        return Examples(targets=targets, scored=scored, tokens=drawn["tokens"])


@pytest.mark.parametrize("data_seeds", [(0, 0), (0, 1)], ids=["shared data", "own data"])
def test_replicas_read_endless_data_as_they_would_alone(data_seeds):
    training = {"dtype": "float64", "batch_size": 4, "chunk": 3, "frozen": ()}
    first = tiny_experiment(**training).model_copy(update={"task": Endless()})
    experiments = [
        first.model_copy(update={"seeds": Seeds(model=i, data=data, order=i)})
        for i, data in enumerate(data_seeds)
    ]
    states = [fresh(each) for each in experiments]
    stepper = StackStepper(assembled(experiments, states, torch.device("cpu")))
    stepper.advance(8)
    for replica, experiment in enumerate(experiments):
        assert_close(stepper.losses[:8, replica], losses_alone(experiment, 8), rtol=0, atol=1e-9)


def losses_alone(experiment, steps) -> torch.Tensor:
    """Training losses of the first updates of a model alone."""
    source = batch_source(experiment, torch.device("cpu"))
    lone = LoneStepper(experiment, fresh(experiment), torch.device("cpu"))
    losses = []
    for step in range(steps):
        batch = source(step)
        loss = experiment.task.loss(lone.model(model_inputs(batch))[:, -1:].double(), batch)
        for parameter in dict(lone.model.named_parameters()).values():
            parameter.grad = None
        loss.backward()
        lone.optimizer.update(experiment.training.learning_rate(step))
        losses.append(loss.detach())
    return torch.stack(losses)


def test_a_window_that_is_scored_in_part_takes_no_place_of_one_that_is_scored_in_whole():
    table = {"targets": torch.zeros(4, 1), "scored": torch.ones(4, 1, dtype=torch.bool)}
    partly = table | {"scored": torch.arange(4)[:, None] > 0}
    order = torch.arange(4)
    training = [tiny_experiment(steps=2).require_training()]
    whole, part = (
        device_batches(
            [BatchBlock(0, 2, each, order, 2)], each, training, 0, all_scored=each is table
        )
        for each in (table, partly)
    )
    assert (whole.is_like(whole), whole.is_like(part)) == (True, False)


class Counting(TorchDispatchMode):
    """Counts operations on tensors by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operations_a_step(count) -> Counter[str]:
    experiments = replicas(count)
    stepper = StackStepper(
        assembled(experiments, [fresh(e) for e in experiments], torch.device("cpu"))
    )
    stepper.advance(1)  # loads the data
    with Counting() as mode:
        stepper.advance(2)
    return mode.counts


def test_the_number_of_operations_does_not_grow_with_the_replicas():
    two, eight = operations_a_step(2), operations_a_step(8)
    assert (two == eight, two.total() > 50) == (True, True)


def test_replicas_drop_different_neurons():
    experiments = [dropping(0), dropping(0)]
    stepper = StackStepper(
        assembled(experiments, [fresh(e) for e in experiments], torch.device("cpu"))
    )
    stepper.advance(2)
    first, second = stepper.losses[1]
    assert first != second


def test_dropout_raises_the_training_loss_in_a_stack_as_it_does_alone():
    experiments = [dropping(seed) for seed in range(40)]
    stepper = StackStepper(
        assembled(experiments, [fresh(e) for e in experiments], torch.device("cpu"))
    )
    stepper.advance(1)
    alone = torch.stack([losses_alone(each, 1)[0] for each in experiments])
    gap = (stepper.losses[0] - alone).mean().abs()
    assert gap < 4 * alone.std() / math.sqrt(len(alone) / 2)


REFUSED = {
    "another width": ({"model": {"d_model": 16, "n_heads": 2}}, r"model\.d_m.*: models"),
    "another modulus": ({"task": {"name": "modular_arithmetic", "p": 5}}, r"task\.p: .*7 and 5"),
    "another optimizer": ({"training": {"steps": 40, "optimizer": "sgd"}}, r"training\."),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_replicas_that_differ_in_more_are_refused(changed, message, tmp_path):
    first = tiny_experiment()
    other = Experiment.model_validate(first.model_dump() | changed)
    with pytest.raises(ValueError, match=message):
        train_stack({tmp_path / "0": first, tmp_path / "1": other})


def test_an_empty_stack_is_refused():
    with pytest.raises(ValueError, match="at least one experiment"):
        train_stack({})
