"""What cannot fit into memory is refused in a line; what a stack will take is known before."""

from types import SimpleNamespace

import pytest
import torch

from interp.config import Experiment, load_experiment
from interp.sweeps.groups import MAX_STACK_ON_GPU, Worker, grouped, stack_size
from interp.training.batches import batch_source
from interp.training.loop import train
from interp.training.memory import (
    USABLE_MEMORY_SHARE,
    check_memory,
    needed,
    replicas_that_fit,
    stack_bytes,
)
from interp.training.stack import train_stack
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.interp.training.recorders import CPU
from tests.interp.training.stacks import folders, replicas
from tests.planted import tiny_experiment, tiny_prompts

HUGE = {
    "a wide model": (
        {"model": {"d_model": 10**9}},
        r"model: n_layers 1, d_model 1000000000, .*GiB",
    ),
    "a deep model": ({"model": {"n_layers": 10**9}}, r"model: n_layers 1000000000"),
    "many examples": (
        {"task": {"name": "bit_parity", "n": 60, "test_sequences": 10**12}},
        r"task: train_sequences 1200, test_sequences 1000000000000 need .* lower one of them",
    ),
    "long chunks": (
        {
            "task": {"name": "simple_function"},
            "training": {"steps": 1, "batch_size": 10**6, "chunk": 10**6},
        },
        r"training: batch_size 1000000, chunk 1000000 need .* GiB of memory",
    ),
}


def too_large(change) -> Experiment:
    table = tiny_experiment(steps=1, frozen=[]).model_dump(mode="json", exclude_none=True)
    return Experiment.model_validate(table | {"model": {"kind": "token"}} | change)


@pytest.mark.parametrize("name", HUGE)
def test_what_does_not_fit_into_memory_is_refused(name, tmp_path):
    change, message = HUGE[name]
    with pytest.raises(ValueError, match=message):
        train(too_large(change), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_stack_is_counted_with_all_its_replicas(tmp_path, monkeypatch):
    experiments = [tiny_experiment().with_seed(seed) for seed in range(2)]
    single = sum(needed(experiments[0]).values())
    monkeypatch.setattr("interp.training.memory.available_memory", lambda: single + 1)
    check_memory(experiments[0])
    with pytest.raises(ValueError, match=r"model: n_layers 1, d_model 8, .* lower one of them"):
        train_stack(folders(experiments, tmp_path), device="cpu")


def test_weights_are_counted_with_gradients_and_both_moments():
    experiment = too_large({"model": {"d_model": 512, "d_mlp": 2048, "n_heads": 8}})
    [model] = [bytes_ for name, bytes_ in needed(experiment).items() if name.startswith("model")]
    layer = 4 * 512 * 512 + 2 * 512 * 2048
    assert model == pytest.approx(4 * 4 * layer, rel=0.05)  # float32, four of each


@pytest.mark.parametrize("option", ["--threads", "--workers"])
def test_more_than_a_machine_bears_is_refused(option, command, tmp_path):
    seeds = ("--seeds", "2") if option == "--workers" else ()
    done = command("train", "modular-addition", *seeds, option, "100000", inside=str(tmp_path))
    assert done["code"] == 2
    assert f"{option} 100000: this machine takes" in done["err"]


def test_a_seed_out_of_range_is_a_line(command, tmp_path):
    done = command("train", "modular-addition", "--seed", str(2**70), inside=str(tmp_path))
    assert done["code"] == 2
    assert done["err"].startswith("interp: seed: model: ")


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
    assert [len(group) for group in grouped(several, Worker.here("cuda"))] == [3, 3, 2]


def test_a_gpu_with_memory_enough_has_stacks_of_the_greatest_size(monkeypatch):
    memory = SimpleNamespace(total_memory=10**12)
    monkeypatch.setattr("interp.sweeps.groups.pick_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: memory)
    assert stack_size(replicas(1)[0], Worker.here("cuda")) == MAX_STACK_ON_GPU
