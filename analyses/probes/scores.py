"""How well is every label read at every site and position?

Scores come with the controls that need no other model: the same probe on labels shuffled within
each part of the split, the raw input, and the guess of the commonest class or the mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from analyses.probes.evaluate import (
    CLASS_METHODS,
    GroupSplit,
    ProbeTarget,
    baseline_score,
    objection,
    readings,
)
from analyses.probes.inputs import digest, raw_input
from hooks import Examples

FIELDS = ("score", "low", "high", "validation", "penalty")  # of `Reading`


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """What is to be read from features.

    Attributes:
        targets: By label and position; None if a label cannot be probed.
        split: What is held out.
        index: Where each position lies in each example; -1 where an example is too short.
        left_out: Labels that can be probed nowhere, and why.
    """

    targets: Mapping[str, Sequence[ProbeTarget | None]]
    split: GroupSplit
    index: Int[Tensor, "batch position"]
    left_out: Mapping[str, str]

    @property
    def n_classes(self) -> tuple[int, ...]:
        """Number of classes of each label, 0 for real values; the most where positions differ."""
        return tuple(
            max(target.n_classes for target in targets if target is not None)
            for targets in self.targets.values()
        )

    def rows(self, position: int) -> Bool[Tensor, " batch"]:
        """Examples that have the n-th position."""
        return self.index[:, position] >= 0

    def known(self, position: int) -> dict[int, ProbeTarget]:
        """Targets of the labels that can be probed at the n-th position, by label number."""
        return {
            label: target
            for label, target in enumerate(column[position] for column in self.targets.values())
            if target is not None
        }


def probe_task(
    values: Mapping[str, Tensor],
    split: GroupSplit,
    index: Int[Tensor, "batch position"],
    *,
    method: str,
    skip_unprobeable: bool,
) -> ProbeTask:
    """What can be read from features at each position.

    Args:
        values: Values by label, one an example or one a position.
        split: What is held out.
        index: As `places` gives it.
        method: All but ridge read classes only.
        skip_unprobeable: Leave out labels that can be probed nowhere, rather than refuse them.

    Raises:
        ValueError: A label can be probed nowhere and `skip_unprobeable` is False, or none is left.
    """
    targets: dict[str, list[ProbeTarget | None]] = {}
    left_out: dict[str, str] = {}
    for name, label in values.items():
        column = [_target(label, split, places, method) for places in index.T]
        if all(isinstance(target, str) for target in column):
            left_out[name] = str(column[0])
        else:
            targets[name] = [None if isinstance(target, str) else target for target in column]
    if not targets or (left_out and not skip_unprobeable):
        if not left_out:
            raise ValueError("labels: none to probe; name one or give an array")
        name, reason = next(iter(left_out.items()))
        also = f" (and {len(left_out) - 1} more labels)" if len(left_out) > 1 else ""
        raise ValueError(f"label '{name}': {reason}{also}")
    return ProbeTask(targets, split, index, left_out)


def probe_table(
    task: ProbeTask,
    features: Mapping[str, Float[Tensor, "batch position feature"]],
    *,
    seed: int,
    method: str,
    penalties: Sequence[float],
) -> dict[str, Float[np.ndarray, "label site position"]]:
    """What `readings` gives for every label at every site and position, and `shuffled`.

    Args:
        task: Labels, positions and what is held out.
        features: By site.
        seed: Of the shuffles, the same at every site and for every label.
        method: How probes are fitted.
        penalties: Candidates.

    Returns:
        By field; NaN where a label cannot be probed.
    """
    shape = (len(FIELDS) + 1, len(task.targets), len(features), task.index.shape[1])
    table = np.full(shape, np.nan)
    for position in filter(task.known, range(shape[-1])):
        rows, known = task.rows(position), task.known(position)
        split = task.split.at(rows)
        shuffled = [
            target.shuffled(split, torch.Generator().manual_seed(seed)) for target in known.values()
        ]
        targets = [*known.values(), *shuffled]
        for site, activations in enumerate(features.values()):
            read = readings(
                activations[rows, position], targets, split, method=method, penalties=penalties
            )
            table[:, list(known), site, position] = [
                *([getattr(one, name) for one in read[: len(known)]] for name in FIELDS),
                [one.score for one in read[len(known) :]],
            ]
    return dict(zip((*FIELDS, "shuffled"), table, strict=True))


def baselines(task: ProbeTask) -> Float[np.ndarray, "label position"]:
    """Score of guessing the commonest class or the mean; NaN where a label cannot be probed."""
    table = np.full((len(task.targets), task.index.shape[1]), np.nan)
    for position in range(table.shape[1]):
        split = task.split.at(task.rows(position))
        for label, target in task.known(position).items():
            table[label, position] = baseline_score(target, split)
    return table


def scores_and_controls(
    task: ProbeTask,
    features: Mapping[str, Float[Tensor, "batch position feature"]],
    examples: Examples,
    *,
    has_raw: bool,
    **how: Any,
) -> dict[str, Any]:
    """The fields that results of probes share: what is read, `probe_table`, and controls.

    Args:
        task: Labels, positions and what is held out.
        features: By site.
        examples: Whose raw input is read: all its positions, whichever are probed.
        has_raw: Whether to read the raw input; NaN otherwise.
        how: Seed, method and penalties, as `probe_table` takes them.
    """
    baseline = baselines(task)
    raw = np.full_like(baseline, np.nan)
    if has_raw:
        inputs = raw_input(examples)[:, None].expand(-1, task.index.shape[1], -1)
        raw = probe_table(task, {"raw": inputs}, **how)["score"][:, 0]
    return {
        "labels": tuple(task.targets),
        "n_classes": task.n_classes,
        **probe_table(task, features, **how),
        "raw": raw,
        "baseline": baseline,
        "method": how["method"],
        "probed": digest(examples, how),
    }


def _target(
    values: Shaped[Tensor, "batch ..."],
    split: GroupSplit,
    index: Int[Tensor, " batch"],
    method: str,
) -> ProbeTarget | str:
    """What is read at one position, or why it cannot be."""
    has = index >= 0
    if not has.any():
        return "no example has this position"
    target = ProbeTarget.of(values[has] if values.ndim == 1 else values[has, index[has]])
    if method in CLASS_METHODS and not target.n_classes:
        return f"its values are real, which method='{method}' cannot read: use method='ridge'"
    return objection(target, split.at(has)) or target
