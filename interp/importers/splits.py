"""Which examples an imported model was trained on: those that its archive states.

A task draws its split from the data seed, but the archive's split was drawn otherwise. So the task
of an imported run names the archive's training examples. Where they are unknown, the labels `train`
are drawn and may be wrong, and a note says so.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from hooks import Examples
from interp.importers.archives import Archive
from interp.tasks import Task

Split = Bool[Tensor, " n"]


def named_split(task: Task, seed: int, archives: Sequence[Archive]) -> tuple[Task, list[str]]:
    """The task with the training examples of its archives, and notes about them.

    Args:
        task: The task, which is returned unchanged if it has that split already.
        seed: The run's data seed.
        archives: The archives, whose checkpoints are not used.

    Raises:
        ValueError: Two files state different training examples, or the task names others.
    """
    examples = None if task.train_count is None else task.examples(task.splits[0], None, seed)
    if examples is None or "train" not in examples.labels:
        return task, []
    drawn = f"labels and splits 'train' and 'test' are drawn from seeds.data = {seed}"
    stored = [archive for archive in archives if archive.trained_on is not None]
    theirs = _agreed(examples, stored)
    if theirs is None:
        problem = "are stored in a form unknown here" if stored else "are not stored"
        note = f"the examples it was trained on {problem}: {drawn}, which need not be its own"
        return task, [note] if task.draws_split else []
    ours = examples.label("train")
    if torch.equal(ours, theirs):
        return task, _test_notes(examples, theirs, stored)
    overlap = (
        f"it was trained on {int(theirs.sum())} examples, of which {int((ours & theirs).sum())} "
        f"are among the {int(ours.sum())} that this run calls train"
    )
    if not task.draws_split:
        raise ValueError(f"{overlap}: the task names them; leave them out of it")
    try:
        return task.with_train(theirs), _test_notes(examples, theirs, stored)
    except ValueError as error:
        return task, [f"{overlap}: {drawn}, since {error}"]


def stored_split(examples: Examples, stored_on: Any) -> Split | None:
    """True at the examples that an archive names; None where they are unknown.

    Args:
        examples: All examples, in the task's order.
        stored_on: Different indices into all examples, or the tokens of examples, or a mask over
            all examples, of booleans or of zeros and ones.
    """
    try:
        stored = torch.as_tensor(stored_on).cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    if stored.is_floating_point() or stored.is_complex() or not stored.numel():
        return None
    is_mask = stored.shape == (len(examples),) and bool(((stored == 0) | (stored == 1)).all())
    if is_mask and len(examples) > 2:  # as indices they would repeat themselves
        return stored.bool()
    if stored.dtype == torch.bool:
        return None
    if stored.ndim == 1:
        indices = torch.arange(len(examples))
        is_index = torch.isin(stored, indices).all() and len(stored.unique()) == len(stored)
        return torch.isin(indices, stored) if bool(is_index) else None
    return _with_tokens(examples, stored.long())


def _with_tokens(examples: Examples, stored: Tensor) -> Split | None:
    """True at the examples with given first tokens; None where some tokens fit no example."""
    tokens = examples.tokens
    if tokens is None or stored.ndim != 2 or not 2 <= stored.shape[1] <= tokens.shape[1]:
        return None
    shown = tokens[:, : stored.shape[1]]
    _, place = torch.cat([shown, stored]).unique(dim=0, return_inverse=True)
    ours, theirs = place[: len(shown)], place[len(shown) :]
    return torch.isin(ours, theirs) if bool(torch.isin(theirs, ours).all()) else None


def _agreed(examples: Examples, stored: Sequence[Archive]) -> Split | None:
    """The split that all files state; None where a file's split is unknown, or none is stated."""
    agreed = None
    for archive in stored:
        split = stored_split(examples, archive.trained_on)
        if split is None:
            return None
        agreed = split if agreed is None else agreed
        if not torch.equal(split, agreed):
            raise ValueError(
                f"{archive.path} states other training examples than {stored[0].path}: "
                "import checkpoints of one run at a time"
            )
    return agreed


def _test_notes(examples: Examples, trained: Split, stored: Sequence[Archive]) -> list[str]:
    """A note, where an archive did not test on all examples that it did not train on."""
    splits = (stored_split(examples, archive.tested_on) for archive in stored)
    tested = next((split for split in splits if split is not None), None)
    if tested is None or torch.equal(tested, ~trained):
        return []
    return [
        f"it was tested on {int(tested.sum())} examples; split 'test' holds all "
        f"{int((~trained).sum())} that it was not trained on"
    ]
