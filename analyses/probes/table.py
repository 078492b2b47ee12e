"""Every question asked of every site: scores by label, site and position.

Controls that need no other model come with them: the same probe on labels shuffled within each
part of the split, and the guess of the commonest class or the mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from analyses.probes.evaluate import OF_CLASSES, Split, Target, baseline_score, objection, readings
from analyses.probes.inputs import raw_input
from hooks import Examples

FIELDS = ("score", "low", "high", "validation", "penalty")


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked of features.

    Attributes:
        targets: By label and position; None where a label cannot be probed.
        split: What is held out.
        index: Where each position lies in each example; -1 where an example is too short.
        left_out: Labels that can be probed nowhere, and why.
    """

    targets: Mapping[str, Sequence[Target | None]]
    split: Split
    index: Int[Tensor, "batch position"]
    left_out: Mapping[str, str]

    @property
    def n_classes(self) -> tuple[int, ...]:
        """Number of classes of each label, 0 for real values; the most where positions differ."""
        return tuple(
            max(target.n_classes for target in each if target is not None)
            for each in self.targets.values()
        )

    def rows(self, position: int) -> Bool[Tensor, " batch"]:
        """Examples that have the n-th position."""
        return self.index[:, position] >= 0

    def known(self, position: int) -> dict[int, Target]:
        """Targets of the labels that can be probed at the n-th position, by label number."""
        here = enumerate(each[position] for each in self.targets.values())
        return {label: target for label, target in here if target is not None}


def questions(
    values: Mapping[str, Tensor],
    split: Split,
    index: Int[Tensor, "batch position"],
    *,
    method: str,
    is_choosy: bool,
) -> Questions:
    """What can be asked of features at each position.

    Args:
        values: Values by label, one an example or one a position.
        split: What is held out.
        index: As `places` gives it.
        method: All but ridge read classes only.
        is_choosy: Leave out labels that can be probed nowhere, rather than refuse them.

    Raises:
        ValueError: A label can be probed nowhere and `is_choosy` is False, or none is left.
    """
    targets: dict[str, list[Target | None]] = {}
    left_out: dict[str, str] = {}
    for name, each in values.items():
        found = [_target(each, split, column, method) for column in index.T]
        if all(isinstance(target, str) for target in found):
            left_out[name] = str(found[0])
        else:
            targets[name] = [None if isinstance(target, str) else target for target in found]
    if not targets or (left_out and not is_choosy):
        if not left_out:
            raise ValueError("labels: none to probe; name one or give an array")
        name, reason = next(iter(left_out.items()))
        also = f" (and {len(left_out) - 1} more labels)" if len(left_out) > 1 else ""
        raise ValueError(f"label '{name}': {reason}{also}")
    return Questions(targets, split, index, left_out)


def probe_table(
    asked: Questions,
    found: Mapping[str, Float[Tensor, "batch position feature"]],
    *,
    seed: int,
    method: str,
    penalties: Sequence[float],
) -> dict[str, Float[np.ndarray, "label site position"]]:
    """What `readings` gives for every label at every site and position, and `shuffled`.

    Args:
        asked: Labels, positions and what is held out.
        found: Features by site.
        seed: Of the shuffles, the same at every site and for every label.
        method: How probes are fitted.
        penalties: Candidates.

    Returns:
        By field; NaN where a label cannot be probed.
    """
    shape = (len(FIELDS) + 1, len(asked.targets), len(found), asked.index.shape[1])
    table = np.full(shape, np.nan)
    for position in filter(asked.known, range(shape[-1])):
        rows, known = asked.rows(position), asked.known(position)
        split = asked.split.at(rows)
        shuffled = [
            target.shuffled(split, torch.Generator().manual_seed(seed)) for target in known.values()
        ]
        targets = [*known.values(), *shuffled]
        for site, features in enumerate(found.values()):
            here = features[rows, position]
            read = readings(here, targets, split, method=method, penalties=penalties)
            scores = [[getattr(each, name) for each in read[: len(known)]] for name in FIELDS]
            scores.append([each.score for each in read[len(known) :]])
            table[:, list(known), site, position] = scores
    return dict(zip((*FIELDS, "shuffled"), table, strict=True))


def baselines(asked: Questions) -> Float[np.ndarray, "label position"]:
    """Score of guessing the commonest class or the mean; NaN where a label cannot be probed."""
    table = np.full((len(asked.targets), asked.index.shape[1]), np.nan)
    for position in range(table.shape[1]):
        split = asked.split.at(asked.rows(position))
        for label, target in asked.known(position).items():
            table[label, position] = baseline_score(target, split)
    return table


def raw_scores(
    asked: Questions, examples: Examples, **how: Any
) -> Float[np.ndarray, "label position"]:
    """Scores on the raw input, whose positions are all seen whichever is asked for."""
    seen = raw_input(examples)[:, None].expand(-1, asked.index.shape[1], -1)
    return probe_table(asked, {"raw": seen}, **how)["score"][:, 0]


def _target(
    values: Shaped[Tensor, "batch ..."], split: Split, index: Int[Tensor, " batch"], method: str
) -> Target | str:
    """What is read at one position, or why it cannot be."""
    has = index >= 0
    if not has.any():
        return "no example has this position"
    here = values[has] if values.ndim == 1 else values[has, index[has]]
    target = Target.of(here)
    if method in OF_CLASSES and not target.n_classes:
        return f"its values are real, which method='{method}' cannot read: use method='ridge'"
    return objection(target, split.at(has)) or target
