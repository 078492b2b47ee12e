import json
import shutil
import signal
import warnings
from contextlib import contextmanager

import pytest
import torch

from interp.runs.checkpoint_files import Checkpoint, pack
from interp.runs.run import Run
from interp.training import optimizers
from interp.training.loop import train
from tests.planted import tiny_experiment

# Where a training is killed: an operation, which of its kind, and the part of it that is done; and
# the updates that are left after the last state written before it (of 40).
PLACES = {
    "while evaluating": ("append metrics.jsonl", 3, 0.0, 30),
    "between checkpoint and state": ("write state.safetensors", 2, 0.0, 30),
    "within a line of metrics": ("append metrics.jsonl", 5, 0.5, 20),
    "within a checkpoint": ("write 30.safetensors", 0, 0.5, 20),
    "before a checkpoint is renamed": ("checkpoints/30.safetensors", 0, 0.0, 20),
}


@contextmanager
def counted_updates():
    updates, update = [], optimizers.torch_update

    def counted(*arguments, **options):
        updates.append(1)
        update(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers, "torch_update", counted)
        yield updates


@pytest.fixture(scope="module")
def operations(command, tmp_path_factory):
    """What a training does to files, one after the other."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.toml").write_text(tiny_experiment().to_toml())
    return command("train", folder / "tiny.toml", "--out", folder / "run")["operations"]


@pytest.fixture(scope="module", params=PLACES)
def resumed(request, command, operations, tmp_path_factory):
    """A run that was killed and resumed, the updates it then made, and those that were left."""
    folder, (name, which, part, left) = tmp_path_factory.mktemp("killed"), PLACES[request.param]
    toml, path = folder / "tiny.toml", folder / "run"
    toml.write_text(tiny_experiment().to_toml())
    place = [i for i, each in enumerate(operations) if each.endswith(name)][which]
    ended = command("train", toml, "--out", path, operation=place, part=part)
    assert ended == {"signal": signal.SIGKILL}
    with counted_updates() as updates, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*half-written last line")
        run = train(tiny_experiment(), path, device="cpu")
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


def test_metrics_that_a_stop_rule_reads_are_not_done_without(tmp_path):
    stop = {"at_least": 0.0, "evaluations": 2, "extra_steps": 7}
    train(tiny_experiment(stop=stop), tmp_path / "run", device="cpu")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(
        ValueError, match=r"lacks 2 of 2 rows, the first of step 0, and training\.s"
    ):
        train(tiny_experiment(stop=stop), tmp_path / "run", device="cpu")


def test_metrics_that_nothing_reads_are_missed_with_a_warning(folder, experiment):
    (folder / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning, match=r"lacks 8 of 8 rows, the first of step 0; they are not"):
        train(experiment, folder, device="cpu")


def test_a_folder_left_before_its_experiment_was_written_is_taken(tmp_path, experiment):
    (tmp_path / ".experiment.toml.0123abcd.tmp").write_text("name =")
    assert train(experiment, tmp_path, device="cpu").steps[-1] == 40


def test_a_folder_of_a_refused_training_takes_the_corrected_experiment(tmp_path, experiment):
    wrong = tiny_experiment(frozen=("*.nonsense",))
    with pytest.raises(ValueError, match="frozen"):
        train(wrong, tmp_path / "run", device="cpu")
    assert train(experiment, tmp_path / "run", device="cpu").experiment == experiment


def test_the_folder_of_another_experiment_is_refused(folder):
    with pytest.raises(ValueError, match=r"experiment\.toml is another experiment; choose a new"):
        train(tiny_experiment(lr=0.1), folder, device="cpu")


def test_a_folder_of_other_things_is_refused(tmp_path, experiment):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"is not empty and holds no experiment\.toml"):
        train(experiment, tmp_path, device="cpu")


def test_a_failure_ends_when_training_is_taken_up_again(folder, experiment):
    (folder / "failure.json").write_text('{"step": 20, "reason": "diverged"}')
    assert train(experiment, folder, device="cpu").failure == ""
    assert not (folder / "failure.json").exists()


def test_training_that_fails_again_is_marked_again(tmp_path):
    diverging = tiny_experiment(optimizer="sgd", lr=1e30)
    for _ in range(2):
        with pytest.raises(ValueError, match="not numbers at step 5"):
            train(diverging, tmp_path / "run", device="cpu")
    assert "not numbers at step 5" in Run(tmp_path / "run").failure


def write_state(folder, **facts):
    """Writes the state again with other facts."""
    kept = dict(Checkpoint(folder / "state.safetensors"))
    (folder / "state.safetensors").write_bytes(pack(kept, **facts))


@pytest.mark.parametrize("step", [None, "40", 4.5, -1, 41, True])
def test_a_state_of_no_step_of_the_training_is_refused(folder, experiment, step):
    write_state(folder, step=step)
    wanted = rf"state\.safetensors says that it is of step {json.dumps(step)}, and training has s"
    with pytest.raises(ValueError, match=wanted):
        train(experiment, folder, device="cpu")


def test_the_state_of_another_run_is_refused(folder, experiment, tmp_path):
    other = train(experiment.with_seed(1), tmp_path / "other", device="cpu")
    (other.path / "state.safetensors").replace(folder / "state.safetensors")
    wanted = r"state\.safetensors and .*/40\.safetensors hold different parameters: one of them is"
    with pytest.raises(ValueError, match=wanted):
        train(experiment, folder, device="cpu")


def test_a_run_of_an_older_version_is_carried_on(folder, run, experiment):
    for step in run.steps:
        content = pack(dict(run.parameters(step)))  # without its step
        (folder / "checkpoints" / f"{step}.safetensors").write_bytes(content)
    assert train(experiment, folder, device="cpu").steps == run.steps


@pytest.mark.parametrize("name", ["experiment.toml", "metrics.jsonl"])
def test_training_writes_through_no_link(tmp_path, experiment, name):
    with pytest.raises(ValueError, match="frozen"):
        train(tiny_experiment(frozen=("*.nonsense",)), tmp_path / "run", device="cpu")
    place = tmp_path / "run" / name
    place.unlink(missing_ok=True)
    (tmp_path / "notes").write_text("")
    place.symlink_to(tmp_path / "notes")
    train(experiment, tmp_path / "run", device="cpu")
    assert (tmp_path / "notes").read_text() == ""


def test_somebodys_experiment_file_is_not_replaced(tmp_path, experiment):
    (tmp_path / "experiment.toml").write_text("# mine\n" + experiment.to_toml())
    with pytest.raises(ValueError, match=r"experiment\.toml was not written by interp, and would"):
        train(experiment, tmp_path, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.toml"]


def test_a_damaged_state_is_refused(folder, experiment):
    state = folder / "state.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged .*use a new folder"):
        train(experiment, folder, device="cpu")


def test_a_state_with_one_changed_byte_is_refused(folder, experiment):
    state = bytearray((folder / "state.safetensors").read_bytes())
    state[-1] ^= 1
    (folder / "state.safetensors").write_bytes(state)
    with pytest.raises(
        ValueError, match=r"state\.safetensors is damaged .*is not as it was written"
    ):
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
