"""Vectors and factors of images, read from a file: a pretrained network's representations."""

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.tasks.data_files import Stamp

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
    """A file's vectors on a device, where they are kept."""
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
    return _misnumbered(factors)


def _misnumbered(factors: np.ndarray) -> str:
    """What is wrong with the values of the factors; empty where nothing is."""
    if factors.min() < 0:
        return "factors hold negative values: count from 0"
    by_factor = [np.unique(column) for column in factors.T]
    single = [str(factor) for factor, values in enumerate(by_factor) if len(values) < 2]
    if single:
        return f"factor {', '.join(single)} has a single value: leave it out"
    gaps = [factor for factor, values in enumerate(by_factor) if values[-1] >= len(values)]
    if not gaps:
        return ""
    values = by_factor[gaps[0]]
    return (
        f"factor {gaps[0]} has {len(values)} values that go up to {values[-1]}: number them "
        f"0 to {len(values) - 1} (numpy.unique's return_inverse does)"
    )
