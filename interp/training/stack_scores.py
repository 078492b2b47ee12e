"""The metrics of every member of a stack, in one pass over each evaluated split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import pad

from hooks import Examples, Snapshot
from hooks.fast.stack import StackedLogits, stacked_logits
from interp.config.experiment import Experiment
from interp.tasks import Batch, Task, model_inputs
from interp.training.stack_step import Parts
from interp.training.state import Row

LOGITS_AT_ONCE = 2**25  # numbers of all members that are graded together, 256 MiB of float64
ACTIVATIONS_AT_ONCE = 2**26  # numbers of the widest layer that a forward pass may hold


@dataclass(frozen=True, eq=False)
class Splits:
    """Examples drawn already, by split and data seed: as batches, or whole for a task's own score.

    Attributes:
        batches: What is graded.
        examples: What is scored by the task's own `score`.
    """

    batches: dict[tuple[str, int], Batch] = field(default_factory=dict)
    examples: dict[tuple[str, int], Examples] = field(default_factory=dict)


def stack_scores(parts: Parts, drawn: Splits) -> Callable[[], list[Row]]:
    """A function that scores all members as they are now, in their order, on their device.

    A task that scores in its own way (by decoding, say) scores them one at a time.

    Args:
        parts: The stack.
        drawn: Examples drawn already; added to.
    """
    task = parts.experiments[0].task
    seeds = [each.seeds.data for each in parts.experiments]
    if type(task).score is not Task.score:
        return lambda: _one_at_a_time(parts, drawn.examples)
    logits = stacked_logits(parts.model, parts.experiments[0].model, task.positions)
    device = parts.trained.device
    splits: dict[str, tuple[Batch, bool]] = {}
    for split in task.evaluated:
        batch, is_shared = _stacked(task, split, seeds, drawn.batches)
        splits[split] = {name: values.to(device) for name, values in batch.items()}, is_shared

    def scores() -> list[Row]:
        rows: list[Row] = [{} for _ in seeds]
        for split, (batch, is_shared) in splits.items():
            for name, values in _grades(parts, logits, batch, is_shared).items():
                for row, value in zip(rows, values.cpu().tolist(), strict=True):
                    row[f"{split}.{name}"] = value
        return rows

    return scores


@torch.no_grad()
def _grades(
    parts: Parts, logits: StackedLogits, batch: Batch, is_shared: bool
) -> dict[str, Tensor]:
    task = parts.experiments[0].task
    axes = (0, None if is_shared else 0)
    targets = batch["targets"] if is_shared else batch["targets"][0]
    at_once = max(1, LOGITS_AT_ONCE // (targets.numel() * task.sizes.d_vocab_out))
    parts.model.train(False)
    found = []
    for first in range(0, len(parts.experiments), at_once):
        some = slice(first, first + at_once)
        parameters = {name: value[some] for name, value in parts.parameters.items()}
        here = batch if is_shared else {name: value[some] for name, value in batch.items()}
        outputs = _logits(logits, parameters, here, is_shared, parts.model.cfg)
        found.append(vmap(task.grade, in_dims=axes)(outputs, dict(here)))
    parts.model.train()
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def _logits(
    logits: StackedLogits, parameters: Mapping[str, Tensor], batch: Batch, is_shared: bool, cfg: Any
) -> Float[Tensor, "member row position d_vocab_out"]:
    """Logits of some members in float64, so many rows at a time as the widest layer allows."""
    inputs, axis = model_inputs(batch), 0 if is_shared else 1
    members, positions = len(next(iter(parameters.values()))), inputs.shape[axis + 1]
    a_row = members * positions * _widest(parameters, cfg, positions)
    size = max(1, ACTIVATIONS_AT_ONCE // a_row)
    parts = [logits(parameters, some, is_shared).double() for some in inputs.split(size, dim=axis)]
    return torch.cat(parts, dim=1)


def _widest(parameters: Mapping[str, Tensor], cfg: Any, positions: int) -> int:
    """Numbers a position of the widest activations: as long as a weight's axis, or the patterns."""
    longest = max(max(value.shape[1:], default=1) for value in parameters.values())
    return max(longest, positions * (getattr(cfg, "n_heads", None) or 0))


def _stacked(
    task: Task, split: str, seeds: list[int], drawn: dict[tuple[str, int], Batch]
) -> tuple[Batch, bool]:
    """Examples of a split at the positions the loss reads, and whether all members share them."""
    for seed in seeds:
        if (split, seed) not in drawn:
            drawn[split, seed] = _batch(task.examples(split, None, seed), task)
    batches = [drawn[split, seed] for seed in seeds]
    if len(set(seeds)) == 1:
        return batches[0], True
    widest = max(batch["targets"].shape[1] for batch in batches)
    wide = [_widened(batch, widest) for batch in batches]
    return {name: torch.stack([batch[name] for batch in wide]) for name in wide[0]}, False


def _widened(batch: Batch, width: int) -> Batch:
    """Sentences padded on the right to as many positions as the longest of any member has."""
    more = width - batch["targets"].shape[1]
    return {name: pad(values, (0, more)) for name, values in batch.items()} if more else batch


def _batch(examples: Examples, task: Task) -> Batch:
    read = slice(-1, None) if task.positions == "last" else slice(None)
    name = "inputs" if examples.tokens is None else "tokens"
    return {
        name: examples.model_inputs,
        "targets": examples.targets[:, read],
        "scored": examples.scored[:, read],
    }


def _one_at_a_time(parts: Parts, drawn: dict[tuple[str, int], Examples]) -> list[Row]:
    """The scores of every member, whose parameters are put into the live model by turns."""
    return [
        _own_scores(parts, index, experiment, drawn)
        for index, experiment in enumerate(parts.experiments)
    ]


def _own_scores(
    parts: Parts, index: int, experiment: Experiment, drawn: dict[tuple[str, int], Examples]
) -> Row:
    task, seed = experiment.task, experiment.seeds.data
    with torch.no_grad():
        values = parts.parameters
        for name, parameter in parts.model.named_parameters():
            parameter.copy_(values[name][index])
    row: Row = {}
    for split in task.evaluated:
        if (split, seed) not in drawn:
            drawn[split, seed] = task.examples(split, None, seed)
        snapshot = Snapshot.of(parts.model, drawn[split, seed], config=experiment.model)
        row |= {f"{split}.{name}": value for name, value in task.score(snapshot).items()}
    return row
