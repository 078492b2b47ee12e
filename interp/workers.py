"""Groups of experiments over workers: processes of this machine, or any executor.

The seam is `concurrent.futures.Executor`: `submit(train_group, ...)` with arguments and results of
plain text, so that a cluster's engine can stand in for the processes. A worker that is killed
breaks the pool; its groups, which go on from their last checkpoints, are given to a new one.
"""

import json
import multiprocessing
import os
import signal
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from interp.device import Device, pick_device, prepare_process
from interp.experiment import Experiment
from interp.groups import Group, stack_size
from interp.run import Run
from interp.stack import train_stack
from interp.train import is_done_with, train

ATTEMPTS = 3  # in a row that end with a killed worker and no group finished
PRELOADED = ("interp.workers", "hooks.models.hooked_mlp")  # which brings transformer_lens
POLL = 0.5  # seconds between looks at the run folders
KILLED = "workers were killed, perhaps for lack of memory; the same command goes on"
TAIL = 2**14  # bytes of metrics that a look reads: a row, and many times more


@dataclass(frozen=True)
class Progress:
    """How far many runs have come.

    Attributes:
        done: Runs that are finished or failed.
        members: All of them.
        steps: Updates made by all together, as far as their metrics tell.
    """

    done: int
    members: int
    steps: int


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Seen:
    """What a look at a run told.

    Attributes:
        size: Bytes of its metrics.
        step: The step of their last row.
        is_kept: Whether that step's checkpoint was there.
        is_done: Whether the run was finished or failed.
    """

    size: int = -1
    step: int = 0
    is_kept: bool = False
    is_done: bool = False


class Watcher:
    """Looks at run folders, which is all that tells of runs on another machine too."""

    def __init__(self, members: Mapping[Path, Experiment], on_progress: Watch) -> None:
        self._members = members
        self._on_progress = on_progress
        self._seen: dict[Path, Seen] = {}
        self._last = 0.0

    def look(self, *, at_least: float = POLL) -> None:
        """Tells how far they are, unless it did so within so many seconds."""
        if time.monotonic() - self._last < at_least:
            return
        for path, experiment in self._members.items():
            self._look_at(path, experiment)
        self._last = time.monotonic()
        done = sum(each.is_done for each in self._seen.values())
        steps = sum(each.step for each in self._seen.values())
        self._on_progress(Progress(done, len(self._members), steps))

    def _look_at(self, path: Path, experiment: Experiment) -> None:
        seen, file = self._seen.get(path, Seen()), path / "metrics.jsonl"
        if seen.is_done:
            return
        size = file.stat().st_size if file.is_file() else 0
        step = seen.step if size == seen.size else last_step(file)
        # The checkpoint comes after the row: a run may be done though its metrics are as before.
        is_kept = (path / "checkpoints" / f"{step}.safetensors").is_file()
        has_failed = bool(Run(path).failure)
        if (size, is_kept) == (seen.size, seen.is_kept) and not has_failed:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a line that is being written
            is_done = has_failed or (is_kept and is_done_with(path, experiment))
        self._seen[path] = Seen(size, step, is_kept, is_done)


def last_step(file: Path) -> int:
    """The step of the last whole row of metrics, from the file's end; 0 where there is none."""
    if not file.is_file():
        return 0
    with file.open("rb") as content:
        begin = max(0, content.seek(0, os.SEEK_END) - TAIL)
        content.seek(begin)
        *lines, _ = content.read().split(b"\n")
    whole = lines[1:] if begin else lines
    return int(json.loads(whole[-1])["step"]) if whole else 0


def train_groups(
    groups: Sequence[Group],
    *,
    workers: int = 1,
    device: Device = "auto",
    executor: Executor | None = None,
    on_progress: Watch = lambda progress: None,
) -> list[Run]:
    """Trains every group; what one group runs into stops no other.

    Args:
        groups: What is to be trained.
        workers: Processes on this machine; a single one is this process itself.
        device: Where to train.
        executor: Takes the groups instead of processes of this machine.
        on_progress: Called while they train, with what their folders tell.

    Returns:
        The runs: each finished, or marked as failed (`Run.failure`).

    Raises:
        ValueError: Some groups could not be trained; all others are.
    """
    everyone = {path: each for group in groups for path, each in group.members.items()}
    watcher = Watcher(everyone, on_progress)
    if executor is not None:
        faults = _collected(executor, groups, device, watcher)
    elif workers == 1:
        faults = [_fault(lambda group=group: _train(group.members, device, watcher.look))
                  for group in groups]  # fmt: skip
    else:
        faults = _in_processes(groups, workers, device, watcher)
    watcher.look(at_least=0)
    told = [KILLED if isinstance(fault, BrokenProcessPool) else str(fault)
            for fault in faults if fault is not None]  # fmt: skip
    if told:
        raise ValueError(f"{len(told)} of {len(groups)} groups were not trained: {told[0]}")
    return [Run(path) for path in everyone]


def worker_count(device: Device) -> int:
    """Processes that suit a device: one a core that this process may use, one on a GPU."""
    if pick_device(device).type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_group(members: Mapping[str, str], device: Device) -> None:
    """Trains experiments, given as TOML by run folder: what an executor is handed."""
    experiments = {
        Path(path): Experiment.model_validate(tomllib.loads(text)) for path, text in members.items()
    }
    _train(experiments, device, lambda: None)


def _train(members: Mapping[Path, Experiment], device: Device, look: Callable[[], None]) -> None:
    """Trains experiments as a stack, or a single one alone; one that diverges is marked."""
    path, experiment = next(iter(members.items()))
    try:
        if len(members) > 1:
            train_stack(members, device=device, on_progress=lambda progress: look())
        else:
            train(experiment, path, device=device, on_evaluate=lambda row, end: look())
    except torch.OutOfMemoryError:
        raise ValueError(_told_of_memory(len(members), experiment, device)) from None
    except ValueError:
        if len(members) > 1 or not Run(path).failure:
            raise


def _told_of_memory(members: int, experiment: Experiment, device: Device) -> str:
    """What is said of a stack that a GPU does not hold: the number of members to try."""
    fewer = min(members // 2, stack_size(experiment, device))
    return f"{members} models do not fit into the GPU's memory: give --stack {fewer}"


def _in_processes(
    groups: Sequence[Group], workers: int, device: Device, watcher: Watcher
) -> list[Exception | None]:
    """The fault of each group, or None; groups of a killed worker are tried again."""
    faults: list[Exception | None] = [None] * len(groups)
    left, stalled = list(range(len(groups))), 0
    # Workers are forked from a process that holds all imports and has computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    while left and stalled < ATTEMPTS:
        with ProcessPoolExecutor(workers, context, initializer=_prepare_worker) as pool:
            try:
                found = _collected(pool, [groups[index] for index in left], device, watcher)
            except BaseException:  # Ctrl-C: what has not begun is not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for index, fault in zip(left, found, strict=True):
            faults[index] = fault
        before = len(left)
        left = [index for index in left if isinstance(faults[index], BrokenProcessPool)]
        stalled = stalled + 1 if len(left) == before else 0
    return faults


def _prepare_worker() -> None:
    """Makes this process a worker, which Ctrl-C ends at once, as a kill does."""
    prepare_process()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _collected(
    executor: Executor, groups: Sequence[Group], device: Device, watcher: Watcher
) -> list[Exception | None]:
    """Hands groups to an executor and waits for all; the fault of each, or None."""
    futures: list[Future[None]] = []
    for group in groups:
        texts = {str(path): each.to_toml() for path, each in group.members.items()}
        try:
            futures.append(executor.submit(train_group, texts, device))
        except BrokenProcessPool as error:  # a worker was killed while groups were handed out
            futures.append(Future())
            futures[-1].set_exception(error)
    while wait(futures, timeout=POLL).not_done:
        watcher.look()
    return [_fault(future.result) for future in futures]


def _fault(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except (ValueError, OSError, BrokenProcessPool) as error:
        return error
    return None
