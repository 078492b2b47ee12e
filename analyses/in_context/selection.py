"""Does a model trained on a mixture of function classes choose among them, and go beyond them?

Models trained on each class alone and on mixtures answer the same prompts: of each class, between
them (numbers of coefficients that are not 0), and outside (convex combinations, larger values,
other frequencies). Beside each error stands the same model's error on the classes it was trained
on, since what it never learned inside it cannot show outside. Ridge on the features of all classes
together fits combinations too: an error over its error is the ratio of failure.

Source: Yadlowsky et al. 2023 (arXiv:2311.00871), figures 1 to 4, as far as they are known to us.
They divide by what the class has; here by the mean y² of the prompts. References, distances to them
and between seeds, and ratios are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from analyses.in_context.answers import answers
from analyses.in_context.baseline_names import JOINT, joint_of
from analyses.in_context.selection_figures import selection_figures
from analyses.in_context.selection_models import models_of
from analyses.in_context.selection_summary import selection_summary
from analyses.result import Drawing, SweepResult
from hooks import Series

DEFAULT = ("zero", "least_squares", "ridge", "lasso", JOINT, "bayes")


@dataclass(frozen=True, eq=False)
class ModelSelection(SweepResult):
    """Errors and distances of predictions, by kind of prompts and number of examples.

    Attributes:
        classes: Classes of functions.
        names: What models were trained on, by setting: `dense alone`, `dense 0.5, sparse 0.5`.
        shares: Share of each class in a setting's training data.
        runs: Names of the runs.
        setting: Which of the settings each run has.
        references: Baselines on the same prompts.
        splits: By group of prompts, where they are from; `test` is like training data.
        groups: By group, its name: a class, `nnz 3`, `alpha 0.5`, `dense, scale 3`.
        kinds: By group, the class of its functions; empty where that is not what tells it apart.
        values: By group, the number that tells it from others of its split.
        outside: By group, whether its functions are of no class of the most even mixture.
        errors: Of each run, then of each reference; always answering 0 has about 1.
        distances: Mean square difference of predictions over mean y², alike among runs and
            references.
        joint: The reference that is ridge on the features of all classes: plain `ridge` where
            these are the inputs; empty where there is none.
        at: The number of examples that is quoted.
    """

    needs: ClassVar = ("experiment.task.weights",)

    classes: tuple[str, ...]
    names: tuple[str, ...]
    shares: Float[np.ndarray, "setting class"]
    runs: tuple[str, ...]
    setting: Int[np.ndarray, " run"]
    references: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Float[np.ndarray, " group"]
    outside: Bool[np.ndarray, " group"]
    errors: Float[np.ndarray, "group curve examples"]
    distances: Float[np.ndarray, "group curve curve examples"]
    joint: str
    at: int

    @classmethod
    def measure(
        cls,
        table: pd.DataFrame,
        series: Mapping[str, Series],
        *,
        axes: Sequence[str],
        references: Sequence[str] = DEFAULT,
        at: int | None = None,
    ) -> "ModelSelection":
        """Runs the last snapshot of every finished run on the prompts of the most even mixture.

        Args:
            table: One row a run.
            series: The runs, that differ in their classes' weights.
            axes: Fields that vary: `task.weights`.
            references: Baselines as `InContextCurve` takes them; Bayes is that of the mixture.
            at: The number of examples to quote; half of d where left out, and the most where d
                is 1.

        Raises:
            ValueError: Other fields vary, no run is of a mixture, runs are of different tasks, a
                reference is unknown, or `at` lies beyond the prompts.
        """
        models = models_of(table, series, axes)
        mixed = models.series[models.runs[models.most_even]]
        d, last = mixed.constants["d"], mixed.constants["pairs"] - 1
        half = d // 2 if d > 1 else last
        quoted = half if at is None else at
        if not 0 <= quoted <= last:
            raise ValueError(f"at = {at}: give a number of examples from 0 to {last}, the context")
        found = [
            answers(models.series, split, mixed.examples(split), references)
            for split in mixed.constants["splits"]
        ]
        groups = [each for part in found for each in part.groups]
        return cls(
            classes=models.classes, names=models.names, shares=models.shares, runs=models.runs,
            setting=models.setting, references=tuple(found[0].predicted)[len(models.runs) :],
            splits=tuple(split for split, _ in groups), groups=tuple(name for _, name in groups),
            kinds=tuple(kind for part in found for kind in part.kinds),
            values=np.concatenate([part.values for part in found]),
            outside=np.concatenate([part.outside for part in found]),
            errors=np.concatenate([part.errors() for part in found]),
            distances=np.concatenate([part.distances() for part in found]),
            joint=joint_of(references, mixed.constants), at=quoted,
        )  # fmt: skip

    @property
    def curves(self) -> tuple[str, ...]:
        """Settings, then references."""
        return (*self.names, *self.references)

    @property
    def curve_errors(self) -> Float[np.ndarray, "group curve examples"]:
        """Errors by setting, the mean over its runs, then by reference."""
        own = [self.errors[:, self._runs(each)].mean(1) for each in range(len(self.names))]
        return np.stack([*own, *np.moveaxis(self.errors[:, len(self.runs) :], 1, 0)], axis=1)

    @property
    def curve_distances(self) -> Float[np.ndarray, "group curve curve examples"]:
        """Distances between settings and references, the mean over pairs of different runs.

        Of a setting to itself it is the distance between seeds; NaN where it has a single run.
        """
        places = [self._runs(each) for each in range(len(self.names))]
        places += [np.array([len(self.runs) + each]) for each in range(len(self.references))]
        apart = np.full((len(self.groups), *[len(places)] * 2, self.errors.shape[2]), np.nan)
        for one, rows in enumerate(places):
            for two, columns in enumerate(places):
                pairs = [(i, j) for i in rows for j in columns if i != j]
                if pairs:
                    i, j = np.array(pairs).T
                    apart[:, one, two] = self.distances[:, i, j].mean(1)
        return apart

    @property
    def in_class(self) -> Float[np.ndarray, "curve examples"]:
        """Each setting's mean error on the classes it was trained on; of references, on all."""
        known = [place for place, name in enumerate(self.classes) if name in self.inside]
        errors = self.curve_errors[[self.groups.index(self.classes[place]) for place in known]]
        trained = np.ones((len(known), len(self.curves)))
        trained[:, : len(self.names)] = (self.shares[:, known] > 0).T
        return (errors * trained[..., None]).sum(0) / trained.sum(0)[:, None]

    @property
    def ratios(self) -> Float[np.ndarray, "group curve examples"]:
        """Errors over those of ridge on the features of all classes; NaN where there is none."""
        return self.over_joint(self.curve_errors)

    @property
    def mixture(self) -> int:
        """The setting whose shares are the most even."""
        return int(self.shares.min(1).argmax())

    def pure(self, name: str) -> int | None:
        """The setting that was trained on one class alone, if there is one."""
        alone = np.flatnonzero(self.shares[:, self.classes.index(name)] == 1)
        return int(alone[0]) if len(alone) else None

    def summary(self) -> dict[str, float | str]:
        """By class, the errors of mixture, pure model and best reference after `at` examples.

        `<class>_cost` is what mixing costs there, and `<class>_other` the error of the worst pure
        model of another class. `in_class` is the mixture's error inside; of each split that leads
        outside its largest error there, and where that is. `combination_ratio` is its largest ratio
        of failure on combinations, `in_class_ratio` that inside.
        """
        return selection_summary(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a group, curve and number of examples: `error`, `in_class`, `ratio`, distances.

        Columns `to <curve>` are distances to each other setting and reference.
        """
        group, curve, examples = (axis.ravel() for axis in np.indices(self.curve_errors.shape))
        apart = self.curve_distances
        frame = pd.DataFrame(
            {
                "split": np.array(self.splits)[group],
                "group": np.array(self.groups)[group],
                "value": self.values[group],
                "curve": np.array(self.curves)[curve],
                "examples": examples,
                "error": self.curve_errors.ravel(),
                "in_class": self.in_class[curve, examples],
                "ratio": self.ratios.ravel(),
            }
        )
        distances = {
            f"to {name}": apart[group, curve, place, examples]
            for place, name in enumerate(self.curves)
        }
        return pd.concat([frame, pd.DataFrame(distances)], axis=1)

    def figures(self) -> Mapping[str, Drawing]:
        """Curves by class; errors and distances by number of coefficients; what lies outside."""
        return selection_figures(self)

    def over_joint(
        self, errors: Float[np.ndarray, "row curve examples"]
    ) -> Float[np.ndarray, "row curve examples"]:
        """Errors of all curves over those of ridge on the features of all classes."""
        if not self.joint:
            return np.full_like(errors, np.nan)
        joint = errors[:, self.curves.index(self.joint)][:, None]
        return np.divide(errors, joint, out=np.full_like(errors, np.nan), where=joint > 0)

    @property
    def inside(self) -> tuple[str, ...]:
        """Classes that some of the prompts are of as in training."""
        return tuple(
            name for split, name in zip(self.splits, self.groups, strict=True) if split == "test"
        )

    def _runs(self, setting: int) -> Int[np.ndarray, " run"]:
        return np.flatnonzero(self.setting == setting)
