"""A run: one folder that holds an experiment, its metrics, its checkpoints and its results.

    experiment.toml  metrics.jsonl  environment.json  state.safetensors  [failure.json]
    checkpoints/<step>.safetensors  results/<analysis>/<split>-<hash>/<step>.npz  [data_files.json]

`interp.runs.safe_files` says how files are written.
"""

import hashlib
import json
import math
import operator
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooks import Checkpoints, Examples, Facts, ModelConfig, Pairs, Sizes
from hooks.messages import nearest_step
from hooks.models import HookedModel
from hooks.own_classes import code_hash, trusting
from interp.config import Experiment, load_experiment
from interp.runs.basis import Basis, experiment_digest
from interp.runs.checkpoint_files import Checkpoint
from interp.runs.current import find_result, saved_scalars
from interp.runs.hub import downloaded, is_address, parse_address, source_of
from interp.runs.results import find_saved
from interp.runs.safe_files import as_table
from interp.tasks.base import MissingTask
from interp.tasks.data_files import KEPT, sha256_of, stamp_of

if TYPE_CHECKING:
    import pandas

MAX_DIFFERENCE = 1e-3  # of two measurements of one model, relative or absolute
TAIL_BYTES = 2**14  # bytes at the end of metrics that are read first: much longer than a row
STEP = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, repr=False)
class Run(Checkpoints):
    """A run folder: checkpoints that are read from disk when they are asked for.

    Steps and metrics are read again each time, since training may still write to the folder.
    An analysis takes them once (`series`), so that they stay the same while it measures.

    Attributes:
        path: The folder.
    """

    path: Path

    def __repr__(self) -> str:
        return f"Run('{self.path}', {self.extent})"

    @property
    def name(self) -> str:
        """The folder's name; of a download, the repository's."""
        source = source_of(self.path)
        return self.path.resolve().name if source is None else source.name

    @cached_property
    def experiment(self) -> Experiment:
        """What was run.

        Raises:
            ValueError: experiment.toml is missing or wrong.
        """
        return load_experiment(self.path / "experiment.toml", KEPT)

    @property
    def stated(self) -> Experiment:
        """The experiment as its file states it: a data file in the run's folder by its name."""
        experiment = self.experiment
        if isinstance(experiment.task, MissingTask):
            return experiment
        here = {
            name: str(Path(file).relative_to(self.path.resolve()))
            for name, file in experiment.task.data_files.items()
            if name in type(experiment.task).model_fields
            and Path(file).is_relative_to(self.path.resolve())
        }
        task = experiment.task.model_copy(update=here)
        return experiment.model_copy(update={"task": task})

    @property
    def failure(self) -> str:
        """Why training could not be finished, or nothing.

        A `failure.json` that does not say why is a failure too, and is named.
        """
        file = self.path / "failure.json"
        if not file.is_file():
            return ""
        reason = (as_table(file.read_bytes()) or {}).get("reason")
        if isinstance(reason, str) and reason:
            return reason
        return f"{file} gives no reason in JSON; train the run again, or delete the file"

    @property
    def config(self) -> ModelConfig:  # pyright: ignore[reportIncompatibleVariableOverride]  # read when asked for
        """The model's config."""
        return self.experiment.model

    @property
    def sizes(self) -> Sizes:  # pyright: ignore[reportIncompatibleVariableOverride]  # read when asked for
        """The sizes its task gave the model."""
        return self.experiment.task.sizes

    @property
    def changes(self) -> Mapping[str, bool]:  # pyright: ignore[reportIncompatibleVariableOverride]  # read when asked for
        """What pairs of the task's inputs can differ in, and whether the right answer stays."""
        return self.experiment.task.changes

    @property
    def facts(self) -> Facts:  # pyright: ignore[reportIncompatibleVariableOverride]  # read when asked for
        """Facts that the task states of all its examples."""
        return self.experiment.task.facts

    @property
    def steps(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # read when asked for
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
            raise ValueError(
                f"{self.path}: no checkpoint of step {step}; kept steps: "
                f"{', '.join(map(str, self.steps)) or 'none'}{nearest_step(step, self.steps)}"
            )
        return file

    def checkpoint_hash(self, step: int) -> str:
        """SHA-256 of a checkpoint's bytes, shortened."""
        return hashlib.sha256(self.checkpoint(step).read_bytes()).hexdigest()[:16]

    def basis(self) -> Basis:
        """What saved results of this run rest on; reads every checkpoint.

        Raises:
            ValueError: The experiment is damaged.
            FileNotFoundError: A file that the task reads is missing.
        """
        return Basis(
            path=self.path,
            experiment=self.experiment,
            hashes={step: self.checkpoint_hash(step) for step in self.steps},
            digest=experiment_digest(self.experiment),
        )

    def parameters(self, step: int) -> Checkpoint:
        """Parameters of a step by name, each read, and checked, when asked for.

        `dict(run.parameters(step))` reads all of them.

        Raises:
            ValueError: The step was not kept, or its file is damaged or of another step.
        """
        return Checkpoint(self.checkpoint(step), step=step)

    def model(self, step: int | None = None) -> HookedModel:
        """A live model of a step, the last one by default, for use without examples."""
        return self.snapshot(step).live.model

    def recorded_metrics(self) -> "pandas.DataFrame | None":
        """Metrics by step (columns `step`, `<split>.<metric>`), or None where there are none.

        `read_metrics` says what is mended with a warning.

        Raises:
            ValueError: A line is not a row of metrics or stands in the wrong place; the message
                names it.
        """
        import pandas

        rows = read_metrics(self.path / "metrics.jsonl")
        return pandas.DataFrame(rows) if rows else None

    def metric_names(self) -> tuple[str, ...]:
        """The columns of the metrics, none where none were recorded; without importing pandas.

        Raises:
            ValueError: As `recorded_metrics`.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # who reads the metrics is warned
            rows = read_metrics(self.path / "metrics.jsonl")
        return tuple(dict.fromkeys(name for row in rows for name in row))

    def make_examples(self, split: str | None, count: int | None, seed: int | None) -> Examples:
        """Examples of a split; see `Checkpoints`.

        Raises:
            ValueError: No such split, or a data file has changed since the run was begun.
            FileNotFoundError: A data file is gone.
        """
        self.check_data_files()
        task, seeds = self.experiment.task, self.experiment.seeds
        return task.examples(split or task.splits[0], count, seeds.data if seed is None else seed)

    def make_pairs(
        self, split: str | None, count: int | None, seed: int | None, change: str | None
    ) -> Pairs:
        """Pairs of inputs of a split; see `Checkpoints`.

        Raises:
            ValueError: The task gives no pairs, or has no such split or change, or a data file has
                changed since the run was begun.
            FileNotFoundError: A data file is gone.
        """
        self.check_data_files()
        task, seeds = self.experiment.task, self.experiment.seeds
        data_seed = seeds.data if seed is None else seed
        split = split or task.split_of_pairs or task.splits[0]
        return task.input_pairs(split, count, data_seed, change)

    def saved_scalars(self, analysis: str) -> "pandas.DataFrame":
        """Saved, current summaries of an analysis by step; empty where nothing is saved."""
        return saved_scalars(self, analysis)

    def result(
        self,
        analysis: Any,
        step: int | None = None,
        split: str | None = None,
        **options: Any,
    ) -> Any:
        """A saved result, if it is current: an instance of the class.

        Args:
            analysis: A class of results, or its name.
            step: By default the run's last. Results of a whole run have none.
            split: By default the first that the analysis is measured on.
            options: Options of its `measure`; where results of several are saved and none are
                given, those that the experiment has today.

        Raises:
            ValueError: There is no such result; there are several; or it is of another checkpoint
                or experiment, damaged, or of another version. The message says what to do.
            TypeError: `analysis` is neither a class nor a name.
        """
        return find_result(self, analysis, step, split, options)

    def check_data_files(self) -> None:
        """Refuses data files that are not what they were when the run was begun.

        Runs of older versions do not say what theirs were.

        Raises:
            ValueError: One has changed, or data_files.json is damaged.
            FileNotFoundError: One is gone.
        """
        file = self.path / "data_files.json"
        if not file.is_file():
            return
        hashes = as_table(file.read_bytes())
        if hashes is None:
            raise ValueError(
                f"{file} is not a JSON table; delete it if the data files are still the same"
            )
        now = {role: sha256_of(stamp_of(path)) for role, path in self.experiment.data_files.items()}
        now |= {place: code_hash(name) for place, name in self.experiment.own_classes.items()}
        for role, content in now.items():
            if content and hashes.get(role) != content:  # a class that is gone says so itself
                path = (self.experiment.data_files | self.experiment.own_classes)[role]
                raise ValueError(
                    f"{role}: {path} has changed since the run {self.path} was begun; put the "
                    "earlier file back, or train in a new folder"
                )

    def _some_steps(self) -> tuple[int, ...]:
        steps = self.steps
        if not steps:
            raise ValueError(f"{self.path}: no checkpoints; train it with `interp train`")
        return steps


def load(path: str | Path, *, trust: bool = False) -> Run:
    """A run folder, or a run on the Hugging Face Hub: `hf://user/name` or `hf://user/name@revision`.

    One on the Hub is downloaded into the cache of the Hub's client, where it is only read.

    Args:
        path: The folder.
        trust: Whether files that hold classes of the run may be imported, which runs them. Those
            that you trained or measured with may be anyway, as long as they are the same.

    Raises:
        FileNotFoundError: No such folder or repository, or it holds no experiment.toml.
        ValueError: The Hub refuses; the message says why.
    """
    path = local_folder(path)
    if not (path / "experiment.toml").is_file():
        is_sweep = (path / "sweep.toml").is_file()
        instead = "; it is a sweep's: interp.sweep_table(path) reads it" if is_sweep else ""
        raise FileNotFoundError(f"{path} is not a run folder: it has no experiment.toml{instead}")
    run = Run(path)
    if trust:
        with trusting():  # what is imported now is written down, and may be imported from now on
            _ = run.experiment, find_saved(run)
    return run


def local_folder(path: str | Path) -> Path:
    """A folder on this machine; what is on the Hub is downloaded.

    Raises:
        FileNotFoundError: No such repository or revision on the Hub, or no run is in it.
        ValueError: An address is none, or the Hub refuses.
    """
    return downloaded(parse_address(path)) if is_address(path) else Path(path)


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
        raise TypeError(
            f"{call} takes a run, interp.load(FOLDER); got a {type(run).__name__}"
            f"{'; ' if instead else ''}{instead}"
        )


def find_runs(paths: list[Path]) -> list[Run]:
    """The run folders among some paths, and directly below those that are none themselves.

    Raises:
        FileNotFoundError: A path holds no run.
    """
    runs = []
    for path in paths:
        is_run = (path / "experiment.toml").is_file()
        files = [path / "experiment.toml"] if is_run else sorted(path.glob("*/experiment.toml"))
        if not any(file.is_file() for file in files):
            raise FileNotFoundError(
                f"{path} holds no run (a folder with experiment.toml); make one with `interp train`"
            )
        runs += [Run(file.parent) for file in files if file.is_file()]
    return runs


def is_done_with(path: Path, experiment: Experiment) -> bool:
    """Whether a folder holds the finished run of an experiment, or one marked as failed.

    A run whose metrics are damaged is not done; training it says what is wrong.
    """
    if Run(path).failure:
        return True
    file = path / "metrics.jsonl"
    last = last_step(file)
    if last is None or not (path / "checkpoints" / f"{last}.safetensors").is_file():
        return False  # without reading all metrics
    try:
        rows = read_metrics(file)
    except ValueError:
        return False
    return experiment.require_training().end_after(rows) == rows[-1]["step"] == last


def last_step(file: Path) -> int | None:
    """The step of the last whole row of metrics, from the file's end; None where there is none.

    Lines that are no rows are passed over: training says what is wrong with them.
    """
    if not file.is_file():
        return None
    with file.open("rb") as content:
        begin = end = content.seek(0, os.SEEK_END)
        while begin > 0:
            begin = max(0, 2 * begin - end - TAIL_BYTES)
            content.seek(begin)
            *lines, _ = content.read().split(b"\n")
            for line in reversed(lines[1:] if begin else lines):
                step = (as_table(line) or {}).get("step")
                if type(step) is int:
                    return step
    return None


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl, steps ascending; none where the file is missing.

    Two faults are mended with a warning, since there is no doubt what was meant: a last line that
    was only half written, as a killed process leaves it, and a row that repeats an earlier one,
    as stacks of older versions wrote them; the first of the two is taken.

    Raises:
        ValueError: A line before the last is not a row of metrics, contradicts an earlier row of
            its step, or is of a step that should come earlier.
    """
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    whole = _whole_rows(text)
    if whole is not None:
        return whole
    *lines, rest = text.split("\n")
    if rest:
        warnings.warn(f"{path}: half-written last line passed over", stacklevel=2)
    by_step: dict[int, tuple[int, dict[str, float]]] = {}
    repeated, last = [], 0
    for number, line in enumerate(lines, start=1):
        row = _metrics_row(line, f"{path}, line {number}")
        step = int(row["step"])
        if step in by_step:
            earlier_number, earlier = by_step[step]
            if not _is_repeated(row, earlier):
                raise ValueError(
                    f"{path}, lines {earlier_number} and {number} are both of step {step} and "
                    "differ; delete the wrong one and try again"
                )
            repeated.append(number)
        elif step < last:
            raise ValueError(
                f"{path}, line {number} is of step {step}, after one of step {last}; put the lines "
                "in the order of their steps and try again"
            )
        else:
            by_step[step], last = (number, row), step
    if repeated:
        warnings.warn(
            f"{path}: {len(repeated)} repeated rows passed over, the first in line {repeated[0]}",
            stacklevel=2,
        )
    return [row for _, row in by_step.values()]


def _whole_rows(text: str) -> list[dict[str, float]] | None:
    """The rows of metrics without any fault, in a third of the time; None where there may be one.

    Lines are parsed as one list, which says the same as each for itself: there are as many `{` as
    lines and as rows, one at the beginning of each line, so that each begins a row.
    """
    count = text.count("\n")
    are_lines = text.startswith("{") and text.endswith("}\n") and text.count("{") == count
    if not are_lines or text.count("}\n{") != count - 1:
        return None
    try:
        rows = json.loads(f"[{text[:-1].replace(chr(10), ',')}]")
    except (ValueError, RecursionError):
        return None
    if len(rows) != count or set(map(type, rows)) != {dict}:
        return None
    steps = [row.get("step") for row in rows]
    kinds = {type(value) for row in rows for value in row.values()}
    if not kinds <= {int, float} or {type(step) for step in steps} != {int}:
        return None
    is_ascending = steps[0] >= 0 and all(map(operator.lt, steps, steps[1:]))
    return rows if is_ascending else None


def _is_repeated(row: dict[str, float], earlier: dict[str, float]) -> bool:
    """Whether two rows of a step are one measurement, up to the rounding of a GPU's sums."""
    return row.keys() == earlier.keys() and all(
        math.isclose(value, earlier[name], rel_tol=MAX_DIFFERENCE, abs_tol=MAX_DIFFERENCE)
        or (math.isnan(value) and math.isnan(earlier[name]))
        for name, value in row.items()
    )


def _metrics_row(line: str, place: str) -> dict[str, float]:
    """A line of metrics.

    Raises:
        ValueError: It is no JSON table with a step, or something in it is no number.
    """
    row = as_table(line)
    if row is None or "step" not in row:
        raise ValueError(f"{place} is not a row of metrics in JSON; delete it and try again")
    if type(row["step"]) is not int or row["step"] < 0:
        raise ValueError(
            f"{place}: step is {json.dumps(row['step'])}, and a whole number from 0 is wanted; "
            "delete the line and try again"
        )
    for name, value in row.items():
        if type(value) not in (int, float):
            raise ValueError(
                f"{place}: {name} is {json.dumps(value)}, and a number is wanted; delete the line "
                "and try again"
            )
    return row
