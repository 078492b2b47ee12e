"""Prompts of factor labels: their images, the factor they ask for, their map, and their layout.

Random draws come in a fixed order: images, factors, maps, and then, elsewhere, noise.

A map goes from values of factors to labels: it is a random permutation of every factor's values.
Prompts take their maps from a pool, or each has a map of its own. With few maps in the pool an
image alone says much about its label; `best_guess` says how much.

Source: Fu et al. 2024 (arXiv:2309.06054), code; the bound is ours.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interp.randomness import generator
from interp.tasks.base import Batch, Reader
from interp.tasks.factors.extra_loss import SIDE, ExtraLoss, at_queries
from interp.tasks.factors.images import Images, Share

MAX_NUMBERS = 10**8  # images, or numbers in a pool: 1.1 million maps of Shapes3D's factors
MAX_GUESSED_IMAGES = 500_000  # images on which `best_guess` is computed
CHUNK_VOTES = 2_000_000  # votes, one for each image and label, that are counted at a time
IMAGES = "images"  # the key of a batch under which images stand by number, to be looked up


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
    is_beyond = (torch.arange(max(values)) >= torch.tensor(values)[:, None]).to(keys.device)
    # Infinite keys are sorted behind those of all values.
    return keys.masked_fill(is_beyond, math.inf).argsort(2).masked_fill(is_beyond, 0)


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
    n_labels = pool.shape[2]
    # tables[f][v, label] is the number of maps under which value v of factor f has that label:
    # it is counted in cell v n_labels + label.
    tables = [
        (torch.arange(n_labels) * n_labels + labels)
        .flatten()
        .bincount(minlength=n_labels**2)
        .unflatten(0, (n_labels, n_labels))
        .int()
        for labels in pool.unbind(1)
    ]
    right = 0
    for chunk in shown.split(max(1, CHUNK_VOTES // n_labels)):
        votes = torch.zeros(len(chunk), n_labels, dtype=torch.int32)
        for table, values in zip(tables, images.factors(chunk).unbind(1), strict=True):
            votes += table.index_select(0, values)
        right += int(votes.amax(1).sum())
    return right / (len(shown) * maps * len(tables))


class Kind(NamedTuple):
    """What prompts are drawn from.

    Attributes:
        share: The images that they show.
        maps: Size of the pool of maps; 0 for maps drawn anew.
        pairs: Number of images in a prompt.
        repeats: Whether an image may come twice in a prompt.
    """

    share: Share
    maps: int
    pairs: int
    repeats: bool


@dataclass(frozen=True, eq=False)
class Prompts:
    """Drawn prompts.

    Attributes:
        images: The images of each prompt, by number.
        factors: The values of all factors of each image.
        asked: The factor that each prompt asks for.
        maps: The number of each prompt's map in the pool; -1 where it is drawn anew.
        answers: The label of each image.
        labels: The label of each value of the asked factor; 0 beyond its values.
    """

    images: Int[Tensor, "prompt pair"]
    factors: Int[Tensor, "prompt pair factor"]
    asked: Int[Tensor, " prompt"]
    maps: Int[Tensor, " prompt"]
    answers: Int[Tensor, "prompt pair"]
    labels: Int[Tensor, "prompt value"]

    def at(self, rows: Int[Tensor, " row"]) -> "Prompts":
        """The prompts of these numbers, in this order."""
        return Prompts(*(getattr(self, part.name)[rows] for part in fields(self)))

    def answered(self, extra_loss: ExtraLoss | None) -> dict[str, Tensor]:
        """Targets and scored positions of a batch, and the targets of a further loss."""
        pairs = self.images.shape[1]
        scored = torch.tensor([True, False]).repeat(pairs).expand(len(self.images), -1).clone()
        batch = {"targets": at_queries(self.answers), "scored": scored}
        if extra_loss is None:
            return batch
        asked = self.asked[:, None, None].expand(-1, pairs, 1)
        return batch | {SIDE: at_queries({"weights": self.factors, "context": asked}[extra_loss])}


def drawn_prompts(all_images: Images, kind: Kind, count: int, drawing: Generator) -> Prompts:
    """Draws `count` prompts of a kind."""
    shown, rows = all_images.shown(kind.share), torch.arange(count)
    images = shown[places_of_images((count, kind.pairs), len(shown), drawing, repeats=kind.repeats)]
    factors = all_images.factors(images)
    asked = torch.randint(len(all_images.values), (count,), generator=drawing)
    maps = torch.full((count,), -1)
    if kind.maps:
        maps = torch.randint(kind.maps, (count,), generator=drawing)
        applied = map_pool(all_images.values, kind.maps, kind.share.seed)[maps, asked]
    else:
        applied = drawn_maps(all_images.values, count, drawing)[rows, asked]
    answers = applied.gather(1, factors[rows, :, asked])
    return Prompts(images, factors, asked, maps, answers, applied)


def places_of_images(
    shape: tuple[int, int], total: int, drawing: Generator, *, repeats: bool
) -> Int[Tensor, "prompt pair"]:
    """Random places among `total` images; without `repeats`, a prompt's places are different.

    Without repeats, prompts that show an image twice are drawn again, or, where most prompts would,
    every prompt takes the first places of a permutation.
    """
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


def interleaved(
    vectors: Float[Tensor, "*batch pair d"], answers: Int[Tensor, "*batch pair"], label_scale: float
) -> Float[Tensor, "*batch position d"]:
    """Images and their labels alternating; a label is a one-hot times `label_scale`."""
    coded = torch.zeros_like(vectors).scatter_(-1, answers[..., None], label_scale)
    return torch.stack([vectors, coded], dim=-2).flatten(-3, -2)


def looked_up(vectors: Float[Tensor, "image d"], label_scale: float) -> Reader:
    """A reader that replaces the image numbers in a batch by the images' vectors."""

    def read(batch: Batch) -> Batch:
        rest = {name: values for name, values in batch.items() if name != IMAGES}
        answers = batch["targets"][..., ::2]
        return rest | {"inputs": interleaved(vectors[batch[IMAGES]], answers, label_scale)}

    return read
