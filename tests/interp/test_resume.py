import shutil
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from interp.train import train
from tests.interp.killed_training import PLACES
from tests.planted import tiny_experiment

ROOT = Path(__file__).parents[2]


@contextmanager
def counted_updates():
    updates = []
    handle = register_optimizer_step_post_hook(lambda *_: updates.append(1))
    yield updates
    handle.remove()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """One folder a place, as killed trainings left them."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.interp.killed_training", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


@pytest.fixture(scope="module", params=PLACES.items(), ids=lambda place: place[0].__name__)
def resumed(request, killed):
    """A run that was killed and resumed, the updates it then made, and those that were left."""
    place, left = request.param
    with counted_updates() as updates, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*half-written last line")
        run = train(tiny_experiment(), killed / place.__name__, device="cpu")
    return run, len(updates), left


def test_a_resumed_run_ends_with_the_weights_of_the_unbroken_one(run, resumed):
    ours, unbroken = (dict(each.parameters(40)) for each in (resumed[0], run))
    assert all(torch.equal(ours[name], unbroken[name]) for name in unbroken)


def test_a_resumed_run_keeps_the_same_checkpoints(run, resumed):
    ours = resumed[0]
    assert [ours.checkpoint_hash(step) for step in ours.steps] == [
        run.checkpoint_hash(step) for step in run.steps
    ]


def test_a_resumed_run_has_the_metrics_of_the_unbroken_one(run, resumed):
    ours, unbroken = (each.path / "metrics.jsonl" for each in (resumed[0], run))
    assert ours.read_text() == unbroken.read_text()


def test_a_resumed_run_makes_the_updates_that_were_left(resumed):
    _, updates, left = resumed
    assert updates == left


def test_resuming_a_finished_run_makes_no_update(folder, experiment):
    with counted_updates() as updates:
        train(experiment, folder, device="cpu")
    assert updates == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "state.safetensors", "experiment.toml"])
def test_resuming_a_finished_run_leaves_its_files_as_they_were(folder, experiment, name):
    before = (folder / name).read_bytes()
    train(experiment, folder, device="cpu")
    assert (folder / name).read_bytes() == before


def test_resuming_a_run_that_stopped_early_makes_no_update(tmp_path):
    stop = {"at_least": 0.0, "evaluations": 2, "extra_steps": 7}
    train(tiny_experiment(stop=stop), tmp_path / "run", device="cpu")
    with counted_updates() as updates:
        train(tiny_experiment(stop=stop), tmp_path / "run", device="cpu")
    assert updates == []


def test_a_folder_left_before_its_experiment_was_written_is_taken(tmp_path, experiment):
    (tmp_path / ".experiment.toml.tmp").write_text("name =")
    assert train(experiment, tmp_path, device="cpu").steps[-1] == 40


def test_the_folder_of_another_experiment_is_refused(folder):
    with pytest.raises(ValueError, match=r"experiment\.toml is another experiment; choose a new"):
        train(tiny_experiment(lr=0.1), folder, device="cpu")


def test_a_folder_of_other_things_is_refused(tmp_path, experiment):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"is not empty and holds no experiment\.toml"):
        train(experiment, tmp_path, device="cpu")


def test_a_damaged_state_is_refused(folder, experiment):
    state = folder / "state.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged .*use a new folder"):
        train(experiment, folder, device="cpu")


def test_checkpoints_without_a_state_are_not_written_over(folder, experiment):
    (folder / "state.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has checkpoints but no state\.safetensors"):
        train(experiment, folder, device="cpu")


def test_a_run_killed_before_its_first_state_starts_again(folder, run, experiment):
    (folder / "state.safetensors").unlink()
    shutil.rmtree(folder / "checkpoints")
    again = train(experiment, folder, device="cpu")
    assert again.checkpoint_hash(40) == run.checkpoint_hash(40)
