"""How long does learning in context stand still before it sets in?

From recorded metrics, or, of a series without any, from its snapshots. With a(t) how much of the
last answers of a prompt is right, smoothed over a few evaluations, and a0 what is possible without
context:

    length = first t with a(t) >= a0 + 0.1 (1 - a0)
    transition width = t(a0 + 0.8 g) - t(a0 + 0.1 g),    g = a(last) - a0

Source: Fu et al. 2024 (arXiv:2309.06054) for plateau and transition, which they count in epochs and
define in words; rule and numbers are ours. Where answers are real numbers a is the share of mean y²
explained, and a0 is 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analyses import plots
from analyses.in_context.prompts import late_score
from analyses.requirements import Needs
from analyses.result import Drawing, SeriesResult
from hooks import Checkpoints, PromptFacts

# A metric that tells how much is right, and the one that tells how much is wrong beside it.
METRICS = {"late_accuracy": "loss", "explained": "error", "accuracy": "loss"}
MEASURED = 500  # prompts a snapshot, where nothing was recorded


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
        window: Evaluations that are averaged, as many before as after.
        share: Of the way from chance to 1, where the plateau ends.
        drop: Below the flat loss, where it ends by the loss.
    """

    needs: ClassVar = Needs(facts={PromptFacts: ()})

    steps: Int[np.ndarray, " evaluation"]
    score: Float[np.ndarray, " evaluation"]
    loss: Float[np.ndarray, " evaluation"]
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
            share: Of the way from chance to 1, above 0 and below 1.
            drop: Of the loss in nats (of the error over that of always answering 0), above 0.

        Raises:
            ValueError: An option is out of range, the run recorded no such metric, a value is
                not finite, or chance is 1.
        """
        if window < 1 or window % 2 != 1:
            raise ValueError(f"window = {window}: take an odd number of evaluations")
        if not 0 < share < 1 or not drop > 0:
            raise ValueError(f"share = {share}, drop = {drop}: a share of 0 to 1, a drop above 0")
        steps, curves, name = _curves(series, split, metric)
        if not len(steps) or not np.isfinite(curves[0]).all():
            raise ValueError(f"{name} is not finite at every evaluation: the run has diverged")
        is_share = name.endswith("accuracy")
        of = name.rpartition(".")[0] or split
        chance = series.examples(of, 1).facts.chance if is_share else math.nan
        chance = 0.0 if math.isnan(chance) else chance
        if chance >= 1:
            raise ValueError(f"chance = {chance}: all is right without context, so nothing is left")
        return cls(
            steps=steps, score=curves[0], loss=curves[1], metric=name, chance=chance,
            window=window, share=share, drop=drop,
        )  # fmt: skip

    @property
    def smoothed(self) -> Float[np.ndarray, " evaluation"]:
        """The score, averaged over the window, of which less is there at the ends."""
        return smoothed(self.score, self.window)

    @property
    def length(self) -> float:
        """Step at which the plateau ends; NaN where it does not, within the steps there are."""
        return self._reaches(self.chance + self.share * (1 - self.chance))

    @property
    def is_censored(self) -> bool:
        """Whether the plateau lasts longer than the run."""
        return math.isnan(self.length)

    @property
    def told(self) -> str:
        """The length in words: `300`, or `> 8000` where it is censored."""
        return f"> {self.steps[-1]}" if self.is_censored else f"{self.length:.0f}"

    @property
    def flat_loss(self) -> float:
        """Median loss of the plateau, its first evaluation left out where it has others."""
        on_plateau = self.loss[self.steps < (math.inf if self.is_censored else self.length)]
        flat = on_plateau[1:] if len(on_plateau) > 1 else self.loss[:1]
        return float(np.median(flat))

    @property
    def length_by_loss(self) -> float:
        """First step, once the flat loss was there, of a loss below it by the drop; NaN if none."""
        low = smoothed(self.loss, self.window) <= self.flat_loss - self.drop
        low[: (self.loss >= self.flat_loss).argmax() + 1] = False
        return float(self.steps[low.argmax()]) if low.any() else math.nan

    @property
    def transition(self) -> tuple[float, float]:
        """Steps at which a tenth and four fifths of the final gain are reached.

        NaN if censored, or if the run ends without a gain.
        """
        gain = float(self.score[-self.window :].mean()) - self.chance
        if self.is_censored or gain <= 0:
            return math.nan, math.nan
        early, late = (self._reaches(self.chance + part * gain) for part in (0.1, 0.8))
        return early, late

    def marks(self) -> dict[str, float]:
        """The end of the plateau and that of the transition, where they came."""
        found = {"plateau ends": self.length, "transition ends": self.transition[1]}
        return {label: step for label, step in found.items() if not math.isnan(step)}

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
            "last_score": float(self.score[-self.window :].mean()),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row an evaluation: `step`, `score`, `smoothed`, `loss`."""
        return pd.DataFrame(
            {"step": self.steps, "score": self.score, "smoothed": self.smoothed, "loss": self.loss}
        )

    def figures(self) -> Mapping[str, Drawing]:
        """The score and the loss over steps, with the plateau's end marked."""
        length = f"The plateau lasts {self.told} steps"
        level = self.chance + self.share * (1 - self.chance)
        curves = {self.metric: self.score, "smoothed": self.smoothed}
        levels = {"end of the plateau": np.full(len(self.steps), level)}
        score = plots.lines(
            self.steps, curves | levels, title=f"{length}, from {self.chance:.2g} without context",
            axes=("step (updates)", " ".join(self.metric.replace("_", " ").split("."))),
        )  # fmt: skip
        flat = {"loss": self.loss, "flat": np.full(len(self.steps), self.flat_loss)}
        loss = plots.lines(
            self.steps, flat, title=f"The loss is flat at {self.flat_loss:.3g}",
            axes=("step (updates)", METRICS[self.metric.rpartition(".")[2]]),
        )  # fmt: skip
        drawn = {"score": score} | ({"loss": loss} if np.isfinite(self.loss).all() else {})
        return {name: plots.mark_steps(each, self.marks()) for name, each in drawn.items()}

    def _reaches(self, level: float) -> float:
        above = self.smoothed >= level
        return float(self.steps[above.argmax()]) if above.any() else math.nan


def smoothed(
    values: Float[np.ndarray, " evaluation"], window: int
) -> Float[np.ndarray, " evaluation"]:
    """Means over a window around each value, of which less is there at the ends."""
    half = window // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _curves(
    series: Checkpoints, split: str | None, metric: str | None
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "2 n"], str]:
    """Steps, score and loss, and the score's name."""
    if not series.has_metrics:
        return _measured(series, split)
    metrics = series.metrics
    name = _name_of(list(metrics), split, metric)
    of, _, score = name.rpartition(".")
    steps = metrics["step"].to_numpy(dtype=np.int64)
    loss = metrics.get(f"{of}.{METRICS[score]}", np.full(len(steps), math.nan))
    return steps, np.array([metrics[name], loss], dtype=np.float64), name


def _name_of(columns: list[str], split: str | None, metric: str | None) -> str:
    """The column that tells how much is right.

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


def _measured(
    series: Checkpoints, split: str | None
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "2 n"], str]:
    """Steps, score and no loss, from snapshots."""
    examples = series.examples(split, MEASURED)
    scores = [late_score(each) for each in series.snapshots(examples)]
    found = np.array([scores, [math.nan] * len(scores)], dtype=np.float64)
    is_real = examples.targets.is_floating_point()
    return (
        np.array(series.steps, dtype=np.int64),
        found,
        ("explained" if is_real else "late_accuracy"),
    )
