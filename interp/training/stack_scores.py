"""The metrics of every replica in a stack, in one pass over each evaluated split."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import pad

from hooks import Examples, Snapshot
from hooks.fast.stack import StackedLogits, stacked_logits
from interp.tasks import Batch, Task, model_inputs
from interp.training.device import sent_batch
from interp.training.stack_state import DataCache, StackState
from interp.training.state import Row

MAX_GRADED_LOGITS = 2**25  # logits of all replicas that are graded together, 256 MiB of float64
MAX_ACTIVATIONS = 2**26  # numbers in the widest layer of a forward pass of all replicas


def stack_scores(stack: StackState, cache: DataCache) -> Callable[[], list[Row]]:
    """A function that scores all replicas as they are now, in their order, on their device.

    A task that scores in its own way (by decoding, say) scores them one at a time.

    Args:
        stack: The stack.
        cache: Examples drawn already; newly drawn ones are added.
    """
    first, device = stack.experiments[0], stack.trained.device
    task, seeds = first.task, [experiment.seeds.data for experiment in stack.experiments]
    if type(task).score is not Task.score:
        return lambda: _one_at_a_time(stack, cache.examples)
    logits = stacked_logits(stack.model, first.model, task.positions)
    splits: dict[str, tuple[Batch, bool]] = {}
    for split in task.evaluated:
        batch, is_shared = _stacked(task, split, seeds, cache.batches)
        splits[split] = sent_batch(batch, device), is_shared

    def scores() -> list[Row]:
        rows: list[Row] = [{} for _ in seeds]
        for split, (batch, is_shared) in splits.items():
            for name, values in _grades(stack, logits, batch, is_shared).items():
                for row, value in zip(rows, values.cpu().tolist(), strict=True):
                    row[f"{split}.{name}"] = value
        return rows

    return scores


@torch.no_grad()
def _grades(
    stack: StackState, logits: StackedLogits, batch: Batch, is_shared: bool
) -> dict[str, Tensor]:
    """The grades of all replicas on one split, by name; as many at once as memory allows."""
    task = stack.experiments[0].task
    axes = (0, None if is_shared else 0)
    targets = batch["targets"] if is_shared else batch["targets"][0]
    at_once = max(1, MAX_GRADED_LOGITS // (targets.numel() * task.sizes.d_vocab_out))
    stack.model.train(False)
    grades = []
    for first in range(0, len(stack.experiments), at_once):
        some = slice(first, first + at_once)
        parameters = {name: value[some] for name, value in stack.parameters.items()}
        examples = batch if is_shared else {name: value[some] for name, value in batch.items()}
        outputs = _logits(logits, parameters, examples, is_shared, stack.model.cfg)
        grades.append(vmap(task.grade, in_dims=axes)(outputs, dict(examples)))
    stack.model.train()
    return {name: torch.cat([grade[name] for grade in grades]) for name in grades[0]}


def _logits(
    logits: StackedLogits, parameters: Mapping[str, Tensor], batch: Batch, is_shared: bool, cfg: Any
) -> Float[Tensor, "replica row position d_vocab_out"]:
    """Logits of some replicas in float64, as many rows at a time as the widest layer allows."""
    inputs, axis = model_inputs(batch), 0 if is_shared else 1
    replicas, positions = len(next(iter(parameters.values()))), inputs.shape[axis + 1]
    numbers_a_row = replicas * positions * _widest(parameters, cfg, positions)
    size = max(1, MAX_ACTIVATIONS // numbers_a_row)
    parts = [logits(parameters, rows, is_shared).double() for rows in inputs.split(size, dim=axis)]
    return torch.cat(parts, dim=1)


def _widest(parameters: Mapping[str, Tensor], cfg: Any, positions: int) -> int:
    """Numbers at each position of the widest activations: a weight's longest axis, or patterns."""
    longest = max(max(value.shape[1:], default=1) for value in parameters.values())
    return max(longest, positions * (getattr(cfg, "n_heads", None) or 0))


def _stacked(
    task: Task, split: str, seeds: list[int], drawn: dict[tuple[str, int], Batch]
) -> tuple[Batch, bool]:
    """Examples of a split at the positions the loss reads, and whether all replicas share them."""
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
    """Sentences padded on the right to the positions of the longest sentence of any replica."""
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


def _one_at_a_time(stack: StackState, drawn: dict[tuple[str, int], Examples]) -> list[Row]:
    """The task's own scores of every replica, whose parameters take turns in the live model."""
    rows: list[Row] = []
    for index, experiment in enumerate(stack.experiments):
        task, seed = experiment.task, experiment.seeds.data
        with torch.no_grad():
            values = stack.parameters
            for name, parameter in stack.model.named_parameters():
                parameter.copy_(values[name][index])
        row: Row = {}
        for split in task.evaluated:
            if (split, seed) not in drawn:
                drawn[split, seed] = task.examples(split, None, seed)
            snapshot = Snapshot.of(stack.model, drawn[split, seed], config=experiment.model)
            row |= {f"{split}.{name}": value for name, value in task.score(snapshot).items()}
        rows.append(row)
    return rows
