"""Which pairs an imported model was trained on, and whether the run folder can say so.

A run's split follows from its task and its data seed. An archive's own split is another draw, so
that labels `train` of an imported run are in general not those of its training. This says how far.
"""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from hooks import Examples
from interp.tasks import Task


def split_note(task: Task, seed: int, trained_on: Any) -> str | None:
    """What is to be said of the labels `train` of an imported run, or nothing where they hold.

    Args:
        task: The task.
        seed: The run's data seed.
        trained_on: Indices of training examples, or their tokens, as an archive stores them.
    """
    if task.train_count is None:
        return None
    examples = task.examples(task.splits[0], None, seed)
    if "train" not in examples.labels:
        return None
    ours = examples.label("train")
    labels = f"labels and splits 'train' and 'test' are drawn from seeds.data = {seed}"
    theirs = None if trained_on is None else stored_split(examples, trained_on)
    if theirs is None:
        held = "are not stored" if trained_on is None else "are stored in a form unknown here"
        return f"the examples it was trained on {held}: {labels}, which need not be its own"
    if torch.equal(ours, theirs):
        return None
    shared = int((ours & theirs).sum())
    return (
        f"it was trained on {int(theirs.sum())} examples, of which {shared} are among the "
        f"{int(ours.sum())} that this run calls train: {labels}, not its own split"
    )


def stored_split(examples: Examples, trained_on: Any) -> Bool[Tensor, " n"] | None:
    """True at the examples that an archive says were trained on; None where it cannot be read.

    Args:
        examples: All examples, in the task's order.
        trained_on: Indices into all examples, or the tokens of each.
    """
    try:
        stored = torch.as_tensor(trained_on)
    except (TypeError, ValueError, RuntimeError):
        return None
    split = torch.zeros(len(examples), dtype=torch.bool)
    if stored.is_floating_point() or stored.is_complex() or not stored.numel():
        return None
    if stored.ndim == 1 and int(stored.min()) >= 0 and int(stored.max()) < len(examples):
        split[stored.long()] = True
        return split
    width = examples.model_inputs.shape[1]
    if stored.ndim != 2 or not 2 <= stored.shape[1] <= width:
        return None
    wanted = set(map(tuple, stored.tolist()))
    shown = examples.model_inputs[:, : stored.shape[1]].tolist()
    return torch.tensor([tuple(tokens) in wanted for tokens in shown])
