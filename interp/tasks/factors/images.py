"""Images described by factors, and the vectors that a model sees in their place.

An image has one value of each factor. A fixed random network stands in for the representation that
a pretrained network would give: one-hots of the values are mixed by sines and projected,

    z = P sin(difficulty (sum_f W_f[v_f]) + b),    scaled to mean 0 and variance 1.

Slow sines are nearly linear in the one-hots, so that a linear map can read each factor off z; with
fast sines it cannot. A file of real representations can replace the network.

Source: Fu et al. 2024 (arXiv:2309.06054) and code, with Shapes3D's six factors and a VAE's 768
numbers (not released). The random network is ours.
"""

import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.randomness import generator
from interp.tasks.data_files import Stamp

N_SINES = 64  # hidden units of the random network
SAMPLED_IMAGES = 10_000  # images whose vectors set mean and scale
ARRAYS = ("embeddings", "factors")
UNREADABLE = (
    ValueError,
    OSError,
    AttributeError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Network:
    """A fixed random network from values of factors to vectors.

    Attributes:
        values: How many values each factor has.
        reads: W, with the rows of all values of all factors one after the other.
        turns: b.
        writes: P, scaled.
        mean: The mean, which is subtracted.
    """

    values: tuple[int, ...]
    reads: Float[Tensor, "value hidden"]
    turns: Float[Tensor, " hidden"]
    writes: Float[Tensor, "hidden d"]
    mean: Float[Tensor, " d"]

    def embed(self, factors: Int[Tensor, "*batch factor"]) -> Float[Tensor, "*batch d"]:
        """Vectors of images, without noise."""
        starts = torch.tensor([0, *self.values[:-1]]).cumsum(0).to(factors.device)
        summed = sum(self.reads[rows] for rows in (factors + starts).unbind(-1))
        return torch.sin(summed + self.turns) @ self.writes - self.mean


@lru_cache(maxsize=8)
def random_network(values: tuple[int, ...], d: int, difficulty: float, seed: int) -> Network:
    """The network of a seed."""
    drawing = generator(seed, 2, 0)
    reads = difficulty * torch.randn(sum(values), N_SINES, generator=drawing)
    turns = 2 * math.pi * torch.rand(N_SINES, generator=drawing)
    writes = torch.randn(N_SINES, d, generator=drawing)
    plain = Network(values, reads, turns, writes, torch.zeros(d))
    images = torch.randint(math.prod(values), (SAMPLED_IMAGES,), generator=drawing)
    vectors = plain.embed(unravelled(images, values))
    scale = vectors.std(0)
    return Network(values, reads, turns, writes / scale, vectors.mean(0) / scale)


def unravelled(
    images: Int[Tensor, "*batch"], values: tuple[int, ...]
) -> Int[Tensor, "*batch factor"]:
    """The factors' values of images by number; numbers count up the last factor fastest."""
    return torch.stack(torch.unravel_index(images, values), dim=-1)


class Share(NamedTuple):
    """Which images are shown: those of training, or those of tests.

    Attributes:
        is_train: True for the images that training shows, False for the images that tests show.
        held_out: Share of all images that only tests show; where it is 0, both show all images.
        seed: The seed of the split.
    """

    is_train: bool
    held_out: float
    seed: int


@dataclass(frozen=True, eq=False)
class Images:
    """All images that exist. Equal only to itself, so that results can be cached for it.

    Attributes:
        values: How many values each factor has.
        width: How many numbers an image's vector has.
        total: How many images there are.
        factors: Gives the factors' values of images by number.
        vectors: Gives the vectors of images by number, without noise.
    """

    values: tuple[int, ...]
    width: int
    total: int
    factors: Callable[[Int[Tensor, "*batch"]], Int[Tensor, "*batch factor"]]
    vectors: Callable[[Int[Tensor, "*batch"]], Float[Tensor, "*batch d"]]

    def shown(self, share: Share) -> Int[Tensor, " image"]:
        """The numbers of the images that are shown."""
        if not share.held_out:
            return torch.arange(self.total)
        order = image_order(self.total, share.seed)
        n_train = self.total - round(share.held_out * self.total)
        return order[:n_train] if share.is_train else order[n_train:]


@lru_cache(maxsize=8)
def images_of_network(values: tuple[int, ...], d: int, difficulty: float, seed: int) -> Images:
    """Images of every combination of values, seen by a random network."""
    return Images(
        values=values,
        width=d,
        total=math.prod(values),
        factors=lambda images: unravelled(images, values),
        vectors=lambda images: random_network(values, d, difficulty, seed).embed(
            unravelled(images, values)
        ),
    )


@lru_cache(maxsize=2)
def images_of_file(stamp: Stamp) -> Images:
    """The images of a file.

    Raises:
        ValueError: `read_embeddings` refuses the file.
    """
    vectors, factors = read_embeddings(stamp)
    return Images(
        values=tuple((factors.amax(0) + 1).tolist()),
        width=vectors.shape[1],
        total=len(vectors),
        factors=lambda images: factors[images],
        vectors=lambda images: vectors[images],
    )


@lru_cache(maxsize=4)
def image_order(total: int, seed: int) -> Int[Tensor, " image"]:
    """All images in a random order; the last ones are held out."""
    return torch.randperm(total, generator=generator(seed, 2, 2))


def check_count(shown: tuple[int, int], pairs: int, held_out: float) -> None:
    """Refuses fewer images than a prompt needs.

    Args:
        shown: How many images training shows, and how many tests show.
        pairs: How many different images a prompt needs.
        held_out: The share of images that only tests show.

    Raises:
        ValueError: Training or tests show too few images; the message says what to change.
    """
    count, kind, change = min((shown[0], "training", "lower"), (shown[1], "test", "raise"))
    if not count:
        raise ValueError(
            f"held_out {held_out} leaves no {kind} images: {change} it, or 0 shows all in both"
        )
    if count < pairs:
        left = f"{kind} images that held_out {held_out} leaves" if held_out else "images there are"
        raise ValueError(
            f"pairs {pairs} are more than the {count} {left}: lower pairs or set repeats = true"
        )


@lru_cache(maxsize=2)
def read_embeddings(
    stamp: Stamp,
) -> tuple[Float[Tensor, "image d"], Int[Tensor, "image factor"]]:
    """Vectors and factor values of images, from an npz file without objects.

    Args:
        stamp: The stamp of a file with `embeddings [image, d]`, real numbers, and
            `factors [image, factor]`, whole numbers from 0 without gaps. A file that was written
            anew has another stamp, and is read again.

    Raises:
        ValueError: It is no such file, holds pickled objects, arrays of other shapes or types,
            NaN, infinity or numbers beyond float32, or a factor with a single value or a gap.
    """
    path = stamp[0]
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            embeddings, factors = (file[name] for name in ARRAYS)
    except KeyError as missing:
        raise ValueError(f"file: {path} lacks {missing}; it needs {', '.join(ARRAYS)}") from None
    except UNREADABLE:
        # NumPy's message would advise the user to load pickled objects.
        raise ValueError(
            f"file: {path} cannot be read: an npz of plain arrays of numbers is wanted, and "
            "pickled objects are never loaded; write it by numpy.savez"
        ) from None
    fault = _fault(embeddings, factors)
    if fault:
        raise ValueError(f"file: {path}: {fault}")
    return torch.from_numpy(_narrowed(embeddings)), torch.from_numpy(factors.astype(np.int64))


@lru_cache(maxsize=2)
def vectors_on(stamp: Stamp, device: torch.device) -> Float[Tensor, "image d"]:
    """A file's vectors, which stay in the memory of a device."""
    return read_embeddings(stamp)[0].to(device)


def _narrowed(embeddings: np.ndarray) -> np.ndarray:
    """The embeddings in float32; infinity where a number is beyond its range."""
    with np.errstate(over="ignore"):
        return embeddings.astype(np.float32)


def _fault(embeddings: np.ndarray, factors: np.ndarray) -> str:
    """What is wrong with the arrays of a file; empty where nothing is."""
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
    if not np.isfinite(_narrowed(embeddings)).all():
        return "embeddings hold numbers beyond float32: scale them down"
    if factors.min() < 0:
        return "factors hold negative values: count from 0"
    by_factor = [np.unique(column) for column in factors.T]
    single = [str(factor) for factor, values in enumerate(by_factor) if len(values) < 2]
    if single:
        return f"factor {', '.join(single)} has a single value: leave it out"
    for factor, values in enumerate(by_factor):
        if values[-1] >= len(values):
            return (
                f"factor {factor} has {len(values)} values that go up to {values[-1]}: number "
                f"them 0 to {len(values) - 1} (numpy.unique's return_inverse does)"
            )
    return ""
