"""A single run on a GPU is a stack of one: the same files as a run alone, by the recorded path."""

from importlib import import_module

import pytest
import torch
from torch.testing import assert_close

from interp.training.loop import LoneStepper, train
from interp.training.stack_step import StackStepper, assembled
from tests.interp.training.recorders import CPU, TRACED
from tests.interp.training.stacks import replicas, rows_of
from tests.planted import tiny_experiment

TRAIN = import_module("interp.training.loop")  # the package's `train` is the function


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Takes the CPU for a GPU, on which steps are recorded."""

    def on_gpu(device, experiments, states):
        return StackStepper(assembled(experiments, states, CPU), recorder=TRACED)

    monkeypatch.setattr(TRAIN, "stepper_on", on_gpu)


def lone_stepper(device, experiments, states) -> LoneStepper:
    return LoneStepper(experiments[0], states[0], device)


def both(experiment, path, monkeypatch):
    """The run by the plain loop, and the same by the path of a GPU; each with what it told."""
    told, plain = [], []
    with monkeypatch.context() as patched:
        patched.setattr(TRAIN, "stepper_on", lone_stepper)
        alone = train(
            experiment, path / "alone", device="cpu", on_evaluate=lambda *row: plain.append(row)
        )
    one = train(experiment, path / "one", device="cpu", on_evaluate=lambda *row: told.append(row))
    return (alone, plain), (one, told)


OPTIONS = {
    "whole": {"steps": 20, "evaluate": {"every": 5}, "checkpoints": {"every": 4}},
    "minibatches": {"steps": 20, "batch_size": 10, "evaluate": {"every": 5}},
    "early end": {"steps": 40, "evaluate": {"every": 5}, "checkpoints": {"every": 40},
                  "stop": {"at_least": 0.0, "evaluations": 2, "extra_steps": 7}},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_stack_of_one_leaves_and_tells_what_a_model_alone_does(
    options, tmp_path, monkeypatch, on_a_gpu
):
    [experiment] = replicas(1, **options)
    (alone, plain), (one, told) = both(experiment, tmp_path, monkeypatch)
    assert one.steps == alone.steps
    for mine, other in zip(rows_of(one), rows_of(alone), strict=True):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-9)
    assert [end for _, end in told] == [end for _, end in plain]
    assert [row for row, _ in told] == rows_of(one)
    last = one.steps[-1]
    assert_close(dict(one.parameters(last)), dict(alone.parameters(last)), rtol=0, atol=1e-9)


def test_a_stack_of_one_that_diverges_is_an_error(tmp_path, on_a_gpu):
    with pytest.raises(ValueError, match=r"training\.lr: the metrics are not numbers at step 5"):
        train(tiny_experiment(lr=1e30), tmp_path, device="cpu")


def test_a_finished_stack_of_one_stays_as_it_is(tmp_path, on_a_gpu):
    run = train(tiny_experiment(), tmp_path, device="cpu")
    before = rows_of(run)
    train(tiny_experiment(), tmp_path, device="cpu")
    assert rows_of(run) == before


def test_a_model_too_large_for_a_gpu_is_told_in_one_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB\nand more")

    monkeypatch.setattr(TRAIN, "stepper_on", full)
    with pytest.raises(ValueError, match=r"does not fit .* memory: lower training\.batch_size"):
        train(tiny_experiment(), tmp_path, device="cpu")
