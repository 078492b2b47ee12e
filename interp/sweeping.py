"""Train a sweep into its folder."""

from concurrent.futures import Executor
from pathlib import Path

from interp.device import Device
from interp.groups import grouped
from interp.run import write_whole
from interp.sweep import Sweep, SweepFolder, load_sweep
from interp.workers import Watch, train_groups


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
    _claim(folder)
    groups = grouped(folder.left(), device, stack, workers)
    train_groups(groups, workers=workers, device=device, executor=executor, on_progress=on_progress)
    return folder


def _claim(folder: SweepFolder) -> None:
    """Writes `sweep.toml`, unless the folder is something else's.

    Raises:
        ValueError: It is another sweep's, or holds other things.
    """
    file = folder.path / "sweep.toml"
    if file.is_file():
        if load_sweep(file).members() != folder.sweep.members():
            raise ValueError(f"{file} is another sweep; choose a new folder with --out")
        return
    if folder.path.is_dir() and any(folder.path.iterdir()):
        raise ValueError(f"{folder.path} is not empty and holds no sweep.toml; choose another")
    write_whole(file, folder.sweep.to_toml().encode())
