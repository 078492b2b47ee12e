"""How far does a loss rise around a point? Langevin dynamics that stay near it.

    w <- w - eps/2 (nbeta grad L(w) + gamma (w - w*)) + N(0, eps)

draws from exp(-nbeta L(w) - gamma/2 |w - w*|^2), with an error of order eps. Chains of several
points w* run side by side, as rows of one matrix: the first chain of every point, then the second.
A chain's generator gives all points the same noise, so that a point's result does not depend on
which others are there.

Source: Welling and Teh 2011 (stochastic gradient Langevin dynamics); Lau et al. 2023
(arXiv:2308.12108) for the localisation. The gradient is halved, so the noise has variance eps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Losses = Callable[[Tensor], Tensor]  # from points [point, parameter] to a loss each
DrawnLosses = Callable[[Tensor, Sequence[torch.Generator]], Tensor]  # with a generator a chain

POWER_ITERATIONS = 20
CONTROL_DRAWS = 8  # of Gaussian noise
MAX_SEED = 2**62
NOISE, MINIBATCHES = 0, 1  # what a chain's two generators are for
NOISE_AT_ONCE = 2**18  # numbers that a generator draws together


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss of many points at once, with derivatives.

    Attributes:
        parts: Functions from points `[point, parameter]` to numbers `[point]`. Their sum is the
            loss; several take less memory than one.
        drawn: If gradients are of minibatches, the loss on one: from points and a generator a
            chain. Otherwise they are of the loss itself.
    """

    parts: Sequence[Losses]
    drawn: DrawnLosses | None = None

    @torch.no_grad()
    def values(self, points: Float[Tensor, "point parameter"]) -> Float[Tensor, " point"]:
        """The loss of each point, in float64."""
        return torch.stack([part(points).double() for part in self.parts]).sum(0)

    def with_gradients(
        self, points: Float[Tensor, "point parameter"]
    ) -> tuple[Float[Tensor, " point"], Float[Tensor, "point parameter"]]:
        """The loss of each point, in float64, and its gradient."""
        total, gradients = points.new_zeros(len(points), dtype=torch.float64), 0
        for part in self.parts:
            losses, gradient = _with_gradient(part, points)
            total, gradients = total + losses, gradients + gradient
        return total, torch.as_tensor(gradients)

    def curving(
        self,
        points: Float[Tensor, "point parameter"],
        directions: Float[Tensor, "point parameter"],
    ) -> Float[Tensor, "point parameter"]:
        """The Hessian at each point times a direction."""
        products = torch.zeros_like(points)
        for part in self.parts:
            leaf = points.detach().requires_grad_()
            with torch.enable_grad():
                [gradient] = torch.autograd.grad(part(leaf).sum(), leaf, create_graph=True)
                if not gradient.requires_grad:
                    continue  # the part is linear
                along = (gradient * directions).sum()
                products += torch.autograd.grad(along, leaf, materialize_grads=True)[0]
        return products


@dataclass(frozen=True)
class Langevin:
    """How chains walk.

    Attributes:
        nbeta: What the loss is multiplied by: the number of examples times inverse temperature.
        gamma: Strength of the pull back to the point.
        eps: Step size; the noise of a step has this variance.
        chains: Chains of each point.
        burn_in: Steps before the first draw.
        draws: Steps whose losses count.
        seed: Decides the noise; the first chains are the same however many there are.
    """

    nbeta: float
    gamma: float = 100.0
    eps: float = 1e-4
    chains: int = 2
    burn_in: int = 200
    draws: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"nbeta": 0.0, "eps": 0.0, "gamma": 0.0}
        for name, bound in least.items():
            value, may_be_zero = getattr(self, name), name == "gamma"
            if not math.isfinite(value) or value < bound or (value == bound and not may_be_zero):
                wanted = "0 or more" if may_be_zero else "a number above 0"
                raise ValueError(f"{name} = {value}: give {wanted}")
        for name, count in {"chains": 1, "burn_in": 0, "draws": 2}.items():
            if getattr(self, name) < count:
                raise ValueError(f"{name} = {getattr(self, name)}: give {count} or more")

    def generators(self, use: int) -> list[torch.Generator]:
        """One a chain: for the noise of steps (0) or for minibatches (1)."""
        first = torch.Generator().manual_seed(self.seed)
        seeds = torch.randint(MAX_SEED, (self.chains, 2), generator=first)[:, use].tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]


@dataclass(frozen=True, eq=False)
class Chains:
    """What chains saw.

    Attributes:
        start_losses: The loss of each point itself.
        losses: Losses before each update, burn-in included.
        distances: How far each chain has got from its point.
    """

    start_losses: Float[Tensor, " point"]
    losses: Float[Tensor, "iteration chain point"]
    distances: Float[Tensor, "chain point"]


def sgld(loss: Loss, start: Float[Tensor, "point parameter"], walk: Langevin) -> Chains:
    """Chains from each point.

    Args:
        loss: What the chains see.
        start: The points.
        walk: How they walk.
    """
    points, drawing = start.repeat(walk.chains, 1), walk.generators(MINIBATCHES)
    home, losses = points.clone(), []
    for noise in _noises(start, walk):
        if loss.drawn is None:
            values, gradients = loss.with_gradients(points)
        else:
            values = loss.values(points)
            _, gradients = _with_gradient(lambda at: loss.drawn(at, drawing), points)  # pyright: ignore[reportOptionalCall]  # asked above
        losses.append(values)
        drift = walk.nbeta * gradients + walk.gamma * (points - home)
        points = points - walk.eps / 2 * drift
        points += math.sqrt(walk.eps) * noise.repeat_interleave(len(start), 0)
    by_chain = (walk.chains, len(start))
    recorded = torch.stack(losses).unflatten(1, by_chain)
    return Chains(
        start_losses=recorded[0, 0],  # before the first update
        losses=recorded,
        distances=(points - home).double().norm(dim=1).unflatten(0, by_chain),
    )


def gaussian_rise(
    loss: Loss, start: Float[Tensor, "point parameter"], walk: Langevin
) -> Float[Tensor, " point"]:
    """The control: nbeta E[L(w* + N(0, 1/gamma)) - L(w*)], the mean of eight draws.

    It is where chains would go that see no loss; NaN where gamma is 0, so that nothing holds them.
    """
    if walk.gamma == 0:
        return torch.full((len(start),), math.nan, dtype=torch.float64, device=start.device)
    generator = torch.Generator().manual_seed(walk.seed)
    spread = 1 / math.sqrt(walk.gamma)
    values = [loss.values(start + spread * _noise(start, generator)) for _ in range(CONTROL_DRAWS)]
    return walk.nbeta * (torch.stack(values).mean(0) - loss.values(start))


def largest_curvature(
    loss: Loss, start: Float[Tensor, "point parameter"], seed: int = 0
) -> Float[Tensor, " point"]:
    """The eigenvalue of the Hessian at each point that is largest in magnitude, about.

    Twenty power iterations from a random direction: the value is low by a few percent where the
    largest two are close, and 0 where the Hessian is.
    """
    direction = _noise(start, torch.Generator().manual_seed(seed)).expand_as(start)
    curvature = start.new_zeros(len(start))
    for _ in range(POWER_ITERATIONS):
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-30)
        product = loss.curving(start, direction)
        curvature, direction = (direction * product).sum(1), product
    return curvature.double()


def downhill(
    loss: Loss, start: Float[Tensor, "point parameter"], walk: Langevin
) -> Float[Tensor, " point"]:
    """How far nbeta L(w) + gamma/2 |w - w*|^2 falls along the gradient at w*: 0 at a minimum.

    By the parabola that has the slope and the curvature there: (nbeta |g|)^2 / 2h with
    h = nbeta k + gamma and k the curvature along g; infinite where h is not above 0.
    """
    _, gradients = loss.with_gradients(start)
    length = gradients.norm(dim=1, keepdim=True)
    along = gradients / length.clamp(min=1e-30)
    stiffness = walk.nbeta * (along * loss.curving(start, along)).sum(1).double() + walk.gamma
    fall = (walk.nbeta * length[:, 0].double()).square() / (2 * stiffness)
    return torch.where(stiffness > 0, fall, torch.inf).where(length[:, 0] > 0, 0.0)


def _with_gradient(part: Losses, points: Tensor) -> tuple[Tensor, Tensor]:
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        losses = part(leaf)
        [gradient] = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach().double(), gradient


def _noises(start: Tensor, walk: Langevin) -> Iterator[Float[Tensor, "chain parameter"]]:
    """The noise of each step, a row a chain."""
    generators, left = walk.generators(NOISE), walk.burn_in + walk.draws
    block = max(1, NOISE_AT_ONCE // max(start.shape[1], 1))
    while left > 0:
        yield from torch.stack([_noise(start, each, block) for each in generators], 1)[:left]
        left -= block


def _noise(start: Tensor, generator: torch.Generator, count: int = 1) -> Tensor:
    """Rows of standard normal numbers, one a parameter; the same on every device."""
    shape = (count, start.shape[1])
    return torch.randn(shape, dtype=start.dtype, generator=generator).to(start.device)
