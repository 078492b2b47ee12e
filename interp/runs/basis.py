"""What must the file of a saved result say, to be of what would be measured today?

A result rests on checkpoints, task, model, data seed, options and version. Its file's place and
header name them, so that a result of anything else is not taken for it.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from analyses import BaseResult, Result, SeriesResult
from analyses.requirements import pairs_for
from analyses.result import PairsResult
from hooks import Pairs, Snapshot
from hooks.own_classes import code_hash, short_name
from interp.config import Experiment
from interp.runs.results import Folder, Header, ResultFile, make_header, result_folder
from interp.tasks.data_files import sha256_of, stamp_of

IN_DIGEST = ("task.name", "model.kind")  # classes that decide what a checkpoint computes, on what


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
                digest.update(file.relative_to(self.path).as_posix().encode() + b"\0")
                digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def options(self, name: str) -> dict[str, Any]:
        """The experiment's options for an analysis, which the experiment has checked."""
        return self.experiment.analyses.get(name, {})


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
    """The results of one analysis, with its options, on one split of a run: one file for each step.

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
        references = {} if reference is None else {"reference": reference}
        given = {**self.options, **self._pairs}
        if self._pairs:
            given.pop("change", None)  # the pairs are drawn by it
        return self.cls.measure(snapshot, **references, **given)

    @cached_property
    def _pairs(self) -> dict[str, Pairs | None]:
        """The pairs of inputs that the analysis takes, drawn once for all steps."""
        task, seed = self.basis.experiment.task, self.basis.experiment.seeds.data

        def draw(change: str) -> Pairs:
            return task.input_pairs(self.split_name, self._n_pairs, seed, change or None)

        return pairs_for(self.cls, task.changes, draw, self.options.get("change", ""))

    @property
    def _n_pairs(self) -> int:
        """How many pairs the analysis takes; 0 if it takes none."""
        return self.cls.n_pairs if issubclass(self.cls, PairsResult) else 0

    @property
    def split_name(self) -> str:
        """The split, or the task's own."""
        task = self.basis.experiment.task
        of_pairs = task.split_of_pairs if self._n_pairs else ""
        return self.split or of_pairs or task.splits[0]

    def file(self, step: int) -> ResultFile:
        """The file of a step's result."""
        hashes, reference = self.basis.hashes, self.reference_step
        key: Header = {
            "options": dict(self.options),
            "count": self.cls.count,
            "seed": self.basis.experiment.seeds.data,
        }
        if self._n_pairs:
            key["pairs"] = self._n_pairs
        facts = {
            "split": self.split_name,
            "step": step,
            "checkpoint": hashes[step],
            "experiment": self.basis.digest,
        }
        if reference is not None:
            facts |= {"reference": reference, "against": hashes[reference]}
        path = result_folder(self.basis, self.name, self.split_name, key) / f"{step}.npz"
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
    own = {place: name for place, name in experiment.own_classes.items() if place in IN_DIGEST}
    if own:
        facts["code"] = {place: code_hash(name) or _of_session(name) for place, name in own.items()}
    text = json.dumps(facts, sort_keys=True)
    for path in task.data_files.values():  # files count by content, wherever they lie
        text = text.replace(json.dumps(path), "null")
    for name in own.values():
        text = text.replace(json.dumps(name), json.dumps(short_name(name)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_session(reference: str) -> str:
    """What stands for a class whose text cannot be had: it is another one in each session."""
    place, _, name = reference.rpartition(":")
    return f"{os.getpid()} {id(getattr(sys.modules.get(place), name, None))}"


def step_results(basis: Basis, cls: type[Result], name: str) -> list[StepResults]:
    """An analysis on each of its splits that the task has, with the experiment's options."""
    return [
        StepResults(basis, cls, name, split, basis.options(name))
        for split in cls.splits
        if split in (None, *basis.experiment.task.splits)
    ]


def run_result(
    basis: Basis, cls: type[SeriesResult], name: str, options: Mapping[str, Any] | None = None
) -> ResultFile:
    """The file of an analysis of the whole run, by default with the experiment's options."""
    options = basis.options(name) if options is None else dict(options)
    facts: Header = {"split": "series", "options": options, "run": basis.run_digest}
    facts |= {"results": basis.results_digest(cls.reads)} if cls.reads else {}
    path = result_folder(basis, name, "series", {"options": options}) / "series.npz"
    return ResultFile(cls, path, make_header(cls, name, **facts))
