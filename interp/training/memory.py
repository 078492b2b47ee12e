"""Does an experiment fit into memory? An estimate of what it needs at the least.

Counted are weights with gradients and moments, and examples that are held: those trained on, those
evaluated, and those drawn ahead. Activations are not. What is refused could not be trained by
any means; what is let through may still be too much.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hooks import ModelConfig, Sizes
from interp.config.experiment import Experiment

LAYER = 2**17  # bytes of a layer's objects, whatever its width
WORD = 60  # bytes of a word to be read by people
GIB = 2**30


def check_memory(experiment: Experiment, models: int = 1) -> None:
    """Refuses what this machine's memory cannot hold.

    Args:
        experiment: What is to be trained.
        models: How many of its kind together.

    Raises:
        ValueError: The message names the part that needs most, and its fields.
    """
    needs = needed(experiment, models)
    there = memory_there()
    total = sum(needs.values())
    if total > there:
        most = max(needs, key=lambda name: needs[name])
        raise ValueError(
            f"{most} need {needs[most] / GIB:,.1f} GiB of memory, and this machine has "
            f"{there / GIB:,.1f} GiB: lower one of them"
        )


def needed(experiment: Experiment, models: int = 1) -> Mapping[str, float]:
    """Bytes that are needed at the least, by what needs them and the fields that decide."""
    task, training, sizes = experiment.task, experiment.training, experiment.task.sizes
    size = {"float32": 4, "float64": 8}[training.dtype] if training else 4
    moments = {None: 0, "sgd": 1}.get(training.optimizer if training else None, 2)
    found: dict[str, float] = {
        _told("model", experiment.model, ("n_layers", "d_model", "n_heads", "d_head", "d_mlp")): (
            models * (2 + moments) * size * _parameters(experiment.model, sizes)
            + LAYER * experiment.model.n_layers
        )
    }
    positions = task.widths[0] if task.widths else sizes.n_ctx
    example = positions * (17 + 4 * (sizes.d_in or WORD / 4))
    held = task.held
    found[_told("task", task, tuple(held))] = sum(held.values()) * example
    if training is not None and training.batch_size is not None and task.train_count is None:
        drawn = training.batch_size * training.chunk
        found[_told("training", training, ("batch_size", "chunk"))] = (
            drawn * positions * (9 + 4 * (sizes.d_in or 2))
        )
    return found


def memory_there() -> int:
    """Bytes of memory that this process may use, as far as the system tells."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or the word max
        there = min(there, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return there


def _parameters(model: ModelConfig, sizes: Sizes) -> int:
    """Parameters of a model, in the main."""
    width, inner = getattr(model, "d_model", 1), getattr(model, "d_mlp", None)
    ends = (sizes.d_vocab or sizes.d_in or 1) + sizes.d_vocab_out
    if model.kind in ("mlp", "constructed"):
        return (width if model.kind == "mlp" else 1) * (inner or 1)
    heads = getattr(model, "n_heads", 1) * getattr(model, "head_size", 1)
    mlp = 0 if getattr(model, "attn_only", False) else 2 * width * (inner or 4 * width)
    return width * ends + model.n_layers * (4 * width * heads + mlp)


def _told(table: str, holder: object, fields: tuple[str, ...]) -> str:
    """Fields with their values, as a message names them."""
    values = {name: getattr(holder, name, None) for name in fields}
    told = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    return f"{table}: {told}" if told else table
