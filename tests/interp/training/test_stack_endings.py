"""Replicas that end before the others, and trainings that are stopped and carried on."""

import json
from pathlib import Path

import pytest
from torch.testing import assert_close

from interp.config.experiment import Experiment
from interp.training.loop import train
from interp.training.stack import train_stack
from interp.training.state import keep
from tests.interp.training.stacks import dropping, folders, replicas, rows_of
from tests.planted import tiny_experiment


def test_replicas_that_met_their_stop_rule_leave(tmp_path):
    stop = {"metric": "train.loss", "at_most": 1.9, "evaluations": 2, "extra_steps": 3}
    experiments = [
        tiny_experiment(stop=stop, steps=20, lr=lr).with_seed(seed)
        for seed, lr in enumerate((0.1, 1e-6, 0.1))
    ]
    seen: list[tuple[int, int]] = []
    runs = train_stack(
        folders(experiments, tmp_path), device="cpu", on_stop=lambda *now: seen.append(now)
    )
    assert [run.steps[-1] for run in runs] == [10, 20, 10]
    assert seen[-3:] == [(10, 2), (15, 2), (20, 3)]


def test_one_of_many_that_is_done_is_recorded_no_more(tmp_path):
    stop = {"metric": "train.loss", "at_most": 1.9, "evaluations": 2}
    experiments = [
        tiny_experiment(stop=stop, steps=20, lr=0.1 if seed == 7 else 1e-6).with_seed(seed)
        for seed in range(12)
    ]
    runs = train_stack(folders(experiments, tmp_path), device="cpu")
    ends = [(run.steps[-1], rows_of(run)[-1]["step"]) for run in runs]
    assert ends == [(20, 20)] * 7 + [(10, 10)] + [(20, 20)] * 4


def test_a_replica_that_diverges_stops_nobody(tmp_path):
    experiments = [
        tiny_experiment(optimizer="sgd", lr=lr, steps=20).with_seed(seed)
        for seed, lr in enumerate((0.1, 1e30, 0.1))
    ]
    first, diverged, last = train_stack(folders(experiments, tmp_path), device="cpu")
    assert "not numbers at step 5" in diverged.failure
    assert [first.failure, last.failure] == ["", ""]
    assert [first.steps[-1], diverged.steps[-1], last.steps[-1]] == [20, 0, 20]


def test_replicas_that_stay_record_the_step_at_which_others_leave_once(tmp_path):
    experiments = [
        tiny_experiment(optimizer="sgd", lr=lr, steps=20).with_seed(seed)
        for seed, lr in enumerate((0.1, 1e30))
    ]
    stays, _ = train_stack(folders(experiments, tmp_path), device="cpu")
    lines = (stays.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 5, 10, 15, 20]


def test_a_resumed_run_drops_the_same_neurons(tmp_path):
    whole = train(dropping(0), tmp_path / "whole", device="cpu")
    broken = train(dropping(0), tmp_path / "broken", device="cpu")
    (broken.path / "state.safetensors").write_bytes(state_at_10(tmp_path / "half"))
    again = train(dropping(0), broken.path, device="cpu")
    assert_close(dict(again.parameters(20)), dict(whole.parameters(20)), rtol=0, atol=0)


def state_at_10(path: Path) -> bytes:
    """What a run leaves that stops at step 10."""
    table = dropping(0).model_dump(mode="json", exclude_none=True)
    table["training"] |= {"steps": 10}
    train(Experiment.model_validate(table), path, device="cpu")
    return (path / "state.safetensors").read_bytes()


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("writes", [3, 8, 9, 13, 14])
def test_a_stack_killed_anywhere_goes_on_as_if_unbroken(writes, tmp_path, monkeypatch):
    experiments = replicas(steps=40, evaluate={"every": 10}, checkpoints={"every": 10})
    whole = train_stack(folders(experiments, tmp_path / "whole"), device="cpu")
    kill_after(writes, monkeypatch)
    broken = folders(experiments, tmp_path / "broken")
    with pytest.raises(KilledError):
        train_stack(broken, device="cpu")
    monkeypatch.undo()
    for mine, other in zip(train_stack(broken, device="cpu"), whole, strict=True):
        assert [row["step"] for row in rows_of(mine)] == [0, 10, 20, 30, 40]
        assert_close(dict(mine.parameters(40)), dict(other.parameters(40)), rtol=0, atol=1e-12)


def kill_after(writes, monkeypatch) -> None:
    """Ends the process, as it were, in the middle of writing some checkpoint."""
    left = [writes]

    def keep_or_die(run, state):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        keep(run, state)

    monkeypatch.setattr("interp.training.loop.keep", keep_or_die)


def test_a_replica_can_be_carried_on_alone(tmp_path):
    experiments = replicas(steps=40)
    kept = folders(experiments, tmp_path)
    run = train_stack(kept, device="cpu")[0]
    assert train(experiments[0], run.path, device="cpu").steps == run.steps


def test_replicas_that_began_alone_go_on_together(tmp_path):
    # A model alone that has no momentum keeps none of the gradients it has seen.
    first, second = replicas(2, optimizer="sgd", steps=40, checkpoints={"every": 20}, momentum=0.9)
    plain = second.require_training().model_copy(update={"momentum": 0.0})
    experiments = [first, second.model_copy(update={"training": plain})]
    whole = train_stack(folders(experiments, tmp_path / "whole"), device="cpu")
    begun = folders(experiments, tmp_path / "begun")
    for path, experiment in begun.items():
        half = experiment.require_training().model_copy(update={"steps": 20})
        train(experiment.model_copy(update={"training": half}), path, device="cpu")
        (path / "experiment.toml").write_text(experiment.to_toml())
    for mine, other in zip(train_stack(begun, device="cpu"), whole, strict=True):
        assert_close(dict(mine.parameters(40)), dict(other.parameters(40)), rtol=0, atol=1e-9)
