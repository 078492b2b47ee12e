"""Prompts of factor labels that differ in one respect: an example, two labels, the last image.

Some example of each prompt has the last image's value of the asked factor, so that its label tells
the answer.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from interp.randomness import generator
from interp.tasks.base import PARTNERS, partners
from interp.tasks.factors.prompts import Prompts


def pairable(prompts: Prompts, change: str) -> Int[Tensor, " row"]:
    """The prompts in which some example shows the last value; for `example` exactly one does."""
    shown = _shows(prompts).sum(1)
    return (shown == 1 if change == "example" else shown > 0).nonzero()[:, 0]


def last_shown(prompts: Prompts) -> Int[Tensor, " prompt"]:
    """The number of the last example that shows the last image's value of the asked factor."""
    shows = _shows(prompts)
    return shows.shape[1] - 1 - shows.flip(1).int().argmax(1)


def other_labels(prompts: Prompts, values: tuple[int, ...], seed: int) -> Int[Tensor, " prompt"]:
    """For each prompt a label of the asked factor that is not the right one, all alike likely."""
    counts = torch.tensor(values)[prompts.asked]
    shares = torch.rand(len(counts), generator=generator(seed, PARTNERS + 1))
    return (prompts.answers[:, -1] + 1 + (shares * (counts - 1)).long()) % counts


def other_queries(
    prompts: Prompts, rows: Int[Tensor, " row"], seed: int, *, repeats: bool
) -> tuple[Int[Tensor, " paired"], Int[Tensor, " paired"]]:
    """For each row another prompt, whose last image has another label under this row's map.

    Args:
        prompts: All prompts.
        rows: Those that are given another last image.
        seed: Decides whose.
        repeats: Whether a prompt may show an image twice.

    Returns:
        The rows that have such a prompt, and one such prompt for each, all alike likely.
    """
    values = prompts.factors[:, -1].T[prompts.asked[rows]]  # [row, prompt]
    allowed = prompts.labels[rows].gather(1, values) != prompts.answers[rows, -1:]
    for images in [] if repeats else prompts.images[rows].T:
        allowed &= images[:, None] != prompts.images[:, -1]
    kept, others = partners(allowed, seed)
    return rows[kept], others


def changed_answers(
    prompts: Prompts,
    change: str,
    other: Int[Tensor, " prompt"],
    query: Int[Tensor, "prompt factor"],
) -> Int[Tensor, "prompt pair"]:
    """The label of each image, the last included, of the changed prompts.

    Args:
        prompts: The prompts before.
        change: example: the label of the last image's value is another in all examples, of which
            there is one. exchange: that label and the other change places. query: the last image
            is another. permute: all stays.
        other: The other label, for the first two.
        query: The factors of the last image, for the third.
    """
    answers, right = prompts.answers, prompts.answers[:, -1:]
    if change == "query":
        value = query.gather(1, prompts.asked[:, None])
        return torch.cat([answers[:, :-1], prompts.labels.gather(1, value)], dim=1)
    if change == "permute":
        return answers
    changed = torch.where(answers == right, other[:, None], answers)
    if change == "exchange":
        changed = torch.where(answers == other[:, None], right, changed)
    return changed


def _shows(prompts: Prompts) -> Tensor:
    """Whether each example has the last image's value, and so its label."""
    return prompts.answers[:, :-1] == prompts.answers[:, -1:]
