"""What there is to measure: an analysis on a split of a run, and what its results should say.

The hashes of all checkpoints are taken once, and a header is made from them and from a digest of
task and model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from analyses.options import check_options
from analyses.result import Analysis, Finding, Result, reference_step
from interp.experiment import Experiment
from interp.results import Header, make_header, result_folder
from interp.run import Run


@dataclass(frozen=True)
class Job:
    """One analysis with its options on one split of one run.

    Attributes:
        hashes: The hash of the checkpoint of every kept step.
    """

    run: Run
    cls: type[Result]
    name: str
    split: str | None
    options: Mapping[str, Any] = field(hash=False)
    hashes: Mapping[int, str] = field(hash=False)

    @property
    def key(self) -> Header:
        """What names the folder: options, count and seed."""
        seed = self.run.experiment.seeds.data
        return {"options": dict(self.options), "count": self.cls.count, "seed": seed}

    @property
    def against(self) -> int | None:
        """The step that every other is measured against."""
        return reference_step(self.cls, tuple(self.hashes))

    @property
    def split_name(self) -> str:
        """The split, or the task's own."""
        return self.split or self.run.experiment.task.splits[0]

    def path(self, step: int) -> Path:
        """The file of a step's result."""
        return result_folder(self.run, self.name, self.split_name, self.key) / f"{step}.npz"

    def header(self, step: int) -> Header:
        """What that file should say of itself now."""
        facts: Header = {"split": self.split_name, "step": step, "checkpoint": self.hashes[step]}
        facts["experiment"] = experiment_digest(self.run.experiment)
        if self.against is not None:
            facts |= {"reference": self.against, "against": self.hashes[self.against]}
        return make_header(self.cls, self.name, **self.key, **facts)

    def is_ready(self, step: int, references: Mapping["Job", Mapping[int, Finding]]) -> bool:
        """Whether the result that a step is measured against is at hand."""
        return self.against in (None, step) or self.against in references[self]


def hashes_of(run: Run) -> dict[int, str]:
    """The hash of the checkpoint of every kept step, ascending."""
    return {step: run.checkpoint_hash(step) for step in run.steps}


def jobs_of(run: Run, cls: type[Result], name: str, hashes: Mapping[int, str]) -> list[Job]:
    """An analysis' jobs on a run: one a split that its task has, with the experiment's options."""
    options, known = options_of(run, cls, name), (None, *run.experiment.task.splits)
    return [Job(run, cls, name, split, options, hashes) for split in cls.splits if split in known]


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
        "files": [_content(path, *_stamp(path)) for path in task.paths],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _stamp(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=16)
def _content(path: str, _changed: int, _size: int) -> str:
    """A hash of a file's bytes, taken again when its time of change or its size is another."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
