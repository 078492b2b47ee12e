"""A run folder held for writing: it belongs to one experiment, and to one process at a time."""

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from interp.config.experiment import Experiment
from interp.runs.files import make_folder, write_whole
from interp.runs.lock import alone
from interp.runs.run import Run
from interp.tasks.data_files import sha256_of, stamp_of


@contextmanager
def writing(experiment: Experiment, path: Path, device: torch.device) -> Iterator[Run]:
    """The run folder of an experiment, made where missing, and held against other writers.

    Args:
        experiment: The experiment.
        path: The folder.
        device: Where its model will be trained; a new folder's environment.json says so.

    Raises:
        ValueError: The folder belongs to another experiment, another process writes to it, or a
            data file of the task has changed.
        FileNotFoundError: A data file of the task is gone.
        OSError: The folder cannot be made.
    """
    _check_folder(experiment, path)
    hashes = {role: sha256_of(stamp_of(file)) for role, file in experiment.data_files.items()}
    try:
        make_folder(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path} cannot be made ({reason}); choose another place") from None
    with alone(path):
        _check_folder(experiment, path)  # again, since another process may have begun it
        if Run(path).steps:
            Run(path).check_data_files()
        else:
            _begin(experiment, path, hashes)
        if not (path / "environment.json").is_file():
            write_whole(path / "environment.json", _environment(device).encode())
        yield Run(path)


def _begin(experiment: Experiment, path: Path, hashes: Mapping[str, str]) -> None:
    """Writes down what is run, and what its data files are."""
    write_whole(path / "experiment.toml", experiment.to_toml().encode())
    file = path / "data_files.json"
    if hashes:
        write_whole(file, (json.dumps(hashes, indent=1) + "\n").encode())
    else:
        file.unlink(missing_ok=True)


def _check_folder(experiment: Experiment, path: Path) -> None:
    file = path / "experiment.toml"
    if file.is_file() and Run(path).steps:
        if Run(path).experiment != experiment:
            raise ValueError(f"{file} is another experiment; choose a new folder with --out")
    elif file.is_file():
        # What was refused at the start of its training takes the corrected experiment.
        is_ours = (path / ".lock").is_file() or file.read_bytes() == experiment.to_toml().encode()
        if not is_ours:
            raise ValueError(
                f"{file} was not written by interp, and would be replaced; choose a new folder "
                "with --out"
            )
    elif path.is_dir() and any(not each.name.startswith(".") for each in path.iterdir()):
        raise ValueError(f"{path} is not empty and holds no experiment.toml; choose another")


def _environment(device: torch.device) -> str:
    versions = {name: version(name) for name in ("interp", "torch", "transformer-lens")}
    facts = versions | {
        "python": platform.python_version(),
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    return json.dumps(facts, indent=1) + "\n"
