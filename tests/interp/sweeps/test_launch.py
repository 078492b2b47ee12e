"""Sweeps are trained: in groups, alone or stacked, once more, and by workers."""

import json
import os
import re
import signal
import threading
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from torch.testing import assert_close

from interp.config.experiment import Experiment
from interp.runs.run import Run
from interp.sweeps.groups import Timing, Worker, described, grouped, seconds_in_all
from interp.sweeps.launch import groups_for, train_sweep
from interp.sweeps.sweep import Sweep, SweepFolder, find_sweep, load_sweep
from interp.training.loop import train
from tests.interp.sweeps.short_sweeps import VARY, short_sweep
from tests.planted import tiny_experiment


def test_runs_that_share_shapes_are_grouped():
    experiments = short_sweep(vary={"model.d_model": [8, 16], **VARY}).experiments()
    paths = {Path(name): each for name, each in experiments.items()}
    assert [len(each) for each in grouped(paths, Worker(), stack=100)] == [8, 8]


def test_groups_are_no_larger_than_a_stack():
    experiments = {Path(name): each for name, each in short_sweep(vary=VARY).experiments().items()}
    assert [len(each) for each in grouped(experiments, Worker(), stack=3)] == [3, 3, 2]


def test_on_a_cpu_transformers_train_one_at_a_time():
    experiments = {Path(name): each for name, each in short_sweep(vary=VARY).experiments().items()}
    assert {len(each) for each in grouped(experiments, Worker())} == {1}


def test_stacks_are_cut_from_the_whole_sweep_whatever_is_left(tmp_path):
    vary = {"training.lr": [1e-3, 1e-2, 0.1, 1.0]}
    folder = train_sweep(short_sweep(vary=vary, seeds=1), tmp_path, device="cpu", stack=3)
    whole = grouped(folder.experiments(), Worker(), stack=3)
    lost = list(folder.experiments())[1]
    (lost / "checkpoints" / "10.safetensors").unlink()
    [group] = groups_for(folder, device="cpu", stack=3)
    assert list(group) == list(whole[0])
    assert len(group) == 3


def test_what_is_left_of_a_stack_ends_with_the_same_bytes(tmp_path):
    sweep = short_sweep(vary={"training.lr": [1e-3, 1e-2, 0.1]}, seeds=1)
    folder = train_sweep(sweep, tmp_path, device="cpu", stack=3)
    lost = list(folder.experiments())[1]
    before = {file: file.read_bytes() for file in lost.rglob("[!.]*") if file.is_file()}
    for name in ("checkpoints/5.safetensors", "checkpoints/10.safetensors", "state.safetensors"):
        (lost / name).unlink()
    train_sweep(sweep, tmp_path, device="cpu", stack=3)
    assert {file: file.read_bytes() for file in before} == before


def test_a_damaged_run_is_named_and_stops_no_other(tmp_path):
    folder = train_sweep(short_sweep(seeds=3), tmp_path, device="cpu")
    damaged, lost, _ = folder.experiments()
    (damaged / "metrics.jsonl").write_text("garbage\n")
    (lost / "checkpoints" / "10.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"1 of 2 groups .*{damaged.name}/metrics\.jsonl, line 1"):
        train_sweep(short_sweep(seeds=3), tmp_path, device="cpu")
    assert Run(lost).steps == (0, 5, 10)


def test_a_group_is_described_with_its_size():
    experiments = {Path(name): each for name, each in short_sweep().experiments().items()}
    [line] = described(grouped(experiments, Worker(), stack=2), "cpu")
    assert "2 models of 719 parameters" in line
    assert "in a stack of 2, 10 steps: about" in line


def test_several_groups_are_summed_up_for_the_workers():
    experiments = {Path(name): each for name, each in short_sweep(vary=VARY).experiments().items()}
    *_, last = described(grouped(experiments, Worker(), stack=3), "cpu", workers=2)
    assert re.fullmatch(r"in all about .* of one worker: .* with 2 at work, .*", last)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("stack", [1, 2], ids=["alone", "stacked"])
def test_trainings_of_few_steps_are_timed(steps, stack):
    sweep = short_sweep(base=tiny_experiment(steps=steps))
    experiments = {Path(name): each for name, each in sweep.experiments().items()}
    assert seconds_in_all(grouped(experiments, Worker(), stack=stack)[0], "cpu") > 0


def test_an_estimate_counts_updates_evaluations_checkpoints_and_the_start(monkeypatch):
    monkeypatch.setattr(
        "interp.sweeps.groups.timed", lambda group, device: Timing(1000, 1, 7, 100, 10)
    )
    experiments = {Path(name): each for name, each in short_sweep(seeds=1).experiments().items()}
    # 10 steps, evaluated at 0, 5 and 10, kept at 0, 5 and 10; data are fixed, none are drawn
    assert seconds_in_all(grouped(experiments, Worker())[0], "cpu") == 1000 + 10 + 3 * 100 + 3 * 10


@pytest.mark.parametrize("stack", [1, 8], ids=["alone", "stacked"])
def test_every_run_is_the_run_it_would_be_alone(stack, tmp_path):
    sweep = short_sweep(vary=VARY)
    folder = train_sweep(sweep, tmp_path / "sweep", device="cpu", stack=stack)
    path, experiment = next(iter(folder.experiments().items()))
    alone = train(experiment, tmp_path / "alone", device="cpu")
    assert_close(dict(Run(path).parameters(10)), dict(alone.parameters(10)), rtol=1e-4, atol=1e-5)
    assert [Run(each).steps for each in folder.experiments()] == [(0, 5, 10)] * 8


def times(folder: SweepFolder) -> list[int]:
    return [(path / "metrics.jsonl").stat().st_mtime_ns for path in folder.experiments()]


def test_finished_runs_are_passed_over(tmp_path):
    first = train_sweep(short_sweep(), tmp_path, device="cpu")
    before = times(first)
    assert times(train_sweep(short_sweep(), tmp_path, device="cpu")) == before


def test_a_run_that_is_gone_is_trained_again(tmp_path):
    folder = train_sweep(short_sweep(), tmp_path, device="cpu")
    lost, kept = folder.experiments()
    (lost / "checkpoints" / "10.safetensors").unlink()
    before = (kept / "metrics.jsonl").stat().st_mtime_ns
    train_sweep(short_sweep(), tmp_path, device="cpu")
    assert Run(lost).steps == (0, 5, 10)
    assert (kept / "metrics.jsonl").stat().st_mtime_ns == before


def test_another_sweeps_folder_is_refused(tmp_path):
    train_sweep(short_sweep(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="is another sweep; choose a new folder"):
        train_sweep(short_sweep(seeds=1), tmp_path, device="cpu")


def test_more_seeds_are_added_to_a_sweep(tmp_path):
    first = train_sweep(short_sweep(), tmp_path, device="cpu")
    before = times(first)
    grown = train_sweep(short_sweep(seeds=3), tmp_path, device="cpu")
    assert [Run(each).steps for each in grown.experiments()] == [(0, 5, 10)] * 3
    assert times(grown)[:2] == before
    assert load_sweep(tmp_path / "sweep.toml").seeds == (0, 1, 2)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"not empty and holds no sweep\.toml"):
        train_sweep(short_sweep(), tmp_path, device="cpu")


@pytest.mark.parametrize("stack", [1, 4], ids=["alone", "stacked"])
def test_a_run_that_diverges_is_marked_and_stops_nobody(stack, tmp_path):
    sweep = short_sweep(
        base=tiny_experiment(steps=10, optimizer="sgd"), vary={"training.lr": [1e30, 0.1]}
    )
    folder = train_sweep(sweep, tmp_path, device="cpu", stack=stack)
    failures = [bool(Run(path).failure) for path in folder.experiments()]
    assert failures == [True, True, False, False]
    assert folder.left() == {}


class Recording(Executor):
    """An executor that runs at once what it is handed, and keeps the arguments."""

    def __init__(self) -> None:
        self.handed: list[tuple] = []

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.handed.append(args)
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_an_executor_is_handed_plain_text(tmp_path):
    engine = Recording()
    train_sweep(short_sweep(), tmp_path, device="cpu", executor=engine)
    assert json.loads(json.dumps(engine.handed)) == [list(each) for each in engine.handed]
    found = find_sweep(tmp_path)
    assert found is not None
    assert found.left() == {}


def test_progress_ends_with_all_runs_done(tmp_path):
    seen = []
    train_sweep(short_sweep(), tmp_path, device="cpu", on_progress=seen.append)
    assert (seen[-1].done, seen[-1].runs, seen[-1].steps) == (2, 2, 20)


def long_sweep() -> Sweep:
    """Three runs of a second or so each."""
    base = tiny_experiment(steps=400, evaluate={"every": 100}, checkpoints={"every": 100})
    return short_sweep(base=base, seeds=3)


def kill_a_worker(folder: Path) -> None:
    """Kills the first process that has written a checkpoint beyond step 0."""
    while not list(folder.glob("*/checkpoints/100.safetensors")):
        time.sleep(0.01)
    [worker, *_] = worker_processes()
    os.kill(worker, signal.SIGKILL)


def worker_processes() -> list[int]:
    """Workers: the children of the fork server, which is a child of this process."""
    return [worker for child in children(os.getpid()) for worker in children(child)]


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def test_the_runs_of_a_killed_worker_run_again(tmp_path):
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path,), daemon=True)
    killer.start()
    folder = train_sweep(long_sweep(), tmp_path, device="cpu", workers=2)
    killer.join()
    assert folder.left() == {}
    path, experiment = next(iter(folder.experiments().items()))
    alone = train(experiment, tmp_path.with_name("alone"), device="cpu")
    assert_close(dict(Run(path).parameters(400)), dict(alone.parameters(400)))


def test_experiments_without_training_are_refused(tmp_path):
    base = tiny_experiment().model_copy(update={"training": None})
    with pytest.raises(ValueError, match=r"no \[training\] table"):
        train_sweep(Sweep(name="x", base=Experiment.model_validate(base)), tmp_path)
