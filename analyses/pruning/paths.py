"""How do a network's members change, all of them in numbers and some of them one by one?

Steps are read one at a time, twice: first for the largest size each member ever has, then for all
else. What is kept does not grow with the number of members: of a large matrix few weights have a
path of their own, half of them key ones that end largest, half others that were once largest, which
is where pruning shows. All else is quantiles.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.fourier.basis import keys_by_share
from analyses.statistics import MEASURES

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Read = Callable[[int], Tensor]  # from a step to the members' sizes


def key_members(
    last: Float[Tensor, "*axis"], share: float, key: Sequence[int] | None, first: int = 0
) -> Bool[Tensor, "*axis"]:
    """Which members are in the key group.

    Args:
        last: Sizes at the last step; only their squares count.
        share: The fewest members that carry this share of the squared size.
        key: Members to take instead; of a matrix with several axes its rows, along the last but
            one axis.
        first: Number of the first of them.

    Raises:
        ValueError: share is not above 0 and at most 1, or there is no such member.
    """
    if key is None:
        power = last.flatten().square()
        chosen = torch.tensor(keys_by_share(power / power.sum(), share), dtype=torch.long)
        return torch.zeros_like(power).index_fill(0, chosen - 1, 1).bool().reshape(last.shape)
    count = last.shape[max(last.ndim - 2, 0)]
    if not all(first <= each < first + count for each in key):
        what = "rows" if last.ndim > 1 else "members"
        raise ValueError(f"key = {list(key)}: there are {count} {what}, counted from {first}")
    numbers = torch.arange(first, first + count)
    named = torch.isin(numbers, torch.tensor(list(key), dtype=torch.long))
    return (named[:, None] if last.ndim > 1 else named).expand(last.shape)


def member_paths(
    at: Read,
    steps: Sequence[int],
    is_key: Bool[Tensor, "*axis"],
    *,
    threshold: float,
    count: int,
) -> dict[str, Any]:
    """Follows members through a run.

    Args:
        at: From a step to the members' sizes, in float64; signs are kept in paths.
        steps: The steps, ascending.
        is_key: Which members are in the key group.
        threshold: Share of the largest size of all steps below which a member counts as pruned.
        count: How many paths to keep; see `kept_members`.

    Returns:
        The fields of `PruningTrace` that tell of members.

    Raises:
        ValueError: All sizes are zero at every step, or a step has other axes than `is_key`.
    """
    peaks = largest_ever(at, steps, is_key.shape)
    groups = torch.stack([is_key.flatten(), ~is_key.flatten()])
    kept = kept_members(at(steps[-1]).abs().flatten(), peaks, groups[0], count)
    level = threshold * float(peaks.max())
    found = (_at_step(at(step).flatten(), kept, groups, level) for step in steps)
    facts = _filled(found, len(steps))
    return facts | {
        "members": np.stack(np.unravel_index(kept.numpy(), is_key.shape), axis=1),
        "is_key": groups[0, kept].numpy(),
        "totals": (int(groups[0].sum()), int(groups[1].sum())),
    }


def largest_ever(at: Read, steps: Sequence[int], shape: torch.Size) -> Float[Tensor, " member"]:
    """The largest size that each member has at any step.

    Raises:
        ValueError: They are all zero, or a step has other axes than `shape`.
    """
    peaks = torch.zeros(shape.numel(), dtype=torch.float64)
    for step in steps:
        sizes = at(step).abs()
        if sizes.shape != shape:
            raise ValueError(
                f"checkpoint of step {step}: members have shape {list(sizes.shape)}, at the last "
                f"step {list(shape)}; is this the checkpoint of another experiment?"
            )
        peaks = torch.maximum(peaks, sizes.flatten())
    if not peaks.any():
        raise ValueError("every size is 0 at every step: there is nothing to trace")
    return peaks


def kept_members(
    last: Float[Tensor, " member"],
    peaks: Float[Tensor, " member"],
    is_key: Bool[Tensor, " member"],
    count: int,
) -> Int[Tensor, " path"]:
    """Members whose paths are kept, ascending; all of them where there are no more than `count`.

    Half of them are the key members that end largest, half the others that were ever largest; a
    group of fewer leaves its places to the other.

    Raises:
        ValueError: count is below 2.
    """
    if count < 2:
        raise ValueError(f"paths = {count}: keep two at least, one of each group")
    if len(last) <= count:
        return torch.arange(len(last))
    n_key, n_others = int(is_key.sum()), int((~is_key).sum())
    first = min(n_key, max((count + 1) // 2, count - n_others))
    key = last.where(is_key, -1).argsort(descending=True, stable=True)[:first]
    others = peaks.where(~is_key, -1).argsort(descending=True, stable=True)[: count - first]
    return torch.cat([key, others]).sort().values


def _at_step(
    values: Float[Tensor, " member"],
    kept: Int[Tensor, " path"],
    groups: Bool[Tensor, "2 member"],
    level: float,
) -> dict[str, np.ndarray]:
    """What is kept of one step."""
    sizes = values.abs()
    rest = np.delete(values.numpy(), kept.numpy())
    quantiles = np.quantile(rest, QUANTILES) if len(rest) else rest
    return {
        "paths": values[kept].float().numpy(),
        "rest": quantiles.astype(np.float32),
        "norms": (groups * sizes).norm(dim=1).numpy(),
        "counts": (groups & (sizes > level)).sum(1).numpy(),
        "concentration": torch.stack([measure(sizes) for measure in MEASURES.values()]).numpy(),
    }


def _filled(found: Iterable[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """Arrays by name with a last axis of steps.

    Room is made once: a small array kept from each step would pin the large ones freed around it.
    """
    filled: dict[str, np.ndarray] = {}
    for place, each in enumerate(found):
        for name, value in each.items():
            if place == 0:
                filled[name] = np.empty((*value.shape, count), value.dtype)
            filled[name][..., place] = value
    return filled
