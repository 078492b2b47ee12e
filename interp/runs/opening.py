"""A run folder is written by one process at a time, and belongs to one experiment.

The lock is the kernel's (`flock` on the hidden file `.lock`), and beside it a lease
(`interp.runs.leases`). The kernel's lock answers at once between processes of one machine, and ends
with the process, in whatever way that ends, so that no kill leaves it behind. The empty file stays;
removing it would let two processes lock two files of one name. Windows, which has no flock, locks
the file's first byte instead. Between machines the lease holds, whether or not their file system
passes locks on. Readers need neither.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hooks import build
from hooks.models import parameters_of
from hooks.own_classes import check_imported, code_hash, trust
from interp.config import Experiment
from interp.runs.checkpoint_files import pack
from interp.runs.hub import source_of
from interp.runs.leases import READ_ONLY_ERRORS, hold, in_use, lease_of, release
from interp.runs.run import Run
from interp.runs.safe_files import make_folder, open_plain, remove, write_whole
from interp.tasks.data_files import sha256_of, stamp_of


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a run folder for one writer.

    A folder that cannot be written to is not locked: nobody writes there, and reading is free.
    Where a process of another machine has left it without a word, this waits for a sign of life of
    that process (`interp.runs.leases`).

    Raises:
        InUse: Another process has locked it.
        ValueError: `.lock` is a symbolic link, or the folder is a download, which stays as it is.
    """
    source = source_of(folder)
    if source is not None:
        raise ValueError(
            f"{source} is downloaded into a cache, where it stays as it is: `interp pull {source}` "
            "makes a copy to work on"
        )
    with ExitStack() as closing:
        file = _open_lock(folder / ".lock")
        is_locked = False
        if file is not None:
            closing.callback(os.close, file)
            is_locked = _lock(file, folder)
        if file is not None or os.access(folder, os.W_OK):
            lease = hold(folder, is_locked=is_locked)
            if lease is not None:
                closing.callback(release, lease)
        yield


@contextmanager
def writing(experiment: Experiment, path: Path, device: torch.device) -> Iterator[Run]:
    """The run folder of an experiment, made where missing, and locked against other writers.

    Args:
        experiment: The experiment.
        path: The folder.
        device: Where its model will be trained; a new folder's environment.json says so.

    Raises:
        ValueError: The folder belongs to another experiment, another process writes to it, a
            data file of the task has changed, or a class of the user's own is missing.
        FileNotFoundError: A data file of the task is gone.
        OSError: The folder cannot be made.
    """
    if experiment.missing:
        raise ValueError(experiment.missing)
    _check_folder(experiment, path)
    hashes = {role: sha256_of(stamp_of(file)) for role, file in experiment.data_files.items()}
    for place, name in experiment.own_classes.items():
        check_imported(name)
        hashes[place] = code_hash(name)
        trust(name)
    try:
        make_folder(path)
    except OSError as error:
        raise OSError(
            f"{path} cannot be made ({error.strerror or error}); choose another place"
        ) from None
    with locked(path):
        _check_folder(experiment, path)  # again, since another process may have begun it
        if Run(path).steps:
            Run(path).check_data_files()
        else:
            _begin(experiment, path, hashes)
        if not (path / "environment.json").is_file():
            write_whole(path / "environment.json", environment(device).encode())
        yield Run(path)


def construct(experiment: Experiment, path: str | Path) -> Run:
    """Writes a network into a run folder, in float64, as its only checkpoint, of step 0.

    It is analysed and reported as any run. There are no metrics, since there was no training.

    Args:
        experiment: Its model is of kind `constructed`, and it has no training; the model's seed
            draws the phases of an analytic network.
        path: The folder; made where missing. One that holds this network already is left as it is.

    Raises:
        ValueError: The experiment is another kind's or has training, its task does not fit, or the
            folder belongs to another experiment.
    """
    if experiment.model.kind != "constructed":
        raise ValueError(
            f"experiment {experiment.name}: model.kind is {experiment.model.kind}, and only "
            "constructed networks are written without training; use `interp train`"
        )
    if experiment.training is not None:
        raise ValueError(
            f"experiment {experiment.name}: a constructed network is not trained; leave out "
            "[training]"
        )
    model = build(
        experiment.model, experiment.task.sizes, seed=experiment.seeds.model, dtype="float64"
    )
    with writing(experiment, Path(path), torch.device("cpu")) as run:
        file = run.path / "checkpoints" / "0.safetensors"
        if not file.is_file():
            write_whole(file, pack(parameters_of(model), step=0))
    return run


def _open_lock(path: Path) -> int | None:
    """The descriptor of a lock's file; None where the folder cannot be written to."""
    try:
        return open_plain(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno in READ_ONLY_ERRORS:
            return None
        raise


def _lock(file: int, folder: Path) -> bool:
    """Takes the kernel's lock; whether the file system has any."""
    try:
        _flock(file)
    except (BlockingIOError, PermissionError):  # the second on Windows
        raise in_use(folder, lease_of(folder)) from None
    except OSError:
        return False
    return True


def _flock(file: int) -> None:
    """Takes the kernel's lock of a file, or raises the system's error at once."""
    try:
        import fcntl
    except ImportError:
        windows: Any = import_module("msvcrt")
        windows.locking(file, windows.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _begin(experiment: Experiment, path: Path, hashes: Mapping[str, str]) -> None:
    """Writes down what is run, and what its data files are."""
    write_whole(path / "experiment.toml", experiment.to_toml().encode())
    file = path / "data_files.json"
    if hashes:
        write_whole(file, (json.dumps(hashes, indent=1) + "\n").encode())
    else:
        remove(file)


def _check_folder(experiment: Experiment, path: Path) -> None:
    """Refuses a folder that belongs to another experiment, or to something else."""
    file = path / "experiment.toml"
    if file.is_file() and Run(path).steps:
        if Run(path).experiment != experiment:
            raise ValueError(f"{file} is another experiment; choose a new folder with --out")
    elif file.is_file():
        # A folder whose experiment was refused when training began takes the corrected one.
        is_ours = (path / ".lock").is_file() or file.read_bytes() == experiment.to_toml().encode()
        if not is_ours:
            raise ValueError(
                f"{file} was not written by interp, and would be replaced; choose a new folder "
                "with --out"
            )
    elif path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise ValueError(f"{path} is not empty and holds no experiment.toml; choose another")


def environment(device: torch.device) -> str:
    """What environment.json holds: versions, device and threads, as JSON."""
    facts = {name: version(name) for name in ("interp", "torch", "transformer-lens")} | {
        "python": platform.python_version(),
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    return json.dumps(facts, indent=1) + "\n"
