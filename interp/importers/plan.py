"""How the checkpoints of an import become parameters, as the first checkpoint decides for all."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from hooks import ModelConfig, Sizes, build
from hooks.models import parameters_of
from interp.config.experiment import Experiment, load_experiment, readable
from interp.importers.configs import assumed_options, config_of_shapes, sizes_of
from interp.importers.layouts import LAYOUTS, State, check_masks, check_names, layout_of
from interp.tasks import Task
from interp.tasks.data_files import taken_from


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
        kept = {
            name: parameters[name][..., : shape[-1]].detach().to(dtype).clone().contiguous()
            for name, shape in self.shapes.items()
        }
        for name, value in kept.items():
            if not value.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinite numbers: leave this checkpoint out")
        return kept


def widened(state: State, kept: Mapping[str, Tensor]) -> set[str]:
    """Notes about a checkpoint's numbers that were stored in less than float32."""
    (dtype,) = {value.dtype for value in kept.values()}
    stored = {value.dtype for value in state.values() if value.is_floating_point()}
    narrow = [small for small in stored if small.itemsize < torch.float32.itemsize]
    return {
        f"stored as {_name(small)}: kept as {_name(dtype)}, the same numbers" for small in narrow
    }


def make_plan(state: State, stated: Mapping[str, Any], task: Task | None) -> Plan:
    """The plan of an import, from its first checkpoint.

    Raises:
        ValueError: The layout is unknown, something about the model is unknown or contradictory,
            or the task is missing or of other sizes.
    """
    layout = layout_of(state)
    parameters = LAYOUTS[layout](state)
    has = sizes_of(parameters, n_ctx=1 if task is None else task.sizes.n_ctx)
    if task is None:
        raise ValueError(
            f"nothing says what it was trained on (d_vocab {has.d_vocab}, d_vocab_out "
            f"{has.d_vocab_out}, n_ctx {has.n_ctx}): give --task, a TOML file with the task's name "
            "and fields, or a preset such as modular-addition-113"
        )
    _check_sizes(has, task.sizes)
    config = config_of_shapes(parameters, stated, layout)
    model = build(config, task.sizes, seed=0)
    _check_rotary(state, dict(torch.nn.Module.named_buffers(model)))  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
    shapes = {name: tuple(value.shape) for name, value in parameters_of(model).items()}
    return Plan(layout, config, shapes, has.d_vocab_out, assumed_options(stated, layout))


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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    try:
        table = {"name": "any", "task": table.get("task", table)}
        return Experiment.model_validate(table, context=taken_from(path.parent)).task
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error)}") from None


def _check_rotary(state: State, buffers: Mapping[str, Tensor]) -> None:
    """Refuses a checkpoint that rotates positions by other angles than the token model does."""
    for name in state:
        if not name.endswith(("attn.rotary_sin", "attn.rotary_cos")):
            continue
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


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_sizes(has: Sizes, wanted: Sizes) -> None:
    """Refuses a checkpoint that has other sizes than the task.

    A model may answer with any token, which is the default of HookedTransformerConfig. Where the
    task has fewer classes than tokens, its classes are then taken to be the first tokens.
    """
    answers_with_tokens = has.d_vocab_out == has.d_vocab and has.d_vocab_out > wanted.d_vocab_out
    agree = {
        "d_vocab": has.d_vocab == wanted.d_vocab,
        "d_vocab_out": has.d_vocab_out == wanted.d_vocab_out or answers_with_tokens,
        "n_ctx": has.n_ctx == wanted.n_ctx,
    }
    for name, agrees in agree.items():
        if not agrees:
            raise ValueError(
                f"{name} is {getattr(has, name)} in the checkpoint and {getattr(wanted, name)} in "
                "the task: change the task with --task"
            )


def _common_dtype(parameters: Mapping[str, Tensor]) -> torch.dtype:
    """float64 if a parameter has it, otherwise float32, which holds half precision exactly."""
    for name, value in parameters.items():
        if not value.is_floating_point():
            raise ValueError(f"{name} holds {value.dtype}, not floating-point numbers")
    dtypes = {value.dtype for value in parameters.values()}
    return torch.float64 if torch.float64 in dtypes else torch.float32
