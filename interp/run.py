"""A run: one folder that holds an experiment, its metrics, its checkpoints and its results.

    experiment.toml  metrics.jsonl  environment.json  state.safetensors  [failure.json]
    checkpoints/<step>.safetensors  results/<analysis>/<split>-<hash>/<step>.npz

Every file but `metrics.jsonl` is written under a temporary name and renamed, so that a reader, or
a process killed at any moment, finds it whole or not at all. A full disk is an error that names
the file and leaves no half of it behind.
"""

import hashlib
import json
import os
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import Tensor

from hooks import Series, Snapshot
from hooks.models import HookedModel
from interp.checkpoints import Checkpoint
from interp.experiment import Experiment, load_experiment

STEP = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def experiment(self) -> Experiment:
        """What was run.

        Raises:
            ValueError: experiment.toml is missing or wrong.
        """
        return load_experiment(self.path / "experiment.toml")

    @property
    def failure(self) -> str:
        """Why training could not be finished, or nothing."""
        file = self.path / "failure.json"
        return json.loads(file.read_text("utf-8"))["reason"] if file.is_file() else ""

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps whose checkpoint was kept, ascending."""
        files = (self.path / "checkpoints").glob("*.safetensors")
        return tuple(sorted(int(file.stem) for file in files if STEP.fullmatch(file.stem)))

    def checkpoint(self, step: int) -> Path:
        """The file of a step's parameters.

        Raises:
            ValueError: The step was not kept; the message lists those that were.
        """
        file = self.path.joinpath("checkpoints", f"{step}.safetensors")
        if not file.is_file():
            kept = ", ".join(map(str, self.steps)) or "none"
            raise ValueError(f"{self.path}: no checkpoint of step {step}; kept steps: {kept}")
        return file

    def checkpoint_hash(self, step: int) -> str:
        """SHA-256 of a checkpoint's bytes, shortened."""
        return hashlib.sha256(self.checkpoint(step).read_bytes()).hexdigest()[:16]

    def parameters(self, step: int) -> Checkpoint:
        """Parameters of a step by name, each read, and checked, when asked for."""
        return Checkpoint(self.checkpoint(step))

    def weights(self, name: str) -> Tensor:
        """A parameter or a view (`hooks.weights`) at every kept step, steps first."""
        return self.series().weights(name)

    def model(self, step: int | None = None) -> HookedModel:
        """A live model of a step, the last one by default, for use without examples."""
        return self.snapshot(step).live.model

    def snapshot(
        self, step: int | None = None, split: str | None = None, count: int | None = None
    ) -> Snapshot:
        """The model at a step, by default the last, on a split, by default the task's own.

        Raises:
            ValueError: The step was not kept, or its checkpoint is damaged or of other shapes.
        """
        series = self.series()
        if not series.steps:
            raise ValueError(f"{self.path}: no checkpoints; train it with `interp train`")
        step = series.steps[-1] if step is None else step
        return series.snapshot(step, series.examples(split, count))

    def metrics(self) -> pd.DataFrame | None:
        """Recorded metrics by step (columns `step`, `<split>.<metric>`), or None.

        A last line that was only half written, as a killed process leaves it, is passed over with
        a warning.

        Raises:
            ValueError: Another line is not JSON; the message names it.
        """
        rows = read_metrics(self.path / "metrics.jsonl")
        return pd.DataFrame(rows) if rows else None

    def series(self) -> Series:
        """The whole run as analyses see it."""
        experiment = self.experiment
        task = experiment.task
        return Series(
            steps=self.steps,
            config=experiment.model,
            sizes=task.sizes,
            parameters=self.parameters,
            make_examples=lambda split, count, seed: task.examples(
                split or task.splits[0], count, experiment.seeds.data if seed is None else seed
            ),
            constants=task.constants,
            recorded=self.metrics(),
            saved_scalars=self._saved_scalars,
        )

    def _saved_scalars(self, analysis: str) -> pd.DataFrame:
        from interp.holding import saved_scalars  # results know runs, so runs cannot import them

        return saved_scalars(self, analysis)


def load(path: str | Path) -> Run:
    """A run folder.

    Raises:
        FileNotFoundError: No such folder, or it holds no experiment.toml.
    """
    path = Path(path)
    if not (path / "experiment.toml").is_file():
        raise FileNotFoundError(f"{path} is not a run folder: it has no experiment.toml")
    return Run(path)


def check_run(run: object, call: str, instead: str = "") -> None:
    """Refuses what is no run.

    Args:
        run: What was given.
        call: What takes a run.
        instead: What takes something else.

    Raises:
        TypeError: It is no run.
    """
    if not isinstance(run, Run):
        other = f"; {instead}" if instead else ""
        raise TypeError(
            f"{call} takes a run, interp.load(FOLDER); got a {type(run).__name__}{other}"
        )


def find_runs(paths: list[Path]) -> list[Run]:
    """The run folders among some paths, and directly below those that are none themselves.

    Raises:
        FileNotFoundError: A path holds no run.
    """
    runs = []
    for path in paths:
        files = [path / "experiment.toml", *sorted(path.glob("*/experiment.toml"))]
        found = [Run(file.parent) for file in files if file.is_file()]
        if not found:
            raise FileNotFoundError(
                f"{path} holds no run (a folder with experiment.toml); make one with `interp train`"
            )
        runs += found[:1] if found[0].path == path else found
    return runs


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl; none where the file is missing.

    Raises:
        ValueError: A line before the last is not a row of metrics.
    """
    if not path.is_file():
        return []
    *lines, rest = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if rest:
        warnings.warn(f"{path}: half-written last line passed over", stacklevel=2)
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not (isinstance(row, dict) and "step" in row):
            raise ValueError(
                f"{path}, line {number} is not a row of metrics in JSON; delete it and try again"
            )
        rows.append(row)
    return rows


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it.

    Raises:
        OSError: The disk is full or cannot be written to; what was there before is there still.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unwritten(path, error) from None


def append_whole(path: Path, content: bytes) -> None:
    """Writes at the end of a file; what a full disk cuts short is taken back.

    Raises:
        OSError: The disk is full or cannot be written to; the file is as it was before.
    """
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        os.truncate(path, size)
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> OSError:
    """An error that names the file, which errors of `write` do not."""
    reason = error.strerror or str(error)
    return OSError(
        f"{path} could not be written ({reason}); nothing is half written, and the same command "
        "goes on once it can be"
    )
