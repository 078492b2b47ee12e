"""When did the model fit its training data, when did it generalise, and what is such a run called?

From recorded metrics alone. Crossings are sustained: the first of several successive evaluations
at or above the level, since accuracy spikes and dips at the learning rates that grok fast. Two
rules name the outcome: by accuracy (delay between the crossings), and by losses (extremes over the
whole run). Where a run recorded losses alone, crossings are of losses that prove the accuracy.

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
from analyses.findings import Finding, percent
from analyses.requirements import Needs, needed_metrics
from analyses.result import BaseResult, Drawing, SeriesResult
from analyses.statistics import crossing, ratio
from hooks import Checkpoints

if TYPE_CHECKING:
    import pandas

SURE_LOSS = np.log(2)  # nats; an answer with less has a probability above 1/2, so it is right
PARTIAL_SHARE = 0.5  # of the loss at chance: a test loss below it is part of the way
# What the rule on losses calls a run of each category where the two rules agree.
SAME_BY_LOSSES = {
    "fails": "high train loss",
    "memorises": "high test loss",
    "partial": "high test loss",
    "generalises": "drop together",
    "groks": "grokking",
}


@dataclass(frozen=True, eq=False)
class GrokkingPhases(SeriesResult):
    """Crossings, category and phases of one run.

    Steps are NaN where what they mark never happened.

    Attributes:
        steps: Steps of the evaluations.
        accuracy: Train and test accuracy; NaN throughout where the run recorded losses alone.
        loss: Train and test loss in nats, times `loss_scale`.
        chance: Accuracy of guessing.
        level: Accuracy that counts as crossed.
        evaluations: Successive evaluations that make a crossing.
        ratio: t_test / t_train from which a generalising run has grokked.
        tau: Loss that counts as low, for the rule on losses.
        rho: Ratio of test to train loss that counts as apart, for the rule on losses.
        loss_scale: What losses were multiplied by (1/67 for the article's mean over classes too).
    """

    needs: ClassVar = Needs(metrics=("train.loss", "test.loss"))
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
            series: A run with train and test loss, and accuracy where it was recorded.
            level: Accuracy that counts as crossed; by losses, the accuracy that they must prove.
            evaluations: Successive evaluations that make a crossing.
            ratio: t_test / t_train from which a generalising run has grokked.
            tau: Low loss, on the scaled losses.
            rho: Test to train loss ratio.
            loss_scale: Multiplies losses before the rule on losses.

        Raises:
            ValueError: An option is out of range, there are no metrics of these columns, or losses
                alone cannot tell: the level is 1, or the task does not say what chance is.
        """
        if evaluations < 1:
            raise ValueError(f"evaluations = {evaluations}: a crossing takes at least one")
        if not 0 < level <= 1:
            raise ValueError(f"level = {level}: an accuracy lies above 0 and is at most 1")
        if loss_scale <= 0:
            raise ValueError(f"loss_scale = {loss_scale}: losses are multiplied by more than 0")
        steps, losses = needed_metrics(cls, series)
        accuracy = recorded_accuracy(series)
        if np.isnan(accuracy).all():
            check_losses_tell(series.facts.chance, level)
        return cls(
            steps=steps,
            accuracy=accuracy,
            loss=losses * loss_scale,
            chance=series.facts.chance,
            level=level,
            evaluations=evaluations,
            ratio=ratio,
            tau=tau,
            rho=rho,
            loss_scale=loss_scale,
        )

    @property
    def rule(self) -> str:
        """What crossings are of: accuracy, or loss where the run recorded losses alone."""
        return "loss" if np.isnan(self.accuracy).all() else "accuracy"

    @property
    def crossed_loss(self) -> float:
        """The mean loss, in nats, at or below which accuracy is at least the level.

        A wrong answer has a loss of log 2 or more, so a mean loss L leaves room for a share of at
        most L / log 2 of them (Markov's inequality): accuracy is at least 1 - L / log 2. Accuracy
        may have crossed earlier.
        """
        return float((1 - self.level) * SURE_LOSS)

    @property
    def chance_loss(self) -> float:
        """- log chance, in nats: log of the number of classes where they are equally likely."""
        return float(-np.log(self.chance))

    @property
    def t_train(self) -> float:
        """Step at which train accuracy crosses the level and stays for several evaluations.

        By losses, that at which train loss proves it.
        """
        return self._crossing(0)

    @property
    def t_test(self) -> float:
        """Step at which test accuracy does."""
        return self._crossing(1)

    def _crossing(self, split: int) -> float:
        if self.rule == "loss":
            losses = self.loss[split] / self.loss_scale
            return crossing(self.steps, -losses, -self.crossed_loss, self.evaluations)
        return crossing(self.steps, self.accuracy[split], self.level, self.evaluations)

    @property
    def test_at_train(self) -> float:
        """Test accuracy at t_train; NaN by losses."""
        return float(next(iter(self.accuracy[1][self.steps == self.t_train]), np.nan))

    @property
    def category(self) -> str:
        """fails, memorises, partial, generalises or groks, by accuracy or else by losses.

        A run that crosses on training data alone is `partial` where its best test accuracy is more
        than halfway from chance (0 where that is not known) to 1; by losses, where its best test
        loss is below half of that at chance. One that crosses on both groks where test comes at
        least `ratio` times as late as train, and generalises otherwise.
        """
        if np.isnan(self.t_train):
            return "fails"
        if np.isnan(self.t_test):
            return "partial" if self._is_partial else "memorises"
        is_late = self.t_test > self.t_train and self.t_test >= self.ratio * self.t_train
        return "groks" if is_late else "generalises"

    @property
    def _is_partial(self) -> bool:
        """Whether the best test score is more than half of the way from chance."""
        if self.rule == "loss":
            losses = self.loss[1] / self.loss_scale
            return bool((losses < PARTIAL_SHARE * self.chance_loss).any())
        chance = 0.0 if np.isnan(self.chance) else self.chance
        return bool((self.accuracy[1] > chance + 0.5 * (1 - chance)).any())

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
        """First of several steps after t_test with a test accuracy of at most 0.9; NaN if none.

        NaN by losses too: a few answers of great loss are no sign of a low accuracy.
        """
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
        level = f"≥ {self.level:.0%}"
        if self.rule == "loss":
            level = f"loss ≤ {self.crossed_loss:.2g}"
        marks = {
            f"train {level}": self.t_train,
            "cleanup starts": cleanup,
            f"test {level}": self.t_test,
            "cleanup ends": settled,
            "forgets": self.forgets,
        }
        return {label: step for label, step in marks.items() if not np.isnan(step)}

    def summary(self) -> dict[str, float | str]:
        """Category by both rules, crossings, delay and ratio, phases.

        `rule` is loss where crossings and category are by losses, since no accuracies were
        recorded. The lowest losses (scaled; NaN where one is not finite) and tau say what
        `loss_category`, which is of all losses, rests on.
        """
        _, cleanup, settled = self.phases
        lowest = [np.nan] * 2 if self.loss_category == "diverged" else self.loss.min(1).tolist()
        return {
            "category": self.category,
            "rule": self.rule,
            "loss_category": self.loss_category,
            "lowest_train_loss": lowest[0],
            "lowest_test_loss": lowest[1],
            "low_loss": self.tau,
            "t_train": self.t_train,
            "t_test": self.t_test,
            "delay": self.t_test - self.t_train,
            "delay_ratio": ratio(self.t_test, self.t_train),
            "test_accuracy_at_t_train": self.test_at_train,
            "cleanup_starts": cleanup,
            "cleanup_ends": settled,
            "forgets": self.forgets,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Crossings of train beside test and what such a run is called, whether it forgets.

        Last, what the rule on losses calls it where it disagrees with the category.
        """
        others = (*self._forgetting(), *self._disagreement())
        score, train = self.rule, f"Train {self.rule} reaches {self._level}"
        if np.isnan(self.t_train):
            return (
                Finding(f"{train} at no step{self._ends(0)}: the run fails", "not found"),
                *others,
            )
        train = f"{train} at step {self.t_train:,.0f}"
        if np.isnan(self.t_test):
            missed = f"{train}, test {score} at none{self._ends(1)}: the run {self._in_words}"
            return (Finding(missed, "not found"), *others)
        delay = ratio(self.t_test, self.t_train)
        late = f", {delay:.1f} times as late" if delay > 1 else ""
        held_out = f"test {score} at step {self.t_test:,.0f}{late}"
        return Finding(f"{train}{self._meanwhile}, {held_out}: the run {self._in_words}"), *others

    @property
    def _level(self) -> str:
        """The level that is crossed, in words."""
        if self.rule == "loss":
            return f"{self.crossed_loss:.2g} nats (which proves an accuracy of {self.level:.0%})"
        return percent(self.level)

    @property
    def _in_words(self) -> str:
        """The category as it ends a sentence."""
        words = {"generalises": "generalises at once", "partial": "generalises in part"}
        return words.get(self.category, self.category)

    @property
    def _meanwhile(self) -> str:
        """Test accuracy at the step at which train accuracy crosses; nothing by losses."""
        if np.isnan(self.test_at_train):
            return ""
        return f" (test then {percent(self.test_at_train)}{self._beside_chance})"

    @property
    def _beside_chance(self) -> str:
        return "" if np.isnan(self.chance) else f", chance {percent(self.chance)}"

    def _ends(self, split: int) -> str:
        """How a split's accuracy ends, beside chance; nothing where it is not known."""
        last = self.accuracy[split][-1]
        if np.isnan(last):
            return ""
        return f" (it ends at {percent(last)}{self._beside_chance})"

    def _forgetting(self) -> tuple[Finding, ...]:
        if np.isnan(self.forgets):
            return ()
        fall = f"Test accuracy falls to 90 % or less again at step {self.forgets:,.0f}"
        return (Finding(f"{fall}{self._ends(1)}: the run forgets"),)

    def _disagreement(self) -> tuple[Finding, ...]:
        """What the rule on losses says, and why, where it is another thing than the category."""
        if self.loss_category == SAME_BY_LOSSES[self.category]:
            return ()
        told = f"The rule on losses calls the run '{self.loss_category}': {self._why_by_losses}"
        strength = "found" if self.loss_category == "grokking" else "not found"
        return (Finding(told, strength, figure="loss_ratio"),)

    @property
    def _why_by_losses(self) -> str:
        """The number that decides the rule on losses, beside its limit."""
        if self.loss_category == "diverged":
            return "a loss is not finite"
        train, test = self.loss.min(axis=1)
        unit = "nats" if self.loss_scale == 1 else f"nats (times {self.loss_scale:.3g})"
        limit = f"low is at most {self.tau:.2g}"
        if self.loss_category == "high train loss":
            return f"its lowest train loss is {train:.2g} {unit}, {limit}"
        if self.loss_category == "high test loss":
            return f"its lowest test loss is {test:.2g} {unit}, {limit}"
        apart = f"test loss is at most {self.loss_ratio.max():.2g} times train loss"
        return f"{apart}, far apart is {self.rho:.2g} times"

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
        """Accuracy, and the ratio of test to train loss, with crossings and phases marked.

        By losses, the losses stand in place of accuracy.
        """
        figures = {
            **(self._losses() if self.rule == "loss" else self._accuracies()),
            "loss_ratio": plots.lines(
                self.steps,
                {"test / train": self.loss_ratio, "rho": np.full(len(self.steps), self.rho)},
                title=f"Rule on losses: {self.loss_category}, since {self._why_by_losses}",
                log_y=True,
                axes=("step (updates)", "test loss / train loss"),
            ),
        }
        return {slug: plots.mark_steps(figure, self.marks()) for slug, figure in figures.items()}

    def _accuracies(self) -> dict[str, Drawing]:
        delay = f": train {self.level:.0%} at step {self.t_train:,.0f}, test at {self.t_test:,.0f}"
        delay = "" if np.isnan(self.t_test) else delay
        return {
            "accuracy": plots.lines(
                self.steps,
                {"train": self.accuracy[0], "test": self.accuracy[1]},
                title=f"By accuracy the run {self.category}{delay}",
                axes=("step (updates)", "accuracy"),
            )
        }

    def _losses(self) -> dict[str, Drawing]:
        delay = f": train at step {self.t_train:.0f}, test at {self.t_test:.0f}"
        train, test = self.loss / self.loss_scale
        level = np.full(len(self.steps), self.crossed_loss)
        chance = np.full(len(self.steps), self.chance_loss)
        return {
            "loss": plots.lines(
                self.steps,
                {"train": train, "test": test, "chance": chance, "crossed": level},
                title=f"The run {self.category} by losses, without accuracies"
                f"{'' if np.isnan(self.t_test) else delay}",
                log_y=True,
                axes=("step (updates)", "loss (nats)"),
            )
        }


def recorded_accuracy(series: Checkpoints) -> Float[np.ndarray, "split=2 step"]:
    """Train and test accuracy; NaN throughout unless both were recorded."""
    columns, metrics = ["train.accuracy", "test.accuracy"], series.metrics
    if not {*columns} <= {*metrics}:
        return np.full((2, len(metrics)), np.nan)
    return metrics[columns].to_numpy(dtype=np.float64).T


def check_losses_tell(chance: float, level: float) -> None:
    """Refuses what losses without accuracies cannot tell.

    Raises:
        ValueError: The level is 1, or chance is not known.
    """
    if level == 1:
        raise ValueError(
            "level = 1: train.accuracy and test.accuracy were not recorded, and no mean loss "
            "proves that all answers are right: give a level below 1"
        )
    if not 0 < chance < 1:
        raise ValueError(
            "GrokkingPhases needs train.accuracy and test.accuracy, or a task that tells chance, "
            "by which losses alone can be read"
        )
