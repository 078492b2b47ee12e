"""Which saved results of a run are current?

A result is current (it "holds", in messages) if its file is undamaged and its header is the one
that would be written today: same checkpoint, task, model, data seed, options and version.
Everything that reads saved results asks here, so that no number of another checkpoint or experiment
is printed. Results that are not current are passed over, and a line says which and why.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from analyses import ANALYSES
from analyses.requirements import check_options
from analyses.result import (
    Analysis,
    BaseResult,
    Result,
    SeriesResult,
    SweepResult,
)
from hooks import Snapshot
from interp.config.experiment import Experiment
from interp.runs.results import (
    RUN_AGAIN,
    Folder,
    Header,
    ResultFile,
    Saved,
    find_saved,
    make_header,
    result_folder,
)
from interp.tasks.data_files import sha256_of, stamp_of

RUN_ANALYSES = tuple(name for name, cls in ANALYSES.items() if not issubclass(cls, SweepResult))
MAX_STEPS_LISTED = 6  # steps that a line names one by one


@dataclass(frozen=True)
class Basis:
    """What every result of a run rests on: its experiment and its checkpoints, hashed once.

    Attributes:
        path: The run's folder.
        experiment: What was run.
        hashes: The hash of the checkpoint of every kept step, ascending.
        digest: A hash of task and model (`experiment_digest`).
    """

    path: Path
    experiment: Experiment = field(hash=False)
    hashes: Mapping[int, str] = field(hash=False)
    digest: str

    @cached_property
    def run_digest(self) -> str:
        """A hash of all that a result of the whole run may read, saved results aside.

        That are task, model and data seed, checkpoints (by their hashes, the damaged ones among
        them: another result is due when one is put back) and metrics.
        """
        metrics = self.path / "metrics.jsonl"
        facts = [
            self.digest,
            self.experiment.seeds.data,
            list(self.hashes.items()),
            hashlib.sha256(metrics.read_bytes() if metrics.is_file() else b"").hexdigest(),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def results_digest(self, names: Sequence[str]) -> str:
        """A hash of the saved results of some analyses."""
        digest = hashlib.sha256()
        for name in names:
            for file in sorted((self.path / "results" / name).rglob("*.npz")):
                place = file.relative_to(self.path).as_posix()
                digest.update(place.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()[:16]

    def options(self, cls: Analysis, name: str) -> dict[str, Any]:
        """The experiment's options for an analysis.

        Raises:
            ValueError: It takes no such option.
        """
        options = self.experiment.analyses.get(name, {})
        check_options(cls, options)
        return options


@runtime_checkable
class RunFolder(Folder, Protocol):
    """A run, as far as its saved results go: `interp.runs.run.Run`, which reads them here."""

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps whose checkpoint was kept, ascending."""
        ...

    def basis(self) -> Basis:
        """What the run's results rest on; reads every checkpoint."""
        ...


@dataclass(frozen=True)
class StepResults:
    """The results of one analysis, with its options, on one split of a run: a file a step.

    Attributes:
        basis: What the results rest on.
        cls: The result class.
        name: Its name in `ANALYSES`.
        split: The split; None stands for the task's own.
        options: Options that differ from the defaults.
    """

    basis: Basis
    cls: type[Result]
    name: str
    split: str | None
    options: Mapping[str, Any] = field(hash=False)

    @property
    def reference_step(self) -> int | None:
        """The step that every other step is measured against."""
        return self.cls.reference_step(tuple(self.basis.hashes))

    def measure(self, snapshot: Snapshot, reference: BaseResult | None) -> Result:
        """The result of a snapshot, beside that of the reference step where there is one."""
        beside = {} if reference is None else {"reference": reference}
        return self.cls.measure(snapshot, **beside, **self.options)

    @property
    def split_name(self) -> str:
        """The split, or the task's own."""
        return self.split or self.basis.experiment.task.splits[0]

    def file(self, step: int) -> ResultFile:
        """The file of a step's result."""
        basis, hashes = self.basis, self.basis.hashes
        key: Header = {"options": dict(self.options), "count": self.cls.count}
        key["seed"] = basis.experiment.seeds.data
        facts: Header = {"split": self.split_name, "step": step, "checkpoint": hashes[step]}
        facts["experiment"] = basis.digest
        if self.reference_step is not None:
            facts |= {"reference": self.reference_step, "against": hashes[self.reference_step]}
        path = result_folder(basis, self.name, self.split_name, key) / f"{step}.npz"
        return ResultFile(self.cls, path, make_header(self.cls, self.name, **key, **facts))


def experiment_digest(experiment: Experiment) -> str:
    """A short hash of the task and the model, which decide what a checkpoint computes, and on what.

    It is over values that differ from defaults, so that an option added later, with a default that
    changes nothing, makes no result stale; and over the files that the task reads.

    Raises:
        FileNotFoundError: A file that the task reads is missing.
    """
    task, model = experiment.task, experiment.model
    facts = {
        "task": task.model_dump(mode="json", exclude_defaults=True) | {"name": task.name},
        "model": model.model_dump(mode="json", exclude_defaults=True) | {"kind": model.kind},
        "files": {role: sha256_of(stamp_of(path)) for role, path in task.data_files.items()},
    }
    text = json.dumps(facts, sort_keys=True)
    for path in task.data_files.values():  # files count by content, wherever they lie
        text = text.replace(json.dumps(path), "null")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def step_results(basis: Basis, cls: type[Result], name: str) -> list[StepResults]:
    """An analysis on each of its splits that the task has, with the experiment's options."""
    options, splits = basis.options(cls, name), (None, *basis.experiment.task.splits)
    return [
        StepResults(basis, cls, name, split, options) for split in cls.splits if split in splits
    ]


def run_result(
    basis: Basis, cls: type[SeriesResult], name: str, options: Mapping[str, Any] | None = None
) -> ResultFile:
    """The file of an analysis of the whole run, by default with the experiment's options."""
    options = basis.options(cls, name) if options is None else dict(options)
    facts: Header = {"split": "series", "options": options, "run": basis.run_digest}
    facts |= {"results": basis.results_digest(cls.reads)} if cls.reads else {}
    path = result_folder(basis, name, "series", {"options": options}) / "series.npz"
    return ResultFile(cls, path, make_header(cls, name, **facts))


def current_results(run: RunFolder, names: Sequence[str] = RUN_ANALYSES) -> tuple[list[Saved], str]:
    """Current results of a run, in the order of the analyses, and one line on the others.

    Returns:
        The current ones, each with the steps that are; and which results are not, why and what to
        do about it, empty where all are.
    """
    everything, faults = find_saved(run, names)
    if not everything and not faults:
        return [], ""
    basis, current = run.basis(), []
    for saved in everything:
        stale: dict[int | None, str] = {}
        for step in saved.steps or (None,):
            try:
                replace(_file_today(saved, step, basis), path=saved.file(step)).read()
            except (ValueError, FileNotFoundError) as error:
                stale[step] = without_place(error, saved.file(step))
        steps = tuple(step for step in saved.steps if step not in stale)
        current += [replace(saved, steps=steps)] if steps or not stale else []
        faults += lines_by_reason(saved.name, list(stale.items()))
    return current, passed_over(run.path, faults)


def saved_scalars(run: RunFolder, name: str) -> pd.DataFrame:
    """Saved summaries of an analysis by step (column `step`); empty where nothing is saved.

    They are those of the options that the experiment has today, on the first of the analysis'
    splits. The frame's `attrs` hold `split`, `options` and `checkpoints`, hashes by step. A warning
    names the steps whose result is not current.

    Raises:
        ValueError: There are results, but of other options, or none of them is current.
    """
    cls = ANALYSES[name]
    if not issubclass(cls, Result):
        raise ValueError(f"{name} is of a whole run or sweep, and has no scalars by step")
    if find_saved(run, [name]) == ([], []):
        return pd.DataFrame()
    basis = run.basis()
    results = step_results(basis, cls, name)[0]
    rows: list[dict[str, float | str]] = []
    stale: dict[int | None, str] = {}
    for step in basis.hashes:
        file = results.file(step)
        try:
            rows.append({"step": step} | file.read().summary())
        except ValueError as error:
            stale[step] = without_place(error, file.path)
    reasons = "; ".join(lines_by_reason(name, list(stale.items())))
    if not rows:
        options = f" with the experiment's options {results.options}" if results.options else ""
        raise ValueError(
            f"{run.path}: no saved result of {name}{options} holds; {reasons}; "
            f"run `interp analyze {run.path}`"
        )
    if stale:
        warnings.warn(f"{run.path}: passed over {reasons}", stacklevel=3)
    frame = pd.DataFrame(rows)
    hashes = {step: value for step, value in basis.hashes.items() if step not in stale}
    options = dict(results.options)
    frame.attrs = {"split": results.split_name, "options": options, "checkpoints": hashes}
    return frame


def last_result(basis: Basis, name: str) -> BaseResult | None:
    """The result of a whole run, or of its last step on the first split, with today's options.

    None where nothing is saved.

    Raises:
        ValueError: What is saved is not current.
    """
    cls, steps = ANALYSES[name], tuple(basis.hashes)
    if issubclass(cls, SeriesResult):
        file = run_result(basis, cls, name)
    elif issubclass(cls, Result) and steps:
        file = step_results(basis, cls, name)[0].file(steps[-1])
    else:
        return None
    return file.read() if file.path.is_file() else None


def without_place(error: Exception, path: Path) -> str:
    """Why a file is not current, in few words."""
    return str(error).replace(RUN_AGAIN, "").replace(str(path), "").removeprefix(" is ").strip()


def passed_over(place: Path, faults: Sequence[str]) -> str:
    """One line on saved results of a folder that are not current; empty where there are none."""
    if not faults:
        return ""
    return (
        f"{place}: saved results that do not hold are passed over: {'; '.join(faults)}. "
        f"Run `interp analyze {place}`, and delete what is named here after that"
    )


def lines_by_reason(name: str, reasons: Sequence[tuple[int | None, str]]) -> list[str]:
    """For each reason, the steps of an analysis: `FourierSpectrum at steps 0, 10: damaged`."""
    lines = []
    for reason in dict.fromkeys(reason for _, reason in reasons):
        steps = [step for step, other in reasons if other == reason and step is not None]
        lines.append(f"{name}{' at ' if steps else ''}{steps_in_words(steps)}: {reason}")
    return lines


def steps_in_words(steps: Sequence[int]) -> str:
    """Steps as a reader names them: all of a few, the ends of many."""
    steps = sorted(steps)
    if len(steps) > MAX_STEPS_LISTED:
        return f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}" if steps else ""


def in_a_line(error: Exception) -> str:
    """An error's message, and its kind where that is no refusal but a mistake."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _file_today(saved: Saved, step: int | None, basis: Basis) -> ResultFile:
    """The file that a saved result would be written to today, with its header.

    Raises:
        ValueError: It is of a step without a checkpoint, or a file of another kind of result.
    """
    if issubclass(saved.cls, SeriesResult) and step is None:
        return run_result(basis, saved.cls, saved.name, saved.options)
    if step is None or not issubclass(saved.cls, Result):
        raise ValueError(f"{saved.path} holds no results of {saved.name}")
    if step not in basis.hashes:
        raise ValueError(f"{saved.file(step)} is of a step without a checkpoint")
    return StepResults(basis, saved.cls, saved.name, saved.split, saved.options).file(step)
