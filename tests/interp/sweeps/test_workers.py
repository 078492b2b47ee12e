"""Groups over workers: what a look at the run folders tells, and workers that are killed."""

import json
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from interp.executors.local import MAX_FRUITLESS_POOLS, Processes
from interp.runs.run import TAIL_BYTES, last_step
from interp.sweeps.groups import Group
from interp.sweeps.launch import train_groups
from interp.sweeps.progress import Watcher
from tests.planted import tiny_experiment


def look_at(watcher, seen) -> int:
    """How many runs a look finds done."""
    watcher.look_now()
    return seen[-1].done


def test_a_run_is_done_once_its_last_checkpoint_is_there(folder, experiment):
    last, seen = folder / "checkpoints" / "40.safetensors", []
    kept, watcher = last.read_bytes(), Watcher({folder: experiment}, seen.append)
    last.unlink()
    assert look_at(watcher, seen) == 0
    last.write_bytes(kept)
    assert look_at(watcher, seen) == 1


def test_a_run_that_failed_is_done(folder, experiment):
    seen = []
    watcher = Watcher({folder: experiment}, seen.append)
    (folder / "checkpoints" / "40.safetensors").unlink()
    look_at(watcher, seen)
    (folder / "failure.json").write_text(json.dumps({"step": 20, "reason": "diverged"}))
    assert look_at(watcher, seen) == 1


def test_a_look_reads_a_run_in_the_middle_no_further_than_its_end(folder, experiment, monkeypatch):
    monkeypatch.delattr("interp.sweeps.progress.is_done_with")
    seen = []
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41}\n')
    assert look_at(Watcher({folder: experiment}, seen.append), seen) == 0
    assert seen[-1].steps == 41


METRICS = {
    "nothing": ("", None),
    "half a row": ('{"step": 1', None),
    "a row and a half": ('{"step": 1}\n{"step": 2', 1),
    "a garbage line": ('{"step": 1}\ngarbage\n', 1),
    "no rows": ('[1]\n{"step": "2"}\nnull\n\n', None),
    "more than is read": ("".join(f'{{"step": {i}}}\n' for i in range(TAIL_BYTES)), TAIL_BYTES - 1),
}


@pytest.mark.parametrize(("text", "step"), METRICS.values(), ids=METRICS)
def test_the_last_step_is_that_of_the_last_whole_row(text, step, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(text)
    assert last_step(tmp_path / "metrics.jsonl") == step


class Broken(Executor):
    """A pool one of whose workers is killed after it has trained some groups."""

    finished = 0

    def __init__(self, *args, **kwargs) -> None:
        self.left = self.finished

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        if self.left:
            self.left -= 1
            future.set_result(fn(*args, **kwargs))
        else:
            future.set_exception(BrokenProcessPool("terminated abruptly"))
        return future


class BrokenAfterOne(Broken):
    finished = 1


def some_groups(path: Path, count: int) -> list[Group]:
    first = tiny_experiment(steps=1, checkpoints={"every": 1})
    return [{path / str(seed): first.with_seed(seed)} for seed in range(count)]


def test_workers_may_be_killed_as_long_as_groups_are_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("interp.executors.local.ProcessPoolExecutor", BrokenAfterOne)
    runs = train_groups(
        some_groups(tmp_path, MAX_FRUITLESS_POOLS + 2), executor=Processes(2), device="cpu"
    )
    assert [run.steps for run in runs] == [(0, 1)] * (MAX_FRUITLESS_POOLS + 2)


def test_workers_that_are_always_killed_are_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr("interp.executors.local.ProcessPoolExecutor", Broken)
    with pytest.raises(ValueError, match=r"2 of 2 groups .* workers were killed.* goes on$"):
        train_groups(some_groups(tmp_path, 2), executor=Processes(2), device="cpu")


class Waiting(Broken):
    """A pool whose workers are never done."""

    ends: list[dict[str, bool]] = []  # noqa: RUF012  # each test's own is set in its place

    def submit(self, fn, /, *args, **kwargs) -> Future:
        return Future()

    def shutdown(self, wait=True, *, cancel_futures=False) -> None:
        self.ends.append({"wait": wait, "cancel_futures": cancel_futures})


def test_what_has_not_begun_is_cancelled_when_stopped(tmp_path, monkeypatch):
    def stop(progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(Waiting, "ends", [])
    monkeypatch.setattr("interp.executors.local.ProcessPoolExecutor", Waiting)
    with pytest.raises(KeyboardInterrupt):
        train_groups(
            some_groups(tmp_path, 2), executor=Processes(2), device="cpu", on_progress=stop
        )
    assert Waiting.ends[0] == {"wait": False, "cancel_futures": True}


def test_a_group_too_large_for_the_memory_stops_no_other(tmp_path, monkeypatch):
    def train_or_refuse(experiments, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB\nand more")

    monkeypatch.setattr("interp.sweeps.launch.train_stack", train_or_refuse)
    groups = some_groups(tmp_path, 3)
    stack = {**groups[0], **groups[1]}
    with pytest.raises(ValueError, match=r"1 of 2 groups .* 2 models do not fit .*--stack 1$"):
        train_groups([stack, groups[2]], device="cpu")
    assert (tmp_path / "2" / "checkpoints" / "1.safetensors").is_file()


class Engine(Executor):
    """A cluster's engine: one group is refused, one lost, one trained, the last not yet begun."""

    def __init__(self) -> None:
        self.futures: list[Future] = []

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.futures.append(Future())
        if len(self.futures) == 1:
            raise RuntimeError("quota exceeded")
        if len(self.futures) == 2:
            self.futures[-1].set_exception(LookupError("node lost"))
        if len(self.futures) == 3:
            self.futures[-1].set_result(fn(*args, **kwargs))
        return self.futures[-1]


def test_what_an_engine_itself_runs_into_stops_no_group(tmp_path):
    groups = some_groups(tmp_path, 3)
    with pytest.raises(ValueError, match=r"2 of 3 groups .*: RuntimeError: quota exceeded"):
        train_groups(groups, device="cpu", executor=Engine())
    assert (tmp_path / "2" / "checkpoints" / "1.safetensors").is_file()


def test_what_an_engine_has_not_begun_is_cancelled_when_stopped(tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    engine = Engine()
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="cancelled 1 jobs"):
        train_groups(some_groups(tmp_path, 4), executor=engine, device="cpu", on_progress=stop)
    assert engine.futures[3].cancelled()


def test_a_garbage_line_stops_no_look(folder, experiment):
    seen = []
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("garbage\n")
    assert look_at(Watcher({folder: experiment}, seen.append), seen) == 0
