"""Do internal measures of a model change together with what it generalizes to?

Accuracy on unseen structures beside four measures that look at no answer of the model, at every
kept step of a run: how tree-like its computation is (tscore), how close its projected trees are to
the gold trees (tparseval), how sparse its attention is, and the norm of its weights. Trees and
attention are of sentences of the task's own split, not of those that distinguish the rules.

Source: Murty et al. 2023 (arXiv:2305.18741), figures 3 to 5, who show means over seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float, Int

from analyses.findings import Finding, strength_beside
from analyses.plots import PALETTE, Panel, grid, line
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SeriesResult
from analyses.statistics import spearman
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

GENERALIZATION = "generalization.accuracy"
# Saved scalars, and their names here.
MEASURES = {
    "TreeProjection.tscore": "tscore",
    "TreeProjection.tparseval": "tparseval",
    "AttentionSparsity.mean_negative_entropy": "sparsity",
    "WeightNorms.total": "norm",
}
SENTENCES = "the task's own split"  # whose saved scalars are read
BASELINE = "f1_right_branching"
WORDS = {
    "tscore": "how tree-like computation is (tscore)",
    "tparseval": "F1 of projected trees (tparseval)",
    "sparsity": "sparsity of attention",
    "norm": "the norm of weights",
}
F1_MARGIN = 0.01  # by which F1 must exceed that of right-branching trees
UNITS = {
    "generalization": "generalization<br>accuracy",
    "tscore": "tscore",
    "tparseval": "tparseval<br>(F1)",
    "sparsity": "sparsity<br>(-nats)",
    "norm": "weight<br>norm",
}


@dataclass(frozen=True, eq=False)
class InternalMeasures(SeriesResult):
    """Generalization and internal measures at the steps at which all of these are saved.

    Attributes:
        steps: Those steps.
        generalization: Accuracy on the generalization split, interpolated linearly between two
            evaluations.
        measures: tscore, tparseval, sparsity (minus mean entropy) and norm, in this order.
        right_branching: F1 of trees that branch to the right, which tparseval is compared with.
        since: The first step that counts in correlations.
    """

    needs: ClassVar = Needs(metrics=(GENERALIZATION,))
    reads: ClassVar = tuple(dict.fromkeys(name.partition(".")[0] for name in MEASURES))
    coordinates: ClassVar = {"measure": tuple(MEASURES.values())}

    steps: Int[np.ndarray, " step"]
    generalization: Float[np.ndarray, " step"]
    measures: Float[np.ndarray, "measure step"]
    right_branching: float
    since: int

    @classmethod
    def measure(cls, series: Checkpoints, *, since: int = 0) -> "InternalMeasures":
        """Reads a run's metrics and saved scalars.

        Args:
            series: A run; `TreeProjection`, `AttentionSparsity` and `WeightNorms` are saved.
            since: The first step that counts in correlations.

        Raises:
            ValueError: There is no such metric, or one of the analyses is not saved.
        """
        table = measures_over_steps(series)
        return cls(
            steps=table.index.to_numpy(dtype=np.int64),
            generalization=table["generalization"].to_numpy(),
            measures=table[[*MEASURES.values()]].to_numpy().T,
            right_branching=float(series.scalars("TreeProjection")[BASELINE].iloc[-1]),
            since=since,
        )

    @property
    def correlations(self) -> dict[str, float]:
        """Spearman's correlation of each measure with generalization over steps.

        NaN where fewer than three steps count, or one of the two is constant.
        """
        return over_time(self.to_frame().set_index("step"), self.since)

    def summary(self) -> dict[str, float | str]:
        """Generalization and each measure at the last step, and correlations over steps."""
        return {
            **{name: float(values[-1]) for name, values in self._named().items()},
            BASELINE: self.right_branching,
            **{f"{name}_over_time": rho for name, rho in self.correlations.items()},
            "steps": len(self.steps),
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The measure that follows generalization most, beside the step number; trees' F1."""
        return (*self._most_correlated(), *self._trees())

    def _most_correlated(self) -> tuple[Finding, ...]:
        """Whatever grows steadily follows generalization: the number of the step is the control.

        It must be exceeded by a standard error of a rank correlation, 1 / sqrt(n - 1).
        """
        known = {name: rho for name, rho in self.correlations.items() if not np.isnan(rho)}
        counted = self.steps >= self.since
        control = spearman(self.steps[counted].astype(float), self.generalization[counted])
        if not known or np.isnan(control):
            return ()
        name = max(known, key=lambda measure: abs(known[measure]))
        text = (
            f"Of {len(known)} internal measures {WORDS[name]} follows generalization most: rank "
            f"correlation {known[name]:+.2f} over {counted.sum()} steps "
            f"(step number: {control:+.2f})"
        )
        margin = 1 / np.sqrt(counted.sum() - 1)
        return (Finding(text, strength_beside(abs(known[name]), abs(control), margin=margin)),)

    def _trees(self) -> tuple[Finding, ...]:
        f1 = self._named()["tparseval"][-1]
        if np.isnan([f1, self.right_branching]).any():
            return ()
        text = (
            f"Projected trees reach F1 {f1:.2f} with the gold trees at the last step "
            f"(right-branching trees: {self.right_branching:.2f})"
        )
        return (Finding(text, strength_beside(f1, self.right_branching, margin=F1_MARGIN)),)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a step: `step`, `generalization` and the measures."""
        import pandas

        return pandas.DataFrame({"step": self.steps} | self._named())

    def figures(self) -> Mapping[str, Drawing]:
        """All on one axis of steps."""
        baseline = line(
            self.steps,
            np.full(len(self.steps), self.right_branching),
            "right-branching trees",
            {"color": PALETTE[6], "width": 2, "dash": "dot"},
        )
        panels, correlations = [], self.correlations
        for index, (name, values) in enumerate(self._named().items()):
            rho = correlations.get(name, np.nan)
            label = name if np.isnan(rho) else f"{name} (rank correlation {rho:+.2f})"
            curve = line(self.steps, values, label, {"color": PALETTE[index], "width": 2})
            curve |= {"mode": "lines+markers", "marker": {"size": 5}}
            curves = [curve, baseline] if name == "tparseval" else [curve]
            panels.append(Panel("", UNITS[name], curves))
        return {
            "measures": grid(
                panels,
                title=f"Generalization ends at {self.generalization[-1]:.0%}; insides meanwhile, "
                f"on {SENTENCES}",
                across="step (updates)",
                columns=1,
                xaxis={},
            )
        }

    def _named(self) -> dict[str, np.ndarray]:
        """Generalization and the measures over steps, by name."""
        measures = zip(MEASURES.values(), self.measures, strict=True)
        return {"generalization": self.generalization} | dict(measures)


def measures_over_steps(series: Checkpoints) -> "pandas.DataFrame":
    """Generalization and internal measures at the steps (the index) at which all are saved.

    Generalization is interpolated linearly between two evaluations.

    Raises:
        ValueError: There is no such metric, or one of the analyses is not saved.
    """
    import pandas

    columns = {}
    for scalar, name in MEASURES.items():
        analysis, _, key = scalar.partition(".")
        saved = series.scalars(analysis)
        columns[name] = pandas.Series(saved[key].to_numpy(), index=saved["step"], dtype=np.float64)
    table = pandas.concat(columns, axis=1, join="inner").sort_index()
    metrics = series.metrics
    if GENERALIZATION not in metrics:
        raise ValueError(f"no {GENERALIZATION} among the metrics: {', '.join(metrics)}")
    evaluations = metrics["step"].to_numpy(), metrics[GENERALIZATION].to_numpy(dtype=np.float64)
    table.insert(0, "generalization", np.interp(table.index.to_numpy(), *evaluations))
    return table


def over_time(table: "pandas.DataFrame", since: int) -> dict[str, float]:
    """Spearman's correlation of each measure with generalization over steps.

    Args:
        table: As `measures_over_steps` gives it.
        since: The first step that counts.
    """
    counted = table.loc[since:]
    end = counted["generalization"].to_numpy()
    return {name: spearman(counted[name].to_numpy(), end) for name in MEASURES.values()}
