"""Run folders of models that somebody trains by her own code.

`save_run` writes one from states that are there already, `record` one step by step, inside a
training loop. Both are ordinary run folders, with the task `examples` and its data inside, or with
one of our tasks.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from torch import Tensor

from hooks import Examples
from interp.config import Experiment, Seeds, readable, safe_name
from interp.runs.checkpoint_files import pack
from interp.runs.opening import environment, locked
from interp.runs.recorded_model import RecordedModel
from interp.runs.run import Run, read_metrics
from interp.runs.safe_files import append_whole, move_folder, remove, sync, write_whole
from interp.runs.staging import has_files_of, holds, is_free, scratch
from interp.tasks import Task
from interp.tasks.data_files import sha256_of, stamp_of
from interp.tasks.from_file.file_examples import FileExamples
from interp.tasks.from_file.stated_facts import stated
from interp.tasks.from_file.writing import joined, npz_bytes

if TYPE_CHECKING:
    import pandas

DATA = "examples.npz"  # the data file of a run that has its examples inside
TRIED = 4  # examples of a task that a model is run on before anything is written

Given = Examples | Mapping[str, Any] | Task


def save_run(
    path: str | Path,
    model: Any,
    states: Mapping[Any, Any],
    examples: Given,
    *,
    metrics: "pandas.DataFrame | Sequence[Mapping[str, Any]] | None" = None,
    seed: int = 0,
) -> Run:
    """Writes a run folder of a model that was trained elsewhere.

    Args:
        path: The folder: missing, empty, or one that holds this very run already.
        model: A live HookedTransformer, of here or of TransformerLens, or a TransformerBridge;
            wrapped or not, on any device, in any mode. Its own weights are not saved.
        states: By step, the model's `state_dict()` then. Buffers in it are passed over.
        examples: What analyses look at the model with: examples; examples by the name of their
            split (train, test, ..); or one of our tasks. Examples with a label `train` of truth
            values have the splits train and test. Their facts are kept where they are of a kind of
            `hooks.facts`; a warning names others.
        metrics: What was recorded, a row for each step: a table with the column `step`, or a list
            of such rows. Other columns may have any name; `train.loss`, `test.accuracy` are those
            that analyses know.
        seed: The data seed, by which a task draws its split.

    Raises:
        ValueError: The folder is taken; the model's config cannot be said; a state or the examples
            are not the model's; or metrics hold something other than numbers.
        TypeError: The model has no hook points, or a state is no mapping to tensors.
    """
    path, rows = Path(path), _rows(metrics)
    if not states:
        raise ValueError("states is empty: give a state_dict() by step, {0: ..., 100: ...}")
    steps = {_step(step): state for step, state in states.items()}
    with scratch(path.resolve()) as folder:
        described = _begin(folder, path, model, examples, seed)
        for step in sorted(steps):
            try:
                parameters = described.parameters(steps[step])
            except (TypeError, ValueError) as error:
                raise type(error)(f"states: step {step}: {error}") from None
            write_whole(folder / "checkpoints" / f"{step}.safetensors", pack(parameters, step=step))
        if rows:
            write_whole(folder / "metrics.jsonl", "".join(f"{row}\n" for row in rows).encode())
        if not path.exists() or is_free(path):
            move_folder(folder, path.resolve())
            _warn_of_overlap(path)
        elif not holds(path, folder):
            raise ValueError(f"{path} is not empty, and holds another run; choose a new folder")
    return Run(path)


def record(
    path: str | Path,
    model: Any,
    examples: Given,
    *,
    seed: int = 0,
    resume_at: int | None = None,
) -> "Recorder":
    """Begins a run folder of a model that is about to be trained, or goes on with one.

        with interp.record("runs/mine", model, examples) as recorder:
            for step in range(1001):
                if step % 100 == 0:
                    recorder.step(step, {"train.loss": float(loss)})
                ...

    The folder belongs to the recorder until it is closed: other processes cannot analyse it. It can
    be read and reported at any time.

    Args:
        path: The folder: missing, empty, or begun by a call with the same model and examples.
        model: As `save_run`. It is copied at each recorded step; nothing is done to it.
        examples: As `save_run`.
        seed: As `save_run`.
        resume_at: The step that training goes on from: what was recorded of later steps is deleted,
            and can be recorded again. At most the last step that is recorded.

    Raises:
        ValueError: As `save_run`; another process or recorder has the folder; or `resume_at` lies
            beyond what is recorded.
        TypeError: The model has no hook points.
    """
    path = Path(path)
    with scratch(path.resolve()) as folder:
        described = _begin(folder, path, model, examples, seed)
        write_whole(folder / "environment.json", environment(described.device).encode())
        if not path.exists() or is_free(path):
            move_folder(folder, path.resolve())
            _warn_of_overlap(path)
        elif not has_files_of(path, folder, without=("environment.json",)):
            raise ValueError(
                f"{path} is not empty, and was not begun with this model and these examples; "
                "choose a new folder"
            )
    return Recorder(Run(path.resolve()), described, resume_at)  # wherever the loop goes


class Recorder:
    """A run folder that is written while somebody's loop trains (`record`).

    Attributes:
        run: The run, with what has been recorded so far.
    """

    def __init__(self, run: Run, model: RecordedModel, resume_at: int | None) -> None:
        self.run = run
        self._model = model
        with ExitStack() as closing:
            closing.enter_context(locked(run.path))
            rows = read_metrics(run.path / "metrics.jsonl")
            if resume_at is not None:
                last = _resumed(resume_at, run, rows)
                rows = [row for row in rows if row["step"] <= last]
                for step in run.steps:
                    if step > last:
                        remove(run.checkpoint(step))
            self._rows = {int(row["step"]): json.dumps(row) for row in rows}
            content = "".join(f"{row}\n" for row in self._rows.values())  # without a cut last line
            write_whole(run.path / "metrics.jsonl", content.encode())
            self._closing = closing.pop_all()
        self._is_open = True

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def step(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Keeps the model as it is now, and a row of metrics.

        On disk when it returns, whole or not at all. A step that is there already is passed over if
        it is the same, so that a loop that begins again from the start goes on.

        Args:
            step: Updates the model has had; 0 for the untrained model.
            metrics: Numbers by name, such as `train.loss`; NaN is allowed.

        Raises:
            ValueError: The step was recorded with other numbers, or a later one was; or the model
                is no longer of the same shape.
            OSError: It cannot be written.
        """
        step, row = self._row(step, metrics or {})
        content = pack(self._model.now(), step=step)
        file = self.run.path / "checkpoints" / f"{step}.safetensors"
        is_there = file.is_file()
        if is_there and file.read_bytes() != content:
            raise ValueError(f"step {step} is recorded with other parameters; {self._remedy(step)}")
        if not is_there and self.run.steps and step < self.run.steps[-1]:
            raise ValueError(
                f"step {step} comes after step {self.run.steps[-1]}; {self._remedy(step)}"
            )
        if not is_there:
            write_whole(file, content)
        if metrics:
            self._append(step, row)
        sync(self.run.path / "metrics.jsonl")

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds a row of metrics without keeping the model, for curves denser than checkpoints.

        Raises:
            ValueError: The step has another row, or a later one has a row.
            OSError: It cannot be written.
        """
        self._append(*self._row(step, metrics))

    def close(self) -> Run:
        """Frees the folder, so that it can be analysed; returns the run."""
        self._closing.close()
        self._is_open = False
        return self.run

    def _row(self, step: int, metrics: Mapping[str, Any]) -> tuple[int, str]:
        """A step and its row, which must not contradict what is recorded."""
        if not self._is_open:
            raise ValueError(
                "the recorder is closed; interp.record with the same folder, model and examples "
                "goes on"
            )
        step = _step(step)
        row = _row_text(step, metrics)
        last = max(self._rows, default=step)
        if metrics and self._rows.get(step, row) != row:
            raise ValueError(
                f"step {step} has other metrics already; give all metrics of a step at once, or "
                f"{self._remedy(step)}"
            )
        if metrics and step not in self._rows and step < last:
            raise ValueError(f"step {step} comes after step {last}; {self._remedy(step)}")
        return step, row

    def _append(self, step: int, row: str) -> None:
        if step not in self._rows:
            append_whole(self.run.path / "metrics.jsonl", f"{row}\n".encode())
            self._rows[step] = row

    def _remedy(self, step: int) -> str:
        if step == 0:  # which no resumption deletes
            return f"choose a new folder, or delete {self.run.path} to begin anew"
        return (
            f"to train again from an earlier step, interp.record(..., resume_at={step - 1}) deletes"
            " what is later; or choose a new folder"
        )


def _begin(folder: Path, path: Path, model: Any, examples: Given, seed: int) -> RecordedModel:
    """Writes what a run is of: experiment and data.

    Args:
        folder: Where it is written.
        path: Where the run will be; the experiment has its name.
        model: The live model.
        examples: Its examples, or its task.
        seed: The data seed.
    """
    described = RecordedModel.of(model, _tried(examples, seed))
    is_task = isinstance(examples, Task)
    task = examples if isinstance(examples, Task) else _written(examples, folder, described)
    _check_sizes(described, task)
    try:
        experiment = Experiment(
            name=safe_name(path.resolve().name),
            task=task,
            model=described.config,
            seeds=Seeds(data=seed),
        )
    except ValidationError as error:
        raise ValueError(readable(error).removeprefix("experiment: ")) from None
    hashes = {role: sha256_of(stamp_of(file)) for role, file in experiment.data_files.items()}
    if hashes:
        content = json.dumps(hashes, indent=1) + "\n"
        write_whole(folder / "data_files.json", content.encode())
    if not is_task:  # by its name in the folder, which may be moved
        here = task.model_copy(update={"file": DATA})
        experiment = experiment.model_copy(update={"task": here})
    write_whole(folder / "experiment.toml", experiment.to_toml().encode())
    return described


def _warn_of_overlap(path: Path) -> None:
    """Says of a run that was just made how many test examples are also training examples."""
    overlap = Run(path.resolve()).experiment.task.overlap
    if overlap:
        warnings.warn(f"{path}: {overlap}", stacklevel=3)


def _tried(examples: Any, seed: int) -> Examples:
    """The examples that a model is tried on: all that are given, or a few of a task."""
    if isinstance(examples, Task):
        return examples.examples(examples.splits[0], TRIED, seed)
    if isinstance(examples, Mapping):
        return joined(examples)[0]
    if not isinstance(examples, Examples):
        raise TypeError(
            f"examples is a {type(examples).__name__}: give hooks.Examples, a mapping from splits "
            "to them, or a task"
        )
    return examples


def _written(
    examples: Examples | Mapping[str, Any], folder: Path, model: RecordedModel
) -> FileExamples:
    """The task of given examples, whose data file is written into the folder."""
    splits = None
    if isinstance(examples, Mapping):
        examples, splits = joined(examples)
    file = folder / DATA
    write_whole(file, npz_bytes(examples, splits))
    task = FileExamples(
        file=str(file),
        known_facts=stated(examples.facts),
        **model.sizes.model_dump(exclude_none=True),
    )
    try:
        task.examples(task.splits[0], None, 0)  # what cannot be read back is not kept
    except ValueError as error:
        raise ValueError(str(error).replace(str(file), "examples")) from None
    return task


def _check_sizes(model: RecordedModel, task: Task) -> None:
    """Refuses a task of other sizes than the model's."""
    for name, size in task.sizes.model_dump().items():
        own = getattr(model.sizes, name)
        if size != own:
            raise ValueError(
                f"{name} is {own} in the model and {size} in the task {task.name}: give a task of "
                "the model's sizes, or examples"
            )


def _resumed(resume_at: Any, run: Run, rows: Sequence[Mapping[str, Any]]) -> int:
    """The step that training goes on from, which lies in what is recorded."""
    step = _step(resume_at)
    last = max([*run.steps, *(int(row["step"]) for row in rows)], default=0)
    if step > last:
        raise ValueError(
            f"resume_at={step}: the last step recorded in {run.path} is {last}; give that or an "
            "earlier one, or leave resume_at out"
            if last
            else f"resume_at={step}: {run.path} has no step to go on from; leave resume_at out"
        )
    return step


def _step(step: Any) -> int:
    try:
        number = -1 if isinstance(step, bool) else index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"step {step!r}: give a whole number from 0, of optimiser updates")
    return number


def _rows(metrics: Any) -> list[str]:
    """Rows of metrics as lines of JSON, in the order of their steps."""
    if metrics is None:
        return []
    rows = metrics.to_dict("records") if hasattr(metrics, "to_dict") else list(metrics)
    lines: dict[int, str] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or "step" not in row:
            raise ValueError(f"metrics: row {number} has no 'step'; give each row its step")
        step = _step(row["step"])
        if step in lines:
            raise ValueError(f"metrics: two rows are of step {step}; give one")
        lines[step] = _row_text(step, {name: row[name] for name in row if name != "step"})
    return [lines[step] for step in sorted(lines)]


def _row_text(step: int, metrics: Mapping[Any, Any]) -> str:
    values = {name: _number(name, value) for name, value in metrics.items()}
    return json.dumps({"step": step} | values)


def _number(name: Any, value: Any) -> float:
    """A metric as a number."""
    if not isinstance(name, str) or name in ("", "step"):
        raise ValueError(f"metrics: {name!r} names no metric; give a name such as train.loss")
    if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"metrics: {name} is {value!r:.60}: give one number")
    return float(value)
