"""Images described by factors, and the vectors a model sees in their place.

An image is one value of each factor. A fixed random network stands for the representation that a
pretrained network would give: one-hots of the values are mixed by sines and projected,

    z = P sin(difficulty (sum_f W_f[v_f]) + b),    scaled to mean 0 and variance 1.

Slow sines are all but linear in the one-hots, so that each factor can be read off z by a linear
map; fast ones hide it. A file of real representations takes the network's place.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: Shapes3D's six factors, a VAE's 768 numbers (not
released). The random network is ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.randomness import generator
from interp.tasks.data_files import Stamp
from interp.tasks.factors.file import read_embeddings

HIDDEN = 64
SAMPLED = 10_000  # images whose vectors set mean and scale


@dataclass(frozen=True, eq=False)
class Network:
    """A fixed random network from values of factors to vectors.

    Attributes:
        values: How many each factor has.
        reads: W, the rows of all values one after the other.
        turns: b.
        writes: P, scaled.
        mean: What is taken off.
    """

    values: tuple[int, ...]
    reads: Float[Tensor, "value hidden"]
    turns: Float[Tensor, " hidden"]
    writes: Float[Tensor, "hidden d"]
    mean: Float[Tensor, " d"]

    def embed(self, factors: Int[Tensor, "*batch factor"]) -> Float[Tensor, "*batch d"]:
        """Vectors of images, without noise."""
        starts = torch.tensor([0, *self.values[:-1]]).cumsum(0).to(factors.device)
        rows = (factors + starts).unsqueeze(-1)
        summed = sum(self.reads[rows[..., f, 0]] for f in range(len(self.values)))
        return torch.sin(summed + self.turns) @ self.writes - self.mean


@lru_cache(maxsize=8)
def random_network(values: tuple[int, ...], d: int, difficulty: float, seed: int) -> Network:
    """The network of a seed."""
    drawing = generator(seed, 2, 0)
    reads = difficulty * torch.randn(sum(values), HIDDEN, generator=drawing)
    turns = 2 * math.pi * torch.rand(HIDDEN, generator=drawing)
    writes = torch.randn(HIDDEN, d, generator=drawing)
    plain = Network(values, reads, turns, writes, torch.zeros(d))
    sampled = torch.randint(math.prod(values), (SAMPLED,), generator=drawing)
    found = plain.embed(unravelled(sampled, values))
    scale = found.std(0)
    return Network(values, reads, turns, writes / scale, found.mean(0) / scale)


def unravelled(
    images: Int[Tensor, "*batch"], values: tuple[int, ...]
) -> Int[Tensor, "*batch factor"]:
    """Values of factors of images that are counted with the last factor fastest."""
    found = []
    for count in reversed(values):
        found.append(images % count)
        images = images // count
    return torch.stack(found[::-1], dim=-1)


class Share(NamedTuple):
    """Some of the images.

    Attributes:
        is_train: Whether those that training shows, or those that tests show.
        held_out: Share of all that training does not show; 0 shows all in both.
        seed: Of the split.
    """

    is_train: bool
    held_out: float
    seed: int


@dataclass(frozen=True, eq=False)
class Images:
    """All images there are; one object a world, so that it can be remembered by identity.

    Attributes:
        values: How many each factor has.
        width: Numbers of a vector.
        total: How many images there are.
        factors: Values of factors of images, by their numbers.
        vectors: Vectors of images, by their numbers, without noise.
    """

    values: tuple[int, ...]
    width: int
    total: int
    factors: Callable[[Int[Tensor, "*batch"]], Int[Tensor, "*batch factor"]]
    vectors: Callable[[Int[Tensor, "*batch"]], Float[Tensor, "*batch d"]]

    def shown(self, share: Share) -> Int[Tensor, " image"]:
        """Numbers of the images of a share."""
        if not share.held_out:
            return torch.arange(self.total)
        order = image_order(self.total, share.seed)
        kept = self.total - round(share.held_out * self.total)
        return order[:kept] if share.is_train else order[kept:]


@lru_cache(maxsize=8)
def images_of_network(values: tuple[int, ...], d: int, difficulty: float, seed: int) -> Images:
    """Images of every combination of values, seen by a random network."""
    return Images(
        values,
        d,
        math.prod(values),
        lambda images: unravelled(images, values),
        lambda images: random_network(values, d, difficulty, seed).embed(
            unravelled(images, values)
        ),
    )


@lru_cache(maxsize=2)
def images_of_file(stamp: Stamp) -> Images:
    """Images of a file.

    Raises:
        ValueError: As `read_embeddings`.
    """
    vectors, factors = read_embeddings(stamp)
    values = tuple((factors.amax(0) + 1).tolist())
    return Images(
        values,
        vectors.shape[1],
        len(vectors),
        lambda images: factors[images],
        lambda images: vectors[images],
    )


@lru_cache(maxsize=4)
def image_order(total: int, seed: int) -> Int[Tensor, " image"]:
    """Images in a random order, of which the last ones are held out."""
    return torch.randperm(total, generator=generator(seed, 2, 2))


def too_few(kept: tuple[int, int], pairs: int, held_out: float) -> str:
    """What is wrong with so many images to train on and to test on, or nothing."""
    few, kind, change = min((kept[0], "training", "lower"), (kept[1], "test", "raise"))
    if few >= pairs:
        return ""
    if not few:
        return f"held_out {held_out} leaves no {kind} images: {change} it, or 0 shows all in both"
    left = f"{kind} images that held_out {held_out} leaves" if held_out else "images there are"
    return f"pairs {pairs} are more than the {few} {left}: lower pairs or set repeats = true"
