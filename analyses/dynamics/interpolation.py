"""What are loss and accuracy on the straight line between the weights of two checkpoints?

Weights (1 - x) w_start + x w_stop, x from 0 to 1. A bump on the way says that the path of training
went around something; a monotonic line says only that it need not have.

Source: Goodfellow, Vinyals and Saxe 2015 (arXiv:1412.6544).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from analyses import plots
from analyses.findings import Finding
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SeriesResult
from hooks import Checkpoints, Examples, Snapshot
from hooks.edit import with_weights
from hooks.examples import token_losses

COUNT = 1024  # examples, all of which are run at every point
MIN_BARRIER = 0.1  # nats above the line between both losses that count as a bump


@dataclass(frozen=True, eq=False)
class LinearInterpolation(SeriesResult):
    """Loss and accuracy along the line between the weights of two steps.

    Attributes:
        start: The step at x = 0.
        stop: The step at x = 1.
        positions: x of each point.
        parts: `train` and `test` where examples carry the label `train`, those of them that have
            an example; else `all`.
        loss: Mean cross-entropy in nats of scored answers.
        accuracy: Share of scored answers that are right.
        guess_loss: Loss of giving all classes the same probability.
    """

    needs: ClassVar = Needs(classes=True)
    rows: ClassVar = ("part", "position")

    start: int
    stop: int
    positions: Float[np.ndarray, " position"]
    parts: tuple[str, ...]
    loss: Float[np.ndarray, "part position"]
    accuracy: Float[np.ndarray, "part position"]
    guess_loss: float

    @classmethod
    def measure(
        cls,
        series: Checkpoints,
        *,
        start: int | None = None,
        stop: int | None = None,
        points: int = 21,
    ) -> "LinearInterpolation":
        """Measures along the line.

        Args:
            series: A run whose answers are classes.
            start: A kept step; the first by default.
            stop: A kept step; the last by default.
            points: Number of points, both ends included.

        Raises:
            ValueError: A step was not kept, or there are fewer than two points.
        """
        if points < 2:
            raise ValueError(f"points = {points}: a line has at least its two ends")
        start = series.steps[0] if start is None else start
        stop = series.steps[-1] if stop is None else stop
        examples = series.examples(count=COUNT)
        ends = [series.snapshot(step, examples).parameters() for step in (start, stop)]
        snapshot, positions = series.snapshot(stop, examples), np.linspace(0, 1, points)
        scores = []
        for x in positions.tolist():
            weights = {name: torch.lerp(ends[0][name], ends[1][name], x) for name in ends[0]}
            scores.append(_score(snapshot.edited(with_weights(weights))))
        loss, accuracy = np.array(scores).transpose(1, 2, 0)
        return cls(
            start=start,
            stop=stop,
            positions=positions,
            parts=tuple(_parts(examples)),
            loss=loss,
            accuracy=accuracy,
            guess_loss=float(np.log(series.facts.outputs or series.sizes.d_vocab_out)),
        )

    @property
    def barrier(self) -> Float[np.ndarray, " part"]:
        """The most that the loss rises above the straight line between its values at both ends."""
        line = self.loss[:, :1] + self.positions * (self.loss[:, -1:] - self.loss[:, :1])
        return (self.loss - line).max(1)

    def summary(self) -> dict[str, float | str]:
        """The barrier and the largest loss of each part, and whether loss only falls."""
        falls = np.all(np.diff(self.loss, axis=1) <= 0, axis=1).tolist()
        summary: dict[str, float | str] = {"start": self.start, "stop": self.stop}
        for index, part in enumerate(self.parts):
            summary |= {
                f"barrier_{part}": float(self.barrier[index]),
                f"largest_loss_{part}": float(self.loss[index].max()),
                f"only_falls_{part}": "yes" if falls[index] else "no",
            }
        return summary

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How far loss rises above the line between its values at both ends."""
        if self.start == self.stop or not np.isfinite(self.loss).all():
            return ()
        way = f"between the weights of steps {self.start:,} and {self.stop:,}"
        rises = " and ".join(
            f"{barrier:.2f}{'' if part == 'all' else f' ({part})'}"
            for part, barrier in zip(self.parts, self.barrier, strict=True)
        )
        has_bump = bool(self.barrier.max() > MIN_BARRIER)
        text = (
            f"Loss has {'a' if has_bump else 'no'} bump {way}: it rises by {rises} nats above the "
            f"line of its ends (guessing: {self.guess_loss:.2f})"
        )
        return (Finding(text, "found" if has_bump else "not found", figure="loss"),)

    def figures(self) -> Mapping[str, Drawing]:
        """Loss and accuracy along the line."""
        line = f"the line from step {self.start} to step {self.stop}"
        axis = f"position (0: step {self.start}, 1: step {self.stop})"
        return {
            "loss": plots.lines(
                self.positions,
                dict(zip(self.parts, self.loss, strict=True)),
                log_y=True,
                title=f"Loss on {line}: at most {self.barrier.max():.2f} nats above the line of "
                f"its ends (guessing: {self.guess_loss:.2f})",
                axes=(axis, "loss (nats)"),
            ),
            "accuracy": plots.lines(
                self.positions,
                dict(zip(self.parts, self.accuracy, strict=True)),
                title=f"Accuracy on {line}",
                axes=(axis, "accuracy"),
            ),
        }


def _parts(examples: Examples) -> dict[str, torch.Tensor]:
    """For each part the examples that belong to it; parts without scored examples are left out."""
    if "train" not in examples.labels:
        return {"all": torch.ones(len(examples), dtype=torch.bool)}
    train, is_scored = examples.labels["train"].bool(), examples.scored.any(1)
    parts = {"train": train, "test": ~train}
    return {name: part for name, part in parts.items() if bool((part & is_scored).any())}


def _score(snapshot: Snapshot) -> list[list[float]]:
    """Loss by part, and accuracy by part."""
    examples, logits = snapshot.examples, snapshot.logits().double().cpu()
    losses, right = token_losses(logits, examples.targets), logits.argmax(-1) == examples.targets
    masks = [examples.scored & part[:, None] for part in _parts(examples).values()]
    return [
        [float(losses[mask].mean()) for mask in masks],
        [float(right[mask].double().mean()) for mask in masks],
    ]
