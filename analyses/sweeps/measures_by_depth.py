"""Which depth generalizes best, and do internal measures single it out?

Generalization and internal measures of all runs of a sweep, by depth (or another field): over
steps at the smallest, the best and the largest depth, and at the end at every depth, where the
paper's curve of success is an inverted U. Every seed is drawn, beside the median and its
distribution-free interval: the paper shows means, and its depths differ by less than their seeds
do. Trees and attention are of the task's own split.

Source: Murty et al. 2023 (arXiv:2305.18741), figures 3 and 4. Intervals are those of
`analyses.statistics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from analyses.dynamics.internal_measures import GENERALIZATION, MEASURES, SENTENCES, UNITS
from analyses.findings import Finding, percent, strength_beside
from analyses.plots import Panel, Trace, grid, seed_curves, seed_dots, ticks, whiskers
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import check_confidence, median_interval
from analyses.sweep_table import (
    at_end,
    field_name,
    group_name,
    groups_of,
    over_steps,
    value_name,
)
from analyses.sweeps.chance import permuted_ranges, range_by_chance
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

NAMES = ("generalization", *MEASURES.values())
FEW_TIMES = 0.05  # how likely, by chance, so many measures may be highest at the best depth


@dataclass(frozen=True, eq=False)
class MeasuresByDepth(SweepResult):
    """Generalization and internal measures of every run by depth.

    Measures are generalization, tscore, tparseval, sparsity and norm, in this order; NaN where
    undefined.

    Attributes:
        axis: The field by which runs are grouped, whatever else varies.
        depths: The field's values, in order.
        depth: For each run, the number of its value.
        runs: Names of the runs.
        steps: Steps of each measure's values, one measure after the other.
        step_counts: How many of these steps each measure has.
        values: Values at these steps.
        last: Values at the end.
        confidence: Least level of the intervals of medians.
    """

    needs: ClassVar = Needs(columns=(f"metrics.{GENERALIZATION}", *MEASURES))
    coordinates: ClassVar = {"measure": NAMES}

    axis: str
    depths: tuple[Any, ...]
    depth: Int[np.ndarray, " run"]
    runs: tuple[str, ...]
    steps: Int[np.ndarray, " place"]
    step_counts: Int[np.ndarray, " measure"]
    values: Float[np.ndarray, "run place"]
    last: Float[np.ndarray, "measure run"]
    confidence: float

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        axis: str = "model.n_layers",
        confidence: float = 0.9,
    ) -> "MeasuresByDepth":
        """Reads generalization and internal measures of every run.

        Args:
            table: One row for each run.
            series: The runs, read one at a time.
            axes: Fields that vary.
            axis: The field by which runs are grouped.
            confidence: Least level of the intervals, between 0 and 1.

        Raises:
            ValueError: A column is missing, or the level is no level.
        """
        check_confidence(confidence)
        depths, depth = groups_of(table, axis)
        scalars = (GENERALIZATION, *MEASURES)
        curves = [over_steps(table, series, scalar) for scalar in scalars]
        return cls(
            axis=axis,
            depths=depths,
            depth=depth,
            runs=tuple(table["run"]),
            steps=np.concatenate([steps for steps, _ in curves]),
            step_counts=np.array([len(steps) for steps, _ in curves]),
            values=np.concatenate([values for _, values in curves], axis=1),
            last=np.array([at_end(table, scalar) for scalar in scalars]),
            confidence=confidence,
        )

    @property
    def medians(self) -> Float[np.ndarray, "measure depth"]:
        """Medians over seeds at the end; NaN where no run has a value."""
        import pandas

        groups = [self.last.T[self.depth == place] for place in range(len(self.depths))]
        return np.stack([pandas.DataFrame(group).median() for group in groups], axis=1)

    @property
    def best(self) -> int:
        """The number of the depth with the best median generalization.

        Of equal medians the first counts; 0 if no depth has a median.
        """
        return int(np.nan_to_num(self.medians[0], nan=-np.inf).argmax())

    def over_steps(self, name: str) -> tuple[np.ndarray, Float[np.ndarray, "run step"]]:
        """Steps and values of a measure."""
        place = NAMES.index(name)
        stop = self.step_counts[: place + 1].sum()
        places = slice(stop - self.step_counts[place], stop)
        return self.steps[places], self.values[:, places]

    def summary(self) -> dict[str, float | str]:
        """The best depth, its median generalization, and where each measure's median is highest.

        Of equal medians the first counts; `all alike` says that all depths have the same median,
        `unknown` that no run has a value.
        """
        best, *rows = self.medians
        return {
            "runs": len(self.runs),
            "by": self.axis,
            "best": self._named(best),
            "best_median_generalization": float(best[self.best]),
            **{
                f"highest_{name}_at": self._named(row)
                for name, row in zip(NAMES[1:], rows, strict=True)
            },
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Which depth generalizes best, and which internal measures are highest there.

        The first is found where the depths' medians differ by more than is likely had the runs been
        dealt out to depths at random. The second only follows then: found where more measures are
        highest at the best depth than by chance, as if each chose among the depths.
        """
        medians, end = self.medians[0], self.last[0]
        if np.isfinite(medians).sum() < 2:
            return ()
        is_known = np.isfinite(end)
        ranges = permuted_ranges(end[None, is_known], self.depth[is_known], middle=np.median)
        worst, by_chance = int(np.nanargmin(medians)), range_by_chance(ranges)
        best, least = (
            f"{percent(round(medians[place], 4))} at {group_name(self.axis, self.depths[place])}"
            for place in (self.best, worst)
        )
        text = (
            f"Median generalization is best, {best}, and worst, {least} "
            f"(by chance seldom over {percent(round(by_chance, 4))} apart)"
        )
        strength = strength_beside(float(np.ptp(medians[np.isfinite(medians)])), by_chance)
        first = Finding(text, strength, "depths")
        return (first, *self._singled_out()) if strength == "found" else (first,)

    def _singled_out(self) -> tuple[Finding, ...]:
        """Which measures, of those that differ between depths, are highest at the best depth."""
        from scipy.stats import binom  # heavy

        rows = {
            name: row
            for name, row in zip(NAMES[1:], self.medians[1:], strict=True)
            if len(np.unique(row[np.isfinite(row)])) > 1
        }
        highest = [name for name, row in rows.items() if np.nanargmax(row) == self.best]
        if not rows:
            return ()
        chance = 1 / len(self.depths)
        likely = float(binom.sf(len(highest) - 1, len(rows), chance))
        which = f" ({', '.join(highest)})" if highest else ""
        text = (
            f"{len(highest)} of {len(rows)} internal measures are highest at the best depth"
            f"{which}; by chance {len(rows) * chance:.1f}"
        )
        return (Finding(text, "found" if likely <= FEW_TIMES else "null", "depths"),)

    def _named(self, medians: Float[np.ndarray, " depth"]) -> str:
        """The depth of the highest median, in words."""
        if np.isnan(medians).all():
            return "unknown"
        are_equal = len(medians) > 1 and np.unique(medians).size == 1
        return "all alike" if are_equal else value_name(self.depths[int(np.nanargmax(medians))])

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each run: `run`, the field's value, and each measure at the end."""
        import pandas

        return pandas.DataFrame(
            {"run": self.runs, self.axis: [self.depths[place] for place in self.depth]}
            | dict(zip(NAMES, self.last, strict=True))
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Seeds by depth at the end, and curves at the smallest, best and largest depth."""
        return {"depths": self._dots(), "curves": self._curves()}

    def _title(self, where: str) -> str:
        depth, median = group_name(self.axis, self.depths[self.best]), self.medians[0, self.best]
        best = {
            "unknown": "not known",
            "all alike": f"the same everywhere: {median:.0%} (median of seeds)",
        }.get(self._named(self.medians[0]), f"best at {depth}: {median:.0%} (median of seeds)")
        return f"Generalization is {best}; {where}, insides on {SENTENCES}"

    def _dots(self) -> Drawing:
        """A panel for each measure, in it a dot for each seed."""
        return grid(
            [Panel("", UNITS[name], self._ends(row)) for row, name in enumerate(NAMES)],
            title=self._title("all seeds at the end"),
            across=field_name(self.axis),
            columns=1,
            xaxis=ticks([value_name(value) for value in self.depths]),
        )

    def _ends(self, row: int) -> list[Trace]:
        """Runs of each depth at the end, their median and its interval, for one measure."""
        places = np.arange(len(self.depths))
        runs = [self.last[row, self.depth == place] for place in places]
        low, high = np.hstack([median_interval(run[:, None], self.confidence) for run in runs])
        interval = f" ({self.confidence:.0%} interval)" if np.isfinite(low).any() else ""
        return [
            seed_dots(places, runs, shift=-0.08, spread=0.2),
            whiskers(places + 0.22, self.medians[row], (low, high), f"median{interval}", 0),
        ]

    def _curves(self) -> Drawing:
        """A row for each measure, a column for each depth."""
        places = sorted({0, self.best, len(self.depths) - 1})
        return grid(
            [
                Panel("" if row else self._heading(place), UNITS[name], self._seeds(name, place))
                for row, name in enumerate(NAMES)
                for place in places
            ],
            title=self._title("seeds over training"),
            across="step (updates)",
            columns=len(places),
            xaxis={"nticks": 5},
        )

    def _heading(self, place: int) -> str:
        """A depth, and why it is shown."""
        roles = {0: "smallest", len(self.depths) - 1: "largest"}
        reasons = [roles[place]] if place in roles and len(self.depths) > 1 else []
        reasons += ["best"] if place == self.best else []
        return f"{group_name(self.axis, self.depths[place])} ({', '.join(reasons)})"

    def _seeds(self, name: str, place: int) -> list[Trace]:
        """Runs, the interval and the median of one depth over steps."""
        import pandas

        steps, values = self.over_steps(name)
        runs = values[self.depth == place]
        low, high = median_interval(runs, self.confidence)
        median = pandas.DataFrame(runs).median().to_numpy()
        return seed_curves(
            steps, runs, median, (low, high), f"interval of the median ({self.confidence:.0%})"
        )
