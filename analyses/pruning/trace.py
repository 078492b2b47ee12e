"""Which parts of a network does weight decay prune, and when, beside when accuracy arrives?

The size of every member of a kind (a Fourier frequency of W_E, an input, a neuron, a head, a single
weight of a matrix) at every kept step. Members that carry most of the squared size at the end are
the key group, the rest the others, whose decay is the pruning: its peak, half and end, the lag from
the accuracy crossing, and how concentrated the sizes are.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), which traces
single weights of a parity network, relevant inputs against distractors; Merrill et al. 2023
(arXiv:2303.11873) for the competition of two groups of neurons. Groups by size at the end are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from analyses import plots
from analyses.pruning.paths import QUANTILES, key_members, member_paths
from analyses.pruning.sizes import kind_names, members_of, told_inputs
from analyses.result import Drawing, SeriesResult
from analyses.statistics import MEASURES, crossing, first_after, rise_on_the_way
from hooks import Series

EVALUATIONS = 3  # successive ones that make an accuracy crossing
LEVEL = 0.99
STEP = "step (updates)"
COUNTS = ("effective_count", "participation_ratio")


@dataclass(frozen=True, eq=False)
class PruningTrace(SeriesResult):
    """Sizes of a network's members at every step, in two groups: the key group and the others.

    Attributes:
        by: Kind of member: frequency (of W_E), neuron, input, head or weight.
        matrix: Whose single weights they are; empty for other kinds.
        steps: The kept steps.
        members: Index of each member whose path is kept: in its matrix, or its number, which of a
            frequency is the frequency itself.
        is_key: Which of these are in the key group.
        paths: Size of each of these: the norm of a frequency's components of W_E; |w_in| |w_out| of
            a neuron; the norm of what neurons read from an input, each weighed by |w_out|; the
            norm of a head's OV matrix; a single weight with its sign.
        rest: Quantiles (0, 5, 25, 50, 75, 95 and 100 %) of all sizes without a path of their own;
            empty where there are none.
        totals: Number of members in the key group, and of others.
        norms: Norm of the key group's sizes and of the others'.
        counts: Members above the threshold in the key group and among the others.
        concentration: Each of `analyses.statistics.MEASURES` of all sizes.
        threshold: Share of the largest size of all steps below which a member counts as pruned.
        metric_steps: Steps of the recorded metrics; none where the series has none.
        train_loss: Recorded train loss there.
        test_accuracy: Recorded test accuracy.
    """

    by: str
    matrix: str
    steps: Int[np.ndarray, " step"]
    members: Int[np.ndarray, "path axis"]
    is_key: Bool[np.ndarray, " path"]
    paths: Float[np.ndarray, "path step"]
    rest: Float[np.ndarray, "quantile step"]
    totals: tuple[int, int]
    norms: Float[np.ndarray, "2 step"]
    counts: Int[np.ndarray, "2 step"]
    concentration: Float[np.ndarray, "measure step"]
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
        matrix: str | None = None,
        key: Sequence[int] | None = None,
        share: float = 0.9,
        threshold: float = 0.05,
        paths: int = 100,
    ) -> "PruningTrace":
        """Traces a run, whose checkpoints are read twice, one at a time.

        Args:
            series: Any run whose model answers to the weights that `by` needs.
            by: frequency, neuron, input, head or weight; by default weight where a matrix is named
                or the task tells which inputs matter, else the first that the model answers to.
            matrix: Whose single weights: a parameter, a view, or by default `effective`: w_in
                |w_out|, what a neuron reads from an input times the norm of what it writes.
            key: The key group: frequencies, or other members counted from 0; of a matrix rows,
                along its last but one axis. By default the inputs that matter, where the task
                tells them (and a constant one, the neurons' bias, which is not pruned either);
                else the fewest members that carry `share` of the squared size at the last step.
            share: See `key`.
            threshold: Share of the largest size below which a member counts as pruned.
            paths: How many have a path of their own, if there are more members: half of them key
                members, the largest at the end, half others, the largest at any step.

        Raises:
            ValueError: An option is out of range, or names what the model lacks, or weights are
                not finite or all zero.
        """
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold = {threshold}: a share is from 0 to less than 1")
        traced, steps = members_of(series, by, matrix), series.steps
        key = told_inputs(traced, series.facts) if key is None else key
        is_key = key_members(traced.at(steps[-1]), share, key, traced.first)
        found = member_paths(traced.at, steps, is_key, threshold=threshold, count=paths)
        metrics = series.metrics if series.has_metrics else pd.DataFrame({"step": []})
        return cls(
            by=traced.by,
            matrix=traced.matrix,
            steps=np.array(steps),
            **found | {"members": found["members"] + traced.first},
            threshold=threshold,
            metric_steps=metrics["step"].to_numpy(dtype=np.int64),
            train_loss=_column(metrics, "train.loss"),
            test_accuracy=_column(metrics, "test.accuracy"),
        )

    @property
    def t_peak(self) -> float:
        """Step at which the others' norm is largest; NaN if there are no others."""
        return math.nan if not self.totals[1] else float(self.steps[self.norms[1].argmax()])

    @property
    def t_half(self) -> float:
        """First later step with less than half that norm; NaN if there is none."""
        return first_after(self.steps, self.norms[1] < self.norms[1].max() / 2, self.t_peak)

    @property
    def t_pruned(self) -> float:
        """First later step from which on no other member is above the threshold; NaN if none."""
        left = np.flip(np.cumsum(np.flip(self.counts[1])))
        return first_after(self.steps, left == 0, self.t_peak)

    @property
    def t_accuracy(self) -> float:
        """Step at which test accuracy crosses 0.99 for three evaluations; NaN without metrics."""
        return crossing(self.metric_steps, self.test_accuracy, LEVEL, EVALUATIONS)

    @property
    def train_loss_bump(self) -> float:
        """Largest train loss between its least before the crossing and the end of pruning, over it.

        Above 1, train loss got worse on the way. Where pruning never ends, up to the last step; NaN
        without crossing.
        """
        return rise_on_the_way(self.metric_steps, self.train_loss, self.t_accuracy, self.t_pruned)

    def sparsity(self, measure: str) -> Float[np.ndarray, " step"]:
        """A measure of `analyses.statistics.MEASURES` of all members' sizes at each step."""
        return self.concentration[list(MEASURES).index(measure)]

    def summary(self) -> dict[str, float | str]:
        """Members, times, lags and bump, and how concentrated the sizes are at the end."""
        last = {f"{name}_at_end": float(self.sparsity(name)[-1]) for name in MEASURES}
        key, others = self.norms[:, -1]
        return {
            "by": self._kinds[0],
            "members": sum(self.totals),
            "key_members": self.totals[0],
            "key_left": int(self.counts[0, -1]),
            "others_left": int(self.counts[1, -1]),
            "others_over_key_at_end": float(others / key) if key else math.nan,
            "t_peak": self.t_peak,
            "t_half": self.t_half,
            "t_pruned": self.t_pruned,
            "t_accuracy": self.t_accuracy,
            "lag": self.t_pruned - self.t_accuracy,
            "lag_half": self.t_half - self.t_accuracy,
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
        """Paths, the groups' norms, how many members count and how concentrated their sizes are."""
        members = self._kinds[1]
        names = (f"{self.totals[0]} key {members}", "others")
        times = {"peak": self.t_peak, "half": self.t_half, "pruned": self.t_pruned,
                 "test ≥ 99%": self.t_accuracy}  # fmt: skip
        norms = self._lines(
            "Norm of the key group and of the others", "norm of sizes",
            dict(zip(names, self.norms, strict=True)),
        )  # fmt: skip
        above = f"above {self.threshold:.0%} of the largest size"
        numbers = dict(zip(("key", "others"), self.counts, strict=True))
        numbers |= {plots.words(name): self.sparsity(name) for name in COUNTS}
        shares = {name: self.sparsity(name) for name in ("gini", "hoyer")}
        drawn = {
            "paths": self._paths(names),
            "norms": plots.mark_steps(
                norms, {label: each for label, each in times.items() if not math.isnan(each)}
            ),
            "numbers": self._lines(
                f"How many {members} count (groups: {above})", f"number of {members}", numbers
            ),
            "sparsity": self._lines(
                "How concentrated the sizes are", "0: all alike, 1: a single one", shares
            ),
        }  # fmt: skip
        return drawn | ({"rest": self._rest()} if self.rest.size else {})

    def _paths(self, names: tuple[str, str]) -> Drawing:
        total, (key, others) = sum(self.totals), self.norms[:, -1].tolist()
        share = key**2 / (key**2 + others**2) if key else 0
        drawn = f" ({len(self.paths)} of {total} drawn)" if len(self.paths) < total else ""
        return plots.bundles(
            self.steps,
            dict(zip(names, (self.paths[self.is_key], self.paths[~self.is_key]), strict=True)),
            title=f"{names[0]} of {total} carry {share:.0%} of the squared size at the end",
            axes=(STEP, f"size of each {self._kinds[0]}{drawn}"),
        )

    def _rest(self) -> Drawing:
        (one, many), count = self._kinds, sum(self.totals) - len(self.paths)
        curves = {f"{q:.0%}": each for q, each in zip(QUANTILES, self.rest, strict=True)}
        return self._lines(f"Quantiles of the other {count} {many}", f"size of each {one}", curves)

    def _lines(self, title: str, y: str, curves: Mapping[str, np.ndarray]) -> plots.Figure:
        return plots.lines(self.steps, curves, title=title, axes=(STEP, y))

    @property
    def _kinds(self) -> tuple[str, str]:
        return kind_names(self.by, self.matrix)


def _column(metrics: pd.DataFrame, name: str) -> np.ndarray:
    """A column of metrics, NaN where it was not recorded."""
    column = metrics[name] if name in metrics else pd.Series(np.nan, index=metrics.index)
    return column.to_numpy(dtype=np.float64)
