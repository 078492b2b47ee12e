"""Writes a run folder from other people's checkpoints.

The folder is written under a hidden name near its place, checkpoint by checkpoint, and moved to its
place when it is complete, so that no error leaves half a run. The hidden name is determined by the
place, so that the same command, given again after a kill, removes what the killed one left. If the
kill came after the move, the command finds the run that it would have written, and accepts it.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.config.experiment import Experiment, Seeds, safe_name
from interp.importers.archives import Archive, archives, folder_config
from interp.importers.configs import asked_of_user, check_alike, stated_options
from interp.importers.plan import Plan, make_plan, read_task, widened
from interp.importers.splits import named_split
from interp.runs.checkpoints import pack
from interp.runs.files import move_folder, write_whole
from interp.runs.run import Run
from interp.runs.writing import locked
from interp.tasks import Task

MAX_SCORED_EXAMPLES = 2000  # examples scored where a task draws them without end


def import_run(
    source: str | Path,
    out: str | Path,
    task: Task | str | Path | None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Run:
    """Turns checkpoints of other code into a run folder; warnings say what is unknown or left out.

    Args:
        source: A file, or a folder with a file for each step.
        out: The run folder; missing or empty.
        task: What the model was trained on: a task, a TOML file of a task or of an experiment, or
            the name of a preset.
        options: Options that neither shapes nor the archive's config tell, under
            HookedTransformerConfig's names (`act_fn`, `normalization_type`, ...).
        seed: The data seed, which decides the labels `train` where nothing states them.

    Raises:
        FileNotFoundError: There is nothing to import, or the task is neither a file nor a preset.
        ValueError: A file is refused, something is unknown or contradictory, or `out` is taken.
    """
    source, out = Path(source), Path(out)
    if out.exists() and not _is_free(out) and not (out / "imported.json").is_file():
        raise ValueError(f"{out} is not an empty folder; choose a new one with --out")
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    known_task, path = read_task(task), out.resolve()
    with _scratch(path) as scratch:
        folder = scratch / "run"
        plan, read, widenings = _write_checkpoints(source, folder, known_task, options or {})
        assert known_task is not None  # make_plan refuses a missing one
        named_task, split_notes = named_split(known_task, seed, read)
        notes = [*_notes(plan, read), *widenings, *split_notes]
        about = {
            "source": source.name or source.resolve().name,
            "layout": plan.layout,
            "options": asked_of_user(plan.config, options or {}),
            "notes": notes,
        }
        experiment = Experiment(
            name=safe_name(path.name), task=named_task, model=plan.config, seeds=Seeds(data=seed)
        )
        _write_metrics(folder, read)
        write_whole(folder / "imported.json", (json.dumps(about, indent=1) + "\n").encode())
        write_whole(folder / "experiment.toml", experiment.to_toml().encode())
        if not path.exists() or _is_free(path):
            move_folder(folder, path)
        elif not _holds(path, folder):
            raise ValueError(
                f"{out} is not an empty folder, and not what this import makes; choose a new one "
                "with --out"
            )
    for note in notes:
        warnings.warn(f"{out}: {note}", stacklevel=2)
    return Run(out)


def _is_free(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _holds(folder: Path, other: Path) -> bool:
    """Whether a folder has every file of another one, byte for byte, and no other checkpoints."""
    files = [file.relative_to(other) for file in other.rglob("*") if file.is_file()]
    is_same = all(
        (folder / file).is_file() and (folder / file).read_bytes() == (other / file).read_bytes()
        for file in files
    )
    return is_same and Run(folder).steps == Run(other).steps


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """An empty hidden folder above a place, locked for one import and removed at the end.

    Raises:
        ValueError: Another process imports to the same place.
        OSError: It cannot be made.
    """
    name = f".interp-import-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    above = [parent for parent in path.parents if parent.is_dir()]
    left = (parent / name for parent in above if (parent / name).is_dir())
    folder = next(left, above[0] / name)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{folder} cannot be made ({reason}); choose another place") from None
    with locked(folder):
        shutil.rmtree(folder / "run", ignore_errors=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def describe(run: Run) -> str:
    """What was imported, and how well it does its task, which reveals wrong options."""
    task = run.experiment.task
    scores = []
    for split in task.evaluated:
        is_finite = task.train_count is not None
        snapshot = run.snapshot(split=split, count=None if is_finite else MAX_SCORED_EXAMPLES)
        named = (f"{name} {value:.4g}" for name, value in task.score(snapshot).items())
        scores.append(f"{split} {', '.join(named)} over {len(snapshot.examples)} examples")
    return (
        f"imported {run.path}: {len(run.steps)} checkpoints, the last at {run.steps[-1]}; there, "
        f"{'; '.join(scores)} (not what is known of this model? then the task, --act-fn, "
        "--normalization-type or the config's attention_dir is another)"
    )


def _write_checkpoints(
    source: Path, folder: Path, task: Task | None, options: Mapping[str, Any]
) -> tuple[Plan, list[Archive], list[str]]:
    """Writes every checkpoint.

    Returns:
        The plan, the archives without their checkpoints, and notes about the numbers' precision.
    """
    beside = folder_config(source) if source.is_dir() else None
    plan, first_stated, read, widenings = None, {}, [], set()
    for archive in archives(source):
        for step, state in archive.checkpoints.items():
            with _named(f"{archive.path}, step {step}"):
                stated = stated_options(archive.config, options, beside)
                if plan is None:
                    first_stated, plan = stated, make_plan(state, stated, task)
                check_alike(stated, first_stated)
                parameters = plan.parameters(state)
                widenings |= widened(state, parameters)
                file = folder / "checkpoints" / f"{step}.safetensors"
                if file.exists():
                    raise ValueError("another file holds this step too")
            write_whole(file, pack(parameters, step=step))
        read.append(replace(archive, checkpoints={}))
    if plan is None:
        raise ValueError(f"{source}: no file says its step; rename them, such as step_1000.pth")
    return plan, read, sorted(widenings)


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Adds a place to the messages of errors that are raised inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _write_metrics(folder: Path, read: Sequence[Archive]) -> None:
    """Writes metrics.jsonl, a line for each step that has a metric; no file without metrics."""
    rows: dict[int, dict[str, float]] = {}
    for archive in read:
        for column, values in archive.metrics.items():
            for step, value in values.items():
                rows.setdefault(step, {"step": step})[column] = value
    if rows:
        lines = "".join(json.dumps(rows[step]) + "\n" for step in sorted(rows))
        write_whole(folder / "metrics.jsonl", lines.encode())


def _notes(plan: Plan, read: Sequence[Archive]) -> Iterator[str]:
    if plan.assumed:
        assumed = (f"{name} {value or 'none'}" for name, value in plan.assumed.items())
        yield f"nothing states what shapes cannot tell; assumed: {', '.join(assumed)}"
    if plan.n_dropped:
        yield (
            f"the checkpoints answer with {plan.n_classes} classes, the task has "
            f"{plan.n_classes - plan.n_dropped}: the last {plan.n_dropped} left out, so losses "
            "measured here do not count what the softmax gave them"
        )
    for archive in read:
        if archive.is_stepless:
            yield f"the weights of {archive.path.name} left out: nothing says their step"
    yield from dict.fromkeys(note for archive in read for note in archive.notes)
