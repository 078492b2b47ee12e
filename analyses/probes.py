"""Linear probes: what can an affine map read from features, on rows it was not fitted on?

Ridge takes one Gram matrix and one eigendecomposition for all targets and all penalties: with
X'X = V S V', the weights are V (S + penalty)^-1 V' X'Y for each penalty. Logistic regression is
scikit-learn's, one fit a target and penalty. Both see features standardised by the rows they are
fitted on.

Source: linear probes after Alain & Bengio 2016 (arXiv:1610.01644); ridge after Hastie, Tibshirani
and Friedman, The Elements of Statistical Learning, section 3.4.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.held_out import Split, Target

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
METHODS = ("ridge", "logistic")


@dataclass(frozen=True, eq=False)
class LinearProbes:
    """Affine maps from features to outputs, one a penalty: W'(x - centre) / scale + b.

    Attributes:
        centre: Mean of each feature over the rows fitted on.
        scale: Its standard deviation; infinite where it is constant, which removes the feature.
        weights: W, on standardised features.
        intercepts: b.
    """

    centre: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]
    weights: Float[Tensor, "penalty feature output"]
    intercepts: Float[Tensor, "penalty output"]

    def outputs(
        self, features: Float[Tensor, "row feature"]
    ) -> Float[Tensor, "penalty row output"]:
        """Outputs for any rows."""
        return self.standardised(features) @ self.weights + self.intercepts[:, None]

    def standardised(self, features: Float[Tensor, "row feature"]) -> Float[Tensor, "row feature"]:
        """Features in float64 with the mean and deviation of the rows fitted on taken out."""
        return (features.double() - self.centre) / self.scale


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


def standardisation(
    features: Float[Tensor, "row feature"],
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """Mean and standard deviation in float64, infinite for features constant up to rounding."""
    centre = features.double().mean(0)
    scale = features.double().std(0, correction=0)
    rounding = 10 * torch.finfo(features.dtype).eps * centre.abs()
    return centre, scale.masked_fill(scale <= rounding, torch.inf)


def ridge_probes(
    features: Float[Tensor, "row feature"],
    columns: Float[Tensor, "row output"],
    penalties: Sequence[float] = PENALTIES,
) -> LinearProbes:
    """Ridge regression of every column under every penalty, from one eigendecomposition.

    Minimises the summed squared error plus penalty times the squared norm of the weights on
    standardised features; the intercept is not penalised. Cost: cubic in the smaller of rows and
    features; further columns and penalties are nearly free.

    Raises:
        ValueError: A penalty is not positive.
    """
    check_penalties(penalties)
    centre, scale = standardisation(features)
    x = (features.double() - centre) / scale
    mean = columns.double().mean(0)
    rest = columns.double() - mean
    is_tall = x.shape[0] >= x.shape[1]
    # Where features outnumber rows, X'(XX' + penalty)^-1 Y is the same and smaller.
    values, vectors = torch.linalg.eigh(x.T @ x if is_tall else x @ x.T)
    projected = vectors.T @ (x.T @ rest if is_tall else rest)
    ridge = values.new_tensor(penalties)[:, None, None]
    solved = vectors @ (projected / (values.clamp(min=0)[:, None] + ridge))
    weights = solved if is_tall else x.T @ solved
    return LinearProbes(centre, scale, weights, mean.expand(len(penalties), -1))


def logistic_probes(
    features: Float[Tensor, "row feature"],
    classes: Int[Tensor, " row"],
    penalties: Sequence[float] = PENALTIES,
) -> LinearProbes:
    """scikit-learn's logistic regression of one target under every penalty, an output a class.

    Minimises the summed loss in nats plus penalty / 2 times the squared norm of the weights on
    standardised features, so scikit-learn's C is 1 / penalty. Fitted in the features' dtype, the
    strongest penalty first; each other fit starts where the next stronger one ended, which is
    nearer than 0. Cost: one fit a penalty.

    Args:
        features: Rows to fit on.
        classes: 0, 1, ..., each of which occurs.
        penalties: As for ridge.

    Raises:
        ValueError: A penalty is not positive.
    """
    from sklearn.linear_model import LogisticRegression  # heavy, and only needed to measure

    check_penalties(penalties)
    centre, scale = standardisation(features)
    x = ((features.double() - centre) / scale).to(features.dtype).numpy()
    model, fits = LogisticRegression(max_iter=1000, warm_start=True), {}
    for penalty in sorted(set(penalties), reverse=True):
        model.set_params(C=1 / penalty).fit(x, classes.numpy())
        fits[penalty] = [torch.tensor(each).double() for each in (model.coef_.T, model.intercept_)]
    weights, intercepts = (
        torch.stack([fits[penalty][place] for penalty in penalties]) for place in (0, 1)
    )
    if weights.shape[-1] == 1:  # of two classes scikit-learn gives the second's output alone
        weights, intercepts = (torch.cat([0 * each, each], -1) for each in (weights, intercepts))
    return LinearProbes(centre, scale, weights, intercepts)


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
    equals. With ridge all targets share one eigendecomposition a fit.
    """
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
    if method == "logistic":
        probes = [logistic_probes(features[fit_on], each.values, penalties) for each in given]
        return [each.outputs(features[ask]) for each in probes]
    columns = torch.cat([each.columns for each in given], dim=1)
    outputs = ridge_probes(features[fit_on], columns, penalties).outputs(features[ask])
    return list(outputs.split([max(1, each.n_classes) for each in targets], dim=-1))


def check_method(method: str, penalties: Sequence[float]) -> None:
    """Refuses an unknown method, and penalties that are missing or not positive.

    Raises:
        ValueError: See above.
    """
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; there are {', '.join(METHODS)}")
    check_penalties(penalties)


def check_penalties(penalties: Sequence[float]) -> None:
    """Refuses penalties that are missing or not positive.

    Raises:
        ValueError: See above.
    """
    if not penalties or min(penalties) <= 0:
        raise ValueError(f"penalties are {list(penalties)}; give at least one, each above 0")
