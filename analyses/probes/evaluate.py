"""What do linear probes read from features, on rows that they were not fitted on?

Rows are split by group into three: to fit on, to choose a penalty on, to test on. Each target is
scored on test rows, on which nothing was chosen; Adam's probe has no penalty to choose. Scores are
accuracy for classes and R^2 for real values, with 95 % intervals that count groups, since rows of
a group may go right and wrong together.

Source: interval of a share after Wilson 1927 (JASA 22:209), with a group counted as one trial.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from analyses.probes.fit import (
    PENALTIES,
    adam_probes,
    check_penalties,
    logistic_probes,
    ridge_probes,
)

METHODS = ("ridge", "logistic", "adam")
CLASS_METHODS = ("logistic", "adam")  # which read no real values
HELD_OUT = 0.25  # share of the groups that are tested on; share of the rest that chooses a penalty
Z = 1.959963984540054  # standard deviations on either side of a 95 % interval
BOOTSTRAP_DRAWS = 500


@dataclass(frozen=True, eq=False)
class GroupSplit:
    """Rows to fit on, to choose on and to test on; a group lies in one of them.

    Attributes:
        fit: Rows that candidate penalties are fitted on.
        validation: Rows that choose among them.
        test: Rows that nothing but the score sees.
        groups: Each row's group.
    """

    fit: Bool[Tensor, " row"]
    validation: Bool[Tensor, " row"]
    test: Bool[Tensor, " row"]
    groups: Int[Tensor, " row"]

    @property
    def train(self) -> Bool[Tensor, " row"]:
        """Rows that the scored probe is fitted on: those to fit and those to choose on."""
        return self.fit | self.validation

    def at(self, rows: Bool[Tensor, " row"]) -> "GroupSplit":
        """The split of some of the rows."""
        return GroupSplit(self.fit[rows], self.validation[rows], self.test[rows], self.groups[rows])


@dataclass(frozen=True, eq=False)
class ProbeTarget:
    """What probes are to read, one value for each row.

    Attributes:
        values: Classes as 0, 1, ..., or real values.
        n_classes: Number of classes; 0 for real values.
    """

    values: Shaped[Tensor, " row"]
    n_classes: int

    @classmethod
    def of(cls, values: Shaped[Tensor, " row"]) -> "ProbeTarget":
        """Integers and booleans are classes, floats are real values."""
        if values.is_floating_point():
            return cls(values.double(), 0)
        classes, codes = torch.unique(values, return_inverse=True)
        return cls(codes, len(classes))

    @property
    def columns(self) -> Float[Tensor, "row output"]:
        """What ridge fits: a column a class, 1 where it is the row's; or the value itself."""
        if not self.n_classes:
            return self.values[:, None]
        return torch.nn.functional.one_hot(self.values, self.n_classes).double()

    def at(self, rows: Bool[Tensor, " row"]) -> "ProbeTarget":
        """The target of some of the rows, with all of its classes."""
        return ProbeTarget(self.values[rows], self.n_classes)

    def shuffled(self, split: GroupSplit, generator: torch.Generator) -> "ProbeTarget":
        """The same values in a random order within each part of a split."""
        values = self.values.clone()
        for part in (split.fit, split.validation, split.test):
            rows = part.nonzero()[:, 0]
            values[rows] = self.values[rows[torch.randperm(len(rows), generator=generator)]]
        return ProbeTarget(values, self.n_classes)

    def score(self, outputs: Float[Tensor, "row output"]) -> float:
        """Share of rows whose largest output is the right one; R^2 for real values."""
        if self.n_classes:
            return float((outputs.argmax(-1) == self.values).double().mean())
        spread = (self.values - self.values.mean()).square().sum()
        return float(1 - (self.values - outputs[:, 0]).square().sum() / spread)

    def interval(
        self, outputs: Float[Tensor, "row output"], groups: Int[Tensor, " row"]
    ) -> tuple[float, float]:
        """95 % interval of the score: Wilson's for accuracy, a bootstrap for R^2."""
        if self.n_classes:
            return wilson_interval(self.score(outputs), len(groups.unique()))
        return r2_interval(self.values, outputs[:, 0], groups)


def split_by_group(groups: Int[Tensor, " row"], *, seed: int) -> GroupSplit:
    """A quarter of the groups to test on, a quarter of the others to choose the penalty on.

    Raises:
        ValueError: There are fewer than three groups, so that a part would be empty.
    """
    from sklearn.model_selection import GroupShuffleSplit  # heavy, and only needed to measure

    if (n_groups := len(groups.unique())) < 3:
        raise ValueError(
            f"{n_groups} groups cannot be split into rows to fit, to choose and to test on: "
            "take more examples, or group by a label with more values"
        )
    rows, group_of = np.arange(len(groups)), groups.numpy()
    shuffle = GroupShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=seed)
    train, test = next(shuffle.split(rows, groups=group_of))
    fit, validation = next(shuffle.split(train, groups=group_of[train]))
    return GroupSplit(
        *(torch.from_numpy(np.isin(rows, part)) for part in (train[fit], train[validation], test)),
        groups=groups,
    )


def baseline_score(target: ProbeTarget, split: GroupSplit) -> float:
    """Score of guessing the training rows' commonest class or mean on the test rows."""
    test = target.at(split.test)
    return test.score(target.columns[split.train].mean(0).expand(len(test.values), -1))


def objection(target: ProbeTarget, split: GroupSplit) -> str:
    """Why a target cannot be probed on a split; empty if it can."""
    parts = [target.values[part] for part in (split.fit, split.validation, split.test)]
    if not all(map(len, parts)):
        return f"{len(target.values)} examples are too few to split into three"
    if not target.n_classes:
        if not target.values.isfinite().all():
            return "its values hold NaN or infinity"
        is_flat = any(part.min() == part.max() for part in parts)
        return "its values do not vary within a part of the split" if is_flat else ""
    if target.n_classes < 2:
        return "it is constant"
    lacking = target.n_classes - len(parts[0].unique())
    return (
        f"{lacking} of its {target.n_classes} classes have no example among the {len(parts[0])} "
        f"that probes are fitted on (of {len(target.values)}, split by group): take more examples"
        if lacking
        else ""
    )


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share seen in `count` independent trials."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = math.sqrt(share * (1 - share) / count + (Z / (2 * count)) ** 2) * Z / (1 + Z**2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def r2_interval(
    values: Float[Tensor, " row"], outputs: Float[Tensor, " row"], groups: Int[Tensor, " row"]
) -> tuple[float, float]:
    """95 % interval of R^2 by drawing groups anew; NaN where no draw has values that vary.

    The spread of a draw is a sum of squares: of values within its groups, and of the groups' means
    round the mean of the draw. The sum of squares less the squared sum would lose all digits for
    values that are large beside their spread, such as times.
    """
    codes = torch.unique(groups, return_inverse=True)[1]
    counts, centred = codes.bincount().double(), values - values.mean()
    means = codes.bincount(centred.double()) / counts
    within = codes.bincount((centred - means[codes]).square().double())
    errors = codes.bincount((values - outputs).square().double())
    drawn = torch.randint(
        len(counts), (BOOTSTRAP_DRAWS, len(counts)), generator=torch.Generator().manual_seed(0)
    )
    count, mean = counts[drawn], means[drawn]
    middle = (count * mean).sum(1, keepdim=True) / count.sum(1, keepdim=True)
    spread = within[drawn].sum(1) + (count * (mean - middle).square()).sum(1)
    defined = (1 - errors[drawn].sum(1) / spread)[spread > 0]
    if len(counts) < 2 or not len(defined):
        return math.nan, math.nan
    low, high = defined.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


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
    targets: Sequence[ProbeTarget],
    split: GroupSplit,
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
        [target.at(split.validation).score(outputs) for outputs in by_penalty]
        for target, by_penalty in zip(targets, tried, strict=True)
    ]
    best = [int(np.argmax(scores)) for scores in validation]
    refitted = sorted(set(best))  # penalties, by number
    final = _outputs(*fits, [penalties[i] for i in refitted], rows=(split.train, split.test))
    read = []
    for target, by_penalty, index, scores in zip(targets, final, best, validation, strict=True):
        test, outputs = target.at(split.test), by_penalty[refitted.index(index)]
        low, high = test.interval(outputs, split.groups[split.test])
        read.append(Reading(test.score(outputs), low, high, scores[index], penalties[index]))
    return read


def _outputs(
    features: Float[Tensor, "row feature"],
    targets: Sequence[ProbeTarget],
    method: str,
    penalties: Sequence[float],
    *,
    rows: tuple[Tensor, Tensor],
) -> list[Tensor]:
    """For each target: outputs at the second part of `rows`, of probes fitted on the first."""
    x, new = (features[part] for part in rows)
    fitted = [target.at(rows[0]) for target in targets]
    if method == "logistic":
        return [logistic_probes(x, target.values, penalties).outputs(new) for target in fitted]
    sizes = [max(1, target.n_classes) for target in targets]
    if method == "adam":
        probes = adam_probes(x, torch.stack([target.values for target in fitted], 1), sizes)
    else:
        probes = ridge_probes(x, torch.cat([target.columns for target in fitted], 1), penalties)
    return list(probes.outputs(new).split(sizes, dim=-1))


def check_method(method: str, penalties: Sequence[float]) -> None:
    """Refuses an unknown method, and penalties that are missing or not positive.

    Raises:
        ValueError: See above.
    """
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; there are {', '.join(METHODS)}")
    check_penalties(penalties)


def score_unit(n_classes: Sequence[int]) -> str:
    """What the scores of some labels are, given their numbers of classes."""
    kinds = ["accuracy"] * any(n_classes) + ["R²"] * (0 in n_classes)
    return f"held-out {' or '.join(kinds)}"
