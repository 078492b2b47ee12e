"""Labels of one factor of images, which must be told from the examples: which factor, which map?

A prompt is image, label, image, label, ..; it asks for one factor, the same throughout, and its
labels are that factor's values under a map. Maps come from a pool: with one map the labels of each
factor are fixed, with many they must be learned from the prompt.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: 40 pairs, six factors of Shapes3D, a pool of 1
to 20,000 maps, images of the test split held out, its maps from the same pool; in their first
version maps drawn anew for every prompt, which is the split `fresh` here. Labels are one-hot in a
vector as wide as an image's; the loss is at every image, the first included.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from hooks import Examples, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch, Task
from interp.tasks.factor_images import (
    drawn_maps,
    image_order,
    map_pool,
    places_of_images,
    random_network,
    read_embeddings,
    unravelled,
)
from interp.tasks.late import late_accuracy
from interp.tasks.side_loss import SIDE, ExtraLoss, at_queries, class_losses, mean_at_queries

SHAPES3D = {
    "floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15,
}  # fmt: skip
OF_NETWORK = ("factors", "d", "difficulty")


class FactorLabels(Task):
    """The label of each image: the asked factor's value under the prompt's map.

    Attributes:
        factors: How many values each has, by name; Shapes3D's where left out, a file's numbered.
        maps: Size of the pool of maps; none for maps drawn anew for every prompt.
        pairs: Images of a prompt.
        d: Numbers of an image's vector, at least as many as there are labels.
        difficulty: How fast the embedding's sines turn. Of Shapes3D's factors a linear map reads
            off 0.97 at 0.3 and 0.29 at 1 (guessing: 0.12).
        noise: Standard deviation of what is added to each vector, whose numbers have variance 1.
        label_scale: Size of a label's one-hot.
        file: Vectors and factors of images (npz), in place of the random network.
        held_out: Share of the images that only test prompts show; 0 shows all in both.
        repeats: Whether an image may come twice in a prompt.
        train_prompts: Prompts trained on; drawn without end where left out.
        test_prompts: Prompts of each split.
        seed: Of network, pool and split of images, which all seeds of training share.
        extra_loss: What spare outputs are trained for beside the labels: every factor of each image
            (`weights`), or which factor is asked for (`context`). A supervised side channel.
        extra_weight: What that loss is multiplied by.
    """

    splits: ClassVar = ("test", "fresh")
    evaluated: ClassVar = ("test", "fresh")
    positions: ClassVar = "all"

    name: Literal["factor_labels"] = "factor_labels"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    factors: dict[str, int] = Field(default=SHAPES3D, min_length=1)
    maps: int | None = Field(default=None, ge=1)
    pairs: int = Field(default=40, ge=2)
    d: int = Field(default=64, ge=2)
    difficulty: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    noise: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    label_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    file: str | None = None
    held_out: float = Field(default=0.2, ge=0, lt=1)
    repeats: bool = False
    train_prompts: int | None = Field(default=None, ge=1)
    test_prompts: int = Field(default=1000, ge=1)
    seed: int = Field(default=0, ge=0)
    extra_loss: ExtraLoss | None = None
    extra_weight: float = Field(default=0.1, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _factors_fit(self) -> "FactorLabels":
        single = [name for name, count in self.factors.items() if count < 2]
        if single:
            raise ValueError(f"factors: {', '.join(single)} has fewer than 2 values: leave it out")
        fields = type(self).model_fields
        replaced = [n for n in OF_NETWORK if getattr(self, n) != fields[n].default]
        if self.file is not None and replaced:
            raise ValueError(f"file brings its own factors and vectors: drop {replaced[0]}")
        if self.width < max(self.values):
            raise ValueError(f"d {self.width} is less than {max(self.values)} labels: raise it")
        few = min(len(self._images(True)), len(self._images(False)))
        if few < (1 if self.repeats else self.pairs):
            raise ValueError(f"pairs {self.pairs} are more than {few} images: set repeats = true")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """How many values each factor has."""
        if self.file is None:
            return tuple(self.factors.values())
        return tuple((read_embeddings(self.file)[1].amax(0) + 1).tolist())

    @property
    def names(self) -> tuple[str, ...]:
        """The factors' names."""
        if self.file is None:
            return tuple(self.factors)
        return tuple(f"factor_{index}" for index in range(len(self.values)))

    @property
    def width(self) -> int:
        """Numbers of an image's vector."""
        return self.d if self.file is None else read_embeddings(self.file)[0].shape[1]

    @property
    def sizes(self) -> Sizes:
        """An image's numbers in, one output a label and spare ones, two positions a pair."""
        answers, factors = max(self.values), len(self.values)
        spare = {None: 0, "weights": factors * answers, "context": factors}[self.extra_loss]
        return Sizes(d_in=self.width, d_vocab_out=answers + spare, n_ctx=2 * self.pairs)

    @property
    def constants(self) -> dict[str, Any]:
        """`pairs`, `factors` and their numbers of `values`, `maps` (0: drawn anew), and `chance`.

        `asked` is the label that tells which factor a prompt asks for; `outputs`, how many of the
        model's answer. Chance is the best that is possible without context where maps are drawn
        anew: label 0 is right in 1 of V cases for each factor.
        """
        chance = sum(1 / count for count in self.values) / len(self.values)
        facts = {"pairs": self.pairs, "factors": self.names, "values": self.values}
        facts |= {"asked": "factor", "asked_names": self.names, "outputs": max(self.values)}
        return facts | {"maps": self.maps or 0, "chance": chance}

    @property
    def train_count(self) -> int | None:
        """`train_prompts`."""
        return self.train_prompts

    @property
    def draws_split(self) -> bool:
        """Whether the data seed decides on a fixed training set."""
        return self.train_prompts is not None

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Training prompts, on the CPU.

        Raises:
            ValueError: No count is given where data are endless.
        """
        count = self.train_prompts if count is None else count
        if count is None:
            raise ValueError("count: factor_labels draws without end; say how many prompts")
        return self._prompts(count, (True, self.maps), generator)[0]

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts of held-out images, with maps of the pool (`test`) or drawn anew (`fresh`).

        Labels: `factor`, the one asked for; `map`, its number (-1 drawn anew); and by name each
        factor's value of the last image.
        """
        if split not in self.splits:
            raise ValueError(f"split '{split}' is none of {', '.join(self.splits)}")
        drawing = generator(seed, 1, 1, self.splits.index(split))
        maps = self.maps if split == "test" else None
        batch, labels = self._prompts(self.test_prompts, (False, maps), drawing)
        found = Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=batch["inputs"],
            labels=labels,
            constants=self.constants | {"group": "factor", "asked": "factor"},
        )
        return found if count is None else found.head(count)

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean cross-entropy of the labels, and in training that of the spare outputs. Pure."""
        answers, spare = logits.tensor_split([max(self.values)], dim=-1)
        found = super().loss(answers, batch)
        if SIDE not in batch:
            return found
        side = mean_at_queries(class_losses(spare, batch[SIDE]), batch)
        return found + self.extra_weight * side

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Of labels alone: loss, accuracy, and `late_accuracy` over the last four of a prompt."""
        answers = logits[..., : max(self.values)]
        return super().grade(answers, batch) | {"late_accuracy": late_accuracy(answers, batch)}

    def _prompts(
        self, count: int, kind: tuple[bool, int | None], drawing: Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prompts and what is true of them, of training images or not, and of a pool or not."""
        (is_train, maps), rows = kind, torch.arange(count)
        shown, shape = self._images(is_train), (count, self.pairs)
        images = shown[places_of_images(shape, len(shown), drawing, repeats=self.repeats)]
        factors = self._factors(images)
        asked = torch.randint(len(self.values), (count,), generator=drawing)
        numbers = torch.full((count,), -1)
        if maps is None:
            applied = drawn_maps(self.values, count, drawing)[rows, asked]
        else:
            numbers = torch.randint(maps, (count,), generator=drawing)
            applied = map_pool(self.values, maps, self.seed)[numbers, asked]
        answers = applied.gather(1, factors[rows, :, asked])
        vectors = self._vectors(images, drawing)
        coded = self.label_scale * torch.nn.functional.one_hot(answers, self.width).to(vectors)
        scored = torch.tensor([True, False]).repeat(self.pairs).expand(count, -1).clone()
        batch = {
            "inputs": torch.stack([vectors, coded], dim=2).flatten(1, 2),
            "targets": torch.stack([answers, torch.zeros_like(answers)], dim=2).flatten(1, 2),
            "scored": scored,
        }
        sides = {"weights": factors, "context": asked[:, None, None].expand(-1, self.pairs, 1)}
        if self.extra_loss is not None:
            batch[SIDE] = at_queries(sides[self.extra_loss])
        last = dict(zip(self.names, factors[:, -1].T, strict=True))
        return batch, {"factor": asked, "map": numbers} | last

    def _images(self, is_train: bool) -> Int[Tensor, " image"]:
        """Numbers of the images that training prompts show, or the others."""
        total = math.prod(self.values)
        total = total if self.file is None else len(read_embeddings(self.file)[0])
        if not self.held_out:
            return torch.arange(total)
        order = image_order(total, self.seed)
        kept = total - round(self.held_out * total)
        return order[:kept] if is_train else order[kept:]

    def _factors(self, images: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch factor"]:
        if self.file is None:
            return unravelled(images, self.values)
        return read_embeddings(self.file)[1][images]

    def _vectors(self, images: Int[Tensor, "prompt pair"], drawing: Generator) -> Tensor:
        """What a model sees of images, noise included."""
        if self.file is None:
            network = random_network(self.values, self.d, self.difficulty, self.seed)
            vectors = network.embed(unravelled(images, self.values))
        else:
            vectors = read_embeddings(self.file)[0][images]
        return vectors + self.noise * torch.randn(vectors.shape, generator=drawing)
