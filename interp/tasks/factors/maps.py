"""Maps from values of factors to labels, and what can be told of a label without examples.

A map is a random permutation of every factor's values. Prompts take theirs from a pool or each its
own; with few of them in the pool an image alone says much about its label.

Source: Fu et al. 2024 (arXiv:2309.06054), code; the bound is ours.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from interp.randomness import generator
from interp.tasks.factors.images import Images, Share

NUMBERS = 10**8  # images, or numbers of a pool: 1.1 million maps of Shapes3D's factors
GUESSED = 500_000  # images that the bound is found on, at most
CELLS = 2_000_000  # of images and labels, counted at a time


def check_size(values: tuple[int, ...], total: int, maps: int) -> None:
    """Refuses what is too large to hold.

    Raises:
        ValueError: There are more than `NUMBERS` images, or a pool has more numbers than that.
    """
    if total > NUMBERS:
        raise ValueError(f"factors make {total} images, at most {NUMBERS} are possible: drop some")
    most = NUMBERS // (len(values) * max(values))
    if maps > most:
        raise ValueError(f"maps {maps} are more than {most}: lower it, or 0 draws them anew")


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


def best_guess_anew(values: tuple[int, ...]) -> float:
    """Best accuracy without examples where maps are drawn anew: that of always answering 0.

    Every label of a factor is alike likely whatever the image, and label 0 is one of each factor.
    """
    return sum(1 / count for count in values) / len(values)


@lru_cache(maxsize=4)
def best_guess(images: Images, share: Share, maps: int) -> float:
    """Best accuracy of whoever sees an image alone and knows the pool of maps.

    With F factors and M maps, a mean over images i that show values v_f(i):

        mean_i max_label (1 / FM) |{(f, map): map_f(v_f(i)) = label}|

    Takes time in proportion to maps and images; of more than `GUESSED` images so many are drawn,
    which leaves a standard error below 0.001.

    Args:
        images: The world.
        share: Which of its images are asked for.
        maps: Size of the pool.
    """
    pool, shown = map_pool(images.values, maps, share.seed), images.shown(share)
    if len(shown) > GUESSED:
        shown = shown[torch.randint(len(shown), (GUESSED,), generator=generator(share.seed, 2, 3))]
    tables, most = [], pool.shape[2]
    for mapped in pool.unbind(1):
        cells = (torch.arange(most) * most + mapped).flatten()  # of value and label
        tables.append(cells.bincount(minlength=most**2).unflatten(0, (most, most)).int())
    right = 0
    for some in shown.split(max(1, CELLS // most)):
        votes = torch.zeros(len(some), most, dtype=torch.int32)
        for table, column in zip(tables, images.factors(some).unbind(1), strict=True):
            votes += table.index_select(0, column)
        right += int(votes.amax(1).sum())
    return right / (len(shown) * maps * len(tables))
