"""What do linear probes read from features, on rows that they were not fitted on?

The penalty of each is chosen on validation rows and its score told on rows that nothing was chosen
on. Adam's probe has no penalty to choose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.probes.evaluate import Split, Target
from analyses.probes.fit import (
    PENALTIES,
    adam_probes,
    check_penalties,
    logistic_probes,
    ridge_probes,
)

METHODS = ("ridge", "logistic", "adam")
OF_CLASSES = ("logistic", "adam")


@dataclass(frozen=True)
class Reading:
    """How well one target was read.

    Attributes:
        score: Accuracy or R^2 on the test rows.
        low: Lower end of its 95 % interval.
        high: Upper end.
        validation: Score on the validation rows under the chosen penalty.
        penalty: The penalty chosen there.
    """

    score: float
    low: float
    high: float
    validation: float
    penalty: float


def readings(
    features: Float[Tensor, "row feature"],
    targets: Sequence[Target],
    split: Split,
    *,
    method: str = "ridge",
    penalties: Sequence[float] = PENALTIES,
) -> list[Reading]:
    """How well each target is read from the features, on rows that nothing was chosen on.

    Each target has its own penalty: the one that scores best on the validation rows, the first of
    equals; with Adam, which has none, it is NaN. With ridge all share one eigendecomposition.
    """
    penalties = (math.nan,) if method == "adam" else penalties
    fits = (features, targets, method)
    tried = _outputs(*fits, penalties, rows=(split.fit, split.validation))
    validation = [
        [target.at(split.validation).score(outputs) for outputs in each]
        for target, each in zip(targets, tried, strict=True)
    ]
    best = [int(np.argmax(scores)) for scores in validation]
    kept = sorted(set(best))
    chosen = [penalties[index] for index in kept]
    found = _outputs(*fits, chosen, rows=(split.train, split.test))
    read = []
    for target, outputs, index, scores in zip(targets, found, best, validation, strict=True):
        asked, answers = target.at(split.test), outputs[kept.index(index)]
        low, high = asked.interval(answers, split.groups[split.test])
        read.append(Reading(asked.score(answers), low, high, scores[index], penalties[index]))
    return read


def _outputs(
    features: Float[Tensor, "row feature"],
    targets: Sequence[Target],
    method: str,
    penalties: Sequence[float],
    *,
    rows: tuple[Tensor, Tensor],
) -> list[Tensor]:
    """Each target's outputs at the second rows, of probes fitted on the first."""
    fit_on, ask = rows
    given = [each.at(fit_on) for each in targets]
    x, new = features[fit_on], features[ask]
    if method == "logistic":
        fits = [logistic_probes(x, each.values, penalties) for each in given]
        return [each.outputs(new) for each in fits]
    sizes = [max(1, each.n_classes) for each in targets]
    if method == "adam":
        probes = adam_probes(x, torch.stack([each.values for each in given], 1), sizes)
    else:
        probes = ridge_probes(x, torch.cat([each.columns for each in given], 1), penalties)
    return list(probes.outputs(new).split(sizes, dim=-1))


def check_method(method: str, penalties: Sequence[float]) -> None:
    """Refuses an unknown method, and penalties that are missing or not positive.

    Raises:
        ValueError: See above.
    """
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; there are {', '.join(METHODS)}")
    check_penalties(penalties)
