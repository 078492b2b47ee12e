"""Statistics over many examples without keeping their activations.

Batch by batch the model runs, and each named activation is reduced where it arises and let go: at
no time is more held than one batch's activations and the statistics. A pass ends as soon as the
last named activation has been seen, so that what lies behind it (the last block's MLP, the
logits) is not computed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from hooks.edit import check_fired, check_names
from hooks.snapshot import Snapshot

Reducer = Callable[[Tensor, slice], Mapping[str, Tensor]]


class _Seen(Exception):  # noqa: N818  # no error: torch has no other way out of a forward pass
    """Every named activation of this batch has been reduced."""


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of statistics of equal shape."""
    return torch.stack(list(parts)).sum(0)


def stream(
    snapshot: Snapshot,
    reducers: Mapping[str, Reducer],
    *,
    combine: Callable[[Sequence[Tensor]], Tensor] = total,
) -> dict[str, dict[str, Tensor]]:
    """Statistics of activations over all of a snapshot's examples, edits applied.

    The memory limit of `cache` does not matter here. Runs without gradients.

    Args:
        snapshot: A model and the examples to run it on.
        reducers: By hook name, a pure function from a batch's activation and the slice of the
            examples it belongs to, to tensors by name. Sums, not means: batches differ in size.
        combine: Makes one tensor of a statistic's values, one a batch in the order of the
            examples. `torch.cat` serves statistics with one row for each example.

    Returns:
        By hook name, the combined statistics by name.

    Raises:
        ValueError: A hook point does not exist or does not fire in this model.
    """
    check_names(reducers, snapshot.live.model.hook_dict, "hook point")
    with snapshot.running(), torch.no_grad():
        parts = [_reduced(snapshot, *batch, reducers) for batch in snapshot._batches()]
    return {
        name: {key: combine([part[name][key] for part in parts]) for key in statistics}
        for name, statistics in parts[0].items()
    }


def _reduced(
    snapshot: Snapshot, rows: Tensor, batch: Tensor, reducers: Mapping[str, Reducer]
) -> dict[str, dict[str, Tensor]]:
    """The statistics of one batch, given the rows of its examples and what the model is fed."""
    first = int(rows[0]) if len(rows) else 0
    statistics_by_name: dict[str, dict[str, Tensor]] = {}

    def reduce(activation: Tensor, hook: Any) -> None:
        statistics = reducers[hook.name](activation.detach(), slice(first, first + len(rows)))
        # Cloned, since a view would keep the whole activation alive.
        statistics_by_name[hook.name] = {key: value.clone() for key, value in statistics.items()}
        if len(statistics_by_name) == len(reducers):
            raise _Seen

    model, hooks = snapshot.live.model, [(name, reduce) for name in reducers]
    with snapshot.seeing(rows), model.hooks(fwd_hooks=hooks), suppress(_Seen):
        model(batch)
    check_fired(reducers, statistics_by_name)
    return {name: statistics_by_name[name] for name in reducers}
