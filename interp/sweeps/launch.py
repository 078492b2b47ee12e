"""Trains the runs of a sweep: in this process, in others, on a cluster, or a part of them.

An engine (`interp.executors`) is handed jobs: TOML text of experiments by run folder, as many as
suit a worker of the kind asked for. The worker stacks them by what it finds where it runs.
"""

import socket
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import torch

from hooks.own_classes import trusting
from interp.config import Experiment
from interp.executors import MAX_JOBS, Engine, Job, Outcome, as_engine, in_words
from interp.executors.local import Processes
from interp.runs import Run, write_whole
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
    make_trackers(track)  # refused before anything is written
    folder = SweepFolder(Path(path), sweep)
    for experiment in folder.experiments().values():
        if experiment.missing:
            raise ValueError(experiment.missing)
    folder.check_belongs()
    is_here = executor is None
    groups = groups_for(
        folder, device=device, stack=stack, worker=worker, part=part, is_here=is_here
    )
    file, content = folder.path / "sweep.toml", sweep.to_toml().encode()
    if not file.is_file() or file.read_bytes() != content:
        write_whole(file, content)
    if is_here and workers > 1:
        executor = Processes(workers)
    train_groups(
        groups if is_here else bundled(groups, jobs),
        folder=folder.path,
        executor=executor,
        device=device,
        stack=stack,
        on_progress=on_progress,
        track=track,
    )
    return folder


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
    experiments, asked = folder.experiments(), worker or Worker()
    if part is not None:
        chosen = part_of(grouped(experiments, asked, stack), part)
        experiments = {path: e for path, e in experiments.items() if path in chosen}
    cut_for = Worker.here(device) if is_here else asked
    return with_work(grouped(experiments, cut_for, stack))


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
        folder: The sweep's folder, which jobs elsewhere must find.
        executor: Takes the jobs instead of this process.
        device: Where to train.
        stack: Models a stack, at most; chosen by the worker where left out.
        on_progress: Called while they train, with how far they are by their folders.
        track: Names of trackers that are told of each run's training.

    Returns:
        The runs: each finished, or marked as failed (`Run.failure`).

    Raises:
        ValueError: Some groups could not be trained; all others are.
    """
    experiments = dict(item for group in groups for item in group.items())
    watcher = Watcher(experiments, on_progress)
    how = How(device, stack, tuple(track))
    if executor is None:
        outcomes = [
            Outcome.of(lambda group=group: train_together(group, how, watcher.look))
            for group in groups
        ]
    else:
        jobs = [job_of(group, folder, how) for group in groups]
        outcomes = as_engine(executor).run(jobs, lambda over: watcher.look())
    watcher.look_now()
    faults = [outcome.fault for outcome in outcomes if outcome.fault is not None]
    if faults:
        raise ValueError(
            f"{len(faults)} of {len(groups)} groups were not trained: {in_words(faults[0])}"
        ) from faults[0]
    return [Run(path) for path in experiments]


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
    return Job(train_job, (place, texts, how.device, how.stack, list(how.track)), tuple(texts))


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
    with trusting():  # whoever handed them over has imported these classes
        experiments = {
            Path(path): Experiment.model_validate(tomllib.loads(text))
            for path, text in texts.items()
        }
    prepare_process()  # more threads, as engines give them, would change the last digits
    groups = with_work(grouped(experiments, Worker.here(device), stack))
    train_groups(groups, device=device, stack=stack, track=track)


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
