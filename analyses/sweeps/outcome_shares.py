"""How often does training end in which way, by the settings of a sweep?

Of the runs of a setting, which differ in their seeds alone, the share in each category, with
Wilson's score interval: it holds its level for few runs and for shares near 0 and 1, where the
interval that adds and subtracts standard errors shrinks to a point.

Source: Wilson 1927 (J. Am. Stat. Assoc. 22, 209-212); recommended for few trials by Brown, Cai and
DasGupta 2001 (Statistical Science 16, 101-133).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from analyses.findings import Finding, percent, strength_beside
from analyses.plots import MUTED, PALETTE, Trace, colour, empty, multiples, ticks, whiskers
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import check_confidence, wilson_interval
from analyses.sweep_table import (
    PlacesByPanel,
    has_failed,
    places_by_panel,
    setting_name,
    settings_of,
    value_name,
)
from analyses.sweeps.chance import indicators, permuted_ranges, range_by_chance
from analyses.sweeps.rates import basis, between, rate_finding, runs_end, sentence
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

DIVERGED = "diverged"
# Known outcomes from the bottom of a bar to its top, each with a colour and a pattern that
# distinguishes it from its neighbours in grey; others follow in alphabetical order.
STYLES = {
    "groks": (PALETTE[0], ""),
    "generalises": (PALETTE[2], ""),
    "partial": (PALETTE[4], "/"),
    "memorises": (PALETTE[1], "."),
    "fails": (MUTED, ""),
    DIVERGED: (PALETTE[3], "x"),
    # The same by the rule on losses.
    "grokking": (PALETTE[0], ""),
    "drop together": (PALETTE[2], "/"),
    "high test loss": (PALETTE[1], "."),
    "high train loss": (MUTED, ""),
}
HATCH = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.6)", "size": 7, "solidity": 0.15}
PATTERNS = ("", "/", ".", "x", "-", "\\", "+")


@dataclass(frozen=True, eq=False)
class OutcomeShares(SweepResult):
    """How many runs of each setting end in which way; a run that failed counts as diverged.

    Attributes:
        outcome: The column of the table that has each run's category.
        axes: Fields that vary, seeds left out.
        settings: Each has one value for each axis, in order.
        categories: In the order of the bars, from the bottom.
        counts: Runs.
        unmeasured: Runs that have neither failed nor a category; they count nowhere.
        confidence: Level of the intervals.
    """

    needs: ClassVar = Needs(column_options=("outcome",))
    coordinates: ClassVar = {"category": "categories"}

    outcome: str
    axes: tuple[str, ...]
    settings: tuple[tuple[Any, ...], ...]
    categories: tuple[str, ...]
    counts: Int[np.ndarray, "setting category"]
    unmeasured: int
    confidence: float

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        outcome: str = "GrokkingPhases.category",
        confidence: float = 0.95,
    ) -> "OutcomeShares":
        """Counts the runs of a sweep.

        Args:
            table: One row for each run.
            series: Not used.
            axes: Fields that vary.
            outcome: A column of text.
            confidence: Level of the intervals, between 0 and 1.

        Raises:
            ValueError: No such column, it holds other numbers than whole ones, no run has an
                outcome, or the level is no level.
        """
        check_confidence(confidence)
        measured, categories, category = runs_by_category(table, outcome)
        settings, setting = settings_of(measured, axes)
        return cls(
            outcome=outcome,
            axes=tuple(axes),
            settings=settings,
            categories=categories,
            counts=counts_of(setting, category, (len(settings), len(categories))),
            unmeasured=len(table) - len(measured),
            confidence=confidence,
        )

    @property
    def runs(self) -> Int[np.ndarray, " setting"]:
        """Runs of each setting that have a category."""
        return self.counts.sum(axis=1)

    @property
    def shares(self) -> Float[np.ndarray, "setting category"]:
        """Shares of a setting's runs, which sum to 1."""
        return self.counts / self.runs[:, None]

    @property
    def intervals(self) -> Float[np.ndarray, "end=2 setting category"]:
        """Lower and upper ends of Wilson's intervals of the shares."""
        ends = [
            [wilson_interval(int(count), int(runs), self.confidence) for count in row]
            for row, runs in zip(self.counts, self.runs, strict=True)
        ]
        return np.moveaxis(np.array(ends), 2, 0)

    def summary(self) -> dict[str, float | str]:
        """Runs, settings, and the share of each category among all runs."""
        shares = self.counts.sum(axis=0) / self.counts.sum()
        return {
            "outcome": self.outcome,
            "runs": int(self.counts.sum()),
            "unmeasured": self.unmeasured,
            "settings": len(self.settings),
            **{
                f"share_{category}": float(share)
                for category, share in zip(self.categories, shares, strict=True)
            },
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How often runs end in one way: of one setting with its interval, of several the range.

        Of several settings it is the category whose shares differ most: found where they differ by
        more than is likely had the runs been dealt out to settings at random.
        """
        ranges = np.ptp(self.shares, axis=0)
        place = int(ranges.argmax())
        if len(self.settings) == 1:
            return (rate_finding(self.categories, self.counts[0], self.confidence, self.outcome),)
        if ranges[place] == 0:
            tallied = tally(self.categories, self.counts)
            text = sentence(f"all {len(self.settings)} settings end alike: {tallied}", self.outcome)
            return (Finding(text, "not found", "outcomes"),)
        setting, category = np.repeat(
            np.indices(self.counts.shape).reshape(2, -1), self.counts.ravel(), axis=1
        )
        values = indicators(category, len(self.categories))
        by_chance = range_by_chance(permuted_ranges(values, setting))
        column = self.shares[:, place]
        most, least = (self._rate(int(at), place) for at in (column.argmax(), column.argmin()))
        chance = f"by chance seldom over {percent(round(by_chance, 3))} apart"
        level = f"{percent(self.confidence)} intervals"
        text = sentence(f"{most}; {least} ({level}; {chance})", self.outcome)
        return (Finding(text, strength_beside(ranges[place], by_chance), "intervals"),)

    def _rate(self, setting: int, category: int) -> str:
        """A setting with how many of its runs end in one way, and the interval of their share."""
        count, runs = int(self.counts[setting, category]), int(self.runs[setting])
        low, high = self.intervals[:, setting, category]
        name = setting_name(self.axes, self.settings[setting])
        verb = runs_end(self.categories[category], count)
        return f"{name}: {count} of {runs} {verb}, {between(low, high)}"

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each setting and category: its count and share, with ends of the interval."""
        import pandas

        low, high = self.intervals
        return pandas.DataFrame(
            [
                dict(zip(self.axes, setting, strict=True))
                | {
                    "category": category,
                    "count": int(self.counts[i, j]),
                    "runs": int(self.runs[i]),
                    "share": self.shares[i, j],
                    "low": low[i, j],
                    "high": high[i, j],
                }
                for i, setting in enumerate(self.settings)
                for j, category in enumerate(self.categories)
            ]
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Bars of shares with counts in them, and each category's shares with intervals."""
        across, panels = places_by_panel(self.axes, self.settings, "".join(self.axes[-1:]))
        axes = (across, "share of runs")
        return {"outcomes": self._bars(panels, axes), "intervals": self._intervals(panels, axes)}

    def _bars(self, panels: PlacesByPanel, axes: tuple[str, str]) -> Drawing:
        """A panel for each line of settings, in it a bar for each setting."""
        return multiples(
            {
                heading: [
                    self._bar(category, list(places), list(places.values()))
                    for category in range(len(self.categories))
                ]
                for heading, places in panels.items()
            },
            title=f"Outcomes of {self.counts.sum()} runs{basis(self.outcome)}: "
            f"{tally(self.categories, self.counts)}",
            axes=axes,
            barmode="stack",
            bargap=0.25,
            xaxis={"type": "category", "showgrid": False},
            yaxis={"range": [0, 1]},
        )

    def _bar(self, category: int, names: Sequence[str], chosen: Sequence[int]) -> Trace:
        """A category's bars of one panel; the numbers in them are runs."""
        counts = self.counts[chosen, category].tolist()
        fill, pattern = style(self.categories, category)
        return {
            "type": "bar",
            "name": self.categories[category],
            "x": list(names),
            "y": self.shares[chosen, category].tolist(),
            "text": [str(count) if count else "" for count in counts],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "insidetextfont": {"size": 13},
            "marker": {"color": fill, "pattern": HATCH | {"shape": pattern}},
        }

    def _intervals(self, panels: PlacesByPanel, axes: tuple[str, str]) -> Drawing:
        """A panel for each category; in it the panels of `_bars` stand side by side."""
        which = self.categories[0] if len(self.categories) == 1 else "each outcome"
        title = f"Share of {which}, with {self.confidence:.0%} intervals (Wilson)"
        if len(panels) > len(PALETTE):
            return empty(title, f"{len(panels)} groups are too many to tell apart: see to_frame()")
        names = list(dict.fromkeys(name for places in panels.values() for name in places))
        offsets = np.linspace(-0.4, 0.4, len(panels) + 2)[1:-1]
        shares, (low, high) = self.shares, self.intervals
        drawn: dict[str, list[Trace]] = {category: [] for category in self.categories}
        for index, (heading, places) in enumerate(panels.items()):
            x = [names.index(name) + offsets[index] for name in places]
            for category, traces in enumerate(drawn.values()):
                cells = ([*places.values()], category)
                ends = (low[cells], high[cells])
                traces.append(whiskers(x, shares[cells], ends, heading or "share", index))
        return multiples(
            drawn, title=title, axes=axes, xaxis=ticks(names), yaxis={"range": [-0.03, 1.03]}
        )


def runs_by_category(
    table: "pandas.DataFrame", outcome: str
) -> tuple["pandas.DataFrame", tuple[str, ...], Int[np.ndarray, " run"]]:
    """The runs that have a category, all categories, and the number of each run's category.

    A run that failed has the category `diverged`. Known categories stand in the order of the bars,
    then others by name.

    Raises:
        ValueError: No such column, it holds other numbers than whole ones, or no run has one.
    """
    import pandas

    if outcome not in table:
        known = [name for name in table if pandas.api.types.is_string_dtype(table[name])]
        raise ValueError(f"outcome: the table has no '{outcome}'; of text it has {known}")
    values = table[outcome].tolist()
    if any(isinstance(value, float) and value % 1 for value in values if value == value):
        raise ValueError(f"outcome: {outcome} holds numbers; SeedSpread shows those")
    outcomes = [
        DIVERGED if failed else None if pandas.isna(value) else value_name(value)
        for value, failed in zip(values, has_failed(table), strict=True)
    ]
    if not any(outcomes):
        raise ValueError(f"outcome: no run has a {outcome}; run `interp analyze` on the sweep")
    measured = [name for name in outcomes if name is not None]
    place = {name: index for index, name in enumerate(STYLES)}
    categories = sorted(set(measured), key=lambda name: (place.get(name, len(place)), name))
    category = np.array([categories.index(name) for name in measured], dtype=np.int64)
    return table.loc[[name is not None for name in outcomes]], tuple(categories), category


def counts_of(
    setting: Int[np.ndarray, " run"], category: Int[np.ndarray, " run"], shape: tuple[int, int]
) -> Int[np.ndarray, "setting category"]:
    """How many runs each setting and category have."""
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (setting, category), 1)
    return counts


def style(categories: Sequence[str], place: int) -> tuple[str, str]:
    """A category's colour and pattern."""
    return STYLES.get(categories[place], (colour(place), PATTERNS[place % len(PATTERNS)]))


def tally(categories: Sequence[str], counts: Int[np.ndarray, "setting category"]) -> str:
    """How many runs of all settings ended in each category, in words."""
    totals = counts.sum(axis=0)
    return ", ".join(f"{name} {runs}" for name, runs in zip(categories, totals, strict=True))
