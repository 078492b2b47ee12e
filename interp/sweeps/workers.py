"""A sweep is trained by workers: processes of this machine, or any executor.

Groups of runs are handed to a `concurrent.futures.Executor`: `submit(train_group, ...)` with plain
text alone, so that a cluster's engine can stand in for the processes. A worker that is killed
breaks the pool; its groups, which go on from their last checkpoints, are given to a new one.

Workers end with the process that started them. They hold the reading end of a pipe whose writing
end it alone has; the kernel closes that in whatever way the process ends.
"""

import multiprocessing
import os
import signal
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from hooks.own_classes import trusting
from interp.config import Experiment
from interp.runs import Run, as_table, is_done_with, write_whole
from interp.sweeps.groups import Group, groups_left, stack_size
from interp.sweeps.sweep import Sweep, SweepFolder
from interp.training.device import Device, pick_device, prepare_process
from interp.training.loop import train
from interp.training.stack import train_stack
from interp.training.trackers import make_trackers

MAX_FRUITLESS_POOLS = 3  # pools in a row that end with a killed worker and no group finished
PRELOADED = ("interp.sweeps.workers",)  # modules that every worker needs
POLL_SECONDS = 0.5  # seconds between looks at the run folders
KILLED = "workers were killed, perhaps for lack of memory; the same command goes on"
TAIL_BYTES = 2**14  # bytes at the end of metrics that a look reads: much longer than a row


@dataclass(frozen=True)
class Progress:
    """How far many runs have come.

    Attributes:
        done: How many runs are finished or failed.
        runs: How many there are.
        steps: Updates made by all together, by their metrics so far.
    """

    done: int
    runs: int
    steps: int


Watch = Callable[[Progress], None]
How = tuple[Device, list[str]]  # device, and names of trackers


@dataclass(frozen=True)
class Look:
    """What the watcher saw when it last looked at a run.

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
    """Looks at run folders: nothing else says how far runs on another machine have come."""

    def __init__(self, experiments: Mapping[Path, Experiment], on_progress: Watch) -> None:
        self._experiments = experiments
        self._on_progress = on_progress
        self._looks: dict[Path, Look] = {}  # the latest at each run
        self._last = 0.0  # seconds: when all runs were last looked at

    def look(self, *, at_least: float = POLL_SECONDS) -> None:
        """Reports how far the runs are, unless it did so within the last `at_least` seconds."""
        if time.monotonic() - self._last < at_least:
            return
        for path, experiment in self._experiments.items():
            self._look_at(path, experiment)
        self._last = time.monotonic()
        self._on_progress(
            Progress(
                done=sum(look.is_done for look in self._looks.values()),
                runs=len(self._experiments),
                steps=sum(look.step for look in self._looks.values()),
            )
        )

    def _look_at(self, path: Path, experiment: Experiment) -> None:
        before, file = self._looks.get(path, Look()), path / "metrics.jsonl"
        if before.is_done:
            return
        size = file.stat().st_size if file.is_file() else 0
        step = before.step if size == before.size else last_step(file)
        # The checkpoint comes after the row: a run may be done though its metrics are as before.
        is_kept = (path / "checkpoints" / f"{step}.safetensors").is_file()
        has_failed = bool(Run(path).failure)
        if (size, is_kept) == (before.size, before.is_kept) and not has_failed:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a line that is being written
            is_done = has_failed or (is_kept and is_done_with(path, experiment))
        self._looks[path] = Look(size, step, is_kept, is_done)


def last_step(file: Path) -> int:
    """The step of the last whole row of metrics, from the file's end; 0 where there is none.

    Lines that are no rows are passed over: training says what is wrong with them.
    """
    if not file.is_file():
        return 0
    with file.open("rb") as content:
        begin = max(0, content.seek(0, os.SEEK_END) - TAIL_BYTES)
        content.seek(begin)
        *lines, _ = content.read().split(b"\n")
    for line in reversed(lines[1:] if begin else lines):
        step = (as_table(line) or {}).get("step")
        if isinstance(step, int):
            return step
    return 0


def train_sweep(
    sweep: Sweep,
    path: str | Path,
    *,
    workers: int = 1,
    device: Device = "auto",
    stack: int | None = None,
    executor: Executor | None = None,
    on_progress: Watch = lambda progress: None,
    track: Sequence[str] = (),
) -> SweepFolder:
    """Trains the runs of a sweep into its folder; those that are finished are passed over.

    Args:
        sweep: What to train.
        path: The sweep's folder; made where missing.
        workers: Processes on this machine.
        device: Where to train.
        stack: Models a stack, at most; chosen by device and kind of model where left out.
        executor: Takes the work instead of processes of this machine.
        on_progress: Called while the runs train.
        track: Names of trackers that are told of each run's training.

    Raises:
        ValueError: The folder belongs to something else, a tracker is unknown or not installed, or
            some runs could not be trained (all others are).
    """
    make_trackers(track)  # refused before anything is written
    folder = SweepFolder(Path(path), sweep)
    for experiment in sweep.experiments().values():
        if experiment.missing:
            raise ValueError(experiment.missing)
    folder.check_belongs()
    file, content = folder.path / "sweep.toml", sweep.to_toml().encode()
    if not file.is_file() or file.read_bytes() != content:
        write_whole(file, content)
    train_groups(
        groups_left(folder, device, stack),
        workers=workers,
        device=device,
        executor=executor,
        on_progress=on_progress,
        track=track,
    )
    return folder


def train_groups(
    groups: Sequence[Group],
    *,
    workers: int = 1,
    device: Device = "auto",
    executor: Executor | None = None,
    on_progress: Watch = lambda progress: None,
    track: Sequence[str] = (),
) -> list[Run]:
    """Trains every group; what one group runs into stops no other.

    Args:
        groups: What is to be trained.
        workers: Processes on this machine; a single one is this process itself.
        device: Where to train.
        executor: Takes the groups instead of processes of this machine.
        on_progress: Called while they train, with how far they are by their folders.
        track: Names of trackers that are told of each run's training.

    Returns:
        The runs: each finished, or marked as failed (`Run.failure`).

    Raises:
        ValueError: Some groups could not be trained; all others are.
    """
    experiments = dict(item for group in groups for item in group.items())
    watcher = Watcher(experiments, on_progress)
    how = device, list(track)
    if executor is not None:
        faults = _collected(executor, groups, how, watcher)
    elif workers == 1:
        faults = [_fault(partial(_train, group, how, watcher.look)) for group in groups]
    else:
        faults = _in_processes(groups, workers, how, watcher)
    watcher.look(at_least=0)
    errors = [fault for fault in faults if fault is not None]
    if errors:
        raise ValueError(
            f"{len(errors)} of {len(groups)} groups were not trained: {_in_words(errors[0])}"
        ) from errors[0]
    return [Run(path) for path in experiments]


def worker_count(device: Device) -> int:
    """Processes that suit a device: one a core that this process may use, one on a GPU."""
    if pick_device(device).type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_group(texts: Mapping[str, str], device: Device, track: Sequence[str] = ()) -> None:
    """Trains experiments, given as TOML by run folder: what an executor is handed."""
    with trusting():  # whoever handed them over has imported these classes
        experiments = {
            Path(path): Experiment.model_validate(tomllib.loads(text))
            for path, text in texts.items()
        }
    _train(experiments, (device, list(track)), lambda: None)


def _train(experiments: Mapping[Path, Experiment], how: How, look: Callable[[], None]) -> None:
    """Trains experiments as a stack, or a single one alone; one that diverges is marked."""
    path, experiment = next(iter(experiments.items()))
    device, track = how
    try:
        if len(experiments) > 1:
            train_stack(experiments, device=device, on_stop=lambda step, done: look(), track=track)
        else:
            train(experiment, path, device=device, on_evaluate=lambda *_: look(), track=track)
    except torch.OutOfMemoryError:
        fewer = min(len(experiments) // 2, stack_size(experiment, device))
        raise ValueError(
            f"{len(experiments)} models do not fit into the GPU's memory: give --stack {fewer}"
        ) from None
    except ValueError:
        if len(experiments) > 1 or not Run(path).failure:
            raise


def _in_processes(
    groups: Sequence[Group], workers: int, how: How, watcher: Watcher
) -> list[Exception | None]:
    """The fault of each group, or None; groups of a killed worker are tried again."""
    faults: dict[int, Exception | None] = {}
    left, fruitless = list(range(len(groups))), 0
    while left and fruitless < MAX_FRUITLESS_POOLS:
        with _pool(workers) as pool:
            new_faults = _collected(pool, [groups[index] for index in left], how, watcher)
        faults |= dict(zip(left, new_faults, strict=True))
        killed = [index for index in left if isinstance(faults[index], BrokenProcessPool)]
        fruitless = fruitless + 1 if killed == left else 0
        left = killed
    return list(faults.values())


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Worker processes, which end with this process, and at once where it is stopped."""
    # Workers are forked from a process that holds all imports and has computed nothing. Windows
    # cannot fork: there every worker imports for itself.
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload(list(PRELOADED))
    lifeline, own_end = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, context, _prepare_worker, (lifeline,))
    with lifeline, own_end, executor as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C: what has begun ends, what has not is not begun
            own_end.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_worker(lifeline: Connection) -> None:
    """Makes this process a worker, which Ctrl-C ends at once, as a kill does.

    Args:
        lifeline: The reading end of a pipe; once its other end is closed, this process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    prepare_process()


def _end_with(lifeline: Connection) -> None:
    """Ends this process when the other end of a pipe is closed."""
    lifeline.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)


def _collected(
    executor: Executor, groups: Sequence[Group], how: How, watcher: Watcher
) -> list[Exception | None]:
    """Hands groups to an executor and waits for all; the fault of each, or None.

    Stopped, it cancels those that the executor has not begun.
    """
    futures: list[Future[None]] = []
    try:
        for group in groups:
            futures.append(_submitted(executor, group, how))
        while wait(futures, timeout=POLL_SECONDS).not_done:
            watcher.look()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [_fault(future.result) for future in futures]


def _submitted(executor: Executor, group: Group, how: How) -> Future[None]:
    """The future of a group; one that has failed where the executor does not take it."""
    texts = {str(path): experiment.to_toml() for path, experiment in group.items()}
    try:
        return executor.submit(train_group, texts, *how)
    except Exception as error:  # an engine's own, or a worker was killed meanwhile
        refused: Future[None] = Future()
        refused.set_exception(error)
        return refused


def _fault(call: Callable[[], object]) -> Exception | None:
    """What a group ran into, or None: of whatever kind, it stops no other group."""
    try:
        call()
    except Exception as error:
        return error
    return None


def _in_words(fault: Exception) -> str:
    """A fault in words; those that are no advice to a user are named by their kind."""
    if isinstance(fault, ValueError | OSError):
        return str(fault)
    named = ": ".join(filter(None, (type(fault).__name__, str(fault))))
    return KILLED if isinstance(fault, BrokenProcessPool) else named
