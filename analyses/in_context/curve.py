"""How does a model's error fall with the number of examples it has been shown?

At the k-th scored position of a prompt a model has seen k - 1 examples. Its squared error there,
over prompts and divided by the mean square of y (so that always answering 0 has about 1), stands
beside what least squares and others make of the same examples, and, where the classes of functions
allow, beside the Bayes mixture, which nothing beats on average. Where answers are classes it is the
share of wrong ones, beside the most frequent answer so far.

Source: Garg et al. 2022 (arXiv:2208.01066), sections 3 to 5: normalised errors, bands from 1,000
bootstrap samples of the prompts at 90 %; they divide by d, or by the number of coefficients.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from analyses.in_context.baseline_names import JOINT, joint_of
from analyses.in_context.prompts import Pairs, pairs_of, predictions
from analyses.plots.figures import Figure
from analyses.plots.panels import Trace, band, multiples
from analyses.plots.style import DASHES, MUTED, PALETTE, line, words
from analyses.requirements import Needs, check_needs
from analyses.result import Drawing, Result
from analyses.statistics import check_confidence
from hooks import PromptFacts, Snapshot

# from analyses/in_context/errors.py:
# Errors of a model and of baselines by number of examples, with their bands.

# from analyses/in_context/figures.py:
# How errors by number of examples are drawn: the model bold, baselines thin and dashed.

MODEL = "model"
DEFAULT = (
    "zero", "averaging", "nearest", "least_squares", "ridge", "lasso", JOINT, "bayes",
)  # fmt: skip


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
        scale: By group, the mean square of y that squared errors are divided by; 1 for classes, NaN
            where all y are 0, and so are the group's errors.
        joint: The curve of ridge on the features of all classes, which is plain `ridge` where these
            are the inputs; empty where there is none.
        by: The labels that tell groups apart; empty where there is one group.
        unit: What errors are.
        at: Numbers of examples worth a line in a table.
        confidence: Level of the intervals.
        digest: Of prompts and options; baselines of one digest are alike at every step.
    """

    needs: ClassVar = Needs(facts={PromptFacts: ()})
    reference: ClassVar = "last"
    sliding: ClassVar = ("curves",)

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
        baselines: Sequence[str] = DEFAULT,
        by: str | None = None,
        at: Sequence[int] | None = None,
        confidence: float = 0.9,
    ) -> "InContextCurve":
        """Measures one snapshot on its prompts.

        Args:
            snapshot: A model, on prompts of examples.
            reference: Another step's curve, whose baselines are taken over where prompts and
                options are the same.
            baselines: Names, with a number where one takes it (`ridge:0.1`): zero, averaging,
                nearest (neighbours), least_squares, ridge, lasso and joint_ridge (penalty), bayes,
                and, on 50 prompts, greedy_tree, boosted_trees (trees), network (steps). Bayes is
                passed over where the task gives no exact prior, joint_ridge where it gives no
                features or the same ridge is named.
            by: The label by which prompts are grouped, several with commas; those that the task
                names where left out.
            at: Numbers of examples for the summary; where left out half of d, d and twice d as
                far as prompts reach, and the most that precede an answer.
            confidence: Level of the intervals, between 0 and 1.

        Raises:
            ValueError: The examples are no prompts, hold NaN or infinity, a baseline or label is
                unknown, or a number of examples lies beyond the prompt.
        """
        check_needs(cls, snapshot)
        check_confidence(confidence)
        pairs = pairs_of(snapshot.examples, by)
        listed = _listed(at, pairs)
        digest = _digest(pairs, baselines, confidence)
        predicted = {MODEL: predictions(snapshot, pairs)}
        known = reference if reference is not None and reference.digest == digest else None
        if known is None:
            predicted |= pairs.baselines(baselines)
        curves = tuple(predicted) if known is None else known.curves
        errors, low, high = _after(with_bands(pairs, predicted, confidence), known)
        return cls(
            groups=tuple(pairs.groups), prompts=pairs.counts, curves=curves,
            errors=errors, low=low, high=high,
            matched=on_prompts_of(pairs, predicted[MODEL], curves), scale=pairs.scale,
            joint=joint_of(baselines, pairs.facts) if pairs.d else "", by=pairs.by,
            unit=pairs.unit, at=listed, confidence=confidence, digest=digest,
        )  # fmt: skip

    def error(self, curve: str = MODEL, group: str | None = None) -> Float[np.ndarray, " examples"]:
        """One curve, after 0, 1, .. examples.

        Args:
            curve: `model` or a baseline.
            group: The first one where left out.

        Raises:
            ValueError: There is no such curve or group; the message lists those there are.
        """
        if curve not in self.curves:
            raise ValueError(f"no '{curve}'; there are {', '.join(self.curves)}")
        return self.errors[self._place(group), self.curves.index(curve)]

    def excess(self, group: str | None = None) -> Float[np.ndarray, " examples"]:
        """The model's error less that of the best baseline at each number of examples.

        Each comparison is on the prompts that the baseline was predicted for; of slow ones these
        are few. NaN where there are no baselines. Beside the Bayes mixture it is the gap to the
        best there is; a model can be better than all others.
        """
        place = self._place(group)
        apart = self.matched[place, 1:] - self.errors[place, 1:]
        return apart.max(axis=0) if len(apart) else np.full(self.errors.shape[2], math.nan)

    def ratio(self, group: str | None = None) -> Float[np.ndarray, " examples"]:
        """The model's error over that of ridge on the features of all classes (`joint`).

        NaN where there is no such baseline, or where it has no error.
        """
        if not self.joint:
            return np.full(self.errors.shape[2], math.nan)
        own, joint = self.error(MODEL, group), self.error(self.joint, group)
        return np.divide(own, joint, out=np.full_like(own, math.nan), where=joint > 0)

    def summary(self) -> dict[str, float | str]:
        """By group, the model's error and its excess after so many examples (`at`).

        Its ratio too, where classes are linear in more than the inputs.
        """
        found: dict[str, float | str] = {}
        for group in self.groups:
            prefix = (
                f"{group.replace(', ', '_').replace(' ', '_')}_" if len(self.groups) > 1 else ""
            )
            for k in self.at:
                found[f"{prefix}error_{k}"] = float(self.error(MODEL, group)[k])
                found[f"{prefix}excess_{k}"] = float(self.excess(group)[k])
                if self.joint.startswith(JOINT):
                    found[f"{prefix}ratio_{k}"] = float(self.ratio(group)[k])
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row a group, curve and number of examples: `error`, `low`, `high`."""
        shape = self.errors.shape
        group, curve, examples = (each.ravel() for each in np.indices(shape))
        return pd.DataFrame(
            {
                "group": np.array(self.groups)[group],
                "curve": np.array(self.curves)[curve],
                "examples": examples,
                "error": self.errors.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Each group's curves, the model's with its band."""
        group = self.groups[0] if len(self.groups) > 1 else ""
        title = heading_of(group, self.at[-1], float(self.error()[self.at[-1]]))
        return {
            "curves": curves_figure(
                self.groups, self.curves, (self.errors, self.low, self.high),
                title=title, unit=f"{self.unit} ({self.confidence:.0%} band)",
            )
        }  # fmt: skip

    def _place(self, group: str | None) -> int:
        """Where a group stands; the first one where left out."""
        if group is None:
            return 0
        if group not in self.groups:
            raise ValueError(f"no '{group}'; there are {', '.join(self.groups)}")
        return self.groups.index(group)


def _after(
    parts: Sequence[Float[np.ndarray, "group own examples"]], known: InContextCurve | None
) -> Sequence[Float[np.ndarray, "group curve examples"]]:
    """Errors and the ends of their intervals, known baselines' after those that were measured."""
    if known is None:
        return parts
    before = (known.errors[:, 1:], known.low[:, 1:], known.high[:, 1:])
    return [np.concatenate(both, axis=1) for both in zip(parts, before, strict=True)]


def _listed(at: Sequence[int] | None, pairs: Pairs) -> tuple[int, ...]:
    """Numbers of examples for the summary.

    Raises:
        ValueError: One lies beyond the prompt.
    """
    last = pairs.targets.shape[1] - 1
    if at is None:
        wanted = {pairs.d // 2, pairs.d, 2 * pairs.d} if pairs.d else {1}
        return tuple(sorted({k for k in wanted if 0 < k < last} | {last}))
    if not at or not all(0 <= k <= last for k in at):
        raise ValueError(f"at = {list(at)}: give numbers of examples from 0 to {last}, the context")
    return tuple(sorted(set(at)))


def _digest(pairs: Pairs, baselines: Sequence[str], confidence: float) -> str:
    told = hashlib.sha256(repr((tuple(baselines), pairs.by, confidence)).encode())
    for each in (pairs.inputs, pairs.targets):
        told.update(b"" if each is None else each.cpu().numpy().tobytes())
    return told.hexdigest()[:16]


RESAMPLES = 1000

Curves = Float[np.ndarray, "group curve examples"]


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
    drawing = np.random.default_rng(0)
    weights = drawing.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), RESAMPLES)
    means = weights @ errors / n_prompts
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside], axis=0)
    return low, high


def with_bands(
    pairs: Pairs, predicted: Mapping[str, Tensor], confidence: float
) -> tuple[Curves, Curves, Curves]:
    """Mean errors by group and curve, and the ends of their intervals."""
    found = []
    for index in range(len(pairs.groups)):
        errors = [pairs.errors(values, index, name).numpy() for name, values in predicted.items()]
        found.append([(each.mean(0), *bootstrap(each, confidence)) for each in errors])
    mean, low, high = np.moveaxis(np.array(found), 2, 0)
    return mean, low, high


def on_prompts_of(pairs: Pairs, predicted: Tensor, curves: Sequence[str]) -> Curves:
    """The error of one prediction, on the prompts that each of some curves was predicted for."""
    return np.array(
        [
            [pairs.errors(predicted, index, name).numpy().mean(0) for name in curves]
            for index in range(len(pairs.groups))
        ]
    )


TOP = 1.5  # errors up to here are shown, and all of the model's with their band


def curves_figure(
    groups: Sequence[str],
    curves: Sequence[str],
    values: tuple[Float[np.ndarray, "group curve examples"], ...],
    *,
    title: str,
    unit: str,
) -> Figure:
    """A panel a group: errors against the number of examples.

    Args:
        groups: Headings of the panels.
        curves: The model first.
        values: Errors, and the lower and upper ends of their intervals.
        title: What is seen.
        unit: Of the ordinate.
    """
    errors = values[0]
    panels = {
        group: [
            *_baselines(curves, errors[index]),
            *_model(errors[index, 0], values[1][index, 0], values[2][index, 0], curves[0]),
        ]
        for index, group in enumerate(groups)
    }
    finite = errors[np.isfinite(errors)]
    reach = np.fmax(errors[:, 0], values[2][:, 0])  # of the model and its band
    most = max(float(finite.max(initial=0)), float(np.nanmax(reach, initial=0)))
    top = min(most, max(TOP, float(np.nanmax(reach, initial=0))))
    axes = ("examples before the answer", unit)
    return multiples(panels, title=title, axes=axes, yaxis={"range": [0, 1.05 * top]})


def heading_of(group: str, k: int, error: float) -> str:
    """What the model's curve of a group comes to; a group without a name is the only one."""
    on = f" on {group}" if group else ""
    return f"Error{on} after {examples_of(k)}: {error:.3g}"


def examples_of(k: int) -> str:
    """A number of examples in words."""
    return f"{k} example" if k == 1 else f"{k} examples"


def _model(errors: np.ndarray, low: np.ndarray, high: np.ndarray, name: str) -> list[Trace]:
    examples = np.arange(len(errors))
    bold = {"color": PALETTE[0], "width": 4}
    return [band(examples, (low, high), f"{name}, band"), line(examples, errors, name, bold)]


def _baselines(curves: Sequence[str], errors: Float[np.ndarray, "curve examples"]) -> list[Trace]:
    examples, drawn = np.arange(errors.shape[1]), []
    for index, name in enumerate(curves[1:]):
        style = {"color": PALETTE[1 + index % 6], "dash": DASHES[1 + index % 4], "width": 2}
        style = {"color": MUTED, "width": 1} if name == "zero" else style
        drawn.append(line(examples, errors[index + 1], words(name), style))
    return drawn
