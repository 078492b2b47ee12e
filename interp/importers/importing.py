"""Writes a run folder from other people's checkpoints.

How they become parameters, the first checkpoint decides for all (`interp.importers.plan`).

The folder is written whole or not at all (`interp.runs.staging`). If a kill came after it was moved
to its place, the same command finds the run that it would have written, and accepts it.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from interp.config import Experiment, Seeds, load_experiment, read_toml, readable, safe_name
from interp.importers.archives import Archive, archives, as_step, folder_config
from interp.importers.configs import (
    FLAGS,
    asked_of_user,
    check_same_options,
    stated_options,
)
from interp.importers.copies import equal_steps, fingerprint, note_of_copies
from interp.importers.hugging_face import model_archives, model_folders
from interp.importers.layouts import Layout, Options, State, layout_of
from interp.importers.mapping import mapping_layout
from interp.importers.plan import Plan, make_plan, widened
from interp.importers.splits import named_split
from interp.runs.checkpoint_files import pack
from interp.runs.run import Run
from interp.runs.safe_files import as_table, move_folder, write_whole
from interp.runs.staging import holds, is_free, scratch
from interp.tasks import Task
from interp.tasks.data_files import is_of_folder, taken_from

MAX_SCORED_EXAMPLES = 2000  # examples scored where a task draws them without end


def read_task(task: Task | str | Path | None) -> Task | None:
    """The task that is given, or that of a TOML file (of a task or an experiment), or of a preset.

    Raises:
        FileNotFoundError: There is neither such a file nor such a preset.
        ValueError: The file is not TOML, or a field is unknown or wrong.
    """
    if task is None or isinstance(task, Task):
        return task
    path = Path(task)
    if not path.is_file():
        return load_experiment(task).task
    table = read_toml(path)
    context = taken_from(path.parent, path.parent, is_users=not is_of_folder(path))
    try:
        experiment = {"name": "any", "task": table.get("task", table)}
        return Experiment.model_validate(experiment, context=context).task
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error)}") from None


def import_run(
    source: str | Path,
    out: str | Path,
    task: Task | str | Path | None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    step: int | None = None,
    mapping: str | Path | None = None,
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
        step: The step of one model that does not say it.
        mapping: A TOML file that says which tensor is which parameter, for a code that is not known
            here.

    Raises:
        FileNotFoundError: There is nothing to import, or the task is neither a file nor a preset.
        ValueError: A file is refused, something is unknown or contradictory, or `out` is taken.
    """
    source, out = Path(source), Path(out)
    if out.exists() and not is_free(out) and not (out / "imported.json").is_file():
        raise ValueError(f"{out} is not an empty folder; choose a new one with --out")
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    given_task, path = read_task(task), out.resolve()
    layout = None if mapping is None else mapping_layout(Path(mapping))
    with scratch(path) as folder:
        writing = Writing(folder, given_task, options or {}, layout, step)
        plan, imported, found = writing.checkpoints(source)
        assert given_task is not None  # a missing one is refused
        named_task, split_notes = named_split(given_task, seed, imported)
        notes = [*plan.notes(), *_notes(imported), *found, *split_notes]
        about = {
            "source": source.name or source.resolve().name,
            "layout": plan.layout.name,
            "options": asked_of_user(plan.config, options or {}),
            "assumed": list(plan.assumed),
            **_given(imported[0].placed, mapping),
            "notes": notes,
        }
        experiment = Experiment(
            name=safe_name(path.name), task=named_task, model=plan.config, seeds=Seeds(data=seed)
        )
        _write_metrics(folder, imported)
        write_whole(folder / "imported.json", (json.dumps(about, indent=1) + "\n").encode())
        write_whole(folder / "experiment.toml", experiment.to_toml().encode())
        if not path.exists() or is_free(path):
            move_folder(folder, path)
        elif not holds(path, folder):
            raise ValueError(
                f"{out} is not an empty folder, and not what this import makes; choose a new one "
                "with --out"
            )
    for note in notes:
        warnings.warn(f"{out}: {note}", stacklevel=2)
    return Run(out)


def _given(step: int | None, mapping: str | Path | None) -> dict[str, Any]:
    """What the user gave besides options, for imported.json."""
    given = {"step": step, "mapping": None if mapping is None else Path(mapping).name}
    return {name: value for name, value in given.items() if value is not None}


def describe(run: Run) -> str:
    """What was imported, and how well it does its task, which reveals wrong options."""
    task, scores = run.experiment.task, []
    count = MAX_SCORED_EXAMPLES if task.train_count is None else None
    for split in task.evaluated:
        snapshot = run.snapshot(split=split, count=count)
        named = (f"{name} {value:.4g}" for name, value in task.score(snapshot).items())
        scores.append(f"{split} {', '.join(named)} over {len(snapshot.examples)} examples")
    return (
        f"imported {run.path}: {len(run.steps)} checkpoints, the last at {run.steps[-1]}; there, "
        f"{'; '.join(scores)} (not what is known of this model? then {_doubted(run)} is another)"
    )


def _doubted(run: Run) -> str:
    """What may be wrong about an import: what was stated by the user, or assumed."""
    about = as_table((run.path / "imported.json").read_bytes()) or {}
    named = ["the task", *(["--mapping"] if "mapping" in about else [])]
    names = dict.fromkeys([*about.get("options", {}), *about.get("assumed", [])])
    named += [FLAGS.get(name, f"the config's {name}") for name in names]
    return " or ".join(filter(None, [", ".join(named[:-1]), named[-1]]))


@dataclass(frozen=True, eq=False)
class Writing:
    """An import's checkpoints on their way into a run folder.

    Attributes:
        folder: The run folder.
        task: What the model was trained on.
        options: The options that the user states.
        layout: The layout that the user gives; None where it is told by the files.
        step: The step that the user gives, of one model that does not say it.
    """

    folder: Path
    task: Task | None
    options: Options
    layout: Layout | None
    step: int | None

    def checkpoints(self, source: Path) -> tuple[Plan, list[Archive], list[str]]:
        """Writes every checkpoint.

        Returns:
            The plan, the archives without their checkpoints, and notes about the numbers: their
            precision, and steps whose numbers are equal.
        """
        is_model = source.is_dir() and bool(model_folders(source))
        beside = folder_config(source) if source.is_dir() and not is_model else None
        plan, first_stated, imported, widenings = None, {}, [], set()
        fingerprints: dict[int, str] = {}
        for unplaced in model_archives(source) if is_model else archives(source):
            archive = self._placed(unplaced, beside, is_alone=not source.is_dir() or is_model)
            for step, state in archive.checkpoints.items():
                try:
                    layout, stated = self._read(archive, state, beside)
                    if plan is None:
                        first_stated, plan = stated, self._plan(state, stated, layout)
                    check_same_options(stated, first_stated)
                    if layout is not plan.layout:
                        raise ValueError(
                            f"its layout is {layout.name}, that of the others {plan.layout.name}"
                        )
                    parameters = plan.parameters(state)
                    if step in fingerprints:
                        raise ValueError("another file holds this step too")
                except ValueError as error:
                    raise ValueError(f"{archive.path}, step {step}: {error}") from None
                widenings |= widened(state, parameters)
                fingerprints[step] = fingerprint(parameters)
                file = self.folder / "checkpoints" / f"{step}.safetensors"
                write_whole(file, pack(parameters, step=step))
            imported.append(replace(archive, checkpoints={}))
        if plan is None:
            raise ValueError(f"{source}: no file says its step; rename them, such as step_1000.pth")
        copies = [note_of_copies(steps) for steps in equal_steps(fingerprints)]
        return plan, imported, [*sorted(widenings), *copies]

    def _read(
        self, archive: Archive, state: State, beside: Options | None
    ) -> tuple[Layout, dict[str, Any]]:
        """Layout and options of a checkpoint."""
        configs = {**(archive.config or {}), **(beside or {}), **self.options}
        layout = self.layout or layout_of(state, configs)
        return layout, stated_options(archive.config, self.options, beside, layout)

    def _placed(self, archive: Archive, beside: Options | None, *, is_alone: bool) -> Archive:
        """An archive whose parameters have a step, which may be given or follow from its layout.

        Args:
            archive: The archive.
            beside: The config beside the files.
            is_alone: Whether it is the one file, or may be the one model, of the import.

        Raises:
            ValueError: Nothing says the step, or another than the given one.
        """
        if archive.unplaced is None:
            if self.step is not None and (set(archive.checkpoints) != {self.step} or not is_alone):
                steps = ", ".join(map(str, archive.checkpoints))
                raise ValueError(f"{archive.path} says its step, {steps}: leave out --step")
            return archive
        if not is_alone:
            return archive  # it is read for its split alone
        if self.step is not None:
            return archive.at_step(self.step)
        configs = {**(archive.config or {}), **(beside or {}), **self.options}
        try:
            layout = self.layout or layout_of(archive.unplaced, configs)
        except ValueError as error:
            raise ValueError(f"{archive.path}: {error}") from None
        step = as_step(layout.step(configs))
        if step is None:
            raise archive.step_unknown()
        return archive.at_step(step)

    def _plan(self, state: State, stated: Options, layout: Layout) -> Plan:
        if self.task is None:
            # What the checkpoint has, for the user to choose the task by.
            sizes = make_plan(state, stated, None, layout).sizes
            raise ValueError(
                f"nothing says what it was trained on (d_vocab {sizes.d_vocab}, d_vocab_out "
                f"{sizes.d_vocab_out}, n_ctx {sizes.n_ctx}): give --task, a TOML file with the "
                "task's name and fields, or a preset such as modular-addition-113"
            )
        return make_plan(state, stated, self.task.sizes, layout)


def _write_metrics(folder: Path, imported: Sequence[Archive]) -> None:
    """Writes metrics.jsonl, a line for each step that has a metric; no file without metrics."""
    rows: dict[int, dict[str, float]] = {}
    for archive in imported:
        for column, values in archive.metrics.items():
            for step, value in values.items():
                rows.setdefault(step, {"step": step})[column] = value
    if rows:
        lines = "".join(json.dumps(rows[step]) + "\n" for step in sorted(rows))
        write_whole(folder / "metrics.jsonl", lines.encode())


def _notes(imported: Sequence[Archive]) -> Iterator[str]:
    """What was assumed about the files, and what was left out of them."""
    for archive in imported:
        if archive.unplaced is not None:
            yield f"the weights of {archive.path.name} left out: nothing says their step"
    yield from dict.fromkeys(note for archive in imported for note in archive.notes)
