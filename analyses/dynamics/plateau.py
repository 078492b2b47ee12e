"""How long does learning in context stand still before it sets in?

From recorded metrics, or from snapshots if nothing was recorded. With a(t) the share of the last
answers of prompts that is right, smoothed over a few evaluations, and a0 the best share without
context:

    length = first t with a(t) >= a0 + 0.1 (1 - a0)
    transition width = t(a0 + 0.8 g) - t(a0 + 0.1 g),    g = a(last) - a0

Source: Fu et al. 2024 (arXiv:2309.06054) for plateau and transition, which they count in epochs and
define in words; rule and numbers are ours. Where answers are real numbers a is the share of mean y²
explained, and a0 is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from analyses import plots
from analyses.findings import Finding, percent
from analyses.in_context.prompts import late_score
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SeriesResult
from analyses.statistics import first_sustained
from hooks import Checkpoints, PromptFacts

# Metrics of how much is right, each with the metric of how much is wrong beside it.
METRICS = {"late_accuracy": "loss", "explained": "error", "accuracy": "loss"}
WORDS = {
    "late_accuracy": "Accuracy of the last answers",
    "explained": "Share of y² explained",
    "accuracy": "Accuracy",
}
PROMPTS = 500  # on which a snapshot is measured, if nothing was recorded


@dataclass(frozen=True, eq=False)
class LearningPlateau(SeriesResult):
    """The plateau of one run and the transition after it.

    Steps are NaN where they never came.

    Attributes:
        steps: Steps of the evaluations.
        score: How much is right at each: accuracy of the last answers, or share explained.
        loss: The loss, or the error over that of always answering 0; NaN where not recorded.
        metric: What the score is.
        chance: The best score without context, a0, on that split.
        window: Evaluations that are averaged, the same number before as after.
        share: Share of the way from chance to 1 at which the plateau ends.
        drop: How far below the flat loss the plateau ends, by the loss.
    """

    needs: ClassVar = Needs(facts={PromptFacts: ()})
    columns: ClassVar = {"score": "score", "smoothed": "smoothed", "loss": "loss"}

    steps: Int[np.ndarray, " step"]
    score: Float[np.ndarray, " step"]
    loss: Float[np.ndarray, " step"]
    metric: str
    chance: float
    window: int
    share: float
    drop: float

    @classmethod
    def measure(
        cls,
        series: Checkpoints,
        *,
        split: str | None = None,
        metric: str | None = None,
        window: int = 3,
        share: float = 0.1,
        drop: float = 0.05,
    ) -> "LearningPlateau":
        """Reads a run's metrics, or measures its snapshots where it has none.

        Args:
            series: A run on prompts of examples.
            split: Whose metrics; that of the first recorded score where left out.
            metric: late_accuracy, explained or accuracy; the first of them that is recorded.
            window: Evaluations that are averaged, an odd number.
            share: Share of the way from chance to 1 at which the plateau ends, between 0 and 1.
            drop: How far below the flat loss it ends by the loss, in nats (where answers are real
                numbers, of the error over that of always answering 0), above 0.

        Raises:
            ValueError: An option is out of range, the run recorded no such metric, a value is
                not finite, or chance is 1.
        """
        if window < 1 or window % 2 != 1:
            raise ValueError(f"window = {window}: take an odd number of evaluations")
        if not 0 < share < 1 or not drop > 0:
            raise ValueError(f"share = {share}, drop = {drop}: a share of 0 to 1, a drop above 0")
        steps, (score, loss), name = _curves(series, split, metric)
        if not len(steps) or not np.isfinite(score).all():
            raise ValueError(f"{name} is not finite at every evaluation: the run has diverged")
        measured = name.rpartition(".")[0] or split
        chance = series.examples(measured, 1).facts.chance if name.endswith("accuracy") else 0.0
        chance = 0.0 if np.isnan(chance) else chance
        if chance >= 1:
            raise ValueError(f"chance = {chance}: all is right without context, so nothing is left")
        return cls(
            steps=steps,
            score=score,
            loss=loss,
            metric=name,
            chance=chance,
            window=window,
            share=share,
            drop=drop,
        )

    @property
    def smoothed(self) -> Float[np.ndarray, " step"]:
        """The score, averaged over the window, which is cut off at both ends of the run."""
        return smoothed(self.score, self.window)

    @property
    def length(self) -> float:
        """Step at which the plateau ends; NaN if it lasts longer than the run."""
        return self._reaches(self.end_level)

    @property
    def end_level(self) -> float:
        """The score at which the plateau ends."""
        return self.chance + self.share * (1 - self.chance)

    @property
    def is_censored(self) -> bool:
        """Whether the plateau lasts longer than the run."""
        return bool(np.isnan(self.length))

    @property
    def told(self) -> str:
        """The length in words: `300`, or `> 8000` where it is censored."""
        return f"> {self.steps[-1]}" if self.is_censored else f"{self.length:.0f}"

    @property
    def flat_loss(self) -> float:
        """Median loss of the plateau, without its first evaluation if there are others."""
        on_plateau = self.loss[self.steps < (np.inf if self.is_censored else self.length)]
        flat = on_plateau[1:] if len(on_plateau) > 1 else self.loss[:1]
        return float(np.median(flat))

    @property
    def length_by_loss(self) -> float:
        """First step after the flat loss was reached with a loss below it by the drop; or NaN."""
        is_low = smoothed(self.loss, self.window) <= self.flat_loss - self.drop
        is_low[: (self.loss >= self.flat_loss).argmax() + 1] = False
        return first_sustained(self.steps, is_low, 1)

    @property
    def last_score(self) -> float:
        """The mean score of as many last evaluations as the window has."""
        return float(self.score[-self.window :].mean())

    @property
    def transition(self) -> tuple[float, float]:
        """Steps at which a tenth and four fifths of the final gain are reached.

        NaN if censored, or if the run ends without a gain.
        """
        gain = self.last_score - self.chance
        if self.is_censored or gain <= 0:
            return np.nan, np.nan
        return self._reaches(self.chance + 0.1 * gain), self._reaches(self.chance + 0.8 * gain)

    def marks(self) -> dict[str, float]:
        """The end of the plateau and that of the transition, if the run reached them."""
        ends = {"plateau ends": self.length, "transition ends": self.transition[1]}
        return {label: step for label, step in ends.items() if not np.isnan(step)}

    def summary(self) -> dict[str, float | str]:
        """Length by score and by loss, whether it is censored, the transition, the last score."""
        early, late = self.transition
        return {
            "length": self.length,
            "told": self.told,
            "is_censored": float(self.is_censored),
            "budget": float(self.steps[-1]),
            "length_by_loss": self.length_by_loss,
            "flat_loss": self.flat_loss,
            "transition_starts": early,
            "transition_ends": late,
            "transition_width": late - early,
            "last_score": self.last_score,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """When the score leaves its plateau and where it ends, beside the best without context."""
        score = WORDS[self.metric.rpartition(".")[2]]
        ends = f"and ends at {percent(self.last_score)} (without context: {percent(self.chance)})"
        if self.is_censored:
            told = f"{score} stays on its plateau to the last step, {self.steps[-1]:,}, {ends}"
        elif self.last_score < self.end_level:
            told = f"{score} leaves its plateau at step {self.length:,.0f}, falls back {ends}"
        elif self.length == self.steps[0]:
            told = f"{score} is above a plateau at the first evaluation already, {ends}"
        else:
            told = f"{score} leaves its plateau at step {self.length:,.0f} {ends}"
            return (Finding(told, figure="score"),)
        return (Finding(told, "not found", figure="score"),)

    def figures(self) -> Mapping[str, Drawing]:
        """The score and the loss over steps, with the plateau's end marked."""
        end, flat = (np.full(len(self.steps), y) for y in (self.end_level, self.flat_loss))
        figures: dict[str, plots.Figure] = {
            "score": plots.lines(
                self.steps,
                {self.metric: self.score, "smoothed": self.smoothed, "end of the plateau": end},
                title=f"The plateau lasts {self.told} steps; the score ends at "
                f"{percent(self.last_score)} (without context: {percent(self.chance)})",
                axes=("step (updates)", self.metric.replace("_", " ").replace(".", " ")),
            )
        }
        if np.isfinite(self.loss).all():
            figures["loss"] = plots.lines(
                self.steps,
                {"loss": self.loss, "flat": flat},
                title=f"The loss is flat at {self.flat_loss:.3g}",
                axes=("step (updates)", METRICS[self.metric.rpartition(".")[2]]),
            )
        return {slug: plots.mark_steps(figure, self.marks()) for slug, figure in figures.items()}

    def _reaches(self, level: float) -> float:
        """The first step at which the smoothed score is at a level or above; NaN if none."""
        return first_sustained(self.steps, self.smoothed >= level, 1)


def smoothed(values: Float[np.ndarray, " step"], window: int) -> Float[np.ndarray, " step"]:
    """Means over a window around each value; the window is cut off at both ends."""
    half = window // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _curves(
    series: Checkpoints, split: str | None, metric: str | None
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "2 n"], str]:
    """Steps, score and loss, and the score's name; from snapshots, without loss, if need be."""
    if not series.has_metrics:
        examples = series.examples(split, PROMPTS)
        scores = [late_score(snapshot) for snapshot in series.snapshots(examples)]
        curves = np.array([scores, [np.nan] * len(scores)], dtype=np.float64)
        name = "explained" if examples.targets.is_floating_point() else "late_accuracy"
        return np.array(series.steps, dtype=np.int64), curves, name
    metrics = series.metrics
    name = _name_of(list(metrics), split, metric)
    of_split, _, score = name.rpartition(".")
    steps = metrics["step"].to_numpy(dtype=np.int64)
    loss = metrics.get(f"{of_split}.{METRICS[score]}", np.full(len(steps), np.nan))
    return steps, np.array([metrics[name], loss], dtype=np.float64), name


def _name_of(columns: list[str], split: str | None, metric: str | None) -> str:
    """The column with the share that is right.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    for wanted in [metric] if metric else METRICS:
        for name in columns:
            of, _, score = name.rpartition(".")
            if score == wanted in METRICS and split in (of, None):
                return name
    raise ValueError(
        f"split = {split!r}, metric = {metric!r}: LearningPlateau reads {', '.join(METRICS)} of a "
        f"split; this run recorded {', '.join(name for name in columns if name != 'step')}"
    )
