"""Which examples an imported model was trained on: those that its archive states.

A task draws its split from the data seed, and an archive's own split is another draw; so the task
of an imported run names the archive's training examples instead. Where they cannot be told, the
labels `train` are drawn and need not be right, and a note says so.
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


def own_split(task: Task, seed: int, read: Sequence[Archive]) -> tuple[Task, list[str]]:
    """The task with its archive's own training examples, and what is to be said of them.

    Args:
        task: The task; it stays as it is where it has that split already.
        seed: The run's data seed.
        read: What the files hold beside parameters.

    Raises:
        ValueError: Two files state different training examples, or the task names others.
    """
    examples = None if task.train_count is None else task.examples(task.splits[0], None, seed)
    if examples is None or "train" not in examples.labels:
        return task, []
    drawn = f"labels and splits 'train' and 'test' are drawn from seeds.data = {seed}"
    stored = [each for each in read if each.trained_on is not None]
    theirs = _agreed(examples, stored)
    if theirs is None:
        held = "are stored in a form unknown here" if stored else "are not stored"
        note = f"the examples it was trained on {held}: {drawn}, which need not be its own"
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
    """True at the examples that an archive names; None where they cannot be told.

    Args:
        examples: All examples, in the task's order.
        stored_on: Indices into all examples, each once, the tokens of each, or a mask over all,
            of booleans or of zeros and ones.
    """
    try:
        stored = torch.as_tensor(stored_on).cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    if stored.is_floating_point() or stored.is_complex() or not stored.numel():
        return None
    is_mask = stored.shape == (len(examples),) and bool(((stored == 0) | (stored == 1)).all())
    if is_mask and len(examples) > 2:  # that many indices would repeat themselves
        return stored.bool()
    if stored.dtype == torch.bool:
        return None
    if stored.ndim == 1:
        indices = torch.arange(len(examples))
        is_index = torch.isin(stored, indices).all() and len(stored.unique()) == len(stored)
        return torch.isin(indices, stored) if bool(is_index) else None
    return _with_tokens(examples, stored.long())


def _with_tokens(examples: Examples, stored: Tensor) -> Split | None:
    """True at the examples whose first tokens are given; None where some are of no example."""
    tokens = examples.tokens
    if tokens is None or stored.ndim != 2 or not 2 <= stored.shape[1] <= tokens.shape[1]:
        return None
    shown = tokens[:, : stored.shape[1]]
    _, place = torch.cat([shown, stored]).unique(dim=0, return_inverse=True)
    ours, theirs = place[: len(shown)], place[len(shown) :]
    return torch.isin(ours, theirs) if bool(torch.isin(theirs, ours).all()) else None


def _agreed(examples: Examples, stored: Sequence[Archive]) -> Split | None:
    """The split that files state; None where they state none that can be told."""
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
    """What is to be said where an archive tested on fewer than all that it did not train on."""
    splits = (stored_split(examples, each.tested_on) for each in stored)
    tested = next((split for split in splits if split is not None), None)
    if tested is None or torch.equal(tested, ~trained):
        return []
    return [
        f"it was tested on {int(tested.sum())} examples; split 'test' holds all "
        f"{int((~trained).sum())} that it was not trained on"
    ]
