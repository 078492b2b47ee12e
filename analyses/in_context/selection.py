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

from analyses.in_context.answers import answers, models_of
from analyses.in_context.baseline_names import JOINT, joint_of
from analyses.in_context.curve import examples_of
from analyses.plots.figures import Figure
from analyses.plots.panels import Trace, multiples
from analyses.plots.style import DASHES, MUTED, PALETTE, line, logarithmic, words
from analyses.requirements import Needs
from analyses.result import Drawing, SweepResult
from hooks import Checkpoints, FunctionFacts, MixtureFacts, PromptFacts

# from analyses/in_context/selection_figures.py:
# How models of mixtures are drawn beside pure ones: lines for models, dashes for references.

# from analyses/in_context/selection_summary.py:
# The scalars of models of mixtures beside pure ones: inside, and at its worst outside.

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

    needs: ClassVar = Needs(columns=("experiment.task.weights",))

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
        series: Mapping[str, Checkpoints],
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
        d, last = mixed.facts(FunctionFacts).d, mixed.facts(PromptFacts).pairs - 1
        half = d // 2 if d > 1 else last
        quoted = half if at is None else at
        if not 0 <= quoted <= last:
            raise ValueError(f"at = {at}: give a number of examples from 0 to {last}, the context")
        found = [
            answers(models.series, split, mixed.examples(split), references)
            for split in mixed.facts(MixtureFacts).splits
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
            joint=joint_of(references, mixed.facts), at=quoted,
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


TOP = 1.5  # errors up to here are shown
# What the number is that tells prompts of a split apart.
ALONG = {
    "sparsity": "coefficients that are not 0",
    "combination": "share of the first class",
    "scale": "y multiplied by",
    "frequency": "frequency multiplied by",
}
# What its prompts are, where the class does not tell.
ON = {
    "sparsity": "linear functions",
    "combination": "combinations",
    "scale": "values made larger and smaller",
    "frequency": "other frequencies",
}
ERROR, DISTANCE = "squared error / mean y²", "squared difference / mean y²"


def selection_figures(found: "ModelSelection") -> Mapping[str, Figure]:
    """Curves by class, then by split what lies between the classes and outside."""
    drawn = {"classes": _classes(found)}
    if "sparsity" in found.splits:
        drawn |= {"sparsity": _against(found, "sparsity"), "distances": _distances(found)}
    for split in ("combination", "scale", "frequency"):
        if split in found.splits:
            drawn[split] = _against(found, split)
    if "combination" in found.splits and found.joint:
        drawn["ratio"] = _ratios(found)
    return drawn


def _classes(found: "ModelSelection") -> Figure:
    errors, examples = found.curve_errors, np.arange(found.errors.shape[2])
    panels = {
        name: [_curve(found, examples, errors[row, curve], curve) for curve in _order(found)]
        for row, (split, name) in enumerate(zip(found.splits, found.groups, strict=True))
        if split == "test"
    }
    inside = found.in_class[found.mixture, found.at]
    return multiples(
        panels, axes=("examples before the answer", ERROR), yaxis={"range": [0, TOP]},
        title=f"Trained on {found.names[found.mixture]}: error {inside:.3g} after "
        f"{examples_of(found.at)}, mean over classes",
    )  # fmt: skip


def _against(found: "ModelSelection", split: str) -> Figure:
    """Errors along a split, a panel a class; in one more the errors inside beside them."""
    rows = np.array([row for row, each in enumerate(found.splits) if each == split])
    errors, kinds = found.curve_errors[..., found.at], np.array(found.kinds)
    panels = {}
    for kind in dict.fromkeys(found.kinds[row] for row in rows):
        own = rows[kinds[rows] == kind]
        panels[f"on {kind or ON[split]}"] = [
            _curve(found, found.values[own], errors[own, curve], curve) for curve in _order(found)
        ]
    x = np.unique(found.values[rows])
    panels["on the classes trained on"] = [
        _curve(found, x, np.full(len(x), found.in_class[curve, found.at]), curve)
        for curve in _order(found)
    ]
    return multiples(
        panels, axes=(ALONG[split], ERROR), yaxis={"range": [0, TOP]},
        title=f"Errors after {examples_of(found.at)} on {ON[split]}, beside those inside",
    )  # fmt: skip


def _ratios(found: "ModelSelection") -> Figure:
    """Errors on combinations over those of ridge on the features of all classes.

    All of the models' is shown; a reference that fits exactly lies endlessly far below.
    """
    rows = np.array([row for row, each in enumerate(found.splits) if each == "combination"])
    ratios = found.ratios[rows][..., found.at]
    curves = [_curve(found, found.values[rows], ratios[:, curve], curve) for curve in _order(found)]
    outside = ratios[found.outside[rows], found.mixture]
    most = f"up to {float(f'{outside.max():.3g}'):,g}" if len(outside) else "only inside"
    models = {"joint": [1.0], "models": ratios[:, : len(found.names)]}
    ends = np.log10([np.nanmin(models["models"]), np.nanmax(models["models"]), 1])
    return multiples(
        {"": curves}, axes=(ALONG["combination"], "error / error of joint ridge"),
        yaxis=logarithmic(models) | {"range": [ends.min() - 0.2, ends.max() + 0.2]},
        title=f"Error of {found.names[found.mixture]} after {examples_of(found.at)} over that of "
        f"ridge on the features of all classes: {most}",
    )  # fmt: skip


def _distances(found: "ModelSelection") -> Figure:
    """How far the mixture's predictions are from all others, by number of coefficients."""
    rows = np.array([row for row, each in enumerate(found.splits) if each == "sparsity"])
    apart = found.curve_distances[rows, found.mixture][..., found.at]
    curves = [
        _curve(found, found.values[rows], apart[:, curve], curve)
        for curve in _order(found)
        if np.isfinite(apart[:, curve]).all()
    ]
    return multiples(
        {"": curves}, axes=(ALONG["sparsity"], DISTANCE), xaxis={"dtick": 1},
        title=f"Predictions of {found.names[found.mixture]} after {examples_of(found.at)}, how "
        "far from those of others",
    )  # fmt: skip


def _order(found: "ModelSelection") -> list[int]:
    """References first, so that models are drawn on top."""
    n_models = len(found.names)
    return [*range(n_models, len(found.curves)), *range(n_models)]


def _curve(found: "ModelSelection", x: np.ndarray, y: np.ndarray, curve: int) -> Trace:
    name, n_models = found.curves[curve], len(found.names)
    if curve < n_models:
        style = {"color": PALETTE[curve % 6], "width": 4 if curve == found.mixture else 3}
        return line(x, y, name, style)
    index = curve - n_models
    dashed = {"color": PALETTE[(index + 1) % 6], "dash": DASHES[1 + index % 4], "width": 1.5}
    return line(x, y, words(name), {"color": MUTED, "width": 1} if name == "zero" else dashed)


def selection_summary(found: "ModelSelection") -> dict[str, float | str]:
    """By class, then inside, then by split where it leads outside."""
    errors = found.curve_errors[..., found.at]
    told: dict[str, float | str] = {"examples": float(found.at)}
    for name in found.inside:
        told |= _of_class(found, name, errors[found.groups.index(name)])
    told["in_class"] = float(found.in_class[found.mixture, found.at])
    if found.joint:
        inside = found.over_joint(found.in_class[None])[0, found.mixture, found.at]
        told["in_class_ratio"] = float(inside)
    for split in dict.fromkeys(found.splits):
        rows = [row for row in np.flatnonzero(found.outside) if found.splits[row] == split]
        if rows:
            # NaN, of a group whose answers are all 0, is no largest.
            worst = max(rows, key=lambda row: np.nan_to_num(errors[row, found.mixture], nan=-1))
            told[f"{split}_largest"] = float(errors[worst, found.mixture])
            told[f"{split}_largest_at"] = found.groups[worst]
        if rows and split == "combination" and found.joint:
            told["combination_ratio"] = float(found.ratios[rows, found.mixture, found.at].max())
    return told


def _of_class(
    found: "ModelSelection", name: str, row: Float[np.ndarray, " curve"]
) -> dict[str, float]:
    """What is told of one class, from the errors on its prompts."""
    told = {"mixture": row[found.mixture]}
    if found.references:
        told["best_reference"] = row[len(found.names) :].min()
    alone = found.pure(name)
    if alone is not None:
        told |= {"pure": row[alone], "cost": row[found.mixture] - row[alone]}
    others = [found.pure(each) for each in found.classes if each != name]
    apart = [row[each] for each in others if each is not None]
    told |= {"other": max(apart)} if apart else {}
    return {f"{name.replace(' ', '_')}_{key}": float(value) for key, value in told.items()}
