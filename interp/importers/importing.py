"""Writes a run folder from other people's checkpoints.

How they become parameters, the first checkpoint decides for all: that is the `Plan`.

The folder is written whole or not at all (`interp.runs.staging`). If a kill came after it was moved
to its place, the same command finds the run that it would have written, and accepts it.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from hooks import ModelConfig, Sizes, build
from hooks.models import parameters_of
from interp.config import Experiment, Seeds, load_experiment, read_toml, readable, safe_name
from interp.importers.archives import Archive, archives, folder_config
from interp.importers.configs import (
    asked_of_user,
    assumed_options,
    check_same_options,
    config_of_shapes,
    sizes_of,
    stated_options,
)
from interp.importers.layouts import LAYOUTS, State, check_masks, check_names, layout_of
from interp.importers.splits import named_split
from interp.runs.checkpoint_files import pack
from interp.runs.run import Run
from interp.runs.safe_files import move_folder, write_whole
from interp.runs.staging import holds, is_free, scratch
from interp.tasks import Task
from interp.tasks.data_files import taken_from

MAX_SCORED_EXAMPLES = 2000  # examples scored where a task draws them without end


@dataclass(frozen=True, eq=False)
class Plan:
    """How every checkpoint of an import is turned into parameters.

    Attributes:
        layout: Name of the layout.
        config: The model's config.
        shapes: The shape that each parameter of the run must have.
        n_classes: Number of classes of the checkpoints, at least that of the task.
        assumed: Options that nothing states, with the values that were assumed.
    """

    layout: str
    config: ModelConfig
    shapes: Mapping[str, tuple[int, ...]]
    n_classes: int
    assumed: Mapping[str, Any]

    @property
    def n_dropped(self) -> int:
        """How many more classes the checkpoints have than the task."""
        return self.n_classes - self.shapes["unembed.b_U"][0]

    def parameters(self, state: State) -> dict[str, Tensor]:
        """A checkpoint's parameters, in one dtype, with the task's classes only.

        Raises:
            ValueError: A tensor is missing, unknown, or of another shape, or holds no floats or
                some that are not finite.
        """
        check_masks(state)
        if layout_of(state) != self.layout:
            raise ValueError(f"its layout is {layout_of(state)}, that of the others {self.layout}")
        parameters = LAYOUTS[self.layout](state)
        missing = [name for name in self.shapes if name not in parameters]
        check_names(missing, [name for name in parameters if name not in self.shapes])
        dtype = _common_dtype(parameters)
        for name, shape in self.shapes.items():
            wanted = [*shape[:-1], self.n_classes] if name.startswith("unembed.") else [*shape]
            if list(parameters[name].shape) != wanted:
                raise ValueError(f"{name} is {list(parameters[name].shape)}, wanted is {wanted}")
        # Cloned, since safetensors refuses tensors that share memory.
        cut = {
            name: parameters[name][..., : shape[-1]].detach().to(dtype).clone().contiguous()
            for name, shape in self.shapes.items()
        }
        for name, value in cut.items():
            if not value.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinite numbers: leave this checkpoint out")
        return cut


def widened(state: State, parameters: Mapping[str, Tensor]) -> set[str]:
    """Notes about a checkpoint's numbers that were stored in less than float32."""
    (dtype,) = {value.dtype for value in parameters.values()}
    stored = {value.dtype for value in state.values() if value.is_floating_point()}
    return {
        f"stored as {small}: kept as {dtype}, the same numbers".replace("torch.", "")
        for small in stored
        if small.itemsize < torch.float32.itemsize
    }


def make_plan(state: State, stated: Mapping[str, Any], task: Task | None) -> Plan:
    """The plan of an import, from its first checkpoint.

    Raises:
        ValueError: The layout is unknown, something about the model is unknown or contradictory,
            or the task is missing or of other sizes.
    """
    layout = layout_of(state)
    parameters = LAYOUTS[layout](state)
    sizes = sizes_of(parameters, n_ctx=1 if task is None else task.sizes.n_ctx)
    if task is None:
        raise ValueError(
            f"nothing says what it was trained on (d_vocab {sizes.d_vocab}, d_vocab_out "
            f"{sizes.d_vocab_out}, n_ctx {sizes.n_ctx}): give --task, a TOML file with the task's "
            "name and fields, or a preset such as modular-addition-113"
        )
    _check_sizes(sizes, task.sizes)
    config = config_of_shapes(parameters, stated, layout)
    model = build(config, task.sizes, seed=0)
    _check_rotary(state, dict(torch.nn.Module.named_buffers(model)))  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
    shapes = {name: tuple(value.shape) for name, value in parameters_of(model).items()}
    return Plan(layout, config, shapes, sizes.d_vocab_out, assumed_options(stated, layout))


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
    try:
        experiment = {"name": "any", "task": table.get("task", table)}
        return Experiment.model_validate(experiment, context=taken_from(path.parent)).task
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error)}") from None


def _check_rotary(state: State, buffers: Mapping[str, Tensor]) -> None:
    """Refuses a checkpoint that rotates positions by other angles than the token model does."""
    names = [name for name in state if name.endswith(("attn.rotary_sin", "attn.rotary_cos"))]
    for name in names:
        ours, theirs = buffers.get(name), state[name]
        n_ctx = 0 if ours is None else min(len(ours), len(theirs) if theirs.ndim else 0)
        if (
            ours is None
            or theirs.shape[1:] != ours.shape[1:]
            or not torch.allclose(theirs[:n_ctx].to(ours.dtype), ours[:n_ctx], atol=0.01)
        ):
            raise ValueError(
                f"{name} holds other angles than the token model computes: rotary positions over "
                "the whole head, from base 10000, where positions are rotary at all"
            )


def _check_sizes(sizes: Sizes, wanted: Sizes) -> None:
    """Refuses a checkpoint that has other sizes than the task.

    A model may answer with any token, which is the default of HookedTransformerConfig. Where the
    task has fewer classes than tokens, its classes are then taken to be the first tokens.
    """
    answers_with_tokens = (
        sizes.d_vocab_out == sizes.d_vocab and sizes.d_vocab_out > wanted.d_vocab_out
    )
    for name in ("d_vocab", "d_vocab_out", "n_ctx"):
        size, size_in_task = getattr(sizes, name), getattr(wanted, name)
        if size != size_in_task and not (name == "d_vocab_out" and answers_with_tokens):
            raise ValueError(
                f"{name} is {size} in the checkpoint and {size_in_task} in the task: change the "
                "task with --task"
            )


def _common_dtype(parameters: Mapping[str, Tensor]) -> torch.dtype:
    """float64 if a parameter has it, otherwise float32, which holds half precision exactly."""
    for name, value in parameters.items():
        if not value.is_floating_point():
            raise ValueError(f"{name} holds {value.dtype}, not floating-point numbers")
    dtypes = {value.dtype for value in parameters.values()}
    return torch.float64 if torch.float64 in dtypes else torch.float32


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
    if out.exists() and not is_free(out) and not (out / "imported.json").is_file():
        raise ValueError(f"{out} is not an empty folder; choose a new one with --out")
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    given_task, path = read_task(task), out.resolve()
    with scratch(path) as above:
        folder = above / "run"
        plan, imported, widenings = _write_checkpoints(source, folder, given_task, options or {})
        assert given_task is not None  # make_plan refuses a missing one
        named_task, split_notes = named_split(given_task, seed, imported)
        notes = [*_notes(plan, imported), *widenings, *split_notes]
        about = {
            "source": source.name or source.resolve().name,
            "layout": plan.layout,
            "options": asked_of_user(plan.config, options or {}),
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
    plan, first_stated, imported, widenings = None, {}, [], set()
    for archive in archives(source):
        for step, state in archive.checkpoints.items():
            file = folder / "checkpoints" / f"{step}.safetensors"
            try:
                stated = stated_options(archive.config, options, beside)
                if plan is None:
                    first_stated, plan = stated, make_plan(state, stated, task)
                check_same_options(stated, first_stated)
                parameters = plan.parameters(state)
                if file.exists():
                    raise ValueError("another file holds this step too")
            except ValueError as error:
                raise ValueError(f"{archive.path}, step {step}: {error}") from None
            widenings |= widened(state, parameters)
            write_whole(file, pack(parameters, step=step))
        imported.append(replace(archive, checkpoints={}))
    if plan is None:
        raise ValueError(f"{source}: no file says its step; rename them, such as step_1000.pth")
    return plan, imported, sorted(widenings)


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


def _notes(plan: Plan, imported: Sequence[Archive]) -> Iterator[str]:
    if plan.assumed:
        assumed = (f"{name} {value or 'none'}" for name, value in plan.assumed.items())
        yield f"nothing states what shapes cannot tell; assumed: {', '.join(assumed)}"
    if plan.n_dropped:
        yield (
            f"the checkpoints answer with {plan.n_classes} classes, the task has "
            f"{plan.n_classes - plan.n_dropped}: the last {plan.n_dropped} left out, so losses "
            "measured here do not count what the softmax gave them"
        )
    for archive in imported:
        if archive.is_stepless:
            yield f"the weights of {archive.path.name} left out: nothing says their step"
    yield from dict.fromkeys(note for archive in imported for note in archive.notes)
