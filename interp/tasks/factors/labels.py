"""Labels of one factor of images, which must be told from the examples: which factor, which map?

A prompt is image, label, image, label, ..; it asks for one factor, the same throughout, and its
labels are that factor's values under a map. Maps come from a pool: with one map the labels of each
factor are fixed, with many they must be learned from the prompt.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: 40 pairs, six factors of Shapes3D, a pool of 1
to 20,000 maps, images of the test split held out, its maps from the same pool; in their first
version maps drawn anew for every prompt, which is the split `fresh` here. Labels are one-hot in a
vector as wide as an image's; the loss is at every image, the first included.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, PromptFacts, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch, Reader, Task
from interp.tasks.data_files import DataFile, stamp_of
from interp.tasks.factors.extra_loss import SIDE, ExtraLoss, class_losses, mean_at_queries
from interp.tasks.factors.file import vectors_on
from interp.tasks.factors.images import Images, Share, images_of_file, images_of_network, too_few
from interp.tasks.factors.late import late_accuracy
from interp.tasks.factors.maps import best_guess, best_guess_anew, check_size
from interp.tasks.factors.prompts import (
    IMAGES,
    Kind,
    Prompts,
    drawn_prompts,
    interleaved,
    looked_up,
)
from interp.tasks.fields import Amount, Count, Scale, Seed, TwoOrMore

SHAPES3D = {
    "floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15,
}  # fmt: skip
OF_NETWORK = ("factors", "d", "difficulty")
HELD = 16  # GiB of vectors that a training set may hold


class FactorLabels(Task):
    """The label of each image: the asked factor's value under the prompt's map.

    Attributes:
        factors: How many values each has, by name; Shapes3D's where left out, a file's numbered.
        maps: Size of the pool of maps; 0, or left out, for maps drawn anew for every prompt.
        pairs: Images of a prompt.
        d: Numbers of an image's vector, at least as many as there are labels.
        difficulty: How fast the embedding's sines turn. Of Shapes3D's factors a linear map reads
            off 0.97 at 0.3 and 0.29 at 1 (guessing: 0.12).
        noise: Standard deviation of what is added to each number of a vector. Where left out 0.1
            beside the network, whose numbers have variance 1, and 0 beside a file, whose vectors
            are taken as they are.
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
    metrics: ClassVar = ("loss", "accuracy", "late_accuracy")

    name: Literal["factor_labels"] = "factor_labels"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    factors: dict[str, Count] = Field(default=SHAPES3D, min_length=1)
    maps: Annotated[int, Field(ge=0)] | None = None
    pairs: TwoOrMore = 40
    d: TwoOrMore = 64
    difficulty: Scale = 0.5
    noise: Amount = 0.1
    label_scale: Scale = 1.0
    file: DataFile | None = None
    held_out: float = Field(default=0.2, ge=0, lt=1)
    repeats: bool = False
    train_prompts: Count | None = None
    test_prompts: Count = 1000
    seed: Seed = 0
    extra_loss: ExtraLoss | None = None
    extra_weight: Scale = 0.1

    @model_validator(mode="before")
    @classmethod
    def _files_are_without_noise(cls, table: Any) -> Any:
        """Written into the task, so that its file says what was added."""
        if isinstance(table, Mapping) and table.get("file") is not None:
            return {"noise": 0.0} | dict(table)
        return table

    @model_validator(mode="after")
    def _factors_fit(self) -> "FactorLabels":
        single = [name for name, count in self.factors.items() if count < 2]
        if single:
            raise ValueError(f"factors: {', '.join(single)} has fewer than 2 values: leave it out")
        fields = type(self).model_fields
        replaced = [n for n in OF_NETWORK if getattr(self, n) != fields[n].default]
        if self.file is not None and replaced:
            raise ValueError(f"file brings its own factors and vectors: drop {replaced[0]}")
        labels, width = max(self.values), self.images.width
        if width < labels and self.file is None:
            raise ValueError(f"d {width} is less than {labels} labels: raise it")
        if width < labels:
            raise ValueError(f"file: vectors of {width} numbers, {labels} labels: append zeros")
        return self

    @model_validator(mode="after")
    def _prompts_fit(self) -> "FactorLabels":
        check_size(self.values, self.images.total, self.maps or 0)
        kinds = (self._kind(is_train, None) for is_train in (True, False))
        trained, tested = (len(self.images.shown(kind.share)) for kind in kinds)
        fault = too_few((trained, tested), 1 if self.repeats else self.pairs, self.held_out)
        if fault:
            raise ValueError(fault)
        size = 8 * self.pairs * self.images.width * (self.train_prompts or 0) / 2**30
        if size > HELD and not self._is_looked_up:
            remedy = "leave it out, to draw prompts anew" + ", or set noise = 0" * bool(self.file)
            raise ValueError(f"train_prompts: {size:.1f} GiB of vectors, over {HELD}: {remedy}")
        return self

    @property
    def data_files(self) -> dict[str, str]:
        """The file of vectors and factors, if there is one."""
        return {} if self.file is None else {"file": self.file}

    @property
    def images(self) -> Images:
        """What there is to see."""
        if self.file is not None:
            return images_of_file(stamp_of(self.file))
        return images_of_network(tuple(self.factors.values()), self.d, self.difficulty, self.seed)

    @property
    def values(self) -> tuple[int, ...]:
        """How many values each factor has."""
        return self.images.values

    @property
    def names(self) -> tuple[str, ...]:
        """The factors' names."""
        if self.file is None:
            return tuple(self.factors)
        return tuple(f"factor_{index}" for index in range(len(self.values)))

    @property
    def sizes(self) -> Sizes:
        """An image's numbers in, one output a label and spare ones, two positions a pair."""
        answers, factors = max(self.values), len(self.values)
        spare = {None: 0, "weights": factors * answers, "context": factors}[self.extra_loss]
        return Sizes(d_in=self.images.width, d_vocab_out=answers + spare, n_ctx=2 * self.pairs)

    @property
    def facts(self) -> Facts:
        """Chance, outputs and `PromptFacts`: a prompt asks for one of the factors.

        Chance is that of `test`; examples of `fresh` bring their own.
        """
        prompts = PromptFacts(
            pairs=self.pairs,
            asked="factor",
            asked_names=self.names,
            group="factor",
            factors=self.names,
        )
        return Facts(chance=self.chance("test"), outputs=max(self.values), groups=(prompts,))

    def chance(self, split: str) -> float:
        """The best accuracy on a split without examples, known its maps and the image."""
        if split == "fresh" or not self.maps:
            return best_guess_anew(self.values)
        return best_guess(self.images, self._kind(False, self.maps).share, self.maps)

    @property
    def train_count(self) -> int | None:
        """`train_prompts`."""
        return self.train_prompts

    @property
    def held(self) -> dict[str, int]:
        """As elsewhere; of images looked up by number, training holds no vectors."""
        counts = super().held
        return {"test_prompts": counts["test_prompts"]} if self._is_looked_up else counts

    @property
    def _is_looked_up(self) -> bool:
        """Whether a batch is given images by number, since their vectors are fixed ones."""
        return self.file is not None and not self.noise

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Training prompts, on the CPU.

        Raises:
            ValueError: No count is given where data are endless.
        """
        count = self.train_prompts if count is None else count
        if count is None:
            raise ValueError("count: factor_labels draws without end; say how many prompts")
        drawn = drawn_prompts(self.images, self._kind(True, self.maps), count, generator)
        batch = drawn.answered(self.extra_loss)
        if self._is_looked_up:
            return batch | {IMAGES: drawn.images}
        return batch | {"inputs": self._inputs(drawn, generator)}

    def reader(self, device: torch.device) -> Reader:
        """Looks up a file's vectors, which are the same in every prompt that has no noise."""
        if not self._is_looked_up or self.file is None:
            return super().reader(device)
        return looked_up(vectors_on(stamp_of(self.file), device), self.label_scale)

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts of held-out images, with maps of the pool (`test`) or drawn anew (`fresh`).

        Labels: `factor`, the one asked for; `map`, its number (-1 drawn anew); and by name each
        factor's value of the last image.
        """
        if split not in self.splits:
            raise ValueError(f"split '{split}' is none of {', '.join(self.splits)}")
        drawing = generator(seed, 1, 1, self.splits.index(split))
        kind = self._kind(False, self.maps if split == "test" else 0)
        drawn = drawn_prompts(self.images, kind, self.test_prompts, drawing)
        batch = drawn.answered(None)
        last = dict(zip(self.names, drawn.factors[:, -1].T, strict=True))
        found = Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=self._inputs(drawn, drawing),
            labels={"factor": drawn.asked, "map": drawn.maps} | last,
            facts=replace(self.facts, chance=self.chance(split)),
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

    def _inputs(self, drawn: Prompts, drawing: Generator) -> Tensor:
        """What a model sees of prompts, noise included."""
        vectors = self.images.vectors(drawn.images)
        vectors = vectors + self.noise * torch.randn(vectors.shape, generator=drawing)
        return interleaved(vectors, drawn.answers, self.label_scale)

    def _kind(self, is_train: bool, maps: int | None) -> Kind:
        """Prompts of the images that training shows, or of the others, under maps of a pool."""
        share = Share(is_train, self.held_out, self.seed)
        return Kind(share, maps or 0, self.pairs, self.repeats)
