"""Where in the space of settings does training end in which way?

A map shows every run of a sweep as a dot: cells by two axes, a panel for each setting of the other
axes, in a cell the runs that differ in their seeds alone. Beside the map stands how often each
outcome comes at each value of an axis, over all values of the others, and how much the settings at
that value differ. Different settings are no draws of one coin: there is an interval, Wilson's, only
where a value has a single setting.

Source: "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), whose sweep has panels by
weight decay, width across, data up, and 3 x 3 dots a cell. Shares and intervals are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.findings import Finding, percent, strength_beside
from analyses.plots import SYMBOLS, Trace, dots, empty, multiples, ticks, whiskers
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import check_confidence, wilson_interval
from analyses.sweep_table import (
    WHOLE,
    axis_name,
    ordered_values,
    setting_name,
    settings_of,
    value_name,
)
from analyses.sweeps.chance import indicators, permuted_ranges, range_by_chance
from analyses.sweeps.outcome_shares import counts_of, runs_by_category, style, tally
from analyses.sweeps.rates import basis, rate_finding, runs_end, sentence
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

DOTS_WIDTH = 0.8  # share of a cell's width that its dots take


@dataclass(frozen=True, eq=False)
class PhaseMap(SweepResult):
    """The outcome of every run of a sweep, laid out by its settings.

    Attributes:
        outcome: The column of the table that has each run's category.
        axes: Fields that vary: those of panels, then across and up.
        settings: Each has one value for each axis, in order.
        categories: In their order, the best first.
        runs: Names of the runs that have an outcome.
        setting: Which of the settings each run has.
        category: Which of the categories each run ended in.
        unmeasured: Runs that have neither failed nor a category; they are not drawn.
        confidence: Level of the intervals, which values of a single setting have.
    """

    needs: ClassVar = Needs(column_options=("outcome",))

    outcome: str
    axes: tuple[str, ...]
    settings: tuple[tuple[Any, ...], ...]
    categories: tuple[str, ...]
    runs: tuple[str, ...]
    setting: Int[np.ndarray, " run"]
    category: Int[np.ndarray, " run"]
    unmeasured: int
    confidence: float

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        outcome: str = "GrokkingPhases.loss_category",
        across: str | None = None,
        up: str | None = None,
        confidence: float = 0.95,
    ) -> "PhaseMap":
        """Lays out the runs of a sweep.

        Args:
            table: One row for each run.
            series: Not used.
            axes: Fields that vary.
            outcome: A column of text.
            across: The axis from left to right in a panel; the last but one by default.
            up: The axis from bottom to top; the last by default.
            confidence: Level of the intervals, between 0 and 1.

        Raises:
            ValueError: No such column or axis, one axis is named twice, no run has an outcome, or
                the level is no level.
        """
        check_confidence(confidence)
        measured, categories, category = runs_by_category(table, outcome)
        axes = _axes_in_order(axes, across, up)
        settings, setting = settings_of(measured, axes)
        return cls(
            outcome=outcome,
            axes=axes,
            settings=settings,
            categories=categories,
            runs=tuple(measured["run"]),
            setting=setting,
            category=category,
            unmeasured=len(table) - len(measured),
            confidence=confidence,
        )

    @property
    def counts(self) -> Int[np.ndarray, "setting category"]:
        """How many runs each setting and category have."""
        return counts_of(self.setting, self.category, (len(self.settings), len(self.categories)))

    @property
    def unanimous(self) -> float:
        """Share of settings all of whose runs have the same outcome."""
        return float((self.counts.max(1) == self.counts.sum(1)).mean())

    def summary(self) -> dict[str, float | str]:
        """Runs, settings, how many settings' runs all agree, and the count of each category."""
        totals = zip(self.categories, self.counts.sum(0).tolist(), strict=True)
        return {
            "outcome": self.outcome,
            "runs": len(self.runs),
            "unmeasured": self.unmeasured,
            "settings": len(self.settings),
            "unanimous_settings": self.unanimous,
            **{f"runs_{category}": count for category, count in totals},
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Which axis decides how runs end; of a single setting, how often they end in one way.

        Named is the axis between whose values a category's share differs by the most above chance:
        found where it does so by more than is likely if runs that are alike in all other axes
        changed places. Of several axes each has its part of that level.
        """
        if len(self.settings) == 1:
            rate = rate_finding(self.categories, self.counts[0], self.confidence, self.outcome)
            return (replace(rate, figure="map"),)
        effects = [self._effect(place) for place in range(len(self.axes))]
        effects = [effect for effect in effects if effect is not None]
        if not effects:
            return ()
        far, by_chance, text = max(effects, key=lambda effect: effect[0] - effect[1])
        return (Finding(text, strength_beside(far, by_chance), "shares"),)

    def _effect(self, place: int) -> tuple[float, float, str] | None:
        """How far apart an axis' values lie, how far they would by chance, and both in words.

        None where the axis has one value.
        """
        values = self._along(place)
        of_setting = np.array([values.index(setting[place]) for setting in self.settings])
        if len(values) < 2:
            return None
        others = [(*setting[:place], *setting[place + 1 :]) for setting in self.settings]
        cells = list(dict.fromkeys(others))
        stratum = np.array([cells.index(other) for other in others])[self.setting]
        counts = counts_of(of_setting[self.setting], self.category,
                           (len(values), len(self.categories)))  # fmt: skip
        shares = counts / counts.sum(1, keepdims=True)
        category = int(np.ptp(shares, axis=0).argmax())
        ranges = permuted_ranges(
            indicators(self.category, len(self.categories)),
            of_setting[self.setting],
            within=stratum,
        )
        by_chance = range_by_chance(ranges, tries=len(self.axes))
        most, least = int(shares[:, category].argmax()), int(shares[:, category].argmin())
        at_most, at_least = (
            f"{value_name(values[at])}: {counts[at, category]} of {counts[at].sum()}"
            for at in (most, least)
        )
        verb = runs_end(self.categories[category], int(counts[most, category]))
        text = (
            f"{axis_name(self.axes[place], self.axes)} {at_most} runs {verb}, {at_least}"
            f" (by chance seldom over {percent(round(by_chance, 3))} apart)"
        )
        return float(np.ptp(shares[:, category])), by_chance, sentence(text, self.outcome)

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each category at each value of each axis, and for each category of all runs.

        Columns `axis`, `value` (as text), `category`, `count`, `runs`, `settings`, `share` of the
        runs; `lowest` and `highest` share of a single setting among these; `low` and `high`, the
        ends of Wilson's interval of the share, NaN where there are several settings.
        """
        import pandas

        all_runs = (WHOLE, "", np.ones(len(self.settings), dtype=bool))
        return pandas.DataFrame(
            [
                {"axis": axis, "value": value, "category": category}
                | self._share(self.counts[chosen], place)
                for axis, value, chosen in [all_runs, *self._values()]
                for place, category in enumerate(self.categories)
            ]
        )

    def figures(self) -> Mapping[str, Drawing]:
        """The map, and the share of each outcome at every value of every axis."""
        return {"map": self._map(), "shares": self._shares()}

    def _values(self) -> list[tuple[str, str, np.ndarray]]:
        """Each axis with each of its values, and which settings have it."""
        return [
            (
                axis,
                value_name(value),
                np.array([setting[place] == value for setting in self.settings]),
            )
            for place, axis in enumerate(self.axes)
            for value in self._along(place)
        ]

    def _along(self, place: int) -> list[Any]:
        """The values of an axis in order; a single empty value if there is no such axis."""
        if not -len(self.axes) <= place < len(self.axes):
            return [""]
        return ordered_values([setting[place] for setting in self.settings])

    def _share(self, counts: Int[np.ndarray, "setting category"], category: int) -> dict[str, Any]:
        """A category's count and share among some settings' runs, its range and its interval."""
        count, runs = int(counts[:, category].sum()), int(counts.sum())
        shares, unknown = counts[:, category] / counts.sum(1), (math.nan, math.nan)
        is_one = len(counts) == 1
        low, high = wilson_interval(count, runs, self.confidence) if is_one else unknown
        return {
            "count": count,
            "runs": runs,
            "settings": len(counts),
            "share": count / runs,
            "lowest": float(shares.min()),
            "highest": float(shares.max()),
            "low": low,
            "high": high,
        }

    def _map(self) -> Drawing:
        """A dot for each run; the runs of a cell stand in a square."""
        import pandas

        rank = pandas.Series(self.setting).groupby(self.setting).cumcount().to_numpy()
        side = math.ceil(math.sqrt(rank.max() + 1))
        beside = (np.stack([rank % side, rank // side]) - (side - 1) / 2) * DOTS_WIDTH / side
        places = self._cells()[:, self.setting] + beside
        names = [[value_name(value) for value in self._along(axis)] for axis in (-2, -1)]
        panels = np.array([setting_name(self.axes[:-2], row[:-2]) for row in self.settings])
        x, y = ["", "", *(axis_name(axis, self.axes) for axis in self.axes)][-2:]
        size = min(10, max(4, 150 / (side * max(map(len, names)))))
        return multiples(
            {
                str(name): self._dots(panels[self.setting] == name, places, size)
                for name in dict.fromkeys(panels)
            },
            title=f"How {len(self.runs)} runs ended{basis(self.outcome)}: "
            f"{tally(self.categories, self.counts)}",
            axes=(x, y),
            xaxis=ticks(names[0]),
            yaxis=ticks(names[1]),
        )

    def _cells(self) -> Float[np.ndarray, "side=2 setting"]:
        """Where each setting's cell lies in its panel: from left to right, from bottom to top."""
        cells = np.zeros((2, len(self.settings)))
        for side in range(2 - len(self.axes[-2:]), 2):
            values = self._along(side - 2)
            cells[side] = [values.index(setting[side - 2]) for setting in self.settings]
        return cells

    def _dots(
        self, chosen: Bool[np.ndarray, " run"], places: Float[np.ndarray, "side=2 run"], size: float
    ) -> list[Trace]:
        """The runs of a panel, a trace for each category."""
        runs_of = {
            place: np.flatnonzero(chosen & (self.category == place))
            for place in np.unique(self.category[chosen]).tolist()
        }
        return [
            dots(
                places[0, runs],
                places[1, runs],
                self.categories[place],
                {
                    "color": style(self.categories, place)[0],
                    "symbol": SYMBOLS[place % len(SYMBOLS)],
                    "size": size,
                },
                [self.runs[run] for run in runs],
            )
            for place, runs in runs_of.items()
        ]

    def _shares(self) -> Drawing:
        """A panel for each category; along it the values of every axis."""
        import pandas

        values = self._values()
        ends, bars = ("lowest", "highest"), "bars from the lowest to the highest share of a setting"
        if all(chosen.sum() == 1 for _, _, chosen in values):
            ends, bars = ("low", "high"), f"{self.confidence:.0%} intervals (Wilson)"
        title = f"Share of each outcome by axis, with {bars}"
        if not values:
            return empty(title, "no axis varies")
        drawn: dict[str, list[Trace]] = {category: [] for category in self.categories}
        for index, axis in enumerate(self.axes):
            x = [place for place, (name, _, _) in enumerate(values) if name == axis]
            for category, traces in enumerate(drawn.values()):
                shares = pandas.DataFrame(
                    self._share(self.counts[values[place][2]], category) for place in x
                )
                share, low, high = (shares[name].to_numpy() for name in ("share", *ends))
                traces.append(whiskers(x, share, (low, high), axis_name(axis, self.axes), index))
        return multiples(
            drawn,
            title=title,
            axes=("value of each axis", "share of runs"),
            columns=3 if len(drawn) % 3 == 0 else 2,
            xaxis=ticks([value for _, value, _ in values]),
            yaxis={"range": [-0.03, 1.03]},
        )


def _axes_in_order(axes: Sequence[str], across: str | None, up: str | None) -> tuple[str, ...]:
    """Axes of panels first, then the one across, then the one up.

    Raises:
        ValueError: One is no axis of the sweep, or both are the same.
    """
    for name, axis in (("across", across), ("up", up)):
        if axis is not None and axis not in axes:
            raise ValueError(f"{name} = '{axis}': the axes are {', '.join(axes) or 'none'}")
    if across is not None and across == up:
        raise ValueError(f"across and up are both '{up}': name two axes")
    rest = [axis for axis in axes if axis not in (across, up)]
    up = up or (rest.pop() if rest else None)
    across = across or (rest.pop() if rest else None)
    return tuple(axis for axis in (*rest, across, up) if axis is not None)
