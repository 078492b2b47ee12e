"""Images described by factors, and the vectors a model sees in their place.

An image is one value of each factor. A fixed random network stands for the representation that a
pretrained network would give: one-hots of the values are mixed by sines and projected,

    z = P sin(difficulty (sum_f W_f[v_f]) + b),    scaled to mean 0 and variance 1, noise added.

Slow sines are all but linear in the one-hots, so that each factor can be read off z by a linear
map; fast ones hide it. A file of real representations takes the network's place.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: Shapes3D's six factors, a VAE's 768 numbers (not
released). The random network is ours.
"""

import math
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interp.randomness import generator

HIDDEN = 64
SAMPLED = 10_000  # images whose vectors set mean and scale
ARRAYS = ("embeddings", "factors")


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


@lru_cache(maxsize=4)
def map_pool(values: tuple[int, ...], count: int, seed: int) -> Int[Tensor, "map factor value"]:
    """So many maps, each a random permutation of every factor's values (0 beyond them)."""
    return drawn_maps(values, count, generator(seed, 2, 1))


def drawn_maps(
    values: tuple[int, ...], count: int, drawing: Generator
) -> Int[Tensor, "map factor value"]:
    """Maps drawn from a generator."""
    keys = torch.rand(count, len(values), max(values), generator=drawing, device=drawing.device)
    beyond = torch.arange(max(values)) >= torch.tensor(values)[:, None]
    keys = keys.masked_fill(beyond.to(keys.device), math.inf)  # sorted behind all values
    return keys.argsort(2).masked_fill(beyond.to(keys.device), 0)


@lru_cache(maxsize=4)
def image_order(total: int, seed: int) -> Int[Tensor, " image"]:
    """Images in a random order, of which the last ones are held out."""
    return torch.randperm(total, generator=generator(seed, 2, 2))


@lru_cache(maxsize=2)
def read_embeddings(path: str) -> tuple[Float[Tensor, "image d"], Int[Tensor, "image factor"]]:
    """Vectors and factor values of images, from an npz file without objects.

    Args:
        path: A file with `embeddings [image, d]`, real, and `factors [image, factor]`, whole
            numbers from 0.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no such file, holds pickled objects, arrays of other shapes or types, NaN
            or infinity, or a factor with a single value.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"file: {path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as file:
            embeddings, factors = (file[name] for name in ARRAYS)
    except KeyError as missing:
        raise ValueError(f"file: {path} lacks {missing}; it needs {', '.join(ARRAYS)}") from None
    except (ValueError, OSError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"file: {path} is no npz of plain arrays ({reason})") from None
    fault = _fault(embeddings, factors)
    if fault:
        raise ValueError(f"file: {path}: {fault}")
    return torch.from_numpy(embeddings.astype(np.float32)), torch.from_numpy(
        factors.astype(np.int64)
    )


def _fault(embeddings: np.ndarray, factors: np.ndarray) -> str:
    """What is wrong with the arrays of a file, or nothing."""
    if embeddings.ndim != 2 or factors.ndim != 2 or len(embeddings) != len(factors):
        shapes = f"{list(embeddings.shape)} and {list(factors.shape)}"
        return f"embeddings [image, d] and factors [image, factor] are wanted, got {shapes}"
    if embeddings.dtype.kind != "f" or factors.dtype.kind not in "iu":
        return (
            f"real embeddings and whole factors are wanted, got {embeddings.dtype}, {factors.dtype}"
        )
    if not factors.size or not embeddings.size:
        return "no images"
    if not np.isfinite(embeddings).all():
        return "embeddings hold NaN or infinity"
    if factors.min() < 0:
        return "factors hold negative values: count from 0"
    single = [str(f) for f in range(factors.shape[1]) if len(np.unique(factors[:, f])) < 2]
    return f"factor {', '.join(single)} has a single value: leave it out" if single else ""


def places_of_images(
    shape: tuple[int, int], total: int, drawing: Generator, *, repeats: bool
) -> Int[Tensor, "prompt pair"]:
    """Places among so many images; prompts with an image twice are drawn again, unless let."""
    count, pairs = shape
    if not repeats and total < pairs**2:
        return torch.rand(count, total, generator=drawing).argsort(1)[:, :pairs]
    chosen = torch.randint(total, shape, generator=drawing)
    while not repeats:
        rows = (chosen.sort(1).values.diff(dim=1) == 0).any(1).nonzero()[:, 0]
        if not len(rows):
            break
        chosen[rows] = torch.randint(total, (len(rows), pairs), generator=drawing)
    return chosen
