"""A run folder held for writing: it belongs to one experiment, and to one process at a time."""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from interp.experiment import Experiment
from interp.lock import alone
from interp.run import Run, write_whole


@contextmanager
def writing(experiment: Experiment, path: Path, device: torch.device) -> Iterator[Run]:
    """The run folder of an experiment, made where missing, and held against other writers.

    Args:
        experiment: The experiment.
        path: The folder.
        device: Where its model will be trained; a new folder's environment.json says so.

    Raises:
        ValueError: The folder belongs to another experiment, or another process writes to it.
        OSError: It cannot be made.
    """
    _check_folder(experiment, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path} cannot be made ({reason}); choose another place") from None
    with alone(path):
        _check_folder(experiment, path)  # again, since another process may have begun it
        if not Run(path).steps:
            write_whole(path / "experiment.toml", experiment.to_toml().encode())
        if not (path / "environment.json").is_file():
            write_whole(path / "environment.json", _environment(device).encode())
        yield Run(path)


def _check_folder(experiment: Experiment, path: Path) -> None:
    file = path / "experiment.toml"
    if file.is_file():
        # A folder without checkpoints is a training refused at its start: it takes the corrected.
        if Run(path).steps and Run(path).experiment != experiment:
            raise ValueError(f"{file} is another experiment; choose a new folder with --out")
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
