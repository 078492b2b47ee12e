"""Maps from values of factors to labels, and how well a label can be guessed without examples.

A map is a random permutation of every factor's values. Prompts take their maps from a pool, or each
has a map of its own. With few maps in the pool an image alone says much about its label.

Source: Fu et al. 2024 (arXiv:2309.06054), code; the bound is ours.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from interp.randomness import generator
from interp.tasks.factors.images import Images, Share

MAX_NUMBERS = 10**8  # images, or numbers in a pool: 1.1 million maps of Shapes3D's factors
MAX_GUESSED_IMAGES = 500_000  # images on which `best_guess` is computed
CHUNK_VOTES = 2_000_000  # votes, one for each image and label, that are counted at a time


def check_size(values: tuple[int, ...], total: int, maps: int) -> None:
    """Refuses more images or maps than fit into memory.

    Raises:
        ValueError: There are more than `MAX_NUMBERS` images, or a pool has more numbers than that.
    """
    if total > MAX_NUMBERS:
        raise ValueError(
            f"factors make {total} images, at most {MAX_NUMBERS} are possible: drop some"
        )
    most = MAX_NUMBERS // (len(values) * max(values))
    if maps > most:
        raise ValueError(f"maps {maps} are more than {most}: lower it, or 0 draws them anew")


@lru_cache(maxsize=4)
def map_pool(values: tuple[int, ...], count: int, seed: int) -> Int[Tensor, "map factor value"]:
    """The maps of a pool, each a random permutation of every factor's values (0 beyond them)."""
    return drawn_maps(values, count, generator(seed, 2, 1))


def drawn_maps(
    values: tuple[int, ...], count: int, drawing: Generator
) -> Int[Tensor, "map factor value"]:
    """Maps drawn from a generator."""
    keys = torch.rand(count, len(values), max(values), generator=drawing, device=drawing.device)
    beyond = torch.arange(max(values)) >= torch.tensor(values)[:, None]
    keys = keys.masked_fill(
        beyond.to(keys.device), math.inf
    )  # so that they are sorted behind all values
    return keys.argsort(2).masked_fill(beyond.to(keys.device), 0)


def best_guess_anew(values: tuple[int, ...]) -> float:
    """Best accuracy without examples where maps are drawn anew: that of always answering 0.

    Whatever the image, all labels of a factor are equally likely, and every factor has label 0.
    """
    return sum(1 / count for count in values) / len(values)


@lru_cache(maxsize=4)
def best_guess(images: Images, share: Share, maps: int) -> float:
    """Best accuracy of an observer who knows the pool of maps and sees an image without examples.

    With F factors, M maps, and v_f(i) the value of factor f in image i, this is a mean over images:

        mean_i max_label (1 / FM) |{(f, map): map_f(v_f(i)) = label}|

    Takes time in proportion to the number of maps and images. Of more than `MAX_GUESSED_IMAGES`
    images a random sample of that size is taken, which leaves a standard error below 0.001.

    Args:
        images: All images.
        share: Which of the images are asked for.
        maps: Size of the pool.
    """
    pool, shown = map_pool(images.values, maps, share.seed), images.shown(share)
    if len(shown) > MAX_GUESSED_IMAGES:
        shown = shown[
            torch.randint(len(shown), (MAX_GUESSED_IMAGES,), generator=generator(share.seed, 2, 3))
        ]
    # tables[f][v, label] is the number of maps under which value v of factor f has that label.
    tables, n_labels = [], pool.shape[2]
    for labels in pool.unbind(1):
        cells = (torch.arange(n_labels) * n_labels + labels).flatten()
        counts = cells.bincount(minlength=n_labels**2)
        tables.append(counts.unflatten(0, (n_labels, n_labels)).int())
    right = 0
    for chunk in shown.split(max(1, CHUNK_VOTES // n_labels)):
        votes = torch.zeros(len(chunk), n_labels, dtype=torch.int32)
        for table, values in zip(tables, images.factors(chunk).unbind(1), strict=True):
            votes += table.index_select(0, values)
        right += int(votes.amax(1).sum())
    return right / (len(shown) * maps * len(tables))
