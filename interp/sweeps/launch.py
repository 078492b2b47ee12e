"""Train a sweep into its folder."""

from concurrent.futures import Executor
from pathlib import Path

from interp.runs.files import write_whole
from interp.sweeps.groups import Group, grouped
from interp.sweeps.sweep import Sweep, SweepFolder, load_sweep
from interp.sweeps.workers import Watch, train_groups
from interp.tasks.data_files import KEPT
from interp.training.device import Device


def train_sweep(
    sweep: Sweep,
    path: str | Path,
    *,
    workers: int = 1,
    device: Device = "auto",
    stack: int | None = None,
    executor: Executor | None = None,
    on_progress: Watch = lambda progress: None,
) -> SweepFolder:
    """Trains the members of a sweep into its folder; those that are finished are passed over.

    Args:
        sweep: What to train.
        path: The sweep's folder; made where missing.
        workers: Processes on this machine.
        device: Where to train.
        stack: Members a stack, at most; chosen by device and kind of model where left out.
        executor: Takes the work instead of processes of this machine.
        on_progress: Called while members train.

    Raises:
        ValueError: The folder belongs to something else, or some members could not be trained
            (all others are).
    """
    folder = SweepFolder(Path(path), sweep)
    check_folder(folder)
    file, text = folder.path / "sweep.toml", sweep.to_toml().encode()
    if not file.is_file() or file.read_bytes() != text:
        write_whole(file, text)
    groups = groups_left(folder, device, stack)
    train_groups(groups, workers=workers, device=device, executor=executor, on_progress=on_progress)
    return folder


def groups_left(folder: SweepFolder, device: Device, stack: int | None = None) -> list[Group]:
    """The groups of a sweep that hold a member which is neither finished nor failed."""
    left = folder.left().keys()
    return [
        group
        for group in grouped(folder.members(), device, stack)
        if not left.isdisjoint(group.members)
    ]


def check_folder(folder: SweepFolder) -> None:
    """Refuses a folder that is something else's; a sweep may add members to its own.

    Raises:
        ValueError: It is another sweep's, or holds other things.
    """
    file = folder.path / "sweep.toml"
    if file.is_file():
        there = load_sweep(file, KEPT).members()
        if not there.items() <= folder.sweep.members().items():
            raise ValueError(f"{file} is another sweep; choose a new folder with --out")
    elif folder.path.is_dir() and any(folder.path.iterdir()):
        raise ValueError(f"{folder.path} is not empty and holds no sweep.toml; choose another")
