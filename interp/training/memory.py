"""Does training fit into memory? Estimates for this machine, and for stacks on a GPU.

`check_memory` refuses what this machine's memory cannot hold by any means: it counts weights with
gradients and moments, and examples that are held (those trained on, evaluated, and drawn ahead),
but no activations; what it lets through may still be too much. `stack_bytes` estimates what a
stack takes at its highest: the numbers of a replica are known exactly, and its activations from one
forward pass that computes nothing (torch's meta device).
"""

import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hooks import ModelConfig, Sizes, build
from hooks.fast import training_logits
from hooks.models import move
from interp.config import Experiment
from interp.training.optimizers import MOMENTS
from interp.training.state import is_trained

LAYER_BYTES = 2**17  # bytes of a layer's Python objects, whatever its width
WORD_BYTES = 60  # bytes of a word as text, which people read
GIB = 2**30  # bytes
UPDATE_TEMPORARIES = 3  # matrices of all parameters that an update holds for a moment
BACKWARD_FACTOR = 1.5  # a backward pass' highest memory, over what the forward pass saved
USABLE_MEMORY_SHARE = 0.8  # of a device; its context, libraries and gaps take the rest
META = torch.device("meta")


def check_memory(experiment: Experiment, models: int = 1) -> None:
    """Refuses what this machine's memory cannot hold.

    Args:
        experiment: What is to be trained.
        models: How many of its kind are trained together.

    Raises:
        ValueError: The message names the part that needs most, and its fields.
    """
    needs = needed(experiment, models)
    available = available_memory()
    if sum(needs.values()) > available:
        most = max(needs, key=lambda name: needs[name])
        raise ValueError(
            f"{most} need {needs[most] / GIB:,.1f} GiB of memory, and this machine has "
            f"{available / GIB:,.1f} GiB: lower one of them"
        )


def needed(experiment: Experiment, models: int = 1) -> Mapping[str, float]:
    """Bytes that are needed at the least, by what needs them and the fields that decide."""
    task, training, sizes = experiment.task, experiment.training, experiment.task.sizes
    number_bytes = {"float32": 4, "float64": 8}[training.dtype] if training else 4
    moments = len(MOMENTS[training.optimizer]) if training else 0
    weights = models * (2 + moments) * number_bytes * parameter_count(experiment.model, sizes)
    positions = task.widths[0] if task.widths else sizes.n_ctx
    example_bytes = positions * (17 + 4 * (sizes.d_in or WORD_BYTES / 4))
    needs: dict[str, float] = {
        _named("model", experiment.model, ("n_layers", "d_model", "n_heads", "d_head", "d_mlp")): (
            weights + LAYER_BYTES * experiment.model.n_layers
        ),
        _named("task", task, tuple(task.held)): sum(task.held.values()) * example_bytes,
    }
    if training is not None and training.batch_size is not None and task.train_count is None:
        needs[_named("training", training, ("batch_size", "chunk"))] = (
            training.batch_size * training.chunk * positions * (9 + 4 * (sizes.d_in or 2))
        )
    return needs


def available_memory() -> int:
    """Bytes of memory that this process may use, as the system states them.

    Windows does not state them to Python: there nothing is refused.
    """
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or the word max
        available = min(available, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return available


def parameter_count(model: ModelConfig, sizes: Sizes) -> int:
    """About how many parameters a model has."""
    width, inner = getattr(model, "d_model", 1), getattr(model, "d_mlp", None)
    ends = (sizes.d_vocab or sizes.d_in or 1) + sizes.d_vocab_out
    if model.kind in ("mlp", "constructed"):
        return (width if model.kind == "mlp" else 1) * (inner or 1)
    heads = getattr(model, "n_heads", 1) * getattr(model, "head_size", 1)
    matrices = 3 if getattr(model, "gated_mlp", False) else 2
    mlp = 0 if getattr(model, "attn_only", False) else matrices * width * (inner or 4 * width)
    return width * ends + model.n_layers * (4 * width * heads + mlp)


def _named(table: str, holder: object, fields: tuple[str, ...]) -> str:
    """A table's fields with their values, as a message names them."""
    values = {name: getattr(holder, name, None) for name in fields}
    listed = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    return f"{table}: {listed}" if listed else table


def stack_bytes(experiment: Experiment, replicas: int) -> int:
    """Bytes that a stack of some replicas takes at its highest, by estimate.

    Parameters and moments count three times: one copy is being written as a checkpoint while the
    next is made. Data count as if every replica had its own.

    Raises:
        ValueError: The experiment has no training.
    """
    training, task = experiment.require_training(), experiment.task
    model: Any = build(experiment.model, task.sizes, seed=0, dtype=training.dtype)
    sizes = {name: parameter.nbytes for name, parameter in model.named_parameters()}
    trained = sum(size for name, size in sizes.items() if is_trained(name, training))
    frozen = sum(sizes.values()) - trained
    matrices = 3 * (1 + len(MOMENTS[training.optimizer])) + UPDATE_TEMPORARIES + 1  # the gradient
    rows = training.batch_size or task.train_count or 1
    examples = rows * training.chunk * 2 if task.train_count is None else task.train_count
    position_bytes = 8 * (task.sizes.d_in or 1) + 9  # with target and whether it is scored
    data = examples * task.sizes.n_ctx * position_bytes
    activations = BACKWARD_FACTOR * _activations(experiment, model, rows)
    return replicas * math.ceil(matrices * trained + frozen + data + activations)


def replicas_that_fit(experiment: Experiment, memory: int) -> int:
    """How many replicas a stack may have on a device with so many bytes: at least one."""
    return max(1, int(USABLE_MEMORY_SHARE * memory) // stack_bytes(experiment, 1))


def _activations(experiment: Experiment, model: Any, rows: int) -> int:
    """Bytes that a replica's forward pass keeps for its backward pass, and its loss."""
    training, sizes = experiment.require_training(), experiment.task.sizes
    move(model, META)
    shape = (rows, sizes.n_ctx)
    inputs = (
        torch.zeros(*shape, sizes.d_in or 1, dtype=getattr(torch, training.dtype), device=META)
        if sizes.d_vocab is None
        else torch.zeros(*shape, dtype=torch.long, device=META)
    )
    parameters = {id(parameter) for _, parameter in model.named_parameters()}
    saved: dict[int, Tensor] = {}  # by the storage that several tensors may share

    def save(tensor: Tensor) -> Tensor:
        if id(tensor) not in parameters:
            saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        logits = training_logits(model, experiment.model, experiment.task.positions)(inputs)
    loss = 3 * logits.numel() * getattr(torch, training.loss_dtype).itemsize
    return loss + sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
