"""How well do trees and a small network do that are fitted to each prefix of each prompt?

These baselines are slow, and meant for few prompts. Trees are scikit-learn's, fitted anew to each
prefix; networks are trained side by side, one for each prompt.

Source: Garg et al. 2022 (arXiv:2208.01066), appendix on baselines, and code: greedy trees,
XGBoost (here scikit-learn's gradient boosting with its defaults), and a network of 100 neurons
trained by Adam at 5e-3 for 100 steps (on batches there, on all pairs of the prefix here).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from analyses.in_context.baselines import X, Y

LEARNING_RATE = 5e-3


def greedy_tree(x: X, y: Y) -> Y:
    """A decision tree grown greedily until every earlier pair is fitted."""
    from sklearn.tree import DecisionTreeRegressor  # heavy, and only needed to measure

    return _fitted(lambda: DecisionTreeRegressor(random_state=0), x, y)


def boosted_trees(x: X, y: Y, trees: int = 100) -> Y:
    """Gradient boosting with a number of trees of depth 3.

    Raises:
        ValueError: trees is not at least 1.
    """
    if trees < 1:
        raise ValueError(f"boosted_trees:{trees}: at least 1 tree is needed")
    from sklearn.ensemble import GradientBoostingRegressor  # heavy, and only needed to measure

    return _fitted(lambda: GradientBoostingRegressor(n_estimators=trees, random_state=0), x, y)


def network(x: X, y: Y, steps: int = 100, hidden: int = 100) -> Y:
    """A two-layer ReLU network without biases, trained on the earlier pairs from a fixed seed.

    Raises:
        ValueError: steps is not at least 1.
    """
    if steps < 1:
        raise ValueError(f"network:{steps}: at least 1 step is needed")
    predicted = torch.zeros_like(y)
    for k in range(1, y.shape[1]):
        reads, writes = _trained(x[:, :k], y[:, :k], steps, hidden)
        predicted[:, k] = _values(x[:, k : k + 1], reads, writes)[:, 0].detach()
    return predicted


FITTED: dict[str, Callable[..., Y]] = {
    "greedy_tree": greedy_tree,
    "boosted_trees": boosted_trees,
    "network": network,
}


def _fitted(new: Callable[[], Any], x: X, y: Y) -> Y:
    """Predictions of a scikit-learn regressor, fitted anew to every prefix."""
    predicted = torch.zeros_like(y)
    inputs, values = x.cpu().numpy(), y.cpu().numpy()
    for prompt in range(len(values)):
        for k in range(1, values.shape[1]):
            fitted = new().fit(inputs[prompt, :k], values[prompt, :k])
            predicted[prompt, k] = float(fitted.predict(inputs[prompt, k : k + 1])[0])
    return predicted


def _trained(x: X, y: Y, steps: int, hidden: int) -> tuple[Tensor, Tensor]:
    """Weights of one network a prompt, all from one start, as the class of networks has it."""
    generator, d = torch.Generator().manual_seed(0), x.shape[2]
    reads = d**-0.5 * torch.randn(d, hidden, generator=generator, dtype=x.dtype)
    writes = (2 / hidden) ** 0.5 * torch.randn(hidden, 1, generator=generator, dtype=x.dtype)
    reads, writes = (
        start.to(x.device).repeat(len(x), 1, 1).requires_grad_() for start in (reads, writes)
    )
    optimizer = torch.optim.Adam([reads, writes], lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            # The mean is taken within each prompt, so that its network trains as if alone.
            (_values(x, reads, writes) - y).square().mean(1).sum().backward()
            optimizer.step()
    return reads, writes


def _values(x: X, reads: Tensor, writes: Tensor) -> Y:
    """What networks give for inputs."""
    return ((x @ reads).relu() @ writes)[..., 0]
