"""In which quadrant is the mean of n points?"""

from typing import ClassVar

import torch
from hooks import Examples, Facts, Sizes
from interp.randomness import generator
from interp.tasks import Batch, Task
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor


class MyTask(Task):
    """The quadrant of the mean of n points in the plane, read at the last of them.

    A point's two coordinates are standard normal, and one position's real-valued input. Quadrants
    are 0 to 3: right of zero adds 1, above zero adds 2.

    Attributes:
        n: Points in an example.
        train_prompts: Examples for training.
        test_prompts: Examples for testing.
    """

    # The first split is the one that analyses look at.
    splits: ClassVar = ("all", "train", "test")
    # Splits whose loss and accuracy are recorded during training.
    evaluated: ClassVar = ("train", "test")
    # The model answers once, at the last position.
    positions: ClassVar = "last"

    # What [task] in the experiment's file may say. `name` is given by where this class is.
    n: int = Field(default=4, ge=1)
    train_prompts: int = Field(default=4000, ge=1)
    test_prompts: int = Field(default=1000, ge=1)

    @property
    def sizes(self) -> Sizes:
        """Two numbers a position in, four quadrants out."""
        return Sizes(d_in=2, d_vocab_out=4, n_ctx=self.n)

    @property
    def facts(self) -> Facts:
        """Chance is the accuracy of guessing: all quadrants are equally probable."""
        return Facts(chance=1 / 4)

    @property
    def train_count(self) -> int:
        """Examples for training."""
        return self.train_prompts

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` training examples; targets at the last position only."""
        points = self._points(generator)[: self.train_prompts][:count]
        targets = self._answers(points)[:, None]
        return {"inputs": points, "targets": targets, "scored": torch.ones_like(targets).bool()}

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Examples with what is true of them; labels `quadrant`, `mean_x`, `mean_y` and `train`."""
        self.check_split(split)
        # Training draws from (seed, 0) too: these are the same points, those for training first.
        points = self._points(generator(seed, 0))
        train = torch.arange(len(points)) < self.train_prompts
        in_split = {"all": train | True, "train": train, "test": ~train}[split]
        points = points[in_split]
        targets = torch.zeros(points.shape[:2], dtype=torch.long)
        targets[:, -1] = self._answers(points)
        scored = torch.zeros_like(targets).bool()
        scored[:, -1] = True
        mean = points.mean(1)
        return Examples(
            targets=targets,
            scored=scored,
            inputs=points,
            labels={
                "quadrant": targets[:, -1],
                "mean_x": mean[:, 0],
                "mean_y": mean[:, 1],
                "train": train[in_split],
            },
            facts=self.facts,
            # What attention views write at the positions.
            words=tuple(
                tuple(f"({x:.1f}, {y:.1f})" for x, y in example) for example in points.tolist()
            ),
        ).drawn(count, seed)

    def _points(self, generator: torch.Generator) -> Float[Tensor, "prompt n 2"]:
        """The points of all examples, those for training first."""
        count = self.train_prompts + self.test_prompts
        return torch.randn(count, self.n, 2, generator=generator)

    def _answers(self, points: Float[Tensor, "prompt n 2"]) -> Int[Tensor, " prompt"]:
        is_right, is_above = (points.mean(1) > 0).long().unbind(1)
        return is_right + 2 * is_above
