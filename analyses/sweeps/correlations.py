"""Do seeds whose computation looks more like trees generalize better?

Spearman's correlation of each internal measure with generalization: across the seeds of a depth at
the end of training, and within a seed over steps, which is another question. Across seeds a
correlation has a p, exact under ten of them, and from ten on a percentile bootstrap interval; the
mean over seeds of that over steps has Student's interval. The paper argues from means over seeds
that rise together; of its released runs, the seed of tense inflection whose computation is most
tree-like never generalizes.

Source: Murty et al. 2023 (arXiv:2305.18741) for the measures; correlations are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from analyses.dynamics.internal_measures import (
    GENERALIZATION,
    MEASURES,
    UNITS,
    measures_over_steps,
    over_time,
)
from analyses.findings import Finding
from analyses.plots import (
    PALETTE,
    SYMBOLS,
    Panel,
    Trace,
    colour,
    dots,
    empty,
    grid,
    ticks,
    whiskers,
)
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import (
    check_confidence,
    mean_interval,
    spearman,
    spearman_interval,
    spearman_p,
)
from analyses.sweep_table import at_end, group_name, groups_of, value_name
from analyses.sweeps.chance import p_in_words
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

NAMES = tuple(MEASURES.values())
MAX_P = 0.05  # of the surest correlation across seeds, over all that were looked at


@dataclass(frozen=True, eq=False)
class MeasureCorrelations(SweepResult):
    """Rank correlations of internal measures with generalization.

    Measures are tscore, tparseval, sparsity and norm, in this order. A correlation across seeds
    takes three runs of a depth, its interval ten; NaN where undefined.

    Attributes:
        axis: The field by which runs are grouped.
        depths: Its values, in order.
        depth: Which of them each run has.
        runs: Names of the runs.
        generalization: Accuracy of each run at the end.
        measures: The measures of each run at the end.
        across: Correlation across the runs of a depth.
        across_p: How likely so strong a correlation is by chance (`spearman_p`).
        across_ends: Ends of its bootstrap interval; NaN for fewer than ten runs.
        within: Correlation over the steps of each run.
        within_ends: Ends of Student's interval of its mean over the runs of a depth, cut off at -1
            and 1; NaN for a single run, or where all have the same.
        since: The first step that counts within a run.
        confidence: Level of the intervals.
    """

    needs: ClassVar = Needs(columns=(f"metrics.{GENERALIZATION}", *MEASURES))
    coordinates: ClassVar = {"measure": NAMES, "group": "depths", "end": ("low", "high")}

    axis: str
    depths: tuple[Any, ...]
    depth: Int[np.ndarray, " run"]
    runs: tuple[str, ...]
    generalization: Float[np.ndarray, " run"]
    measures: Float[np.ndarray, "measure run"]
    across: Float[np.ndarray, "measure group"]
    across_p: Float[np.ndarray, "measure group"]
    across_ends: Float[np.ndarray, "end=2 measure group"]
    within: Float[np.ndarray, "measure run"]
    within_ends: Float[np.ndarray, "end=2 measure group"]
    since: int
    confidence: float

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        axis: str = "model.n_layers",
        since: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> "MeasureCorrelations":
        """Correlates the runs of a sweep.

        Args:
            table: One row for each run.
            series: The runs, read one at a time.
            axes: Fields that vary.
            axis: The field by which runs are grouped.
            since: The first step that counts within a run: early on everything rises.
            confidence: Level of the intervals, between 0 and 1.
            seed: Of the bootstrap, which ten runs or more of a depth have.

        Raises:
            ValueError: A column is missing, or the level is no level.
        """
        check_confidence(confidence)
        depths, depth = groups_of(table, axis)
        end = at_end(table, GENERALIZATION)
        measures = np.array([at_end(table, scalar) for scalar in MEASURES])
        within = correlations_over_time(table, series, since)
        groups = [depth == place for place in range(len(depths))]
        return cls(
            axis=axis,
            depths=depths,
            depth=depth,
            runs=tuple(table["run"]),
            generalization=end,
            measures=measures,
            across=_cells(measures, groups, lambda row, runs: spearman(row[runs], end[runs])),
            across_p=_cells(measures, groups, lambda row, runs: spearman_p(row[runs], end[runs])),
            across_ends=_cells(
                measures,
                groups,
                lambda row, runs: spearman_interval(row[runs], end[runs], confidence, seed),
            ),
            within=within,
            within_ends=_cells(
                within, groups, lambda row, runs: mean_interval(row[runs], confidence)
            ).clip(-1, 1),
            since=since,
            confidence=confidence,
        )

    @property
    def mean_within(self) -> Float[np.ndarray, "measure group"]:
        """Mean over the runs of a depth of the correlation over their steps."""
        import pandas

        groups = [self.within.T[self.depth == place] for place in range(len(self.depths))]
        return np.stack([pandas.DataFrame(group).mean() for group in groups], axis=1)

    def summary(self) -> dict[str, float | str]:
        """Both correlations of each measure at each value of the field, and the p across seeds."""
        scalars: dict[str, float | str] = {"runs": len(self.runs), "since": self.since}
        for row, name in enumerate(NAMES):
            for place, value in enumerate(self.depths):
                group = "" if len(self.depths) == 1 else f"_at_{value_name(value)}"
                scalars |= {
                    f"{name}_across_seeds{group}": float(self.across[row, place]),
                    f"{name}_across_seeds_p{group}": float(self.across_p[row, place]),
                    f"{name}_over_time{group}": float(self.mean_within[row, place]),
                }
        return scalars

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The surest correlation across seeds, with its p over all correlations looked at.

        Found where that is at most 0.05, else null. Nothing is said of those over steps: whatever
        rises in training correlates there, and no control of that is at hand.
        """
        tries = int(np.isfinite(self.across).sum())
        if not tries:
            return ()
        row, place = divmod(int(np.nanargmin(self.across_p)), len(self.depths))
        likely = min(1.0, tries * float(self.across_p[row, place]))
        runs = int((self.depth == place).sum())
        others = f"the surest of {tries}, " if tries > 1 else ""
        text = (
            f"Across {runs} seeds of {group_name(self.axis, self.depths[place])}, {NAMES[row]} and "
            f"generalization have rank correlation {self.across[row, place]:.2f} "
            f"({others}by chance {p_in_words(likely)})"
        )
        return (Finding(text, "found" if likely <= MAX_P else "null", "correlations"),)

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each measure and value of the field: runs, both correlations, p and ends."""
        import pandas

        return pandas.DataFrame(
            [
                {
                    "measure": name,
                    self.axis: value,
                    "runs": int((self.depth == place).sum()),
                    "across_seeds": self.across[row, place],
                    "across_p": self.across_p[row, place],
                    "across_low": self.across_ends[0, row, place],
                    "across_high": self.across_ends[1, row, place],
                    "over_time": self.mean_within[row, place],
                    "over_time_low": self.within_ends[0, row, place],
                    "over_time_high": self.within_ends[1, row, place],
                }
                for row, name in enumerate(NAMES)
                for place, value in enumerate(self.depths)
            ]
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Both correlations with intervals, and every seed's measures and generalization."""
        return {"correlations": self._whiskers(), "seeds": self._scatter()}

    def _whiskers(self) -> Drawing:
        """A panel for each kind of correlation: dots with intervals by measure and depth."""
        title = f"Rank correlation with generalization{self._intervals_named()}"
        if len(self.depths) > len(PALETTE):
            return empty(title, f"{len(self.depths)} groups are too many: see to_frame()")
        kinds = {
            "across seeds, at the end": (self.across, self.across_ends, "runs"),
            "within a seed, over steps (mean)": (self.mean_within, self.within_ends, "steps"),
        }
        panels = [
            Panel(
                kind if np.isfinite(values).any() else f"{kind}: takes three {what}",
                "Spearman's<br>correlation",
                self._intervals(values, ends),
                (-1.1, 1.1),
            )
            for kind, (values, ends, what) in kinds.items()
        ]
        return grid(panels, title=title, across="measure", columns=1, xaxis=ticks(NAMES))

    def _intervals_named(self) -> str:
        """Which intervals there are, in words."""
        kinds = {
            "bootstrap across seeds": self.across_ends,
            "Student's over steps": self.within_ends,
        }
        known = [name for name, ends in kinds.items() if np.isfinite(ends).any()]
        return f", with {self.confidence:.0%} intervals ({', '.join(known)})" if known else ""

    def _intervals(
        self,
        values: Float[np.ndarray, "measure group"],
        ends: Float[np.ndarray, "end=2 measure group"],
    ) -> list[Trace]:
        """For each measure dots with intervals, depths side by side."""
        offsets = np.linspace(-0.4, 0.4, len(self.depths) + 2)[1:-1]
        return [
            whiskers(
                np.arange(len(NAMES)) + offset,
                values[:, place],
                (ends[0, :, place], ends[1, :, place]),
                group_name(self.axis, self.depths[place]),
                place,
            )
            for place, offset in enumerate(offsets)
        ]

    def _scatter(self) -> Drawing:
        """A panel for each measure; generalization across, a colour and a symbol for each depth."""
        return grid(
            [
                Panel("", UNITS[name], [self._dots(i, values) for i in range(len(self.depths))])
                for name, values in zip(NAMES, self.measures, strict=True)
            ],
            title=f"What goes with generalization: {len(self.runs)} runs at the end of training",
            across="generalization accuracy",
            columns=1,
            xaxis={"range": [-0.03, 1.03]},
        )

    def _dots(self, place: int, values: Float[np.ndarray, " run"]) -> Trace:
        """The runs of one depth."""
        runs = np.flatnonzero(self.depth == place)
        return dots(
            self.generalization[runs],
            values[runs],
            group_name(self.axis, self.depths[place]),
            {"color": colour(place), "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8},
            [self.runs[run] for run in runs],
        )


def correlations_over_time(
    table: "pandas.DataFrame", series: Mapping[str, Checkpoints], since: int
) -> Float[np.ndarray, "measure run"]:
    """For each run: the correlation of each measure with generalization over the run's steps.

    NaN for a run of which something is not saved.
    """
    correlations = np.full((len(MEASURES), len(table)), np.nan)
    for column, run in enumerate(table["run"]):
        try:
            measures = measures_over_steps(series[run])
        except ValueError:
            continue
        correlations[:, column] = [*over_time(measures, since).values()]
    return correlations


def _cells(
    rows: Float[np.ndarray, "measure run"],
    groups: Sequence[np.ndarray],
    function: Callable[[np.ndarray, np.ndarray], Any],
) -> np.ndarray:
    """A function of each row and each group of runs; the axis of pairs, if any, comes first."""
    cells = np.array([[function(row, runs) for runs in groups] for row in rows])
    return np.moveaxis(cells, 2, 0) if cells.ndim == 3 else cells
