"""What can be predicted from a prompt's examples without any training before?

Each baseline takes prompts of pairs (x_1, y_1) .. (x_K, y_K) and predicts every y_k from x_k and
the k - 1 pairs before it; with none before it, all answer 0. They run on all prompts at once, in
float64.

Source: Garg et al. 2022 (arXiv:2208.01066), appendix on baselines, and code: least squares by the
pseudo-inverse, 3 nearest neighbours, the mean of y x, Lasso without intercept on each prefix.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

X = Float[Tensor, "prompt pair d"]
Y = Float[Tensor, "prompt pair"]
Moments = tuple[Float[Tensor, "row d d"], Float[Tensor, "row d"]]

MAX_NUMBERS = 2**23  # numbers in the matrices, one for each pair, that are held at a time
MAX_ROUNDS, SWEEPS = 25, 10  # coordinate descent: rounds at most, sweeps in each round
TOLERANCE = 1e-9  # error up to which the conditions of the minimum count as met
MAX_WEIGHT_RATIO = 10  # summed absolute weights of a solution over those of the descent


def zero(x: X, y: Y) -> Y:
    """Always 0."""
    return torch.zeros_like(y)


def averaging(x: X, y: Y) -> Y:
    """W x with w the mean of y_i x_i, which is the true w on average where x ~ N(0, I)."""
    sums = (y[..., None] * x).cumsum(1)[:, :-1]
    counts = torch.arange(1, y.shape[1], device=y.device)[:, None]
    return _after_the_first(torch.einsum("nkd,nkd->nk", sums / counts, x[:, 1:]))


def nearest(x: X, y: Y, neighbours: int = 3) -> Y:
    """The mean y of the nearest earlier inputs, or of all earlier inputs where these are fewer.

    Raises:
        ValueError: neighbours is not at least 1.
    """
    if neighbours < 1:
        raise ValueError(f"nearest:{neighbours}: at least 1 neighbour is needed")
    predicted = torch.zeros_like(y)
    for k in range(1, y.shape[1]):
        distances = (x[:, :k] - x[:, k : k + 1]).square().sum(2)
        closest = distances.topk(min(neighbours, k), largest=False).indices
        predicted[:, k] = y[:, :k].gather(1, closest).mean(1)
    return predicted


def least_squares(x: X, y: Y) -> Y:
    """The w of smallest norm among those that fit the earlier pairs best.

    For x ~ N(0, I) and noiseless y = w x its error is 1 - k / d of that of predicting 0 after
    k < d pairs, and 0 from k = d on.
    """
    predicted = torch.zeros_like(y)
    for k in range(1, y.shape[1]):
        w = torch.linalg.lstsq(x[:, :k], y[:, :k, None], driver="gelsd").solution[..., 0]
        predicted[:, k] = (w * x[:, k]).sum(1)
    return predicted


def ridge(x: X, y: Y, penalty: float = 0.1) -> Y:
    """The w that minimises |y - X w|^2 + penalty |w|^2 over the earlier pairs.

    With the noise's variance over the coefficients' as penalty it is the Bayes predictor of dense
    linear functions.

    Raises:
        ValueError: The penalty is not above 0, or not finite.
    """
    _check_penalty("ridge", penalty)
    return _by_rows(partial(_ridge, penalty=penalty), x, y)


def joint_ridge(
    x: X, y: Y, penalty: float = 0.1, *, linear: bool = True, frequencies: Sequence[float] = ()
) -> Y:
    """Ridge on features in which several classes are linear, and so each combination of them.

    Args:
        x: Inputs.
        y: Values.
        penalty: As of `ridge`, which this is where the inputs are the only features.
        linear: Whether the inputs are among the features.
        frequencies: Of which the sine and cosine of each input are features.

    Raises:
        ValueError: The penalty is not above 0, or not finite.
    """
    _check_penalty("joint_ridge", penalty)
    waves = [wave(frequency * x) for frequency in frequencies for wave in (torch.sin, torch.cos)]
    return _by_rows(
        partial(_ridge, penalty=penalty), torch.cat([x, *waves] if linear else waves, dim=2), y
    )


def lasso(x: X, y: Y, penalty: float = 0.01) -> Y:
    """The w that minimises |y - X w|^2 / 2k + penalty |w|_1 over the k earlier pairs.

    Raises:
        ValueError: The penalty is not above 0, or not finite.
    """
    _check_penalty("lasso", penalty)
    return _by_rows(partial(_lasso, penalty=penalty), x, y)


def lasso_weights(
    gram: Float[Tensor, "row d d"], moment: Float[Tensor, "row d"], penalty: float
) -> Float[Tensor, "row d"]:
    """The w that minimises w G w / 2 - m w + penalty |w|_1.

    Cyclic coordinate descent. Every few sweeps the equations of the coefficients that are not 0
    are solved with their present signs: where that meets all conditions of the minimum it is the
    minimum, and the row is done. Descent is slow where there are fewer pairs than inputs: rows that
    are left after some rounds are followed along the exact path of least angles instead.

    Args:
        gram: G, X^T X / k; an input that is always 0 gets the coefficient 0.
        moment: m, X^T y / k.
        penalty: Of the sum of absolute values.
    """
    w, running = torch.zeros_like(moment), torch.arange(len(moment), device=moment.device)
    for _ in range(MAX_ROUNDS):
        swept, moments = w[running], (gram[running], moment[running])
        for _ in range(SWEEPS):
            swept = _swept(swept, moments, penalty)
        solved, is_minimum = _solved(swept, moments, penalty)
        w[running] = torch.where(is_minimum[:, None], solved, swept)
        running = running[~is_minimum]
        if not len(running):
            return w
    for row in running.tolist():
        w[row] = _along_the_path(gram[row], moment[row], penalty)
    return w


BASELINES: dict[str, Callable[..., Y]] = {
    "zero": zero,
    "averaging": averaging,
    "nearest": nearest,
    "least_squares": least_squares,
    "ridge": ridge,
    "joint_ridge": joint_ridge,
    "lasso": lasso,
}


def _check_penalty(name: str, penalty: float) -> None:
    if penalty == 0 and name in ("ridge", "lasso"):
        raise ValueError(f"{name}:{penalty}: the penalty must lie above 0; 0 is least_squares")
    if not 0 < penalty < math.inf:
        raise ValueError(f"{name}:{penalty}: the penalty must lie above 0 and be finite")


def _ridge(x: X, y: Y, penalty: float) -> Y:
    gram, moment = _moments(x, y)
    w = torch.linalg.solve(gram + penalty * torch.eye(x.shape[2]).to(x), moment)
    return _after_the_first((w * x[:, 1:]).sum(2))


def _lasso(x: X, y: Y, penalty: float) -> Y:
    gram, moment = _moments(x, y)
    counts = torch.arange(1, y.shape[1], dtype=x.dtype, device=x.device)
    gram, moment = gram / counts[:, None, None], moment / counts[:, None]
    w = lasso_weights(gram.flatten(0, 1), moment.flatten(0, 1), penalty)
    return _after_the_first((w.unflatten(0, moment.shape[:2]) * x[:, 1:]).sum(2))


def _swept(w: Float[Tensor, "row d"], moments: Moments, penalty: float) -> Tensor:
    """The minimum over each coordinate in turn, the others held."""
    (gram, moment), w = moments, w.clone()
    for j in range(w.shape[1]):
        size = gram[:, j, j]
        pull = moment[:, j] - (gram[:, j] * w).sum(1) + size * w[:, j]
        shrunk = pull.sign() * (pull.abs() - penalty).clamp(min=0)
        w[:, j] = torch.where(size > 0, shrunk / size, 0.0)
    return w


def _solved(
    w: Float[Tensor, "row d"], moments: Moments, penalty: float
) -> tuple[Float[Tensor, "row d"], Bool[Tensor, " row"]]:
    """The minimum if the coefficients have the signs of w, and whether it is one."""
    (gram, moment), signs = moments, w.sign()
    is_free, eye = signs != 0, torch.eye(w.shape[1]).to(w)
    equations = torch.where(is_free[:, :, None] & is_free[:, None, :], gram, eye)
    wanted = torch.where(is_free, moment - penalty * signs, 0.0)
    solved, _ = torch.linalg.solve_ex(equations, wanted)  # not finite where there are many
    slope = moment - (gram @ solved[..., None])[..., 0]
    is_flat = (slope.abs() <= penalty * (1 + TOLERANCE) + TOLERANCE).all(1)
    # Rounding lets endless weights along a direction without curvature pass for flat.
    is_near = solved.abs().sum(1) <= MAX_WEIGHT_RATIO * w.abs().sum(1)
    return solved, is_flat & is_near & (solved.sign() == signs).all(1)


def _along_the_path(
    gram: Float[Tensor, "d d"], moment: Float[Tensor, " d"], penalty: float
) -> Float[Tensor, " d"]:
    """The minimum for one row, found along the exact path of least angles."""
    from sklearn.linear_model import lars_path_gram  # heavy, and only needed to measure

    path = lars_path_gram(
        moment.cpu().numpy(),
        gram.cpu().numpy(),
        n_samples=1,
        alpha_min=penalty,  # pyright: ignore[reportArgumentType]  # its type is read off its default, 0
        method="lasso",
        return_path=False,
    )
    return torch.as_tensor(path[2]).to(gram)


def _moments(x: X, y: Y) -> tuple[Float[Tensor, "prompt k d d"], Float[Tensor, "prompt k d"]]:
    """X^T X and X^T y of the first 1, 2, .. pairs, all but the last counted."""
    gram = (x[..., :, None] * x[..., None, :]).cumsum(1)[:, :-1]
    return gram, (y[..., None] * x).cumsum(1)[:, :-1]


def _by_rows(predict: Callable[[X, Y], Y], x: X, y: Y) -> Y:
    """Predictions for a few prompts at a time, whose matrices fit into memory."""
    rows = max(1, MAX_NUMBERS // (x.shape[1] * x.shape[2] ** 2))
    return torch.cat([predict(*some) for some in zip(x.split(rows), y.split(rows), strict=True)])


def _after_the_first(predicted: Float[Tensor, "prompt k"]) -> Y:
    """Predictions for all pairs: 0 for the first."""
    return torch.nn.functional.pad(predicted, (1, 0))
