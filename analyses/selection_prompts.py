"""Models and baselines on the same prompts: errors, and how far their predictions are apart.

D(A, B) = Σ_prompts (A - B)² / (prompts · mean y²),    after each number of examples
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.in_context_prompts import Pairs, pairs_of, predictions
from hooks import Examples, Series


@dataclass(frozen=True, eq=False)
class Answers:
    """What several models and baselines answer on the prompts of one split.

    Attributes:
        split: Where the prompts are from.
        pairs: The prompts.
        values: By group, the number that tells it from others.
        predicted: By run, then by baseline; of slow baselines for the first prompts.
    """

    split: str
    pairs: Pairs
    values: Float[np.ndarray, " group"]
    predicted: Mapping[str, Tensor]

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Split and name of each group of prompts."""
        return [(self.split, name) for name in self.pairs.groups]

    def errors(self) -> Float[np.ndarray, "group curve examples"]:
        """Mean squared errors over the mean square of y."""
        return np.array(
            [
                [self.pairs.errors(each, group).mean(0).numpy() for each in self.predicted.values()]
                for group in range(len(self.pairs.groups))
            ]
        )

    def distances(self) -> Float[np.ndarray, "group curve curve examples"]:
        """Mean squared differences of predictions over the mean square of y."""
        return np.array([self._apart(group) for group in range(len(self.pairs.groups))])

    def _apart(self, group: int) -> Float[np.ndarray, "curve curve examples"]:
        rows, scale = list(self.pairs.groups.values())[group], self.pairs.scale[group]
        found = [
            [_square(one, two, rows) / scale for two in self.predicted.values()]
            for one in self.predicted.values()
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
    told = examples.label(pairs.by).double() if pairs.by else torch.zeros(len(examples))
    predicted = {
        name: predictions(series.snapshot(series.steps[-1], examples), pairs).double()
        for name, series in models.items()
    }
    return Answers(
        split=split,
        pairs=pairs,
        values=told.unique().numpy().astype(np.float64),
        predicted=predicted | pairs.baselines(baselines),
    )


def _square(one: Tensor, two: Tensor, rows: Tensor) -> Float[np.ndarray, " examples"]:
    both = rows[rows < min(len(one), len(two))]
    return (one[both] - two[both]).square().mean(0).numpy()
