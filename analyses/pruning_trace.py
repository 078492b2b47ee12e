"""Which parts of a network does weight decay prune, and when, beside when accuracy arrives?

The size of every member of a kind (a Fourier frequency of W_E, an input, a neuron, a head) at every
kept step. Members that carry most of the squared size at the end are the key group, the rest the
others, whose decay is the pruning: its peak, half and end, the lag from the accuracy crossing, and
how concentrated the sizes are.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), which traces
single weights of a parity network, relevant inputs against distractors; Merrill et al. 2023
(arXiv:2303.11873) for the competition of two groups of neurons. Groups by size at the end are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int

from analyses import fourier, plots
from analyses.grokking_phases import crossing
from analyses.member_sizes import member_sizes
from analyses.result import Drawing, SeriesResult
from analyses.sparsity import MEASURES
from hooks import Series

EVALUATIONS = 3  # successive ones that make an accuracy crossing
LEVEL = 0.99


@dataclass(frozen=True, eq=False)
class PruningTrace(SeriesResult):
    """Sizes of a network's members at every step, in two groups.

    Attributes:
        by: Kind of member: frequency (of W_E), neuron, input or head.
        steps: The kept steps.
        sizes: Size of each member: the norm of a frequency's components of W_E; |w_in| |w_out| of
            a neuron; the norm of what neurons read from an input, each weighed by |w_out|; the
            norm of a head's OV matrix. These do not change when weights are rescaled across a ReLU.
        is_key: Which members are in the key group.
        threshold: Share of the largest size of all steps below which a member counts as pruned.
        metric_steps: Steps of the recorded metrics; none where the series has none.
        train_loss: Recorded train loss there.
        test_accuracy: Recorded test accuracy there.
    """

    by: str
    steps: Int[np.ndarray, " step"]
    sizes: Float[np.ndarray, "step member"]
    is_key: Bool[np.ndarray, " member"]
    threshold: float
    metric_steps: Int[np.ndarray, " evaluation"]
    train_loss: Float[np.ndarray, " evaluation"]
    test_accuracy: Float[np.ndarray, " evaluation"]

    @classmethod
    def measure(
        cls,
        series: Series,
        *,
        by: str | None = None,
        key: Sequence[int] | None = None,
        share: float = 0.9,
        threshold: float = 0.05,
    ) -> "PruningTrace":
        """Traces a run.

        Args:
            series: Any run whose model answers to the weights that `by` needs.
            by: frequency, neuron, input or head; by default the first that the model answers to.
            key: Members of the key group, counted from 0 (frequency f is f - 1); by default the
                fewest that carry `share` of the squared size at the last step.
            share: See `key`.
            threshold: Share of the largest size below which a member counts as pruned.

        Raises:
            ValueError: No such kind, or the model lacks the weights it needs.
        """
        by, sizes = member_sizes(series, by)
        last = sizes[-1].square() / sizes[-1].square().sum()
        chosen = fourier.keys_by_share(last, share) if key is None else [each + 1 for each in key]
        is_key = np.isin(np.arange(len(last)) + 1, chosen)
        metrics = pd.DataFrame({"step": []}) if series.recorded is None else series.recorded
        return cls(
            by=by,
            steps=np.array(series.steps),
            sizes=sizes.numpy(),
            is_key=is_key,
            threshold=threshold,
            metric_steps=metrics["step"].to_numpy(dtype=np.int64),
            train_loss=_column(metrics, "train.loss"),
            test_accuracy=_column(metrics, "test.accuracy"),
        )

    @property
    def norms(self) -> Float[np.ndarray, "2 step"]:
        """Norm of the key group's sizes and of the others' at each step."""
        power = self.sizes**2
        return np.sqrt(np.stack([power[:, self.is_key].sum(1), power[:, ~self.is_key].sum(1)]))

    @property
    def counts(self) -> Int[np.ndarray, "2 step"]:
        """Members above the threshold in the key group and among the others."""
        above = self.sizes > self.threshold * self.sizes.max()
        return np.stack([above[:, self.is_key].sum(1), above[:, ~self.is_key].sum(1)])

    @property
    def t_peak(self) -> float:
        """Step at which the others' norm is largest; NaN if there are no others."""
        return math.nan if self.is_key.all() else float(self.steps[self.norms[1].argmax()])

    @property
    def t_half(self) -> float:
        """First later step with less than half that norm; NaN if there is none."""
        return self._first_after_peak(self.norms[1] < self.norms[1].max() / 2)

    @property
    def t_pruned(self) -> float:
        """First later step from which on no other member is above the threshold; NaN if none."""
        others = self.counts[1]
        return self._first_after_peak(np.flip(np.cumsum(np.flip(others))) == 0)

    @property
    def t_accuracy(self) -> float:
        """Step at which test accuracy crosses 0.99 for three evaluations; NaN without metrics."""
        return crossing(self.metric_steps, self.test_accuracy, LEVEL, EVALUATIONS)

    @property
    def train_loss_bump(self) -> float:
        """Largest train loss between its least before the crossing and the end of pruning, over it.

        Above 1, train loss got worse on the way; NaN without crossing or pruning.
        """
        before = self.metric_steps <= self.t_accuracy
        if math.isnan(self.t_pruned) or not before.any():
            return math.nan
        least = self.train_loss[before].argmin()
        until = self.metric_steps <= max(self.t_pruned, self.metric_steps[least])
        return float(self.train_loss[least:][until[least:]].max() / self.train_loss[least])

    def sparsity(self, measure: str) -> Float[np.ndarray, " step"]:
        """A measure of `analyses.sparsity.MEASURES` of all members' sizes at each step."""
        return MEASURES[measure](torch.from_numpy(self.sizes)).numpy()

    def summary(self) -> dict[str, float | str]:
        """Members, times, lag and bump, and how concentrated the sizes are at the end."""
        last = {f"{name}_at_end": float(self.sparsity(name)[-1]) for name in MEASURES}
        key, others = self.norms[:, -1]
        return {
            "by": self.by,
            "members": len(self.is_key),
            "key_members": int(self.is_key.sum()),
            "others_left": int(self.counts[1, -1]),
            "others_over_key_at_end": float(others / key) if key else math.nan,
            "t_peak": self.t_peak,
            "t_half": self.t_half,
            "t_pruned": self.t_pruned,
            "t_accuracy": self.t_accuracy,
            "lag": self.t_pruned - self.t_accuracy,
            "train_loss_bump": self.train_loss_bump,
            **last,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a step: `step`, norm and count of each group, every measure of sparsity."""
        frame = {
            "step": self.steps,
            "key_norm": self.norms[0],
            "others_norm": self.norms[1],
            "key_above": self.counts[0],
            "others_above": self.counts[1],
        }
        return pd.DataFrame(frame | {name: self.sparsity(name) for name in MEASURES})

    def figures(self) -> Mapping[str, Drawing]:
        """Each member's path, the groups' norms, and how concentrated the sizes are."""
        count = int(self.is_key.sum())
        keys = f"{count} key {'frequencies' if self.by == 'frequency' else self.by + 's'}"
        paths = {keys: self.sizes[:, self.is_key].T, "others": self.sizes[:, ~self.is_key].T}
        step = "step (updates)"
        norms = plots.lines(
            self.steps,
            dict(zip((keys, "others"), self.norms, strict=True)),
            title="Norm of the key group and of the others",
            axes=(step, "norm of sizes"),
        )
        times = {"peak": self.t_peak, "half": self.t_half, "pruned": self.t_pruned,
                 "test ≥ 99%": self.t_accuracy}  # fmt: skip
        marks = {label: each for label, each in times.items() if not math.isnan(each)}
        shares = {name: self.sparsity(name) for name in ("gini", "hoyer")}
        return {
            "paths": plots.bundles(
                self.steps, paths, axes=(step, f"size of each {self.by}"),
                title=f"{keys} of {len(self.is_key)} carry the weights at the end",
            ),
            "norms": plots.mark_steps(norms, marks),
            "sparsity": plots.lines(
                self.steps, shares, axes=(step, "0: all alike, 1: a single one"),
                title="How concentrated the sizes are",
            ),
        }  # fmt: skip

    def _first_after_peak(self, holds: np.ndarray) -> float:
        later = np.flatnonzero(holds & (self.steps > self.t_peak))
        return float(self.steps[later[0]]) if len(later) else math.nan


def _column(metrics: pd.DataFrame, name: str) -> np.ndarray:
    """A column of metrics, NaN where it was not recorded."""
    column = metrics[name] if name in metrics else pd.Series(np.nan, index=metrics.index)
    return column.to_numpy(dtype=np.float64)
