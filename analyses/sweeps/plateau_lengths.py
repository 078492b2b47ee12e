"""How does the learning plateau depend on difficulty, and on the weights component?

A run that ends on its plateau is censored: all that is known is that the plateau is longer than the
run. Such runs count in medians as longer than any other, so that a median may itself be censored;
in rank correlations they tie at the top.

Source: Fu et al. 2024 (arXiv:2309.06054): plateaus of 20 to 30 epochs where the weights component
lies below its initial value, mostly under 10 where it lies above, over runs of different
difficulty. Medians with censored runs and the correlation are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.findings import Finding
from analyses.plots import PALETTE, Trace, dots, multiples, ticks, words
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import spearman, spearman_p
from analyses.sweep_table import (
    at_end,
    axis_name,
    has_failed,
    setting_name,
    settings_of,
    value_name,
)
from analyses.sweeps.chance import group_range, p_in_words, permuted_ranges, share_as_far
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

LENGTH = "LearningPlateau.length"
MAX_P = 0.05  # at most so likely by chance is what counts as found
MAX_NAMED = 4  # settings whose medians a title names one by one


@dataclass(frozen=True, eq=False)
class PlateauLengths(SweepResult):
    """Lengths of the plateaus of a sweep's runs; those that failed are left out.

    Attributes:
        axes: Fields that vary, seeds left out.
        settings: Each has one value for each axis, in order.
        setting: Which of them each run has.
        runs: Names of the runs.
        length: Step at which each plateau ends; the last step of the run where it is censored.
        is_censored: Whether the plateau is longer than the run.
        component: The scalar that lengths are compared with.
        value: This scalar at the end of each run; NaN where it is undefined.
        initial: The scalar at the first snapshot of each run; NaN where it is not known.
    """

    needs: ClassVar = Needs(columns=(LENGTH,), column_options=("component",))

    axes: tuple[str, ...]
    settings: tuple[tuple[Any, ...], ...]
    setting: Int[np.ndarray, " run"]
    runs: tuple[str, ...]
    length: Float[np.ndarray, " run"]
    is_censored: Bool[np.ndarray, " run"]
    component: str
    value: Float[np.ndarray, " run"]
    initial: Float[np.ndarray, " run"]

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        component: str = "WeightsComponent.identity_quarter",
    ) -> "PlateauLengths":
        """Reads what was found of every run.

        Args:
            table: One row for each run, with scalars of LearningPlateau.
            series: Not used.
            axes: Fields that vary, such as the difficulty.
            component: The scalar to compare lengths with; with `_initial` after its name, that of
                the first snapshot.

        Raises:
            ValueError: A column is missing or text, or no run was finished and measured.
        """
        lengths, budgets = at_end(table, LENGTH), at_end(table, "LearningPlateau.budget")
        value, is_censored = at_end(table, component), np.isnan(lengths)
        is_measured = ~has_failed(table) & np.isfinite(budgets)
        if not is_measured.any():
            raise ValueError(
                "PlateauLengths needs a finished run that LearningPlateau has measured"
            )
        initial = f"{component}_initial"
        start = at_end(table, initial) if initial in table else np.full(len(table), np.nan)
        settings, setting = settings_of(table.loc[is_measured], axes)
        return cls(
            axes=tuple(axes),
            settings=settings,
            setting=setting,
            runs=tuple(table.loc[is_measured, "run"]),
            length=np.where(is_censored, budgets, lengths)[is_measured],
            is_censored=is_censored[is_measured],
            component=component,
            value=value[is_measured],
            initial=start[is_measured],
        )

    @property
    def growth(self) -> Float[np.ndarray, " run"]:
        """The component at the end less its initial value."""
        return self.value - self.initial

    @property
    def correlation(self) -> float:
        """Spearman's correlation of length and growth; NaN for few runs or without spread."""
        return spearman(self.growth, self._ordered)

    @property
    def correlation_p(self) -> float:
        """How likely so strong a correlation is by chance (`spearman_p`)."""
        return spearman_p(self.growth, self._ordered)

    @property
    def _ordered(self) -> Float[np.ndarray, " run"]:
        """Lengths, where all censored ones are equal and larger than every other."""
        return np.where(self.is_censored, 2 * self.length.max() + 1, self.length)

    def median(self, chosen: Bool[np.ndarray, " run"]) -> str:
        """Median length of some runs in words; `> 900` where it is censored, `none` of no run.

        The bound is the median of what is known of each run: its length, or that it is longer than
        the run.
        """
        if not chosen.any():
            return "none"
        order = np.sort(np.where(self.is_censored, np.inf, self.length)[chosen])
        middle = float(order[(len(order) - 1) // 2] + order[len(order) // 2]) / 2
        bound = f"> {np.median(self.length[chosen]):.0f}"
        return bound if math.isinf(middle) else f"{middle:.0f}"

    def summary(self) -> dict[str, float | str]:
        """Runs, how many are censored, and the rank correlation with its p.

        There are medians of all runs, of those whose component fell, and of those where it did not.
        """
        fell = self.growth < 0
        return {
            "runs": float(len(self.runs)),
            "censored": float(self.is_censored.sum()),
            "median_length": self.median(np.ones(len(self.runs), dtype=bool)),
            "runs_below_initial": float(fell.sum()),
            "median_length_below_initial": self.median(fell),
            "median_length_at_or_above_initial": self.median(self.growth >= 0),
            "rank_correlation": self.correlation,
            "rank_correlation_p": self.correlation_p,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Lengths by setting, and by whether the component fell, each with a p.

        Found where the p is at most 0.05, else null: of settings by permuting runs, of the
        component that of the rank correlation.
        """
        return (*self._by_setting(), *self._by_component())

    def _by_setting(self) -> tuple[Finding, ...]:
        """The settings with the shortest and the longest median plateau."""
        from scipy.stats import rankdata  # heavy

        if len(self.settings) < 2:
            return ()
        ranks = rankdata(self._ordered)[None]
        middles = [np.median(ranks[0, self.setting == at]) for at in range(len(self.settings))]
        observed = float(group_range(ranks, self.setting, np.median)[0])
        likely = share_as_far(permuted_ranges(ranks, self.setting, middle=np.median), observed)
        shortest, longest = (
            f"{self.median(self.setting == place)} steps "
            f"({setting_name(self.axes, self.settings[place])})"
            for place in (int(np.argmin(middles)), int(np.argmax(middles)))
        )
        text = (
            f"The median plateau lasts from {shortest} to {longest}; by chance {p_in_words(likely)}"
        )
        return (Finding(text, "found" if likely <= MAX_P else "null", "difficulty"),)

    def _by_component(self) -> tuple[Finding, ...]:
        """Runs whose component fell beside those where it did not."""
        likely, fell, rose = self.correlation_p, self.growth < 0, self.growth >= 0
        if math.isnan(likely):
            return ()
        name = words(self.component.rpartition(".")[2])
        text = (
            f"Where {name} ends below its start, the median plateau is {self.median(fell)} steps "
            f"({fell.sum()} runs), elsewhere {self.median(rose)} ({rose.sum()} runs)"
        )
        if not fell.any() or not rose.any():
            text = (
                f"Plateau length and the change of {name} have rank correlation "
                f"{self.correlation:.2f} over {np.isfinite(self.growth).sum()} runs"
            )
        found = Finding(f"{text}; by chance {p_in_words(likely)}", "found", "component")
        return (found if likely <= MAX_P else replace(found, strength="null"),)

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each run: setting, length, whether that is censored, component, initial."""
        import pandas

        return pandas.DataFrame(
            {
                "run": self.runs,
                "setting": [setting_name(self.axes, self.settings[i]) for i in self.setting],
                "length": self.length,
                "is_censored": self.is_censored,
                "component": self.value,
                "initial": self.initial,
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Lengths by setting; lengths against what the component gained or lost."""
        names = [setting_name(self.axes, setting) for setting in self.settings]
        medians = [self.median(self.setting == place) for place in range(len(names))]
        by_name = "; ".join(f"{name}: {text}" for name, text in zip(names, medians, strict=True))
        if len(names) > MAX_NAMED:
            by_name = f"{medians[0]} steps ({names[0]}) to {medians[-1]} ({names[-1]})"
        is_one = len(self.axes) == 1
        labels = [value_name(setting[0]) for setting in self.settings] if is_one else names
        across = axis_name(self.axes[0], self.axes) if is_one else "setting"
        return {
            "difficulty": multiples(
                {"": self._dots(self.setting.astype(np.float64))},
                title=f"Median plateau, {by_name}",
                axes=(across, "length (steps)"),
                xaxis=ticks(labels),
            ),
            "component": multiples(
                {"": self._dots(self.growth)},
                title=f"Rank correlation with the component's growth: {self.correlation:.2f} "
                f"(p = {self.correlation_p:.2g})",
                axes=(f"{self.component}, less its initial value", "length (steps)"),
            ),
        }

    def _dots(self, x: Float[np.ndarray, " run"]) -> list[Trace]:
        """A dot for each run; an open triangle where the plateau is longer than the run."""
        kinds = (
            ("escaped", "circle", PALETTE[0], ~self.is_censored),
            ("longer than", "triangle-up-open", PALETTE[1], self.is_censored),
        )
        return [
            dots(
                x[chosen],
                self.length[chosen],
                name,
                {"symbol": symbol, "color": colour, "size": 9},
                [self.runs[run] for run in np.flatnonzero(chosen)],
            )
            for name, symbol, colour, chosen in kinds
            if chosen.any()
        ]
