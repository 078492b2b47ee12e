"""How every checkpoint of an import becomes parameters, which the first checkpoint decides."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from hooks import ModelConfig, Sizes, build
from hooks.transformer import HookedTransformer
from interp.config.experiment import readable
from interp.importers.configs import (
    assumed_options,
    config_of_options,
    config_of_shapes,
    options_of_layout,
    sizes_of,
)
from interp.importers.layouts import Layout, Options, State
from interp.importers.layouts.base import check_masks, check_names

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Plan:
    """How every checkpoint of an import is turned into parameters.

    Attributes:
        layout: The layout of the checkpoints.
        options: What is stated about the model, with what its layout adds.
        config: The model's config.
        sizes: Sizes of the checkpoints' model.
        kept: Sizes that the task gives the run's model, none above the checkpoints'.
        assumed: Options that nothing states, with the values that were assumed.
    """

    layout: Layout
    options: Options
    config: ModelConfig
    sizes: Sizes
    kept: Sizes
    assumed: Options

    def parameters(self, state: State) -> dict[str, Tensor]:
        """A checkpoint's parameters, in one dtype, cut to the task's tokens, classes and positions.

        Raises:
            ValueError: A tensor is missing, unknown, or of another shape, or holds no floats or
                some that are not finite.
        """
        whole, shapes = self._shapes
        parameters = _converted(self.layout, state, self.options)
        if "unembed.W_U" not in shapes:
            if not _is_one_matrix(parameters):
                raise ValueError(
                    "tie_word_embeddings is True in the config, but embedding and unembedding hold "
                    "different numbers: set it to false if the model has both"
                )
            del parameters["unembed.W_U"]
        missing = [name for name in shapes if name not in parameters]
        check_names(missing, [name for name in parameters if name not in shapes])
        dtype = _common_dtype(parameters)
        for name, shape in whole.items():
            if parameters[name].shape != shape:
                came = list(parameters[name].shape)
                raise ValueError(f"{name} is {came}, wanted is {list(shape)}")
        # Cloned, since safetensors refuses tensors that share memory.
        cut = {
            name: parameters[name][tuple(map(slice, shape))].detach().to(dtype).clone().contiguous()
            for name, shape in shapes.items()
        }
        for name, value in cut.items():
            if not value.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinite numbers: leave this checkpoint out")
        return cut

    @cached_property
    def _shapes(self) -> tuple[Shapes, Shapes]:
        """Shapes of the checkpoints' parameters, and of those that are kept."""
        return shapes_of(self.config, self.sizes), shapes_of(self.config, self.kept)

    def notes(self) -> Iterator[str]:
        """What was assumed about the model, and what the task leaves out of it."""
        if self.assumed:
            assumed = (f"{name} {value or 'none'}" for name, value in self.assumed.items())
            yield f"nothing states what shapes cannot tell; assumed: {', '.join(assumed)}"
        n_dropped = self.sizes.d_vocab_out - self.kept.d_vocab_out
        if n_dropped:
            yield (
                f"the checkpoints answer with {self.sizes.d_vocab_out} classes, the task has "
                f"{self.kept.d_vocab_out}: the last {n_dropped} left out, so losses measured here "
                "do not count what the softmax gave them"
            )
        for name, what in {"d_vocab": "tokens", "n_ctx": "positions"}.items():
            size, kept = getattr(self.sizes, name), getattr(self.kept, name)
            if size != kept:
                yield (
                    f"the checkpoints have {size} {what}, the task {kept}: the last {size - kept}, "
                    "which it never reads, left out"
                )


def make_plan(state: State, stated: Options, kept: Sizes | None, layout: Layout) -> Plan:
    """The plan of an import, from its first checkpoint.

    Args:
        state: The tensors.
        stated: The options that are stated, under HookedTransformerConfig's names.
        kept: The sizes that the task gives; None keeps the checkpoint's own.
        layout: The layout of the tensors.

    Raises:
        ValueError: Something about the model is unknown or contradictory, or the task is of other
            sizes.
    """
    options = options_of_layout(stated, layout)
    parameters = _converted(layout, state, options)
    n_ctx = stated.get("n_ctx") or (1 if kept is None else kept.n_ctx)
    sizes = sizes_of(parameters, n_ctx=n_ctx)
    kept = sizes if kept is None else kept
    _check_sizes(sizes, kept, layout)
    # TransformerLens' option of this name ties nothing: there the numbers decide.
    is_tied = bool(options.get("tie_word_embeddings")) and kept.d_vocab == kept.d_vocab_out
    is_tied = is_tied and (layout.reads_fewer or _is_one_matrix(parameters))
    config = config_of_shapes(parameters, options, is_tied=is_tied)
    _check_rotary(state, config, kept)
    return Plan(layout, options, config, sizes, kept, assumed_options(stated, layout))


def plan_of_config(stated: Options, layout: Layout) -> Plan:
    """The plan of a language model's checkpoints, from its config alone; all of it is kept.

    Raises:
        ValueError: An option has a value that is not computed here; the message names it.
    """
    options = options_of_layout(stated, layout)
    try:
        sizes = Sizes(**{name: options[name] for name in ("d_vocab", "d_vocab_out", "n_ctx")})
    except ValidationError as error:
        raise ValueError(f"config.json: {readable(error)}") from None
    is_tied = bool(options.get("tie_word_embeddings"))
    config = config_of_options(options, is_tied=is_tied)
    return Plan(layout, options, config, sizes, sizes, assumed={})


def widened(state: State, parameters: Mapping[str, Tensor]) -> set[str]:
    """Notes about a checkpoint's numbers that were stored in less than float32."""
    (dtype,) = {value.dtype for value in parameters.values()}
    stored = {value.dtype for value in state.values() if value.is_floating_point()}
    return {
        f"stored as {small}: kept as {dtype}, the same numbers".replace("torch.", "")
        for small in stored
        if small.itemsize < torch.float32.itemsize
    }


def shapes_of(config: Any, sizes: Sizes) -> Shapes:
    """The shape of each parameter of a model."""
    with torch.device("meta"):  # nothing is drawn
        model = HookedTransformer(config.shape(sizes, init_weights=False, device="meta"))
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


def _converted(layout: Layout, state: State, options: Options) -> dict[str, Tensor]:
    check_masks(state)
    return layout.parameters(state, options)


def _is_one_matrix(parameters: Mapping[str, Tensor]) -> bool:
    """Whether the unembedding is the embedding."""
    embedding, unembedding = parameters["embed.W_E"], parameters["unembed.W_U"]
    return embedding.shape == unembedding.T.shape and torch.equal(embedding, unembedding.T)


def _check_rotary(state: State, config: ModelConfig, sizes: Sizes) -> None:
    """Refuses a checkpoint that rotates positions by other angles than the token model does."""
    names = [name for name in state if name.endswith(("attn.rotary_sin", "attn.rotary_cos"))]
    if not names:
        return
    model: Any = build(config, sizes, seed=0)
    buffers = dict(torch.nn.Module.named_buffers(model))
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


def _check_sizes(sizes: Sizes, wanted: Sizes, layout: Layout) -> None:
    """Refuses a checkpoint that has other sizes than the task.

    A model may answer with any token, which is the default of HookedTransformerConfig. Where the
    task has fewer classes than tokens, its classes are then taken to be the first tokens. Of a
    language model, a task may use the first tokens and positions alone.
    """
    answers_with_tokens = (
        sizes.d_vocab_out == sizes.d_vocab and sizes.d_vocab_out > wanted.d_vocab_out
    )
    for name in ("d_vocab", "d_vocab_out", "n_ctx"):
        size, size_in_task = getattr(sizes, name), getattr(wanted, name)
        is_less = layout.reads_fewer and size_in_task is not None and size_in_task < size
        may_differ = answers_with_tokens if name == "d_vocab_out" else is_less
        if size != size_in_task and not may_differ:
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
