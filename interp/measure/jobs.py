"""What there is to measure: an analysis on a split of a run, and what its results should say.

What all results of a run rest on, its checkpoints and its experiment, is hashed once.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analyses.requirements import check_options
from analyses.result import Analysis, BaseResult, Result
from interp.config.experiment import Experiment
from interp.runs.results import Header, make_header, result_folder
from interp.runs.run import Run
from interp.tasks.data_files import sha256_of, stamp_of


@dataclass(frozen=True)
class Basis:
    """What every result of a run rests on.

    Attributes:
        hashes: The hash of the checkpoint of every kept step, ascending.
        experiment: A digest of task and model.
    """

    hashes: Mapping[int, str] = field(hash=False)
    experiment: str


@dataclass(frozen=True)
class Job:
    """One analysis with its options on one split of one run.

    Attributes:
        basis: The run's.
    """

    run: Run
    cls: type[Result]
    name: str
    split: str | None
    options: Mapping[str, Any] = field(hash=False)
    basis: Basis

    @property
    def key(self) -> Header:
        """What names the folder: options, count and seed."""
        seed = self.run.experiment.seeds.data
        return {"options": dict(self.options), "count": self.cls.count, "seed": seed}

    @property
    def reference_step(self) -> int | None:
        """The step that every other is measured against."""
        return self.cls.reference_step(tuple(self.basis.hashes))

    @property
    def split_name(self) -> str:
        """The split, or the task's own."""
        return self.split or self.run.experiment.task.splits[0]

    def path(self, step: int) -> Path:
        """The file of a step's result."""
        return result_folder(self.run, self.name, self.split_name, self.key) / f"{step}.npz"

    def header(self, step: int) -> Header:
        """What that file should say of itself now."""
        hashes = self.basis.hashes
        facts: Header = {"split": self.split_name, "step": step, "checkpoint": hashes[step]}
        facts["experiment"] = self.basis.experiment
        if self.reference_step is not None:
            facts |= {
                "reference": self.reference_step,
                "against": hashes[self.reference_step],
            }
        return make_header(self.cls, self.name, **self.key, **facts)

    def is_ready(self, step: int, references: Mapping["Job", Mapping[int, BaseResult]]) -> bool:
        """Whether the result that a step is measured against is at hand."""
        return self.reference_step in (None, step) or self.reference_step in references[self]


def basis_of(run: Run) -> Basis:
    """What every result of a run rests on; reads every checkpoint.

    Raises:
        ValueError: The experiment is damaged.
        FileNotFoundError: A file that the task reads is missing.
    """
    hashes = {step: run.checkpoint_hash(step) for step in run.steps}
    return Basis(hashes, experiment_digest(run.experiment))


def jobs_of(run: Run, cls: type[Result], name: str, basis: Basis) -> list[Job]:
    """An analysis' jobs on a run: one a split that its task has, with the experiment's options."""
    options, known = options_of(run, cls, name), (None, *run.experiment.task.splits)
    return [Job(run, cls, name, split, options, basis) for split in cls.splits if split in known]


def options_of(run: Run, cls: Analysis, name: str) -> dict[str, Any]:
    """The experiment's options for an analysis.

    Raises:
        ValueError: It takes no such option.
    """
    options = run.experiment.analyses.get(name, {})
    check_options(cls, options)
    return options


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
