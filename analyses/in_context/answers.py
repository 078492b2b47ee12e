"""Models and baselines on the same prompts: errors, and how far their predictions are apart.

D(A, B) = Σ_prompts (A - B)² / (prompts · mean y²),    after each number of examples
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analyses.in_context.prompts import Pairs, labels_of, pairs_of, predictions
from hooks import Examples, Series


@dataclass(frozen=True, eq=False)
class Answers:
    """What several models and baselines answer on the prompts of one split.

    Attributes:
        split: Where the prompts are from.
        pairs: The prompts.
        kinds: By group, the class of its functions; empty where it is of several, or of none.
        values: By group, the number that tells it from others.
        outside: By group, whether its functions are of no class that is trained on.
        predicted: By run, then by baseline; NaN where a slow one is not given a prompt.
    """

    split: str
    pairs: Pairs
    kinds: tuple[str, ...]
    values: Float[np.ndarray, " group"]
    outside: Bool[np.ndarray, " group"]
    predicted: Mapping[str, Tensor]

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Split and name of each group of prompts."""
        return [(self.split, name) for name in self.pairs.groups]

    def errors(self) -> Float[np.ndarray, "group curve examples"]:
        """Mean squared errors over the mean square of y."""
        return np.array(
            [
                [
                    self.pairs.errors(each, group, name).mean(0).numpy()
                    for name, each in self.predicted.items()
                ]
                for group in range(len(self.pairs.groups))
            ]
        )

    def distances(self) -> Float[np.ndarray, "group curve curve examples"]:
        """Mean squared differences of predictions over the mean square of y."""
        return np.array([self._apart(group) for group in range(len(self.pairs.groups))])

    def _apart(self, group: int) -> Float[np.ndarray, "curve curve examples"]:
        rows, scale = list(self.pairs.groups.values())[group], self.pairs.scale[group]
        given = {name: self.pairs.given(name)[rows] for name in self.predicted}
        found = [
            [
                (a[rows] - b[rows])[given[one] & given[two]].square().mean(0).numpy() / scale
                for two, b in self.predicted.items()
            ]
            for one, a in self.predicted.items()
        ]
        return np.array(found)


def answers(
    models: Mapping[str, Series], split: str, examples: Examples, baselines: Sequence[str]
) -> Answers:
    """What the last snapshot of each model answers, and the baselines.

    Raises:
        ValueError: The examples are no prompts, or a baseline is unknown.
    """
    pairs = pairs_of(examples, None)
    kinds, values = _told_apart(examples, pairs)
    inside = examples.constants["inside"].get(split)  # which `test` is as a whole
    predicted = {
        name: predictions(series.snapshot(series.steps[-1], examples), pairs).double()
        for name, series in models.items()
    }
    return Answers(
        split=split,
        pairs=pairs,
        kinds=kinds,
        values=values,
        outside=np.array(
            [inside is not None and not np.isclose(each, inside).any() for each in values]
        ),
        predicted=predicted | pairs.baselines(baselines),
    )


def _told_apart(
    examples: Examples, pairs: Pairs
) -> tuple[tuple[str, ...], Float[np.ndarray, " group"]]:
    """By group, its class where the groups are told apart by it, and the number that does."""
    labels, names = labels_of(pairs.by), examples.constants.get("asked_names", ())
    firsts = [int(rows[0]) for rows in pairs.groups.values()]
    asked = examples.constants.get("asked")
    classes = examples.label(asked) if asked in labels else None
    told = examples.label(labels[-1]).double() if labels else torch.zeros(len(examples))
    return (
        tuple("" if classes is None else str(names[int(classes[row])]) for row in firsts),
        np.array([float(told[row]) for row in firsts]),
    )
