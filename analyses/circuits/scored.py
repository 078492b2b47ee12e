"""What a model loses and gets right at its scored positions, and means over them.

Losses are in nats, or squared errors where answers are real numbers. A mean is over all scored
positions of all examples. Positions of one example are not independent, so that its standard error
goes by examples: with y_i the sum over the n_i scored positions of example i of B,

    mean = sum y_i / sum n_i      error^2 = B / (B - 1) sum (y_i - mean n_i)^2 / (sum n_i)^2

Source: Cochran, Sampling Techniques, section 6.4: the ratio estimator.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hooks import Examples, Snapshot
from hooks.examples import token_losses
from hooks.messages import at_step


@dataclass(frozen=True, eq=False)
class Scores:
    """Answers at the scored positions, in the order of `examples.scored`, row by row.

    Attributes:
        losses: In nats, or squared errors.
        is_right: 1 where the right class has the largest logit, 0 elsewhere; NaN where answers are
            real numbers.
    """

    losses: Float[Tensor, " answer"]
    is_right: Float[Tensor, " answer"]


def scores_of(logits: Float[Tensor, "answer d_vocab_out"], examples: Examples) -> Scores:
    """Losses and right answers, in float64."""
    targets, logits = examples.targets[examples.scored].cpu(), logits.double().cpu()
    if targets.is_floating_point():
        errors = (logits[:, 0] - targets.double()).square()
        return Scores(errors, torch.full_like(errors, torch.nan))
    return Scores(token_losses(logits, targets), (logits.argmax(1) == targets).double())


def scored_logits(snapshot: Snapshot) -> Float[Tensor, "answer d_vocab_out"]:
    """Logits at the scored positions.

    Raises:
        ValueError: No position is scored, or a logit is NaN or infinite.
    """
    if not snapshot.examples.scored.any():
        raise ValueError("no position of these examples is scored: there is no loss to measure")
    logits = at_scored(snapshot.logits(), snapshot.examples)
    if not logits.isfinite().all():
        raise ValueError(f"logits hold NaN or infinity{at_step(snapshot.step)}")
    return logits


def at_scored(activation: Float[Tensor, "batch pos ..."], examples: Examples) -> Tensor:
    """An activation, or logits, at the scored positions, `[answer, ...]`."""
    scored = examples.scored.cpu()
    return activation[:, -scored.shape[1] :][scored]


def changes(scores: Scores, whole: Scores, examples: Examples) -> list[float]:
    """The changes of loss and accuracy from those of the whole, each with its standard error."""
    differences = [scores.losses - whole.losses, scores.is_right - whole.is_right]
    means, errors = mean_and_error(torch.stack(differences), examples)
    return torch.stack([means, errors], 1).flatten().tolist()


def mean_and_error(
    values: Float[Tensor, "*kind answer"], examples: Examples
) -> tuple[Float[Tensor, "*kind"], Float[Tensor, "*kind"]]:
    """Means over scored positions and their standard errors by examples; NaN of one example."""
    counts = examples.scored.sum(1).cpu()
    rows = examples.scored.nonzero()[:, 0].cpu()
    sums = values.new_zeros(*values.shape[:-1], len(counts)).index_add(-1, rows, values)
    mean, n_examples = values.mean(-1), int((counts > 0).sum())
    if n_examples < 2:
        return mean, torch.full_like(mean, torch.nan)
    residuals = sums - mean[..., None] * counts
    size = residuals.square().sum(-1).sqrt() * math.sqrt(n_examples / (n_examples - 1))
    return mean, size / len(rows)
