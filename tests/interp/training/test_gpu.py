"""What holds on a GPU; skipped, and saying so, where there is none.

A few steps each, in float64: a GPU adds in another order than a CPU, and Adam makes more of the
last digits with every step.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from analyses import ANALYSES
from analyses.result import Result
from interp.runs.run import load
from interp.training.cuda_graph import Recorder
from interp.training.loop import train
from interp.training.memory import stack_bytes
from interp.training.stack import train_stack
from interp.training.stack_step import DataCache, StackStepper, assembled, stack_scores
from interp.training.state import fresh, keep
from tests.interp.training.recorders import Numbered, losses_of_batches, numbered
from tests.interp.training.stacks import dropping, folders, replicas, rows_of
from tests.planted import tiny_prompts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing here was checked"),
]
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def stepper_on(device, experiments, recorder=None) -> StackStepper:
    parts = assembled(experiments, [fresh(each) for each in experiments], device)
    return StackStepper(parts, None, recorder)


def captured_losses(experiments, steps) -> torch.Tensor:
    stepper = stepper_on(CUDA, experiments)
    stepper.advance(steps)
    assert stepper.is_captured
    return stepper.losses[:steps].cpu()


OPTIONS = {
    "whole": {}, "minibatches": {"batch_size": 10}, "one batch an epoch": {"batch_size": 20},
    "adam, L1 and L2": {"optimizer": "adam", "l1": 1e-4, "weight_decay": 1e-2},
    "sgd": {"optimizer": "sgd", "momentum": 0.9}, "clipped": {"grad_clip": 0.05},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_captured_stack_has_the_losses_of_the_cpu(options, count):
    experiments = replicas(count, **options)
    here = stepper_on(CPU, experiments)
    here.advance(10)
    assert_close(captured_losses(experiments, 10), here.losses[:10], rtol=0, atol=1e-9)


def test_fused_adamw_in_float32_has_the_losses_of_the_cpu():
    experiments = [each.with_seed(i) for i, each in enumerate(replicas(1, dtype="float32") * 3)]
    here = stepper_on(CPU, experiments)
    here.advance(10)
    assert here.stack.optimizer.fused is not None
    assert_close(captured_losses(experiments, 10), here.losses[:10], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1, 5, 7, 12, 13, 24])
def test_a_captured_step_reads_the_batches_of_a_model_alone(size):
    experiments = numbered(Numbered(count=24), 2, batch_size=size)
    assert torch.equal(captured_losses(experiments, 30), losses_of_batches(experiments, 30))


def test_an_epoch_of_one_batch_is_captured_without_a_look_beyond_it():
    experiments = numbered(Numbered(count=960), 2, batch_size=800)
    assert torch.equal(captured_losses(experiments, 30), losses_of_batches(experiments, 30))


def test_endless_chunks_are_captured_without_a_look_beyond_them():
    experiments = numbered(Numbered(is_endless=True), 2, batch_size=4, chunk=2)
    assert torch.equal(captured_losses(experiments, 30), losses_of_batches(experiments, 30))


def test_every_width_is_captured_where_it_is_met():
    experiments = numbered(Numbered(lengths=(2, 2, 2, 2, 2, 3, 2, 7)), 2, batch_size=2)
    assert torch.equal(captured_losses(experiments, 30), losses_of_batches(experiments, 30))


def test_a_captured_step_is_the_eager_one(monkeypatch):
    graph = captured_losses(replicas(), 10)
    monkeypatch.setattr("interp.training.stack_step.recorder_for", lambda device: None)
    eager = stepper_on(CUDA, replicas())
    eager.advance(10)
    assert not eager.is_captured
    assert_close(graph, eager.losses[:10].cpu(), rtol=0, atol=1e-10)


def test_a_captured_stack_drops_the_same_neurons_again():
    first = captured_losses([dropping(0), dropping(1)], 10)
    torch.randn(3, device=CUDA)  # another draw moves the device's generator
    again = captured_losses([dropping(0), dropping(1)], 10)
    assert_close(first, again, rtol=0, atol=1e-6)


class Asking(Numbered):
    """A loss that waits for the device, which no graph can hold."""

    def loss(self, logits, batch):
        torch.cuda.synchronize()
        return super().loss(logits, batch)


def test_a_step_that_cannot_be_captured_runs_eagerly():
    experiments = numbered(Asking(), 2, batch_size=10)
    stepper = stepper_on(CUDA, experiments)
    with pytest.warns(UserWarning, match=r"not captured"):
        stepper.advance(5)
    assert not stepper.is_captured
    assert torch.equal(stepper.losses[:5].cpu(), losses_of_batches(experiments, 5))


def test_a_refused_capture_leaves_the_step_as_it_was():
    def refuse(step):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    stepper = stepper_on(CUDA, replicas(), Recorder(refuse))
    with pytest.warns(UserWarning, match=r"not captured .operation not permitted"):
        stepper.advance(3)
    assert_close(stepper.losses[:3].cpu(), captured_losses(replicas(), 3), rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 20])
def test_the_estimate_of_memory_covers_a_stack(count):
    experiments = [tiny_prompts().with_seed(seed) for seed in range(count)]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    captured_losses(experiments, 4)
    libraries = 128 * 2**20  # workspaces of cuBLAS, whatever the size of a stack
    assert torch.cuda.max_memory_allocated() - before < libraries + stack_bytes(
        experiments[0], count
    )


def test_replicas_are_scored_as_on_the_cpu():
    experiments = replicas()
    states = [fresh(each) for each in experiments]
    there, here = (
        stack_scores(assembled(experiments, states, device), DataCache())()
        for device in (CUDA, CPU)
    )
    for mine, other in zip(there, here, strict=True):
        assert mine == pytest.approx(other, rel=1e-9)


def test_a_model_alone_has_the_metrics_of_the_cpu(tmp_path):
    [experiment] = replicas(1, steps=10, evaluate={"every": 5})
    there = train(experiment, tmp_path / "there", device="cuda")
    here = train(experiment, tmp_path / "here", device="cpu")
    for mine, other in zip(rows_of(there), rows_of(here), strict=True):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["FourierSpectrum", "AttentionSparsity", "ProbeAccuracy", "EffectiveSubnetwork"]
)
def test_an_analysis_finds_what_it_finds_on_the_cpu(name):
    run, cls = load(Path("fixtures/modular-addition")), ANALYSES[name]
    assert issubclass(cls, Result)
    examples = run.series().examples(None, 200)
    there, here = (
        cls.measure(replace(run.series(), device=each).snapshot(run.steps[-1], examples)).summary()
        for each in (CUDA, None)
    )
    numbers = {name: value for name, value in here.items() if not isinstance(value, str)}
    assert {name: there[name] for name in numbers} == pytest.approx(
        numbers, rel=1e-2, abs=1e-3, nan_ok=True
    )


class KilledError(Exception):
    """The process ends here."""


def test_a_killed_stack_goes_on(tmp_path, monkeypatch):
    experiments = replicas(steps=40, evaluate={"every": 10}, checkpoints={"every": 10})
    whole = train_stack(folders(experiments, tmp_path / "whole"), device="cuda")
    left = [7]

    def keep_or_die(run, state):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        keep(run, state)

    monkeypatch.setattr("interp.training.loop.keep", keep_or_die)
    broken = folders(experiments, tmp_path / "broken")
    with pytest.raises(KilledError):
        train_stack(broken, device="cuda")
    monkeypatch.undo()
    for mine, other in zip(train_stack(broken, device="cuda"), whole, strict=True):
        assert_close(dict(mine.parameters(40)), dict(other.parameters(40)), rtol=0, atol=1e-9)
