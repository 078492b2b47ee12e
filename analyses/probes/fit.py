"""Linear probes: affine maps from features to labels, fitted in three ways.

Ridge takes one Gram matrix and one eigendecomposition for all targets and all penalties: with
X'X = V S V', the weights are V (S + penalty)^-1 V' X'Y for each penalty. Logistic regression is
scikit-learn's, one fit a target and penalty. Both see features standardised by the rows they are
fitted on. Adam's probe is the one of Fu et al., to compare with: nothing standardised, nothing
penalised, stopped after 782 updates.

Source: linear probes after Alain & Bengio 2016 (arXiv:1610.01644); ridge after Hastie, Tibshirani
and Friedman, The Elements of Statistical Learning, section 3.4.1; Adam's after the released code of
Fu et al. 2024 (arXiv:2309.06054): learning rate 1e-3, batches of 5,120 images, one pass over four
million of them, which are the updates made here; fewer rows are gone through several times.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
ADAM_UPDATES = 782
ADAM_BATCH = 5120  # rows
ADAM_RATE = 1e-3


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
        """Outputs for any rows, in float64."""
        return self.standardised(features) @ self.weights + self.intercepts[:, None]

    def standardised(self, features: Float[Tensor, "row feature"]) -> Float[Tensor, "row feature"]:
        """Features in float64 with the mean and deviation of the rows fitted on taken out."""
        return (features.double() - self.centre) / self.scale


def standardisation(
    features: Float[Tensor, "row feature"],
) -> tuple[Float[Tensor, "row feature"], Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """Features less their mean over their standard deviation; the mean; the deviation. In float64.

    The deviation of a feature that is constant up to rounding is infinite, which makes it 0.
    """
    exact = features.double()
    centre, scale = exact.mean(0), exact.std(0, correction=0)
    rounding = 10 * torch.finfo(features.dtype).eps * centre.abs()
    scale = scale.masked_fill(scale <= rounding, torch.inf)
    return (exact - centre) / scale, centre, scale


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
    x, centre, scale = standardisation(features)
    mean = columns.double().mean(0)
    rest = columns.double() - mean
    is_tall = x.shape[0] >= x.shape[1]
    # Where features outnumber rows, X'(XX' + penalty)^-1 Y is the same and smaller.
    values, vectors = torch.linalg.eigh(x.T @ x if is_tall else x @ x.T)
    projected = vectors.T @ (x.T @ rest if is_tall else rest)
    ridge = values.new_tensor(penalties)[:, None, None]
    solved = vectors @ (projected / (values.clamp(min=0)[:, None] + ridge))
    return LinearProbes(
        centre, scale, solved if is_tall else x.T @ solved, mean.expand(len(penalties), -1)
    )


def logistic_probes(
    features: Float[Tensor, "row feature"],
    classes: Int[Tensor, " row"],
    penalties: Sequence[float] = PENALTIES,
) -> LinearProbes:
    """scikit-learn's logistic regression of one target under every penalty, an output a class.

    Minimises the summed loss in nats plus penalty / 2 times the squared norm of the weights on
    standardised features, so scikit-learn's C is 1 / penalty. Fitted in the features' dtype, the
    strongest penalty first; each other fit starts where the next stronger one ended, which is
    nearer than 0. Cost: one fit for each penalty.

    Args:
        features: Rows to fit on.
        classes: 0, 1, ..., each of which occurs.
        penalties: As for ridge.

    Raises:
        ValueError: A penalty is not positive.
    """
    from sklearn.linear_model import LogisticRegression  # heavy, and only needed to measure

    check_penalties(penalties)
    x, centre, scale = standardisation(features)
    rows = x.to(features.dtype).numpy()
    model, fits = LogisticRegression(max_iter=1000, warm_start=True), {}
    for penalty in sorted(set(penalties), reverse=True):
        model.set_params(C=1 / penalty).fit(rows, classes.numpy())
        fits[penalty] = [torch.tensor(part).double() for part in (model.coef_.T, model.intercept_)]
    weights, intercepts = map(
        torch.stack, zip(*(fits[penalty] for penalty in penalties), strict=True)
    )
    if weights.shape[-1] == 1:  # of two classes scikit-learn gives the second's output alone
        weights, intercepts = (torch.cat([0 * part, part], -1) for part in (weights, intercepts))
    return LinearProbes(centre, scale, weights, intercepts)


def adam_probes(
    features: Float[Tensor, "row feature"],
    classes: Int[Tensor, "row target"],
    n_classes: Sequence[int],
    *,
    seed: int = 0,
) -> LinearProbes:
    """A linear layer for each target, trained by Adam on the target's cross-entropy.

    In float32, on features as they are. Training ends while it still gains, so that a label which
    little of the features' variance carries scores lower here than where probes are fitted to the
    end. Targets share nothing but start and batches; all together cost little more than one.

    Args:
        features: Rows to fit on.
        classes: 0, 1, ... of each target.
        n_classes: Number of classes of each target: outputs come in this order.
        seed: Of the layers' start and of the batches.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(features.shape[1])  # as torch starts a linear layer
    layers = (
        torch.empty((features.shape[1] + 1, sum(n_classes)))
        .uniform_(-bound, bound, generator=generator)
        .requires_grad_()
    )
    optimizer = torch.optim.Adam([layers], lr=ADAM_RATE, fused=True)
    # Rows lie last: a softmax over few classes is many times as fast along the first axis.
    x = torch.nn.functional.pad(features.float(), (0, 1), value=1.0).T.contiguous()
    targets = classes.T.contiguous()
    for batch in _batches(len(features), generator):
        is_all = len(batch) == len(features)
        rows, right = (x, targets) if is_all else (x[:, batch], targets[:, batch])
        losses = [
            -outputs.log_softmax(0).gather(0, answers[None]).mean()
            for outputs, answers in zip(
                (layers.T @ rows).split(list(n_classes)), right, strict=True
            )
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    weights, centre = layers.detach().double(), torch.zeros(features.shape[1]).double()
    return LinearProbes(centre, centre + 1, weights[None, :-1], weights[None, -1])


def _batches(n_rows: int, generator: torch.Generator) -> Iterator[Int[Tensor, " batch"]]:
    """As many batches as there are updates, from one shuffled pass over the rows after another."""
    size = min(ADAM_BATCH, n_rows)
    passes = (torch.randperm(n_rows, generator=generator) for _ in itertools.count())
    whole = (order.split(size)[: n_rows // size] for order in passes)
    return itertools.islice(itertools.chain.from_iterable(whole), ADAM_UPDATES)


def check_penalties(penalties: Sequence[float]) -> None:
    """Refuses penalties that are missing, not positive or not finite.

    Raises:
        ValueError: See above.
    """
    if not penalties or not all(0 < penalty < math.inf for penalty in penalties):
        raise ValueError(
            f"penalties are {list(penalties)}; give at least one, each above 0 and finite"
        )
