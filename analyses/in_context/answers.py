"""What do runs of different mixtures answer on the same prompts, and how far apart are the answers?

Which runs of a sweep are compared, and what each was trained on; their predictions and those of
baselines; errors, and distances D of predictions A and B after each number of examples:

    D(A, B) = Σ_prompts (A - B)² / (prompts · mean y²)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.in_context.prompts import Prompts, labels_of, predictions, prompts_of
from analyses.sweep_table import has_failed
from hooks import Checkpoints, Examples, FunctionFacts, MixtureFacts, PromptFacts

if TYPE_CHECKING:
    import pandas

WEIGHTS = "task.weights"  # the field in which compared runs differ


@dataclass(frozen=True, eq=False)
class MixtureRuns:
    """Finished runs that differ in the weights of their function classes.

    Attributes:
        checkpoints: By the run's name.
        classes: Classes of functions.
        shares: Each setting's share of each class.
        setting: Which of the settings each run has.
    """

    checkpoints: Mapping[str, Checkpoints]
    classes: tuple[str, ...]
    shares: Float[np.ndarray, "setting class"]
    setting: Int[np.ndarray, " run"]

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.checkpoints)

    @property
    def names(self) -> tuple[str, ...]:
        """What each setting was trained on."""
        return tuple(_mixture_name(self.classes, row) for row in self.shares)

    @property
    def most_even(self) -> int:
        """The first run of the setting whose smallest share is largest."""
        return int(np.flatnonzero(self.setting == self.shares.min(1).argmax())[0])


def mixture_runs(
    table: "pandas.DataFrame", series: Mapping[str, Checkpoints], axes: Sequence[str]
) -> MixtureRuns:
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
    finished = {
        name: run for name in table.loc[~has_failed(table), "run"] if (run := series[name]).steps
    }
    lacking = [
        kind
        for run in finished.values()
        for kind in (FunctionFacts, PromptFacts, MixtureFacts)
        if run.facts.get(kind) is None
    ]
    if not finished or lacking:
        why = f"their task tells no {lacking[0].__name__}" if lacking else "no run is finished"
        raise ValueError(f"ModelSelection needs runs of function_classes: {why}")
    fields = {
        "d": FunctionFacts,
        "pairs": PromptFacts,
        "classes": MixtureFacts,
        "noise": FunctionFacts,
    }
    for name, kind in fields.items():
        if len({getattr(run.facts(kind), name) for run in finished.values()}) > 1:
            raise ValueError(f"ModelSelection needs runs of one task, and {name} differs")
    mixtures = [run.facts(MixtureFacts) for run in finished.values()]
    classes, shares_of_runs = mixtures[0].classes, [mixture.shares for mixture in mixtures]
    shares, setting = np.unique(shares_of_runs, axis=0, return_inverse=True)
    if not shares.min(1).max() > 0:
        raise ValueError(
            f"ModelSelection needs a run with all of {', '.join(classes)} in its mixture: add one "
            f"to {WEIGHTS}"
        )
    # The first class first, as in the papers' order w = 1 to 0.
    return MixtureRuns(
        finished, classes, shares[::-1].copy(), len(shares) - 1 - setting.reshape(-1)
    )


def _mixture_name(classes: Sequence[str], shares: Float[np.ndarray, " class"]) -> str:
    """Shares of classes in words: `dense alone`, `dense 0.5, sparse 0.5`."""
    present = [(name, share) for name, share in zip(classes, shares, strict=True) if share > 0]
    if len(present) == 1:
        return f"{present[0][0]} alone"
    return ", ".join(f"{name} {share:.3g}" for name, share in present)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What several runs and baselines answer on the prompts of one split.

    Attributes:
        split: Where the prompts are from.
        prompts: The prompts.
        kinds: For each group of prompts, its function class, if groups differ by class; else empty.
        values: For each group, the number that distinguishes it.
        outside: For each group, whether its functions are of no class that is trained on.
        predicted: Predictions by run, then by baseline; NaN for prompts that a slow baseline skips.
    """

    split: str
    prompts: Prompts
    kinds: tuple[str, ...]
    values: Float[np.ndarray, " group"]
    outside: Bool[np.ndarray, " group"]
    predicted: Mapping[str, Tensor]

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Split and name of each group of prompts."""
        return [(self.split, name) for name in self.prompts.groups]

    def errors(self) -> Float[np.ndarray, "group curve examples"]:
        """Mean squared errors over the mean square of y."""
        return np.array(
            [
                [
                    self.prompts.errors(answers, group, name).mean(0).numpy()
                    for name, answers in self.predicted.items()
                ]
                for group in range(len(self.prompts.groups))
            ]
        )

    def distances(self) -> Float[np.ndarray, "group curve curve examples"]:
        """Mean squared differences of predictions over the mean square of y."""
        return np.array(
            [
                [
                    [self._distance(group, one, two) for two in self.predicted]
                    for one in self.predicted
                ]
                for group in range(len(self.prompts.groups))
            ]
        )

    def _distance(self, group: int, one: str, two: str) -> Float[np.ndarray, " examples"]:
        rows = self.prompts.rows(group, one, two)
        apart = self.predicted[one][rows] - self.predicted[two][rows]
        return apart.square().mean(0).numpy() / self.prompts.scale[group]


def predictions_on(
    examples: Examples, split: str, runs: Mapping[str, Checkpoints], baselines: Sequence[str]
) -> Predictions:
    """What the last snapshot of each run answers, and the baselines.

    Raises:
        ValueError: The examples are no prompts, or a baseline is unknown.
    """
    prompts, facts = prompts_of(examples, None), examples.facts(PromptFacts)
    predicted = {
        name: predictions(run.snapshot(run.steps[-1], examples), prompts).double()
        for name, run in runs.items()
    }
    labels, firsts = labels_of(prompts.by), [int(rows[0]) for rows in prompts.groups.values()]
    classes = examples.label(facts.asked) if facts.asked in labels else None
    numbers = examples.label(labels[-1]).double() if labels else torch.zeros(len(examples))
    values = np.array([float(numbers[row]) for row in firsts])
    inside = examples.facts(MixtureFacts).inside.get(split)  # which `test` is as a whole
    return Predictions(
        split=split,
        prompts=prompts,
        kinds=tuple("" if classes is None else facts.asked_names[int(classes[i])] for i in firsts),
        values=values,
        outside=np.array(
            [inside is not None and not np.isclose(value, inside).any() for value in values]
        ),
        predicted=predicted | prompts.baselines(baselines),
    )
