"""Trains the runs of a sweep: in this process, in others, on a cluster, or a part of them.

An engine (`interp.executors`) is handed jobs: TOML text of experiments by run folder, as many as
suit a worker of the kind asked for. The worker stacks them by what it finds where it runs.
"""

import socket
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hooks.own_classes import trusting
from interp.config import Experiment
from interp.executors import MAX_JOBS, Engine, Job, Outcome, Queue, as_engine, in_words
from interp.executors.job_log import JobLog
from interp.executors.local import Processes
from interp.runs import InUse, Run, locked, make_folder, sight, write_whole
from interp.sweeps.groups import (
    Group,
    Part,
    Worker,
    bundled,
    grouped,
    part_of,
    stack_size,
    with_work,
)
from interp.sweeps.progress import Watch, Watcher
from interp.sweeps.sweep import Sweep, SweepFolder
from interp.training.device import Device, prepare_process
from interp.training.loop import train
from interp.training.stack import train_stack
from interp.training.trackers import make_trackers

WRITE_SECONDS = 30.0  # seconds that a part waits for another one to write the sweep's file


def train_sweep(
    sweep: Sweep,
    path: str | Path,
    *,
    workers: int = 1,
    device: Device = "auto",
    stack: int | None = None,
    executor: Engine | Executor | None = None,
    worker: Worker | None = None,
    jobs: int = MAX_JOBS,
    part: Part | None = None,
    on_progress: Watch = lambda progress: None,
    track: Sequence[str] = (),
) -> SweepFolder:
    """Trains the runs of a sweep into its folder; those that are finished are passed over.

    Args:
        sweep: What to train.
        path: The sweep's folder; made where missing. An executor's workers must see it by the same
            path.
        workers: Processes on this machine; a single one is this process itself.
        device: Where to train.
        stack: Models a stack, at most; chosen by device and kind of model where left out.
        executor: Takes the work instead of processes of this machine.
        worker: What jobs and parts are cut for; by default a CPU.
        jobs: How many jobs an executor is given, at most.
        part: Train these runs alone (`interp.sweeps.groups.part_of`).
        on_progress: Called while the runs train.
        track: Names of trackers that are told of each run's training.

    Raises:
        ValueError: The folder belongs to something else, a tracker is unknown or not installed, the
            part does not exist, or some runs could not be trained (all others are).
    """
    folder, is_here = SweepFolder(Path(path), sweep), executor is None
    groups = begun(
        folder, device=device, stack=stack, worker=worker, part=part, is_here=is_here, track=track
    )
    if is_here and workers > 1:
        executor = Processes(workers)
    train_groups(
        groups if is_here else _for_jobs(groups, executor, jobs),
        folder=folder.path,
        executor=executor,
        device=device,
        stack=stack,
        on_progress=on_progress,
        track=track,
    )
    return folder


def leave_sweep(
    sweep: Sweep,
    path: str | Path,
    executor: Queue,
    *,
    device: Device = "auto",
    stack: int | None = None,
    worker: Worker | None = None,
    jobs: int = MAX_JOBS,
    part: Part | None = None,
    track: Sequence[str] = (),
) -> str:
    """Submits the runs of a sweep to a queue that trains them without this process.

    Args: as of `train_sweep`.

    Returns:
        What was submitted, in words.

    Raises:
        ValueError: As `train_sweep`, before anything is submitted; or the queue takes no jobs.
    """
    folder = SweepFolder(Path(path), sweep)
    groups = begun(
        folder, device=device, stack=stack, worker=worker, part=part, is_here=False, track=track
    )
    how = How(device, stack, tuple(track))
    bundles = _for_jobs(groups, executor, jobs)
    return executor.leave([job_of(group, folder.path, how) for group in bundles])


def begun(
    folder: SweepFolder,
    *,
    device: Device = "auto",
    stack: int | None = None,
    worker: Worker | None = None,
    part: Part | None = None,
    is_here: bool = True,
    track: Sequence[str] = (),
) -> list[Group]:
    """Makes a sweep's folder, its file in it, and gives what is to be trained (`groups_for`).

    Raises:
        ValueError: The folder belongs to something else, a tracker is unknown or not installed, or
            the part does not exist; nothing is written then.
    """
    make_trackers(track)
    for experiment in folder.experiments().values():
        if experiment.missing:
            raise ValueError(experiment.missing)
    folder.check_belongs()
    groups = groups_for(
        folder, device=device, stack=stack, worker=worker, part=part, is_here=is_here
    )
    _write_file(folder)
    return groups


def _write_file(folder: SweepFolder) -> None:
    """Writes a sweep's file, unless it is there; of parts that begin at once, one writes it.

    Raises:
        InUse: Another process holds the folder, and does not write the file.
    """
    file, content = folder.path / "sweep.toml", folder.sweep.to_toml().encode()
    make_folder(folder.path)
    end = time.monotonic() + WRITE_SECONDS
    while not file.is_file() or file.read_bytes() != content:
        try:
            with locked(folder.path):
                folder.check_belongs()  # another command may have added runs meanwhile
                write_whole(file, content)
        except InUse:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _for_jobs(groups: Sequence[Group], executor: Any, jobs: int) -> list[Group]:
    """Groups in bundles, a job each: those that wait in a queue already apart from the others."""
    queued = executor.queued() if isinstance(executor, Queue) else set()
    waiting = [group for group in groups if _names(group) <= queued]
    new = [group for group in groups if not _names(group) <= queued]
    return bundled(waiting, jobs) + bundled(new, jobs)


def _names(group: Group) -> set[str]:
    """The run folders of a group, as jobs name them."""
    return {str(path.resolve()) for path in group}


def groups_for(
    folder: SweepFolder,
    *,
    device: Device = "auto",
    stack: int | None = None,
    worker: Worker | None = None,
    part: Part | None = None,
    is_here: bool = True,
) -> list[Group]:
    """The groups of a sweep, or of a part of it, that hold a run which is yet to be trained.

    Args:
        folder: The sweep.
        device: Where this machine trains.
        stack: Models a stack, at most.
        worker: What parts and jobs are cut for; by default a CPU.
        part: These runs alone.
        is_here: Whether this machine trains them, which cuts stacks for itself.
    """
    asked = worker or Worker()
    cut_for = Worker.here(device) if is_here else asked
    experiments = folder.experiments() if part is None else part_in(folder, part, asked, stack)
    return with_work(grouped(experiments, cut_for, stack))


def part_in(folder: SweepFolder, part: Part, worker: Worker, stack: int | None = None) -> Group:
    """The experiments of a part of a sweep, in the sweep's order; none in more parts than stacks.

    Args:
        folder: The sweep.
        part: Which part.
        worker: What parts are cut for.
        stack: Models a stack, at most.
    """
    experiments = folder.experiments()
    chosen = part_of(grouped(experiments, worker, stack), part)
    return {path: each for path, each in experiments.items() if path in chosen}


def train_groups(
    groups: Sequence[Group],
    *,
    folder: Path | None = None,
    executor: Engine | Executor | None = None,
    device: Device = "auto",
    stack: int | None = None,
    on_progress: Watch = lambda progress: None,
    track: Sequence[str] = (),
) -> list[Run]:
    """Trains every group; what one group runs into stops no other.

    Args:
        groups: What is to be trained, a job a group.
        folder: The sweep's folder, which jobs elsewhere must find; logs go into its `jobs/`.
        executor: Takes the jobs instead of this process.
        device: Where to train.
        stack: Models a stack, at most; chosen by the worker where left out.
        on_progress: Called while they train, with how far they are by their folders.
        track: Names of trackers that are told of each run's training.

    Returns:
        The runs: each finished, or marked as failed (`Run.failure`); or in the hands of another
        process, which a warning says.

    Raises:
        ValueError: Some groups could not be trained; all others are.
    """
    experiments = dict(item for group in groups for item in group.items())
    watcher = Watcher(experiments, on_progress)
    how, log = How(device, stack, tuple(track)), JobLog.of(folder)
    if executor is None:
        outcomes = trained_here(groups, how, log, watcher.look)
    else:
        jobs = [job_of(group, folder, how) for group in groups]
        outcomes = as_engine(executor).run(jobs, lambda over: watcher.look())
    watcher.look_now()
    faults, in_use = [], []
    for group, outcome in zip(groups, outcomes, strict=True):
        if isinstance(outcome.fault, InUse):
            in_use.append(str(outcome.fault))
        # A job may be lost after its last run was finished: the folders say what is done.
        elif with_work([group]):
            if outcome.fault is None:
                in_use.append(f"the log of {next(iter(group)).name} in jobs/ says to whom")
                continue
            faults.append(outcome.fault)
            # What stops a worker's training is a ValueError that the worker itself has logged.
            if executor is not None and not isinstance(outcome.fault, ValueError):
                log.failed([path.name for path in group], outcome.fault)
    if in_use:
        warnings.warn(
            f"{len(in_use)} of {len(groups)} groups are left to other processes: {in_use[0]}",
            stacklevel=2,
        )
    if faults:
        raise ValueError(
            f"{len(faults)} of {len(groups)} groups were not trained: {in_words(faults[0])}"
        ) from faults[0]
    return [Run(path) for path in experiments]


def trained_here(
    groups: Sequence[Group], how: "How", log: JobLog, look: Callable[[], None]
) -> list[Outcome]:
    """Trains groups in this process, and gives what became of each."""
    if groups:
        log.begins(how.device)
    sight(path for group in groups for path in group)  # the leases of machines that are gone
    outcomes = []
    with log.warnings():
        for group in groups:
            runs = [path.name for path in group]
            log.say(f"trains {','.join(runs)}")
            outcome = Outcome.of(lambda group=group: train_together(group, how, look))
            outcomes.append(outcome)
            if outcome.fault is None:
                log.say(f"ends {','.join(runs)}")
            elif isinstance(outcome.fault, InUse):
                log.say(f"leaves {','.join(runs)} to others: {outcome.fault}")
            else:
                log.failed(runs, outcome.fault)
    return outcomes


@dataclass(frozen=True)
class How:
    """How a worker trains.

    Attributes:
        device: Where.
        stack: Models a stack, at most; None leaves it to the worker.
        track: Names of trackers.
    """

    device: Device
    stack: int | None
    track: tuple[str, ...]


def job_of(group: Group, folder: Path | None, how: How) -> Job:
    """A group as a job, in text alone, with whole paths: a worker may be in another folder."""
    texts = {str(path.resolve()): experiment.to_toml() for path, experiment in group.items()}
    place = None if folder is None else str(folder.resolve())
    return Job(
        train_job, (place, texts, how.device, how.stack, list(how.track)), tuple(texts), True
    )


def train_job(
    folder: str | None,
    texts: Mapping[str, str],
    device: Device,
    stack: int | None,
    track: Sequence[str] = (),
) -> None:
    """Trains experiments where this is called: what a worker does.

    Args:
        folder: The sweep's folder.
        texts: TOML text of experiments, by run folder.
        device: Where to train.
        stack: Models a stack, at most; by what is found here where left out.
        track: Names of trackers.

    Raises:
        ValueError: Some could not be trained; all others are.
        FileNotFoundError: The sweep's folder is not to be seen from here.
    """
    if folder is not None and not Path(folder, "sweep.toml").is_file():
        raise FileNotFoundError(
            f"{socket.gethostname()} does not see {Path(folder, 'sweep.toml')}: put the sweep "
            "(--out) into a folder that all machines share under one path"
        )
    prepare_process()  # more threads, as engines give them, would change the last digits
    place = None if folder is None else Path(folder)
    try:
        groups = _groups_of(texts, Worker.here(device), stack)
    except Exception as error:  # such as a worker without the GPU that was asked for
        JobLog.of(place).failed([Path(path).name for path in texts], error)
        raise
    train_groups(groups, folder=place, device=device, stack=stack, track=track)


def _groups_of(texts: Mapping[str, str], worker: Worker, stack: int | None) -> list[Group]:
    """The groups of a job's experiments that hold a run which is yet to be trained."""
    with trusting():  # whoever handed them over has imported these classes
        experiments = {
            Path(path): Experiment.model_validate(tomllib.loads(text))
            for path, text in texts.items()
        }
    return with_work(grouped(experiments, worker, stack))


def train_together(group: Group, how: How, look: Callable[[], None]) -> None:
    """Trains experiments as a stack, or a single one alone; one that diverges is marked."""
    path, experiment = next(iter(group.items()))
    try:
        if len(group) > 1:
            train_stack(
                group, device=how.device, on_stop=lambda step, done: look(), track=how.track
            )
        else:
            train(
                experiment,
                path,
                device=how.device,
                on_evaluate=lambda *_: look(),
                track=how.track,
            )
    except torch.OutOfMemoryError:
        fewer = min(len(group) // 2, stack_size(experiment, Worker.here(how.device)))
        raise ValueError(
            f"{len(group)} models do not fit into the GPU's memory: give --stack {fewer}"
        ) from None
    except ValueError:
        if len(group) > 1 or not Run(path).failure:
            raise
