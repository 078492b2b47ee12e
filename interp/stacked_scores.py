"""The metrics of every member of a stack, in one pass over each evaluated split."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import pad

from hooks import Examples, Snapshot
from hooks.models import restore
from hooks.stacked import StackedLogits, stacked_logits
from interp.stacked import Parts
from interp.state import Row
from interp.tasks import Batch, Task, model_inputs

LOGITS_AT_ONCE = 2**25  # numbers, 256 MiB of float64
Splits = dict[tuple[str, int], Batch]


def stack_scores(parts: Parts, drawn: Splits) -> Callable[[], list[Row]]:
    """A function that scores all members as they are now, in their order.

    A task that scores in its own way (by decoding, say) scores them one at a time.

    Args:
        parts: The stack.
        drawn: Examples drawn already, by split and data seed; added to.
    """
    task = parts.experiments[0].task
    seeds = [each.seeds.data for each in parts.experiments]
    if type(task).score is not Task.score:
        return lambda: _one_at_a_time(parts)
    logits = stacked_logits(parts.model, parts.experiments[0].model, task.positions)
    device = parts.trained.device
    splits: dict[str, tuple[Batch, bool]] = {}
    for split in task.evaluated:
        batch, is_shared = _stacked(task, split, seeds, drawn)
        splits[split] = _to(batch, device), is_shared

    def scores() -> list[Row]:
        rows: list[Row] = [{} for _ in seeds]
        for split, (batch, is_shared) in splits.items():
            for name, values in _grades(parts, logits, batch, is_shared).items():
                for row, value in zip(rows, values.tolist(), strict=True):
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
    classes = task.sizes.d_vocab_out
    at_once = max(1, LOGITS_AT_ONCE // (targets.numel() * classes))
    members = len(parts.experiments)
    parts.model.train(False)
    found = []
    for first in range(0, members, at_once):
        some = slice(first, first + at_once)
        parameters = {name: value[some] for name, value in parts.parameters.items()}
        here = batch if is_shared else {name: value[some] for name, value in batch.items()}
        outputs = logits(parameters, model_inputs(here), is_shared).double()
        found.append(vmap(task.grade, in_dims=axes)(outputs, dict(here)))
    parts.model.train()
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def _stacked(task: Task, split: str, seeds: list[int], drawn: Splits) -> tuple[Batch, bool]:
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


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: values.to(device) for name, values in batch.items()}


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


def _one_at_a_time(parts: Parts) -> list[Row]:
    rows = []
    for index, experiment in enumerate(parts.experiments):
        own = {name: value[index].detach().cpu() for name, value in parts.parameters.items()}
        task = experiment.task
        model = restore(experiment.model, task.sizes, own)
        row: Row = {}
        for split in task.evaluated:
            examples = task.examples(split, None, experiment.seeds.data)
            found = task.score(Snapshot.of(model, examples, config=experiment.model))
            row |= {f"{split}.{name}": value for name, value in found.items()}
        rows.append(row)
    return rows
