"""A recorded step does what a plain one does, at whatever step it is recorded."""

import pytest
import torch

from interp.training.cuda_graph import captured
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.interp.training.recorders import (
    CALLED,
    CPU,
    TRACED,
    Numbered,
    losses_of_batches,
    numbered,
)
from tests.interp.training.stacks import replicas


def stepper(experiments, recorder=None) -> StackStepper:
    return StackStepper(
        assembled(experiments, [fresh(e) for e in experiments], CPU), None, recorder
    )


def losses(experiments, steps, recorder) -> torch.Tensor:
    each = stepper(experiments, recorder)
    each.advance(steps)
    assert each.is_captured == (recorder is not None)
    return each.losses[:steps]


@pytest.mark.parametrize("size", range(1, 25))
def test_a_recorded_step_reads_the_batches_that_a_model_alone_reads(size):
    experiments = numbered(Numbered(count=24), batch_size=size, steps=60)
    assert torch.equal(losses(experiments, 60, CALLED), losses_of_batches(experiments, 60))


def test_an_epoch_of_one_batch_is_recorded_without_a_look_beyond_it():
    experiments = numbered(Numbered(count=960), count=2, batch_size=800)
    assert torch.equal(losses(experiments, 5, CALLED), losses_of_batches(experiments, 5))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2])
def test_endless_chunks_of_any_length_are_recorded_without_a_look_beyond_them(chunk, count):
    experiments = numbered(Numbered(is_endless=True), count, batch_size=4, chunk=chunk)
    assert torch.equal(losses(experiments, 11, CALLED), losses_of_batches(experiments, 11))


@pytest.mark.parametrize("seed", range(6))
def test_a_width_met_late_in_an_epoch_is_recorded_there(seed):
    task = Numbered(lengths=(2, 2, 2, 2, 2, 3, 2, 7))
    experiments = [each.with_seed(seed) for each in numbered(task, batch_size=2)]
    assert torch.equal(losses(experiments, 8, CALLED), losses_of_batches(experiments, 8))


@pytest.mark.parametrize("options", [{}, {"batch_size": 10}, {"optimizer": "adam", "l1": 1e-3},
                                     {"optimizer": "sgd", "momentum": 0.9},
                                     {"grad_clip": 0.1, "lr_decay": "cosine"}])  # fmt: skip
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_of_pythons_enters_a_recorded_step(options, count):
    experiments = replicas(count, **options)
    assert torch.equal(losses(experiments, 12, TRACED), losses(experiments, 12, None))


def test_a_recorded_step_goes_on_where_the_optimiser_begins_anew():
    phase = {"tasks": [{"name": "modular_arithmetic", "p": 7, "train_fraction": 0.5}]}
    schedule = [phase | {"steps": 5}, phase | {"steps": 35, "reset_optimizer": True}]
    experiments = replicas(2, steps=40, schedule=schedule)
    assert torch.equal(losses(experiments, 12, TRACED), losses(experiments, 12, None))


def test_recording_leaves_everything_as_it_was():
    place, noise = torch.tensor([3]), torch.zeros(2)

    def step():
        place.add_(1)
        noise.add_(torch.rand(2))

    before = torch.get_rng_state()
    captured(step, [place, noise], CALLED)
    assert (place.item(), noise.tolist()) == (3, [0.0, 0.0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_warm_up_starts_where_the_one_before_it_started():
    place, seen = torch.tensor([3]), []

    def step():
        seen.append(place.item())
        place.add_(1)

    captured(step, [place], CALLED)
    assert set(seen) == {3}


def test_a_step_that_cannot_be_recorded_says_what_went_wrong_first():
    def step():
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        finally:
            raise RuntimeError("failed due to a previous error during capture")

    with pytest.warns(UserWarning, match="not captured .operation not permitted when stream is ca"):
        assert captured(step, [], CALLED) is None


def test_a_device_without_memory_for_a_graph_is_told():
    def step():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        captured(step, [], CALLED)
