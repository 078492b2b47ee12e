"""When did the model fit its training data, when did it generalise, and what is such a run called?

From recorded metrics alone. Crossings are sustained: the first of several successive evaluations
at or above the level, since accuracy spikes and dips at the learning rates that grok fast. Two
rules name the outcome: by accuracy (delay between the crossings), and by losses (extremes over the
whole run).

Source: crossings after Power et al. 2022 (arXiv:2201.02177); the rule on losses from the article
"Do Machine Learning Models Memorize or Generalize?" (PAIR 2023); phases after Nanda et al. 2023
(arXiv:2301.05217), who read them by eye: the boundaries here are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float, Int

from analyses import plots
from analyses.requirements import Needs, needed_metrics
from analyses.result import Drawing, SeriesResult
from analyses.statistics import crossing, ratio
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class GrokkingPhases(SeriesResult):
    """Crossings, category and phases of one run.

    Steps are NaN where what they mark never happened.

    Attributes:
        steps: Steps of the evaluations.
        accuracy: Train and test accuracy.
        loss: Train and test loss in nats, times `loss_scale`.
        chance: Accuracy of guessing.
        level: Accuracy that counts as crossed.
        evaluations: Successive evaluations that make a crossing.
        ratio: t_test / t_train from which a generalising run has grokked.
        tau: Loss that counts as low, for the rule on losses.
        rho: Ratio of test to train loss that counts as apart, for the rule on losses.
        loss_scale: What losses were multiplied by (1/67 for the article's mean over classes too).
    """

    needs: ClassVar = Needs(metrics=("train.accuracy", "test.accuracy", "train.loss", "test.loss"))
    coordinates: ClassVar = {"split": ("train", "test")}

    steps: Int[np.ndarray, " step"]
    accuracy: Float[np.ndarray, "split=2 step"]
    loss: Float[np.ndarray, "split=2 step"]
    chance: float
    level: float
    evaluations: int
    ratio: float
    tau: float
    rho: float
    loss_scale: float

    @classmethod
    def measure(
        cls,
        series: Checkpoints,
        *,
        level: float = 0.99,
        evaluations: int = 3,
        ratio: float = 2.0,
        tau: float = 1e-5,
        rho: float = 5e4,
        loss_scale: float = 1.0,
    ) -> "GrokkingPhases":
        """Reads a run's metrics.

        Args:
            series: A run with train and test loss and accuracy.
            level: Accuracy that counts as crossed.
            evaluations: Successive evaluations that make a crossing.
            ratio: t_test / t_train from which a generalising run has grokked.
            tau: Low loss, on the scaled losses.
            rho: Test to train loss ratio.
            loss_scale: Multiplies losses before the rule on losses.

        Raises:
            ValueError: An option is out of range, or there are no metrics of these columns.
        """
        if evaluations < 1:
            raise ValueError(f"evaluations = {evaluations}: a crossing takes at least one")
        if not 0 < level <= 1:
            raise ValueError(f"level = {level}: an accuracy lies above 0 and is at most 1")
        if loss_scale <= 0:
            raise ValueError(f"loss_scale = {loss_scale}: losses are multiplied by more than 0")
        steps, values = needed_metrics(cls, series)
        return cls(
            steps=steps,
            accuracy=values[:2],
            loss=values[2:] * loss_scale,
            chance=series.facts.chance,
            level=level,
            evaluations=evaluations,
            ratio=ratio,
            tau=tau,
            rho=rho,
            loss_scale=loss_scale,
        )

    @property
    def t_train(self) -> float:
        """Step at which train accuracy crosses the level and stays for several evaluations."""
        return crossing(self.steps, self.accuracy[0], self.level, self.evaluations)

    @property
    def t_test(self) -> float:
        """Step at which test accuracy does."""
        return crossing(self.steps, self.accuracy[1], self.level, self.evaluations)

    @property
    def test_at_train(self) -> float:
        """Test accuracy at t_train."""
        return float(next(iter(self.accuracy[1][self.steps == self.t_train]), np.nan))

    @property
    def category(self) -> str:
        """fails, memorises, partial, generalises or groks, by accuracy.

        A run that crosses on training data alone is `partial` where its best test accuracy is more
        than halfway from chance (0 where that is not known) to 1. One that crosses on both groks
        where test comes at least `ratio` times as late as train, and generalises otherwise.
        """
        chance = 0.0 if np.isnan(self.chance) else self.chance
        halfway = chance + 0.5 * (1 - chance)
        if np.isnan(self.t_train):
            return "fails"
        if np.isnan(self.t_test):
            return "partial" if (self.accuracy[1] > halfway).any() else "memorises"
        is_late = self.t_test > self.t_train and self.t_test >= self.ratio * self.t_train
        return "groks" if is_late else "generalises"

    @property
    def loss_ratio(self) -> Float[np.ndarray, " step"]:
        """Test loss over train loss; a train loss of 0 counts as the smallest positive number."""
        return self.loss[1] / np.maximum(self.loss[0], np.finfo(np.float64).smallest_normal)

    @property
    def loss_category(self) -> str:
        """High train loss, high test loss, drop together or grokking, by extremes of the losses.

        `diverged` where a loss is NaN or infinite: it has no extremes.
        """
        train, test = self.loss
        if not np.isfinite(self.loss).all():
            return "diverged"
        if train.min() > self.tau:
            return "high train loss"
        if test.min() > self.tau:
            return "high test loss"
        return "drop together" if self.loss_ratio.max() < self.rho else "grokking"

    @property
    def forgets(self) -> float:
        """First of several steps after t_test with a test accuracy of at most 0.9; NaN if none."""
        later = self.steps > self.t_test
        return crossing(self.steps[later], -self.accuracy[1][later], -0.9, self.evaluations)

    @property
    def phases(self) -> tuple[float, float, float]:
        """End of memorisation, start of cleanup, end of cleanup; NaN unless the run generalises.

        Go back from the steepest fall of the log test loss: cleanup starts where the slope has sunk
        to a tenth of the steepest. It ends where test loss is within twice its last value. There
        is no cleanup where test loss never falls, or is NaN or infinite at some evaluation.
        """
        none = (self.t_train, np.nan, np.nan)
        if np.isnan(self.t_test) or len(self.steps) < 2 or not np.isfinite(self.loss[1]).all():
            return none
        fall = -np.gradient(np.log(np.maximum(self.loss[1], 1e-300)), self.steps)
        fall[self.steps < self.t_train] = -np.inf
        steepest = int(fall.argmax())
        if fall[steepest] <= 0:
            return none
        gentle = np.flatnonzero(fall[:steepest] <= 0.1 * fall[steepest])
        start = int(gentle[-1]) + 1 if len(gentle) else 0
        settled = np.flatnonzero(self.loss[1][steepest:] <= 2 * self.loss[1][-1])[0] + steepest
        return (self.t_train, float(self.steps[start]), float(self.steps[settled]))

    def marks(self) -> dict[str, float]:
        """Crossings and the phases' boundaries that happened."""
        _, cleanup, settled = self.phases
        marks = {
            f"train ≥ {self.level:.0%}": self.t_train,
            "cleanup starts": cleanup,
            f"test ≥ {self.level:.0%}": self.t_test,
            "cleanup ends": settled,
            "forgets": self.forgets,
        }
        return {label: step for label, step in marks.items() if not np.isnan(step)}

    def summary(self) -> dict[str, float | str]:
        """Category by both rules, crossings, delay and ratio, phases."""
        _, cleanup, settled = self.phases
        return {
            "category": self.category,
            "loss_category": self.loss_category,
            "t_train": self.t_train,
            "t_test": self.t_test,
            "delay": self.t_test - self.t_train,
            "delay_ratio": ratio(self.t_test, self.t_train),
            "test_accuracy_at_t_train": self.test_at_train,
            "cleanup_starts": cleanup,
            "cleanup_ends": settled,
            "forgets": self.forgets,
        }

    def to_frame(self) -> "pandas.DataFrame":
        """One row an evaluation: `step`, accuracies and losses, `phase`."""
        import pandas

        names = np.array(["memorisation", "circuit formation", "cleanup", "after"])
        bounds = [bound for bound in self.phases if not np.isnan(bound)]
        return pandas.DataFrame(
            {
                "step": self.steps,
                "train_accuracy": self.accuracy[0],
                "test_accuracy": self.accuracy[1],
                "train_loss": self.loss[0],
                "test_loss": self.loss[1],
                "phase": names[np.searchsorted(bounds, self.steps, side="right")],
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Accuracy, and the ratio of test to train loss, with crossings and phases marked."""
        delay = f": train {self.level:.0%} at step {self.t_train:.0f}, test at {self.t_test:.0f}"
        figures = {
            "accuracy": plots.lines(
                self.steps,
                {"train": self.accuracy[0], "test": self.accuracy[1]},
                title=f"The run {self.category}{'' if np.isnan(self.t_test) else delay}",
                axes=("step (updates)", "accuracy"),
            ),
            "loss_ratio": plots.lines(
                self.steps,
                {"test / train": self.loss_ratio, "rho": np.full(len(self.steps), self.rho)},
                title=f"Test loss over train loss (rule on losses: {self.loss_category})",
                log_y=True,
                axes=("step (updates)", "test loss / train loss"),
            ),
        }
        return {slug: plots.mark_steps(figure, self.marks()) for slug, figure in figures.items()}
