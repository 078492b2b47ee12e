"""How much do runs that differ in their seeds alone differ at the end, and during training?

Any scalar of the runs of a setting: against steps, or at the end against a swept axis. Beside the
runs stand their median and its distribution-free interval between order statistics: a bootstrap
interval of the median of a few values promises more than it holds.

Source: Thompson 1936 (Annals of Mathematical Statistics 7, 122-128); Conover, Practical
Nonparametric Statistics, section 3.2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.findings import Finding, percent, strength_beside
from analyses.plots import Trace, multiples, seed_curves, seed_dots, ticks, whiskers, words
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import check_confidence, median_interval
from analyses.sweep_table import (
    at_end,
    columns_of,
    has_failed,
    over_steps,
    places_by_panel,
    setting_name,
    settings_of,
)
from analyses.sweeps.chance import permuted_ranges, range_by_chance
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

STEP = "step"


@dataclass(frozen=True, eq=False)
class SeedSpread(SweepResult):
    """A scalar of every run, and its median over the seeds of a setting; NaN where undefined.

    Attributes:
        scalar: A metric (`test.accuracy`) or a saved scalar (`<Analysis>.<scalar>`).
        against: `step`, or the axis along which settings lie.
        axes: Fields that vary, seeds left out.
        settings: Each has one value for each axis, in order.
        setting: Which of them each run has.
        runs: Names of the runs.
        failed: Which runs could not be finished.
        steps: Steps of the values, evenly chosen where there are many; none against an axis.
        values: Against steps, interpolated linearly between a run's records, and NaN before its
            first and after its last. Against an axis one value for each run, NaN where it failed.
        confidence: Least level of the intervals.
    """

    needs: ClassVar = Needs(column_options=("scalar",))

    scalar: str
    against: str
    axes: tuple[str, ...]
    settings: tuple[tuple[Any, ...], ...]
    setting: Int[np.ndarray, " run"]
    runs: tuple[str, ...]
    failed: Bool[np.ndarray, " run"]
    steps: Int[np.ndarray, " step"]
    values: Float[np.ndarray, "run place"]
    confidence: float

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        scalar: str = "test.accuracy",
        against: str = STEP,
        confidence: float = 0.9,
    ) -> "SeedSpread":
        """Reads a scalar of every run.

        Args:
            table: One row for each run.
            series: The runs, read one at a time where steps are asked for.
            axes: Fields that vary.
            scalar: A metric, or `<Analysis>.<scalar>`.
            against: `step`, or one of the axes.
            confidence: Least level of the intervals, between 0 and 1. At 0.9 five runs are the
                fewest that have one, at 0.95 six.

        Raises:
            ValueError: The scalar is unknown, text, or without a value at all, or against steps
                one number a run; the axis is unknown; the level is no level.
        """
        if against != STEP and against not in axes:
            raise ValueError(
                f"against = '{against}': step or an axis ({', '.join(axes) or 'none'})"
            )
        check_confidence(confidence)
        settings, setting = settings_of(table, axes)
        steps = np.zeros(0, dtype=np.int64)
        if against == STEP:
            steps, values = over_steps(table, series, scalar)
        else:
            values = at_end(table, scalar)[:, None]
        if not np.isfinite(values).any():
            raise ValueError(f"scalar: {scalar} is undefined in every run")
        return cls(
            scalar=scalar,
            against=against,
            axes=tuple(axes),
            settings=settings,
            setting=setting,
            runs=tuple(table["run"]),
            failed=has_failed(table),
            steps=steps,
            values=values,
            confidence=confidence,
        )

    @property
    def carried(self) -> Float[np.ndarray, "run place"]:
        """Values, where a run that ended early keeps its last value.

        Such a run met its stop rule; a run that failed has no value after its end.
        """
        last = self.values.shape[1] - 1 - np.isfinite(self.values)[:, ::-1].argmax(axis=1)
        has_ended = np.arange(self.values.shape[1]) > last[:, None]
        final = np.take_along_axis(self.values, last[:, None], axis=1)
        return np.where(has_ended & ~self.failed[:, None], final, self.values)

    @property
    def counts(self) -> Int[np.ndarray, "setting place"]:
        """Runs of each setting with a value."""
        return np.array([np.isfinite(runs).sum(axis=0) for runs in self._by_setting()])

    @property
    def medians(self) -> Float[np.ndarray, "setting place"]:
        """Median over the runs of each setting with a value; NaN where none has one."""
        import pandas

        return np.array([pandas.DataFrame(runs).median().to_numpy() for runs in self._by_setting()])

    @property
    def intervals(self) -> Float[np.ndarray, "end=2 setting place"]:
        """Lower and upper ends of the medians' intervals; NaN where the runs are too few."""
        return np.stack(
            [median_interval(runs, self.confidence) for runs in self._by_setting()], axis=1
        )

    def summary(self) -> dict[str, float | str]:
        """Runs, those without a last value, and the settings with extreme medians at the end."""
        last = self.medians[:, -1]
        summary = {
            "scalar": self.scalar,
            "against": self.against,
            "runs": len(self.runs),
            "failed": int(self.failed.sum()),
            "undefined": len(self.runs) - int(self.counts[:, -1].sum()),
            "settings": len(self.settings),
        }
        if np.isnan(last).all():
            return summary | {"lowest_median": math.nan, "highest_median": math.nan}
        for name, place in (("lowest", np.nanargmin(last)), ("highest", np.nanargmax(last))):
            summary[f"{name}_median"] = float(last[place])
            summary[f"{name}_at"] = setting_name(self.axes, self.settings[place])
        return summary

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Median at the end: of one setting with its interval, of several from least to most.

        Of one setting it is found where there are runs enough for an interval, else null. Of
        several it is found where medians differ by more than is likely had the runs been dealt out
        to settings at random.
        """
        last, medians = self.carried[:, -1], self.medians[:, -1]
        if np.isnan(medians).all():
            return ()
        name, figure = self._name, next(iter(self.figures()))
        if np.isfinite(medians).sum() == 1:
            return (self._alone(int(np.nanargmax(medians)), figure),)
        is_known = np.isfinite(last)
        ranges = permuted_ranges(last[None, is_known], self.setting[is_known], middle=np.median)
        far, by_chance = float(np.nanmax(medians) - np.nanmin(medians)), range_by_chance(ranges)
        low, high = (
            f"{self._shown(medians[place])} ({setting_name(self.axes, self.settings[place])})"
            for place in (int(np.nanargmin(medians)), int(np.nanargmax(medians)))
        )
        chance = f"by chance seldom over {self._shown(by_chance)} apart"
        text = f"{name} ends between {low} and {high}: medians of {is_known.sum()} runs; {chance}"
        return (Finding(text, strength_beside(far, by_chance), figure),)

    def _alone(self, place: int, figure: str) -> Finding:
        """The median of one setting at the end, with its interval and the seeds' range."""
        runs = self._by_setting()[place][:, -1]
        known = runs[np.isfinite(runs)]
        low, high = self.intervals[:, place, -1]
        seeds = f"{len(known)} seeds {self._shown(known.min())} to {self._shown(known.max())}"
        text = f"{self._name} ends at {self._shown(np.median(known))} (median; {seeds}"
        if np.isnan(low):
            return Finding(f"{text}: too few for an interval)", "null", figure)
        interval = f"{self._shown(low)} to {self._shown(high)}"
        return Finding(f"{text}, {percent(self.confidence)} interval {interval})", "found", figure)

    def _shown(self, value: float) -> str:
        """A value of the scalar as text: accuracies in percent."""
        return percent(round(value, 4)) if self.scalar.endswith("accuracy") else f"{value:.3g}"

    @property
    def _name(self) -> str:
        """The scalar as a sentence begins with it."""
        name = words(self.scalar.rpartition(".")[2] if self.scalar[0].isupper()
                     else self.scalar.replace(".", " "))  # fmt: skip
        return name[0].upper() + name[1:]

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each setting and step: axes, `step`, `runs` with a value, `median`, ends."""
        import pandas

        (low, high), medians, counts = self.intervals, self.medians, self.counts
        places = [{"step": int(step)} for step in self.steps] or [{}]
        return pandas.DataFrame(
            [
                dict(zip(self.axes, setting, strict=True))
                | place
                | {"runs": int(counts[i, j]), "median": medians[i, j]}
                | {"low": low[i, j], "high": high[i, j]}
                for i, setting in enumerate(self.settings)
                for j, place in enumerate(places)
            ]
        )

    def figures(self) -> Mapping[str, Drawing]:
        """A panel for each setting against steps, or for each line of settings against an axis."""
        name = self.scalar if self.scalar[0].isupper() else words(self.scalar.replace(".", " "))
        title = f"Median {name} at the end: {self._ends_in_words()}"
        scale = {"type": "log" if self.scalar.endswith("loss") else "linear"}
        if self.against == STEP:
            curves = multiples(
                {
                    setting_name(self.axes, setting): self._curves(index)
                    for index, setting in enumerate(self.settings)
                },
                title=title,
                axes=("step (updates)", name),
                columns=columns_of(self.axes, self.settings),
                yaxis=scale,
            )
            return {"curves": curves}
        across, panels = places_by_panel(self.axes, self.settings, self.against)
        names = list(dict.fromkeys(value for places in panels.values() for value in places))
        dots = multiples(
            {heading: self._dots(places, names) for heading, places in panels.items()},
            title=title,
            axes=(across, name),
            xaxis=ticks(names),
            yaxis=scale,
        )
        return {"dots": dots}

    def _by_setting(self) -> list[np.ndarray]:
        """The runs' values of each setting."""
        carried = self.carried
        return [carried[self.setting == index] for index in range(len(self.settings))]

    def _curves(self, index: int) -> list[Trace]:
        """Runs, the interval and the median of one setting against steps."""
        runs, (low, high) = self.values[self.setting == index], self.intervals[:, index]
        return seed_curves(
            self.steps,
            runs,
            self.medians[index],
            (low, high),
            f"interval of the median (at least {self.confidence:.0%})",
        )

    def _dots(self, places: Mapping[str, int], names: Sequence[str]) -> list[Trace]:
        """Runs, medians and intervals of one panel against an axis."""
        groups, settings = self._by_setting(), list(places.values())
        low, high = self.intervals[:, settings, 0]
        x = np.array([names.index(name) for name in places])
        interval = f"median with its interval (at least {self.confidence:.0%})"
        return [
            seed_dots(x, [groups[place][:, 0] for place in settings], shift=-0.1, spread=0.15),
            whiskers(x + 0.2, self.medians[settings, 0], (low, high), interval, 0),
        ]

    def _ends_in_words(self) -> str:
        """The range of the medians at the end, and how many runs count in none of them."""
        summary = self.summary()
        low, high = (float(summary[f"{end}_median"]) for end in ("lowest", "highest"))
        if math.isnan(low):
            return "undefined"
        ends = f"{low:.4g} ({summary['lowest_at']}) to {high:.4g} ({summary['highest_at']})"
        missed = f"; undefined in {summary['undefined']} of {summary['runs']} runs"
        return (ends if low < high else f"{low:.4g}") + (missed if summary["undefined"] else "")
