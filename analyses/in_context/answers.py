"""Models and baselines on the same prompts: errors, and how far their predictions are apart.

D(A, B) = Σ_prompts (A - B)² / (prompts · mean y²),    after each number of examples
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.in_context.prompts import Pairs, labels_of, pairs_of, predictions
from analyses.sweep_table import has_failed
from hooks import Checkpoints, Examples, FunctionFacts, MixtureFacts, PromptFacts

# from analyses/in_context/selection_models.py:
# Which models of a sweep are to be compared, and what was each trained on?


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
    models: Mapping[str, Checkpoints], split: str, examples: Examples, baselines: Sequence[str]
) -> Answers:
    """What the last snapshot of each model answers, and the baselines.

    Raises:
        ValueError: The examples are no prompts, or a baseline is unknown.
    """
    pairs = pairs_of(examples, None)
    kinds, values = _told_apart(examples, pairs)
    inside = examples.facts(MixtureFacts).inside.get(split)  # which `test` is as a whole
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
    labels, prompts = labels_of(pairs.by), examples.facts(PromptFacts)
    firsts = [int(rows[0]) for rows in pairs.groups.values()]
    classes = examples.label(prompts.asked) if prompts.asked in labels else None
    told = examples.label(labels[-1]).double() if labels else torch.zeros(len(examples))
    return (
        tuple("" if classes is None else prompts.asked_names[int(classes[row])] for row in firsts),
        np.array([float(told[row]) for row in firsts]),
    )


WEIGHTS = "task.weights"


@dataclass(frozen=True, eq=False)
class Models:
    """Finished runs that differ in the weights of their classes.

    Attributes:
        series: By the run's name.
        classes: Classes of functions.
        shares: Each setting's share of each class.
        setting: Which of the settings each run has.
    """

    series: Mapping[str, Checkpoints]
    classes: tuple[str, ...]
    shares: Float[np.ndarray, "setting class"]
    setting: Int[np.ndarray, " run"]

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.series)

    @property
    def names(self) -> tuple[str, ...]:
        """What each setting was trained on."""
        return tuple(_told(self.classes, row) for row in self.shares)

    @property
    def most_even(self) -> int:
        """The first run of the setting whose smallest share is largest."""
        return int(np.flatnonzero(self.setting == self.shares.min(1).argmax())[0])


def models_of(
    table: pd.DataFrame, series: Mapping[str, Checkpoints], axes: Sequence[str]
) -> Models:
    """The runs of a table that were finished and have a checkpoint.

    Raises:
        ValueError: Fields other than the weights vary, none is finished, tasks differ, or no
            run is of a mixture of all classes.
    """
    others = [axis for axis in axes if axis != WEIGHTS]
    if others:
        raise ValueError(
            f"ModelSelection compares runs that differ in {WEIGHTS} and seeds, and here "
            f"{', '.join(others)} varies too: make a sweep of each"
        )
    finished = table.loc[~has_failed(table), "run"]
    known = {run: own for run in finished if (own := series[run]).steps}
    kinds = (FunctionFacts, PromptFacts, MixtureFacts)
    lacking = [kind for run in known.values() for kind in kinds if run.facts.get(kind) is None]
    if not known or lacking:
        why = f"their task tells no {lacking[0].__name__}" if lacking else "no run is finished"
        raise ValueError(f"ModelSelection needs runs of function_classes: {why}")
    mixtures = [run.facts(MixtureFacts) for run in known.values()]
    classes = mixtures[0].classes
    shared = {
        "d": {run.facts(FunctionFacts).d for run in known.values()},
        "pairs": {run.facts(PromptFacts).pairs for run in known.values()},
        "classes": {mixture.classes for mixture in mixtures},
        "noise": {run.facts(FunctionFacts).noise for run in known.values()},
    }
    differing = [name for name, values in shared.items() if len(values) > 1]
    if differing:
        raise ValueError(f"ModelSelection needs runs of one task, and {differing[0]} differs")
    shares, setting = np.unique(
        [mixture.shares for mixture in mixtures], axis=0, return_inverse=True
    )
    if not shares.min(1).max() > 0:
        raise ValueError(
            f"ModelSelection needs a run with all of {', '.join(classes)} in its mixture: add one "
            f"to {WEIGHTS}"
        )
    # The first class first, as in the papers' order w = 1 to 0.
    order = len(shares) - 1 - setting.reshape(-1)
    return Models(known, classes, shares[::-1].copy(), order)


def _told(classes: Sequence[str], shares: Float[np.ndarray, " class"]) -> str:
    """Shares in words."""
    present = [(name, share) for name, share in zip(classes, shares, strict=True) if share > 0]
    if len(present) == 1:
        return f"{present[0][0]} alone"
    return ", ".join(f"{name} {share:.3g}" for name, share in present)
