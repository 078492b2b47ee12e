"""How does a model's error fall with the number of examples it has been shown?

At the k-th scored position of a prompt a model has seen k - 1 examples. Its mean squared error
there, divided by the mean square of y (so that always answering 0 has about 1), stands beside the
errors of least squares and other baselines on the same examples, and, where the classes of
functions allow, beside that of the Bayes mixture, which nothing beats on average. Where answers are
classes the error is the share of wrong ones, beside that of the most frequent answer so far.

Source: Garg et al. 2022 (arXiv:2208.01066), sections 3 to 5: normalised errors, bands from 1,000
bootstrap samples of the prompts at 90 %; they divide by d, or by the number of coefficients.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from analyses.findings import Finding, percent, strength_beside
from analyses.in_context.baseline_names import JOINT, joint_of
from analyses.in_context.prompts import Prompts, predictions, prompts_of
from analyses.plots import DASHES, MUTED, PALETTE, Trace, band, line, multiples, words
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import check_confidence
from hooks import PromptFacts, Snapshot

MODEL = "model"
DEFAULT_BASELINES = (
    "zero",
    "averaging",
    "nearest",
    "least_squares",
    "ridge",
    "lasso",
    JOINT,
    "bayes",
)
BOOTSTRAP_SAMPLES = 1000  # of the prompts
MAX_BASELINE_ERROR = 1.5  # that figures show; of a model they show all errors, with their band

Curves = Float[np.ndarray, "group curve examples"]


@dataclass(frozen=True, eq=False)
class InContextCurve(Result):
    """Errors by number of examples, of the model and of baselines on the same prompts.

    Attributes:
        groups: Kinds of prompts, such as classes of functions.
        prompts: How many of each.
        curves: `model`, then the baselines.
        errors: Mean error over prompts, normalised.
        low: Lower end of its bootstrap interval.
        high: Upper end.
        matched: The model's mean error on the prompts that each curve was predicted for.
        scale: For each group, the mean square of y that squared errors are divided by; 1 for
            classes. If all y are 0, it is NaN and so are the group's errors.
        joint: The curve of ridge on the features of all classes: plain `ridge` if the inputs are
            these features, empty if there is no such curve.
        by: The labels that distinguish groups; empty if there is one group.
        unit: What errors are.
        at: Numbers of examples after which errors are in the summary.
        confidence: Level of the intervals.
        digest: A code of prompts and options; results with the same code have the same baselines.
    """

    needs: ClassVar = Needs(facts={PromptFacts: ()})
    reference: ClassVar = "last"
    sliding: ClassVar = ("curves",)
    rows: ClassVar = ("group", "curve", "examples")
    columns: ClassVar = {"error": "errors", "low": "low", "high": "high"}

    groups: tuple[str, ...]
    prompts: Int[np.ndarray, " group"]
    curves: tuple[str, ...]
    errors: Float[np.ndarray, "group curve examples"]
    low: Float[np.ndarray, "group curve examples"]
    high: Float[np.ndarray, "group curve examples"]
    matched: Float[np.ndarray, "group curve examples"]
    scale: Float[np.ndarray, " group"]
    joint: str
    by: str
    unit: str
    at: tuple[int, ...]
    confidence: float
    digest: str

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "InContextCurve | None" = None,
        baselines: Sequence[str] = DEFAULT_BASELINES,
        by: str | None = None,
        at: Sequence[int] | None = None,
        confidence: float = 0.9,
    ) -> "InContextCurve":
        """Measures one snapshot on its prompts.

        Args:
            snapshot: A model, on prompts of examples.
            reference: Another step's curve. If its prompts and options are the same, its baselines
                are used again.
            baselines: Names, some with a number (`ridge:0.1`): zero, averaging, nearest
                (neighbours), least_squares, ridge, lasso and joint_ridge (penalty), bayes, and, on
                50 prompts, greedy_tree, boosted_trees (trees), network (steps). Bayes is left out
                if the task gives no exact prior; joint_ridge if it gives no features, or if the
                same ridge is named.
            by: The label by which prompts are grouped, or several with commas; None for the labels
                that the task names.
            at: Numbers of examples for the summary; None for half of d, d and twice d, as far as
                prompts reach, and for the most that precede an answer.
            confidence: Level of the intervals, between 0 and 1.

        Raises:
            ValueError: The examples are no prompts, hold NaN or infinity, a baseline or label is
                unknown, or a number of examples lies beyond the prompt.
        """
        check_confidence(confidence)
        prompts = prompts_of(snapshot.examples, by)
        quoted = _quoted(at, prompts)
        digest = _digest(prompts, baselines, confidence)
        predicted = {MODEL: predictions(snapshot, prompts)}
        known = reference if reference is not None and reference.digest == digest else None
        if known is None:
            predicted |= prompts.baselines(baselines)
        curves = tuple(predicted) if known is None else known.curves
        errors, low, high = errors_with_bands(prompts, predicted, confidence)
        if known is not None:  # its baselines follow the model
            pairs = ((errors, known.errors), (low, known.low), (high, known.high))
            errors, low, high = (np.hstack([model, other[:, 1:]]) for model, other in pairs)
        return cls(
            groups=tuple(prompts.groups),
            prompts=np.array([len(rows) for rows in prompts.groups.values()]),
            curves=curves,
            errors=errors,
            low=low,
            high=high,
            matched=matched_errors(prompts, predicted[MODEL], curves),
            scale=prompts.scale,
            joint=joint_of(baselines, prompts.facts) if prompts.d else "",
            by=prompts.by,
            unit="squared error / mean y²" if prompts.is_real else "share of wrong answers",
            at=quoted,
            confidence=confidence,
            digest=digest,
        )

    def error(self, curve: str = MODEL, group: str | None = None) -> Float[np.ndarray, " examples"]:
        """One curve, after 0, 1, .. examples.

        Args:
            curve: `model` or a baseline.
            group: One of the groups; the first one if left out.

        Raises:
            ValueError: There is no such curve or group; the message lists those there are.
        """
        return self.errors[_index(group, self.groups), _index(curve, self.curves)]

    def excess(self, group: str | None = None) -> Float[np.ndarray, " examples"]:
        """The model's error less that of the best baseline at each number of examples.

        Each comparison is on the prompts that the baseline was predicted for; slow baselines have
        few. NaN if there are no baselines. No model beats the Bayes mixture on average, so that the
        excess over it is not negative; a model can beat all other baselines.
        """
        place = _index(group, self.groups)
        excesses = self.matched[place, 1:] - self.errors[place, 1:]
        return excesses.max(axis=0) if len(excesses) else np.full(self.errors.shape[2], math.nan)

    def ratio(self, group: str | None = None) -> Float[np.ndarray, " examples"]:
        """The model's error over that of ridge on the features of all classes (`joint`).

        NaN where there is no such baseline, or where it has no error.
        """
        if not self.joint:
            return np.full(self.errors.shape[2], math.nan)
        model, joint = self.error(MODEL, group), self.error(self.joint, group)
        return np.divide(model, joint, out=np.full_like(model, math.nan), where=joint > 0)

    def summary(self) -> dict[str, float | str]:
        """For each group, the model's error and its excess after each number of examples in `at`.

        Its ratio too, where classes are linear in more than the inputs.
        """
        scalars: dict[str, float | str] = {}
        for group in self.groups:
            name = group.replace(", ", "_").replace(" ", "_")
            prefix = f"{name}_" if len(self.groups) > 1 else ""
            for k in self.at:
                scalars[f"{prefix}error_{k}"] = float(self.error(MODEL, group)[k])
                scalars[f"{prefix}excess_{k}"] = float(self.excess(group)[k])
                if self.joint.startswith(JOINT):
                    scalars[f"{prefix}ratio_{k}"] = float(self.ratio(group)[k])
        return scalars

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Errors after all examples, beside that after none and the best baseline's.

        Of several groups the first, and that of the largest error. It is found that examples help
        where the band of the error lies below that after none.
        """
        last = self.at[-1]
        errors = np.where(np.isnan(self.errors[:, 0, last]), -1, self.errors[:, 0, last])
        places = dict.fromkeys([0, int(errors.argmax())])
        return tuple(self._finding(place, last) for place in places if errors[place] >= 0)

    def _finding(self, group: int, last: int) -> Finding:
        on = f" on {self.groups[group]}" if len(self.groups) > 1 else ""
        before, after = self.errors[group, 0, 0], self.errors[group, 0, last]
        what = "Squared error" if self._is_real else "Share of wrong answers"
        text = (
            f"{what}{on} after {examples_of(last)} is {self._amount(after)}"
            f"{' of mean y²' if self._is_real else ''} "
            f"(after none: {self._amount(before)}{self._best_baseline(group, last)})"
        )
        strength = strength_beside(-self.high[group, 0, last], -self.low[group, 0, 0])
        return Finding(text, strength, figure="curves")

    def _best_baseline(self, group: int, last: int) -> str:
        """The baseline of the least error after a number of examples; empty if there is none."""
        errors = self.errors[group, 1:, last]
        if np.isnan(errors).all():
            return ""
        best = int(np.nanargmin(errors))
        return f"; best baseline, {words(self.curves[1 + best])}: {self._amount(errors[best])}"

    def _amount(self, error: float) -> str:
        """An error in words."""
        if not self._is_real:
            return percent(error)
        return "under 0.001" if error < 0.001 else f"{error:.2g}"

    @property
    def _is_real(self) -> bool:
        """Whether answers are numbers, not classes."""
        return "y²" in self.unit

    def figures(self) -> Mapping[str, Drawing]:
        """A panel for each group: errors against the number of examples, the model's with a band.

        The model is bold, baselines are thin and dashed.
        """
        on = f" on {self.groups[0]}" if len(self.groups) > 1 else ""
        last = f"after {examples_of(self.at[-1])}: {float(self.error()[self.at[-1]]):.3g}"
        last += self._best_baseline(0, self.at[-1])
        of_model = np.fmax(self.errors[:, 0], self.high[:, 0])  # with its band
        top_of_model = float(np.nanmax(of_model, initial=0))
        top_of_all = float(self.errors.max(initial=0, where=np.isfinite(self.errors)))
        top = min(max(top_of_all, top_of_model), max(MAX_BASELINE_ERROR, top_of_model))
        return {
            "curves": multiples(
                {group: self._curves(index) for index, group in enumerate(self.groups)},
                title=f"Error{on} {last}",
                axes=("examples before the answer", f"{self.unit} ({self.confidence:.0%} band)"),
                yaxis={"range": [0, 1.05 * top]},
            )
        }

    def _curves(self, group: int) -> list[Trace]:
        """Baselines, the model's band and the model on top."""
        examples, baselines = np.arange(self.errors.shape[2]), self.curves[1:]
        styles = [
            {"color": MUTED, "width": 1}
            if name == "zero"
            else {"color": PALETTE[1 + index % 6], "dash": DASHES[1 + index % 4], "width": 2}
            for index, name in enumerate(baselines)
        ]
        drawn = [
            line(examples, errors, words(name), style)
            for name, errors, style in zip(baselines, self.errors[group, 1:], styles, strict=True)
        ]
        ends, bold = (self.low[group, 0], self.high[group, 0]), {"color": PALETTE[0], "width": 4}
        model = line(examples, self.errors[group, 0], MODEL, bold)
        return [*drawn, band(examples, ends, f"{MODEL}, band"), model]


def _index(name: str | None, names: Sequence[str]) -> int:
    """The place of a name among others; 0 if none is given."""
    if name is not None and name not in names:
        raise ValueError(f"no '{name}'; there are {', '.join(names)}")
    return 0 if name is None else names.index(name)


def _quoted(at: Sequence[int] | None, prompts: Prompts) -> tuple[int, ...]:
    """Numbers of examples for the summary.

    Raises:
        ValueError: One lies beyond the prompt.
    """
    last = prompts.targets.shape[1] - 1
    if at is None:
        wanted = {prompts.d // 2, prompts.d, 2 * prompts.d} if prompts.d else {1}
        return tuple(sorted({k for k in wanted if 0 < k < last} | {last}))
    if not at or not all(0 <= k <= last for k in at):
        raise ValueError(f"at = {list(at)}: give numbers of examples from 0 to {last}, the context")
    return tuple(sorted(set(at)))


def _digest(prompts: Prompts, baselines: Sequence[str], confidence: float) -> str:
    """A code of everything that decides what baselines predict."""
    digest = hashlib.sha256(repr((tuple(baselines), prompts.by, confidence)).encode())
    for values in (prompts.inputs, prompts.targets):
        digest.update(b"" if values is None else values.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def bootstrap(
    errors: Float[np.ndarray, "prompt examples"], confidence: float
) -> tuple[Float[np.ndarray, " examples"], Float[np.ndarray, " examples"]]:
    """Percentile interval of the mean over prompts, from 1,000 samples with a fixed seed.

    NaN for a single prompt, which says nothing of the others.
    """
    n_prompts = len(errors)
    if n_prompts < 2:
        unknown = np.full(errors.shape[1], np.nan)
        return unknown, unknown
    weights = np.random.default_rng(0).multinomial(
        n_prompts, np.full(n_prompts, 1 / n_prompts), BOOTSTRAP_SAMPLES
    )
    outside = (1 - confidence) / 2
    low, high = np.quantile(weights @ errors / n_prompts, [outside, 1 - outside], axis=0)
    return low, high


def errors_with_bands(
    prompts: Prompts, predicted: Mapping[str, Tensor], confidence: float
) -> tuple[Curves, Curves, Curves]:
    """Mean errors by group and curve, and the ends of their intervals."""
    errors = [
        [prompts.errors(values, group, name).numpy() for name, values in predicted.items()]
        for group in range(len(prompts.groups))
    ]
    rows = [[(curve.mean(0), *bootstrap(curve, confidence)) for curve in row] for row in errors]
    mean, low, high = np.moveaxis(np.array(rows), 2, 0)
    return mean, low, high


def matched_errors(prompts: Prompts, predicted: Tensor, curves: Sequence[str]) -> Curves:
    """The error of one prediction, on the prompts that each of some curves was predicted for."""
    return np.array(
        [
            [prompts.errors(predicted, group, name).numpy().mean(0) for name in curves]
            for group in range(len(prompts.groups))
        ]
    )


def examples_of(k: int) -> str:
    """A number of examples in words."""
    return f"{k} example" if k == 1 else f"{k} examples"
