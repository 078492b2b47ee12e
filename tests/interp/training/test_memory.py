"""What cannot fit into memory, or onto the machine, is refused in a line before it is tried."""

import pytest

from interp.config.experiment import Experiment
from interp.training.loop import train
from interp.training.memory import check_memory, needed
from interp.training.stack import train_stack
from tests.interp.training.stacks import folders
from tests.planted import tiny_experiment

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
