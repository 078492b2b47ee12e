"""By how much does the right answer lead?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from analyses import Result, plots
from analyses.requirements import Needs
from analyses.result import Drawing
from hooks import Snapshot
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MyAnalysis(Result):
    """How far the right answer's logit lies above the best wrong one.

    Attributes:
        margin: In logits, one value a scored answer; negative where the answer is wrong.
    """

    # What a task and a model must have: here answers among classes. `interp analyze` says what is
    # missing.
    needs: ClassVar = Needs(classes=True)
    # Figures that get a slider over the checkpoints.
    sliding: ClassVar = ("margin",)

    # Fields are what is saved: arrays, numbers, strings. What follows from them is a property.
    margin: Float[np.ndarray, " answer"]

    @classmethod
    def measure(cls, snapshot: Snapshot) -> "MyAnalysis":
        """Measures a checkpoint on examples of the task.

        Keyword arguments after the snapshot would be options, with a default each.
        """
        examples = snapshot.examples
        logits = snapshot.logits().double().cpu()[examples.scored]
        return cls(margin=margins(logits, examples.targets[examples.scored]).numpy())

    def summary(self) -> dict[str, float | str]:
        """Scalars, which `interp.trace` gives at every step: the mean margin, and the smallest."""
        return {"mean_margin": float(self.margin.mean()), "least_margin": float(self.margin.min())}

    def figures(self) -> Mapping[str, Drawing]:
        """Figures of the report page, drawn from fields alone."""
        return {
            "margin": plots.histogram(
                self.margin,
                limits=(float(self.margin.min()), float(self.margin.max())),
                title=f"The right answer leads by {self.margin.mean():.1f} on average",
                axes=("margin (logits)", "answers"),
            )
        }


def margins(
    logits: Float[Tensor, "answer d_vocab_out"], targets: Int[Tensor, " answer"]
) -> Float[Tensor, " answer"]:
    """Each right logit minus the largest of the others."""
    right = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return right[:, 0] - others.amax(1)
