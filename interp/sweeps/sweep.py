"""A sweep on disk: a folder for each run, and results of the whole; which of them are current?

    sweep.toml  <run>/...  results/<analysis>/sweep-<hash>/sweep.npz

Only runs that are finished or failed count, and whose files can be read. The header of a result of
the whole holds a hash of their experiments, checkpoints, metrics and of the saved results that are
read, so that a sweep which went on or was changed is measured again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from analyses import ANALYSES, Analysis, SweepResult
from analyses.requirements import option_defaults
from interp.config import Experiment
from interp.runs import (
    Basis,
    ResultFile,
    Run,
    Saved,
    checked_name,
    chosen_folder,
    current_among,
    error_message,
    find_runs,
    find_saved,
    is_done_with,
    local_folder,
    make_header,
    passed_over,
    result_folder,
)
from interp.sweeps.definition import Sweep, load_sweep
from interp.tasks.data_files import KEPT


@dataclass(frozen=True)
class SweepFolder:
    """A sweep on disk: `sweep.toml`, a folder for each run, and results of the whole.

    Attributes:
        path: The folder.
        sweep: What is swept.
    """

    path: Path
    sweep: Sweep

    def experiments(self) -> dict[Path, Experiment]:
        """The experiment of every run, by its folder."""
        return dict(self._by_path)

    @cached_property
    def _by_path(self) -> Mapping[Path, Experiment]:
        return {self.path / name: each for name, each in self.sweep.experiments().items()}

    def failed(self) -> list[Run]:
        """Runs that could not be finished (`Run.failure`)."""
        return [run for run in map(Run, self.experiments()) if run.failure]

    def left(self) -> dict[Path, Experiment]:
        """The experiments of runs that are neither finished nor failed, by folder."""
        return {
            path: experiment
            for path, experiment in self.experiments().items()
            if not is_done_with(path, experiment)
        }

    def result(self, analysis: Any, **options: Any) -> Any:
        """A saved result of the whole sweep, if it is current: an instance of the class.

        Args:
            analysis: A class of results, or its name.
            options: Options of its `measure`; where results of several are saved and none are
                given, those that the sweep's file has today.

        Raises:
            ValueError: There is no such result; there are several; or it is of other runs or
                checkpoints, damaged, or of another version. The message says what to do.
            TypeError: `analysis` is neither a class nor a name.
        """
        name = checked_name(analysis, options)
        if not issubclass(ANALYSES[name], SweepResult):
            raise ValueError(f"{name} describes a single run: interp.load(FOLDER).result reads it")
        saved = chosen_folder(self, name, options, lambda: self.sweep.analyses.get(name, ({},)))
        current, faults = current_sweep_results(self, [name])
        if saved not in current:
            raise ValueError(faults)
        return saved.load()

    def check_belongs(self) -> None:
        """Refuses a folder that is something else's; a sweep may add runs to its own.

        Raises:
            ValueError: It is another sweep's, or holds other things.
        """
        file = self.path / "sweep.toml"
        if file.is_file():
            if file.read_bytes() == self.sweep.to_toml().encode():
                return
            stored = load_sweep(file, KEPT).experiments()
            if not stored.items() <= self.sweep.experiments().items():
                raise ValueError(f"{file} is another sweep; choose a new folder with --out")
        elif self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; choose a folder with --out")
        elif self.path.is_dir() and any(each.name[0] != "." for each in self.path.iterdir()):
            raise ValueError(f"{self.path} is not empty and holds no sweep.toml; choose another")


def find_sweep(path: str | Path) -> SweepFolder | None:
    """The sweep whose folder this is, or None."""
    file = Path(path) / "sweep.toml"
    return SweepFolder(Path(path), load_sweep(file, KEPT)) if file.is_file() else None


def find_folders(paths: Sequence[Path]) -> list[Run | SweepFolder]:
    """The sweeps among some paths, and the runs that the others are or hold; some on the Hub.

    Raises:
        FileNotFoundError: A path holds neither.
        ValueError: A sweep's file is wrong.
    """
    folders: list[Run | SweepFolder] = []
    for path in map(local_folder, paths):
        sweep = find_sweep(path)
        folders += [sweep] if sweep else find_runs([path])
    return folders


@dataclass(frozen=True)
class SweepRuns:
    """Some runs of a sweep.

    Attributes:
        folder: The sweep.
        runs: Their experiments, by run.
        missing: How many other runs the sweep has.
        faults: Why some of those others cannot be read, a line for each run.
    """

    folder: SweepFolder
    runs: Mapping[Run, Experiment] = field(hash=False)
    missing: int
    faults: tuple[str, ...] = ()

    @cached_property
    def bases(self) -> dict[Run, Basis]:
        """What the results of each run rest on; reads every checkpoint, once."""
        return {run: run.basis() for run in self.runs}


def finished_runs(folder: SweepFolder | str | Path) -> SweepRuns:
    """The runs of a sweep that are finished or failed, and can be read.

    Args:
        folder: The sweep, or its folder's path.

    Raises:
        ValueError: There are none.
        FileNotFoundError: The path is no sweep's folder.
    """
    sweep = folder if isinstance(folder, SweepFolder) else find_sweep(folder)
    if sweep is None:
        raise FileNotFoundError(f"{folder} is not a sweep's folder: it has no sweep.toml")
    experiments = sweep.experiments()
    faults = {path: fault for path in experiments if (fault := fault_of(Run(path)))}
    runs = {
        Run(path): experiment
        for path, experiment in experiments.items()
        if path not in faults and is_done_with(path, experiment)
    }
    if not runs:
        raise ValueError(
            "; ".join(faults.values()) or f"{sweep.path}: no run is trained yet; run `interp sweep`"
        )
    return SweepRuns(sweep, runs, len(experiments) - len(runs), tuple(faults.values()))


def fault_of(run: Run) -> str:
    """Which file of a run's folder cannot be read, and why; nothing where all can, or none is."""
    if not run.path.is_dir():
        return ""
    try:
        _ = run.failure, run.recorded_metrics()
        if (run.path / "experiment.toml").is_file():
            _ = run.experiment
    except (ValueError, KeyError, TypeError) as error:  # failure.json may hold any JSON
        message = error_message(error)
        return message if str(run.path) in message else f"{run.path}: {message}"
    return ""


def current_sweep_results(
    folder: SweepFolder, names: Sequence[str] | None = None
) -> tuple[list[Saved], str]:
    """Current results of a whole sweep, and one line on the others (`interp.runs.current`)."""
    everything, faults = find_saved(folder, names)
    everything = [saved for saved in everything if issubclass(saved.cls, SweepResult)]
    if not everything and not faults:
        return [], ""
    try:
        sweep = finished_runs(folder)
    except ValueError as error:
        return [], passed_over(folder.path, [*faults, str(error)])
    files = {
        saved.path: sweep_result(sweep, saved.cls, saved.name, saved.options)
        for saved in everything
    }
    current, stale = current_among(everything, lambda saved, _: files[saved.path])
    return current, passed_over(folder.path, [*faults, *stale])


def sweep_result(
    sweep: SweepRuns, cls: Analysis, name: str, options: Mapping[str, Any]
) -> ResultFile:
    """The file of an analysis of a whole sweep, whose header says all that it rests on."""
    key = {"options": dict(options)}
    digest = _runs_digest(sweep, analyses_of(needed_columns(cls, options)))
    header = make_header(cls, name, split="sweep", missing=sweep.missing, runs=digest, **key)
    return ResultFile(cls, result_folder(sweep.folder, name, "sweep", key) / "sweep.npz", header)


def needed_columns(cls: Analysis, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of a sweep's table that an analysis needs, as its options name them."""
    return cls.needs.columns_with(option_defaults(cls) | dict(options))


def analyses_of(columns: Sequence[str]) -> tuple[str, ...]:
    """Analyses of single runs whose saved scalars are among some columns of a sweep's table."""
    named = {column.partition(".")[0] for column in columns}
    return tuple(name for name in ANALYSES if name in named)


def _runs_digest(sweep: SweepRuns, read: Sequence[str]) -> str:
    """A hash of what results of a sweep may read of its runs.

    Args:
        sweep: The sweep's runs.
        read: Analyses whose saved results are read.
    """
    facts = [
        [
            run.name,
            run.failure,
            sweep.bases[run].run_digest,
            sweep.bases[run].results_digest(read),
            experiment.model_dump(mode="json", exclude_defaults=True),
        ]
        for run, experiment in sweep.runs.items()
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
