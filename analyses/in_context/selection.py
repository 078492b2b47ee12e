"""Does a model trained on a mixture of function classes choose among them, and go beyond them?

Models trained on each class alone and on mixtures answer the same prompts: of each class, between
them (numbers of coefficients that are not 0), and outside (convex combinations, larger values,
other frequencies). Beside each error stands the same model's error on the classes it was trained
on, since what it never learned inside it cannot show outside. Ridge on the features of all classes
together fits combinations too: an error over its error is the ratio of failure.

Source: Yadlowsky et al. 2023 (arXiv:2311.00871), figures 1 to 4, as far as they are known to us.
They divide by the mean y² of the class, we by that of the prompts. Baselines (the field
`references`), distances to them and between seeds, and ratios are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.findings import Finding
from analyses.in_context.answers import mixture_runs, predictions_on
from analyses.in_context.baseline_names import JOINT, joint_of
from analyses.in_context.curve import examples_of
from analyses.plots import DASHES, MUTED, PALETTE, Trace, line, logarithmic, multiples, words
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from hooks import Checkpoints, FunctionFacts, MixtureFacts, PromptFacts

if TYPE_CHECKING:
    import pandas

DEFAULT_BASELINES = ("zero", "least_squares", "ridge", "lasso", JOINT, "bayes")
# Of the way from the error of the model trained on a class alone to that of models trained on
# others: a mixture that loses at most this share of it chooses among its classes.
MAX_COST = 0.5
SMALL_ERROR = 0.01  # of mean y²: so small an error outside goes beyond the classes in any case
FACTOR = 2.0  # times the error inside: at most this outside counts as going beyond the classes
MAX_ERROR = 1.5  # the largest error that figures show
ERROR, DISTANCE = "squared error / mean y²", "squared difference / mean y²"
VALUE_NAMES = {
    "sparsity": "coefficients that are not 0",
    "combination": "share of the first class",
    "scale": "y multiplied by",
    "frequency": "frequency multiplied by",
}
# By split: what its prompts are, where their class does not say it.
PROMPT_NAMES = {
    "sparsity": "linear functions",
    "combination": "combinations",
    "scale": "values made larger and smaller",
    "frequency": "other frequencies",
}


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
        splits: For each group of prompts, its split of the task; `test` is like training data.
        groups: For each group, its name: a class, `nnz 3`, `alpha 0.5`, `dense, scale 3`.
        kinds: For each group, the class of its functions; empty if groups do not differ by class.
        values: For each group, the number that distinguishes it from others of its split.
        outside: For each group, whether its functions are of no class of the most even mixture.
        errors: Errors of each run, then of each baseline; always answering 0 has about 1.
        distances: Mean square difference of predictions over mean y², for all pairs of runs and
            baselines.
        joint: The baseline that is ridge on the features of all classes: plain `ridge` where
            these are the inputs; empty if there is none.
        at: The number of examples that is quoted.
    """

    needs: ClassVar = Needs(columns=("experiment.task.weights",))
    coordinates: ClassVar = {
        "training": "names",
        "class": "classes",
        "predictor": "predictors",
        "other": "predictors",
    }

    classes: tuple[str, ...]
    names: tuple[str, ...]
    shares: Float[np.ndarray, "training class"]
    runs: tuple[str, ...]
    setting: Int[np.ndarray, " run"]
    references: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Float[np.ndarray, " group"]
    outside: Bool[np.ndarray, " group"]
    errors: Float[np.ndarray, "group predictor examples"]
    distances: Float[np.ndarray, "group predictor other examples"]
    joint: str
    at: int

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        references: Sequence[str] = DEFAULT_BASELINES,
        at: int | None = None,
    ) -> "ModelSelection":
        """Runs the last snapshot of every finished run on the prompts of the most even mixture.

        Args:
            table: One row for each run.
            series: The runs, that differ in their classes' weights.
            axes: Fields that vary: `task.weights`.
            references: Baselines as `InContextCurve` takes them; Bayes is that of the mixture.
            at: The number of examples to quote; half of d if left out, and the most where d
                is 1.

        Raises:
            ValueError: Other fields vary, no run is of a mixture, runs are of different tasks, a
                baseline is unknown, or `at` lies beyond the prompts.
        """
        compared = mixture_runs(table, series, axes)
        mixed = compared.checkpoints[compared.runs[compared.most_even]]
        d, last = mixed.facts(FunctionFacts).d, mixed.facts(PromptFacts).pairs - 1
        if at is None:
            at = d // 2 if d > 1 else last
        if not 0 <= at <= last:
            raise ValueError(f"at = {at}: give a number of examples from 0 to {last}, the context")
        by_split = [
            predictions_on(mixed.examples(split), split, compared.checkpoints, references)
            for split in mixed.facts(MixtureFacts).splits
        ]
        splits, groups = zip(*(group for part in by_split for group in part.groups), strict=True)
        return cls(
            classes=compared.classes,
            names=compared.names,
            shares=compared.shares,
            runs=compared.runs,
            setting=compared.setting,
            references=tuple(by_split[0].predicted)[len(compared.runs) :],
            splits=splits,
            groups=groups,
            kinds=tuple(kind for part in by_split for kind in part.kinds),
            values=np.concatenate([part.values for part in by_split]),
            outside=np.concatenate([part.outside for part in by_split]),
            errors=np.concatenate([part.errors() for part in by_split]),
            distances=np.concatenate([part.distances() for part in by_split]),
            joint=joint_of(references, mixed.facts),
            at=at,
        )

    @property
    def predictors(self) -> tuple[str, ...]:
        """Runs, then baselines."""
        return (*self.runs, *self.references)

    @property
    def curves(self) -> tuple[str, ...]:
        """Settings, then baselines."""
        return (*self.names, *self.references)

    @property
    def curve_errors(self) -> Float[np.ndarray, "group curve examples"]:
        """Errors by setting, the mean over its runs, then by baseline."""
        return np.stack([self.errors[:, places].mean(1) for places in self._predictors], axis=1)

    @property
    def curve_distances(self) -> Float[np.ndarray, "group curve curve examples"]:
        """Distances between settings and baselines, the mean over pairs of different runs.

        The distance of a setting to itself is that between seeds; NaN where it has a single run.
        """
        n_curves = len(self.curves)
        apart = np.full((len(self.groups), n_curves, n_curves, self.errors.shape[2]), np.nan)
        for one, rows in enumerate(self._predictors):
            for two, columns in enumerate(self._predictors):
                pairs = [(i, j) for i in rows for j in columns if i != j]
                if pairs:
                    i, j = np.array(pairs).T
                    apart[:, one, two] = self.distances[:, i, j].mean(1)
        return apart

    @property
    def in_class(self) -> Float[np.ndarray, "curve examples"]:
        """Each setting's mean error on the classes it was trained on; of baselines, on all."""
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
        """For each class, the errors of mixture, pure model and best baseline after `at` examples.

        `<class>_cost` is the error of the mixture less that of the pure model, and `<class>_other`
        the error of the worst pure model of another class. `in_class` is the mixture's error on the
        classes it was trained on. For each split with prompts outside these classes there are the
        mixture's largest error on such prompts and their group. `combination_ratio` is the
        mixture's largest ratio of failure on combinations, and `in_class_ratio` its ratio on the
        classes it was trained on.
        """
        errors, mixture = self.curve_errors[..., self.at], self.mixture
        scalars: dict[str, float | str] = {"examples": float(self.at)}
        for name in self.inside:
            scalars |= self._scalars_of_class(name, errors[self.groups.index(name)])
        scalars["in_class"] = float(self.in_class[mixture, self.at])
        if self.joint:
            scalars["in_class_ratio"] = float(
                self.over_joint(self.in_class[None])[0, mixture, self.at]
            )
        for split in dict.fromkeys(self.splits):
            rows = [row for row in np.flatnonzero(self.outside) if self.splits[row] == split]
            if rows:
                # NaN, of a group whose answers are all 0, is no largest.
                worst = max(rows, key=lambda row: np.nan_to_num(errors[row, mixture], nan=-1))
                scalars[f"{split}_largest"] = float(errors[worst, mixture])
                scalars[f"{split}_largest_at"] = self.groups[worst]
            if rows and split == "combination" and self.joint:
                scalars["combination_ratio"] = float(self.ratios[rows, mixture, self.at].max())
        return scalars

    def _scalars_of_class(self, name: str, errors: Float[np.ndarray, " curve"]) -> dict[str, float]:
        """The scalars of one class, from the errors on its prompts."""
        scalars = {"mixture": errors[self.mixture]}
        if self.references:
            scalars["best_reference"] = errors[len(self.names) :].min()
        alone = self.pure(name)
        if alone is not None:
            scalars |= {"pure": errors[alone], "cost": errors[self.mixture] - errors[alone]}
        others = [self.pure(other) for other in self.classes if other != name]
        if any(place is not None for place in others):
            scalars["other"] = max(errors[place] for place in others if place is not None)
        return {f"{name.replace(' ', '_')}_{key}": float(value) for key, value in scalars.items()}

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Whether the mixture chooses among its classes, and whether it goes beyond them."""
        outside = [self._beyond(split) for split in dict.fromkeys(self.splits)]
        return (*self._choice(), *(finding for part in outside for finding in part))[:3]

    def _choice(self) -> tuple[Finding, ...]:
        """On the class that costs most: the mixture beside the pure model and those of others."""
        scalars, compared = self.summary(), []
        for name in self.inside:
            prefix = name.replace(" ", "_")
            errors = [scalars.get(f"{prefix}_{of}", np.nan) for of in ("mixture", "pure", "other")]
            mixture, pure, other = map(float, errors)
            if other > pure and np.isfinite(mixture):
                compared.append(((mixture - pure) / (other - pure), name, mixture, pure, other))
        if not compared:
            return ()
        cost, name, mixture, pure, other = max(compared)
        text = (
            f"On {name} prompts the mixture's error after {examples_of(self.at)} is {mixture:.2g} "
            f"of mean y² (trained on {name} alone: {pure:.2g}, on another class: {other:.2g})"
        )
        return (Finding(text, "found" if cost <= MAX_COST else "not found", figure="classes"),)

    def _beyond(self, split: str) -> tuple[Finding, ...]:
        """The mixture's largest error on prompts of a split that are of none of its classes."""
        scalars = self.summary()
        largest = float(scalars.get(f"{split}_largest", np.nan))
        inside = float(scalars["in_class"])
        if np.isnan([largest, inside]).any():
            return ()
        goes = largest <= max(FACTOR * inside, SMALL_ERROR)
        text = (
            f"The mixture {'goes' if goes else 'does not go'} beyond its classes on "
            f"{PROMPT_NAMES.get(split, split)}: largest error {largest:.2g} of mean y² "
            f"(inside: {inside:.2g})"
        )
        return (Finding(text, "found" if goes else "not found", figure=split),)

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each group, curve and number of examples: `error`, `in_class` and `ratio`.

        Columns `to <curve>` are distances to each setting and baseline.
        """
        import pandas

        group, curve, examples = (axis.ravel() for axis in np.indices(self.curve_errors.shape))
        distances = self.curve_distances
        frame = pandas.DataFrame(
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
        columns = {
            f"to {name}": distances[group, curve, place, examples]
            for place, name in enumerate(self.curves)
        }
        return pandas.concat([frame, pandas.DataFrame(columns)], axis=1)

    def figures(self) -> Mapping[str, Drawing]:
        """Curves by class; errors and distances by number of coefficients; what lies outside."""
        drawn = {"classes": self._classes()}
        if "sparsity" in self.splits:
            drawn |= {"sparsity": self._along("sparsity"), "distances": self._distances()}
        for split in ("combination", "scale", "frequency"):
            if split in self.splits:
                drawn[split] = self._along(split)
        if "combination" in self.splits and self.joint:
            drawn["ratio"] = self._ratios()
        return drawn

    def _classes(self) -> Drawing:
        errors, examples = self.curve_errors, np.arange(self.errors.shape[2])
        inside = self.in_class[self.mixture, self.at]
        return multiples(
            {
                name: self._traces(examples, errors[row])
                for row, (split, name) in enumerate(zip(self.splits, self.groups, strict=True))
                if split == "test"
            },
            axes=("examples before the answer", ERROR),
            yaxis={"range": [0, MAX_ERROR]},
            title=f"Trained on {self.names[self.mixture]}: error {inside:.3g} after "
            f"{examples_of(self.at)}, mean over classes",
        )

    def _along(self, split: str) -> Drawing:
        """Errors along a split, a panel for each class; one more panel has the errors inside."""
        rows, errors = self._rows(split), self.curve_errors[..., self.at]
        by_kind = {
            kind: rows[np.array(self.kinds)[rows] == kind]
            for kind in dict.fromkeys(self.kinds[row] for row in rows)
        }
        panels = {
            f"on {kind or PROMPT_NAMES[split]}": self._traces(self.values[places], errors[places].T)
            for kind, places in by_kind.items()
        }
        x = np.unique(self.values[rows])
        inside = np.repeat(self.in_class[:, self.at, None], len(x), axis=1)
        return multiples(
            panels | {"on the classes trained on": self._traces(x, inside)},
            axes=(VALUE_NAMES[split], ERROR),
            yaxis={"range": [0, MAX_ERROR]},
            title=f"Errors after {examples_of(self.at)} on {PROMPT_NAMES[split]}, beside those "
            "inside",
        )

    def _ratios(self) -> Drawing:
        """Errors on combinations over those of ridge on the features of all classes.

        All ratios of models are shown; a baseline that fits exactly lies endlessly far below.
        """
        rows = self._rows("combination")
        ratios = self.ratios[rows][..., self.at]
        outside = ratios[self.outside[rows], self.mixture]
        most = f"up to {float(f'{outside.max():.3g}'):,g}" if len(outside) else "only inside"
        models = {"joint": [1.0], "models": ratios[:, : len(self.names)]}
        ends = np.log10([np.nanmin(models["models"]), np.nanmax(models["models"]), 1])
        return multiples(
            {"": self._traces(self.values[rows], ratios.T)},
            axes=(VALUE_NAMES["combination"], "error / error of joint ridge"),
            yaxis=logarithmic(models) | {"range": [ends.min() - 0.2, ends.max() + 0.2]},
            title=f"Error of {self.names[self.mixture]} after {examples_of(self.at)} over that of "
            f"ridge on the features of all classes: {most}",
        )

    def _distances(self) -> Drawing:
        """How far the mixture's predictions are from all others, by number of coefficients."""
        rows = self._rows("sparsity")
        distances = self.curve_distances[rows, self.mixture][..., self.at].T
        traces = self._traces(self.values[rows], distances)
        return multiples(
            {"": [trace for trace in traces if np.isfinite(trace["y"]).all()]},
            axes=(VALUE_NAMES["sparsity"], DISTANCE),
            xaxis={"dtick": 1},
            title=f"Predictions of {self.names[self.mixture]} after {examples_of(self.at)}, how "
            "far from those of others",
        )

    def _traces(self, x: np.ndarray, y: Float[np.ndarray, "curve place"]) -> list[Trace]:
        """Lines of models on top of dashes of baselines; `y` has a row for each curve."""
        n_models = len(self.names)
        names = [*self.names, *map(words, self.references)]
        order = [*range(n_models, len(names)), *range(n_models)]
        return [line(x, y[curve], names[curve], self._style(curve)) for curve in order]

    def _style(self, curve: int) -> Trace:
        """The look of a curve, of which those of models come first."""
        index = curve - len(self.names)
        if index < 0:
            return {"color": PALETTE[curve % 6], "width": 4 if curve == self.mixture else 3}
        if self.curves[curve] == "zero":
            return {"color": MUTED, "width": 1}
        return {"color": PALETTE[(index + 1) % 6], "dash": DASHES[1 + index % 4], "width": 1.5}

    def _rows(self, split: str) -> Int[np.ndarray, " row"]:
        """The groups of prompts of a split."""
        return np.flatnonzero(np.array(self.splits) == split)

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
        """Classes that have prompts of their own, like those of training."""
        return tuple(
            name for split, name in zip(self.splits, self.groups, strict=True) if split == "test"
        )

    @property
    def _predictors(self) -> list[np.ndarray]:
        """For each curve, its places among predictors: the runs of a setting, or a baseline."""
        settings = [np.flatnonzero(self.setting == place) for place in range(len(self.names))]
        return [*settings, *np.arange(len(self.runs), len(self.predictors))[:, None]]
