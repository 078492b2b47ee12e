"""Prompts of factor labels: their images, the factor they ask for, their map, and their layout.

Random draws come in a fixed order: images, factors, maps, and then, elsewhere, noise.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interp.tasks.base import Batch, Reader
from interp.tasks.factors.extra_loss import SIDE, ExtraLoss, at_queries
from interp.tasks.factors.images import Images, Share
from interp.tasks.factors.maps import drawn_maps, map_pool

IMAGES = "images"  # the key of a batch under which images stand by number, to be looked up


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
    """

    images: Int[Tensor, "prompt pair"]
    factors: Int[Tensor, "prompt pair factor"]
    asked: Int[Tensor, " prompt"]
    maps: Int[Tensor, " prompt"]
    answers: Int[Tensor, "prompt pair"]

    def answered(self, extra_loss: ExtraLoss | None) -> dict[str, Tensor]:
        """Targets and scored positions of a batch, and the targets of a further loss."""
        pairs = self.images.shape[1]
        scored = torch.tensor([True, False]).repeat(pairs).expand(len(self.images), -1).clone()
        batch = {"targets": at_queries(self.answers), "scored": scored}
        if extra_loss is None:
            return batch
        asked = self.asked[:, None, None].expand(-1, pairs, 1)
        return batch | {SIDE: at_queries({"weights": self.factors, "context": asked}[extra_loss])}


def drawn_prompts(world: Images, kind: Kind, count: int, drawing: Generator) -> Prompts:
    """Draws `count` prompts of a kind."""
    shown, rows = world.shown(kind.share), torch.arange(count)
    places = places_of_images((count, kind.pairs), len(shown), drawing, repeats=kind.repeats)
    images = shown[places]
    factors = world.factors(images)
    asked = torch.randint(len(world.values), (count,), generator=drawing)
    maps = torch.full((count,), -1)
    if kind.maps:
        maps = torch.randint(kind.maps, (count,), generator=drawing)
        applied = map_pool(world.values, kind.maps, kind.share.seed)[maps, asked]
    else:
        applied = drawn_maps(world.values, count, drawing)[rows, asked]
    answers = applied.gather(1, factors[rows, :, asked])
    return Prompts(images, factors, asked, maps, answers)


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
