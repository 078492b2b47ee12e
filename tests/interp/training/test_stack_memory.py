"""What a stack will take of a GPU's memory is known before it is made."""

from types import SimpleNamespace

import pytest
import torch

from interp.config.experiment import load_experiment
from interp.sweeps.groups import MAX_STACK_ON_GPU, grouped, stack_size
from interp.training.batches import batch_source
from interp.training.memory import USABLE_MEMORY_SHARE, replicas_that_fit, stack_bytes
from interp.training.stack_state import assembled
from interp.training.stack_step import StackStepper
from interp.training.state import fresh
from tests.interp.training.recorders import CPU
from tests.interp.training.stacks import replicas
from tests.planted import tiny_prompts


def stack_of(name):
    if name == "tiny":
        return replicas(4)
    first = tiny_prompts() if name == "prompts" else load_experiment(name)
    return [first.with_seed(seed) for seed in range(4)]


def bytes_held(experiments) -> int:
    """What a step on the CPU holds for its backward pass, with parameters, moments and data."""
    stepper = StackStepper(assembled(experiments, [fresh(each) for each in experiments], CPU))
    stepper.advance(1)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = batch_source(experiments[0], CPU)(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        stepper.advance(2)
    parts = stepper.stack
    matrices = [parts.trained, parts.trained, *parts.optimizer.moments.values()]  # and the gradient
    data = len(experiments) * sum(values.nbytes for values in batch.values())
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return data + activations + sum(each.nbytes for each in matrices)


@pytest.mark.parametrize("name", ["tiny", "prompts", "parity", "mlp-addition-24"])
def test_the_estimate_covers_what_a_step_holds_and_is_of_its_size(name):
    experiments = stack_of(name)
    held = bytes_held(experiments)
    assert held <= stack_bytes(experiments[0], len(experiments)) <= 6 * held


def test_the_estimate_grows_with_the_replicas():
    [experiment] = replicas(1)
    assert stack_bytes(experiment, 100) == 100 * stack_bytes(experiment, 1)


def test_the_replicas_that_fit_take_their_share_of_the_memory_and_no_more():
    [experiment] = replicas(1)
    count = replicas_that_fit(experiment, 10**8)
    assert (
        stack_bytes(experiment, count)
        <= USABLE_MEMORY_SHARE * 10**8
        < stack_bytes(experiment, count + 1)
    )


def test_one_model_is_tried_however_little_memory_there_is():
    assert replicas_that_fit(replicas(1)[0], 1) == 1


@pytest.fixture
def small_gpu(monkeypatch):
    """A GPU with room for three tiny models."""
    [experiment] = replicas(1)
    memory = SimpleNamespace(
        total_memory=int(3.5 * stack_bytes(experiment, 1) / USABLE_MEMORY_SHARE)
    )
    monkeypatch.setattr("interp.sweeps.groups.pick_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: memory)


def test_stacks_on_a_gpu_are_no_larger_than_its_memory(small_gpu, tmp_path):
    several = {tmp_path / str(i): each for i, each in enumerate(replicas(8))}
    assert [len(group) for group in grouped(several, "cuda")] == [3, 3, 2]


def test_a_gpu_with_memory_enough_has_stacks_of_the_greatest_size(monkeypatch):
    memory = SimpleNamespace(total_memory=10**12)
    monkeypatch.setattr("interp.sweeps.groups.pick_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: memory)
    assert stack_size(replicas(1)[0], "cuda") == MAX_STACK_ON_GPU
