"""Does a run end by the rule that its training data do not ask for, and when did it?

From recorded metrics. Accuracy on lines that tell two rules apart rises, falls and rises again long
after validation accuracy stands at 1, so that one number does not describe a run. Three claims, for
a level of 0.8:

    ever        some evaluation is above the level
    sustained   several successive evaluations are
    final       the last one is

Beside them stands the accuracy at three steps: at the first maximum of validation accuracy and the
least validation loss (two readings of early stopping), and at the end.

Source: Murty et al. 2023 (arXiv:2305.18741), who count the seeds above 80 % at some time and
compare early stopping with the end. Their released curves give their counts neither by "ever" nor
by "final".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses import plots
from analyses.findings import Finding, percent
from analyses.requirements import Needs, needed_metrics
from analyses.result import BaseResult, Drawing, SeriesResult
from analyses.statistics import first_sustained
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

KIND = "generalization.accuracy_"  # how the names of columns of kinds of lines begin


@dataclass(frozen=True, eq=False)
class Generalization(SeriesResult):
    """Accuracy of one run on lines that distinguish two rules that both fit its training lines.

    Steps are NaN where the accuracy never was above the level.

    Attributes:
        steps: Steps of the evaluations.
        validation: Validation accuracy.
        validation_loss: In nats.
        accuracy: Generalization accuracy.
        kinds: Kinds of generalization lines whose accuracy was recorded.
        by_kind: Their accuracies.
        level: Accuracy that success lies above.
        evaluations: Successive evaluations that make success sustained.
    """

    needs: ClassVar = Needs(
        metrics=("validation.accuracy", "validation.loss", "generalization.accuracy")
    )

    steps: Int[np.ndarray, " step"]
    validation: Float[np.ndarray, " step"]
    validation_loss: Float[np.ndarray, " step"]
    accuracy: Float[np.ndarray, " step"]
    kinds: tuple[str, ...]
    by_kind: Float[np.ndarray, "kind step"]
    level: float
    evaluations: int

    @classmethod
    def measure(
        cls, series: Checkpoints, *, level: float = 0.8, evaluations: int = 3
    ) -> "Generalization":
        """Reads a run's metrics.

        Args:
            series: A run with validation and generalization accuracy.
            level: Accuracy that success lies above; the level itself is no success.
            evaluations: Successive evaluations that make success sustained.

        Raises:
            ValueError: An option is out of range, or there are no metrics of these columns.
        """
        if evaluations < 1:
            raise ValueError(f"evaluations = {evaluations}: success takes at least one")
        if not 0 <= level < 1:
            raise ValueError(f"level = {level}: take one from 0 to below 1, to be above which")
        steps, (validation, validation_loss, accuracy) = needed_metrics(cls, series)
        kinds = [column for column in series.metrics if column.startswith(KIND)]
        return cls(
            steps=steps,
            validation=validation,
            validation_loss=validation_loss,
            accuracy=accuracy,
            kinds=tuple(column.removeprefix(KIND) for column in kinds),
            by_kind=series.metrics[kinds].to_numpy(dtype=np.float64).T,
            level=level,
            evaluations=evaluations,
        )

    @property
    def is_above(self) -> Bool[np.ndarray, " step"]:
        """Whether each evaluation is above the level."""
        return self.accuracy > self.level

    @property
    def t_ever(self) -> float:
        """First step above the level."""
        return first_sustained(self.steps, self.is_above, 1)

    @property
    def t_sustained(self) -> float:
        """First step of several successive ones above it."""
        return first_sustained(self.steps, self.is_above, self.evaluations)

    @property
    def is_final(self) -> bool:
        """Whether the last evaluation is above the level."""
        return bool(self.is_above[-1])

    @property
    def share_above(self) -> float:
        """Share of the evaluations that are above the level."""
        return float(self.is_above.mean())

    @property
    def first_maximum(self) -> int:
        """The first evaluation of the greatest validation accuracy, of those that are not NaN."""
        return int(np.nan_to_num(self.validation, nan=-np.inf).argmax())

    @property
    def least_loss(self) -> int:
        """The evaluation of the least validation loss, of those that are not NaN."""
        return int(np.nan_to_num(self.validation_loss, nan=np.inf).argmin())

    def marks(self) -> dict[str, float]:
        """Both early stops, and where generalization is above the level for good, or spikes."""
        lasting, first = self.t_sustained, self.t_ever
        marks = {
            "validation accuracy at its best": self._step(self.first_maximum, self.validation),
            f"first spike > {self.level:.0%}": np.nan if first == lasting else first,
            f"generalization > {self.level:.0%}": lasting,
            "validation loss at its least": self._step(self.least_loss, self.validation_loss),
        }
        return {label: step for label, step in marks.items() if not np.isnan(step)}

    def summary(self) -> dict[str, float | str]:
        """Success ever, sustained and final (1 or 0), its steps, accuracy at stops and by kind.

        `least_later` is the least accuracy from the first validation maximum on. Stops are NaN
        where no evaluation has what they go by.
        """
        early, least = self.first_maximum, self.least_loss
        return {
            "ever": int(not np.isnan(self.t_ever)),
            "sustained": int(not np.isnan(self.t_sustained)),
            "final": int(self.is_final),
            "share_above": self.share_above,
            "t_ever": self.t_ever,
            "t_sustained": self.t_sustained,
            "first_maximum_step": self._step(early, self.validation),
            "at_first_maximum": float(self.accuracy[early]),
            "least_loss_step": self._step(least, self.validation_loss),
            "at_least_loss": float(self.accuracy[least]),
            "least_later": float(self.accuracy[early:].min()),
            "best": float(self.accuracy.max()),
            "last": float(self.accuracy[-1]),
            **{f"last_{kind}": float(values[-1]) for kind, values in self._kinds.items()},
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Whether success is sustained and final, beside the accuracy at early stopping."""
        is_success = self.is_final and not np.isnan(self.t_sustained)
        text = f"Generalization accuracy is {self._success}{self._at_early_stop}"
        return (Finding(text, "found" if is_success else "not found", figure="accuracy"),)

    @property
    def _success(self) -> str:
        """When accuracy is above the level, for how long, and where it ends."""
        level, count, last = percent(self.level), int(self.is_above.sum()), self.accuracy[-1]
        end = "" if np.isnan(last) else f", and ends at {percent(last)}"
        if not count:
            return f"at no evaluation above {level}{end}"
        if np.isnan(self.t_sustained):
            spikes = (
                f"above {level} only in spikes of under {self.evaluations} evaluations "
                f"({count} of {len(self.steps)}, first at step {self.t_ever:,.0f})"
            )
            return (
                f"{spikes}, and ends in one, at {percent(last)}" if self.is_final else spikes + end
            )
        lasting = (
            f"above {level} for {self.evaluations} evaluations in a row from step "
            f"{self.t_sustained:,.0f}"
        )
        return f"{lasting}{end}" if self.is_final else f"{lasting}, but does not stay{end}"

    @property
    def _at_early_stop(self) -> str:
        """Accuracy where validation accuracy is first at its best; nothing where that is not known.

        Both rules have the same validation accuracy, so that it is what success is compared with.
        """
        early = self.first_maximum
        if np.isnan([self.validation[early], self.accuracy[early]]).any():
            return ""
        return f" ({percent(self.accuracy[early])} at the best validation accuracy)"

    @property
    def _kinds(self) -> dict[str, Float[np.ndarray, " step"]]:
        """Accuracy by kind of line."""
        return dict(zip(self.kinds, self.by_kind, strict=True))

    def _step(self, evaluation: int, values: Float[np.ndarray, " step"]) -> float:
        """An evaluation's step; NaN where its value is."""
        return np.nan if np.isnan(values[evaluation]) else int(self.steps[evaluation])

    def to_frame(self) -> "pandas.DataFrame":
        """One row an evaluation: `step`, accuracies, validation loss, accuracy by kind."""
        import pandas

        return pandas.DataFrame(
            {
                "step": self.steps,
                "validation_accuracy": self.validation,
                "validation_loss": self.validation_loss,
                "generalization_accuracy": self.accuracy,
                **self._kinds,
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Validation and generalization accuracy with the stops, and accuracy by kind of line."""
        accuracy = plots.lines(
            self.steps,
            {
                "validation": self.validation,
                "generalization": self.accuracy,
                "level": np.full(len(self.steps), self.level),
            },
            title=f"Generalization accuracy is {self._success}",
            axes=("step (optimiser updates)", "accuracy"),
        )
        figures: dict[str, Drawing] = {"accuracy": plots.mark_steps(accuracy, self.marks())}
        if self.kinds:
            figures["by_kind"] = plots.lines(
                self.steps,
                self._kinds,
                title="Generalization accuracy by kind of line",
                axes=("step (optimiser updates)", "accuracy"),
            )
        return figures
