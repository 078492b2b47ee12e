"""Labels of one factor of images; the examples alone tell which factor, and which map to labels.

A prompt is image, label, image, label, .. It asks for one factor, the same throughout, and its
labels are that factor's values under a map. Maps come from a pool. With one map in the pool the
labels of each factor are fixed; with many maps they must be learned from the prompt.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: 40 pairs, six factors of Shapes3D, a pool of 1
to 20,000 maps, and tests on held-out images with maps of the same pool; in their first version,
tests with maps drawn anew for every prompt, which is the split `fresh` here. Labels are one-hot in
a vector as wide as an image's; the loss is at every image, the first included.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, PromptFacts, Sizes
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import Batch, Reader, Task, late_share, sampled, scored_mean
from interp.tasks.data_files import DataFile, stamp_of
from interp.tasks.factors.extra_loss import SIDE, ExtraLoss, at_queries, class_losses
from interp.tasks.factors.factor_pairs import (
    changed_answers,
    last_shown,
    other_labels,
    other_queries,
    pairable,
)
from interp.tasks.factors.images import (
    Images,
    Share,
    check_count,
    images_of_file,
    images_of_network,
    vectors_on,
)
from interp.tasks.factors.prompts import (
    IMAGES,
    Kind,
    Prompts,
    best_guess,
    best_guess_anew,
    check_size,
    drawn_prompts,
    interleaved,
    looked_up,
)
from interp.tasks.fields import Amount, Count, Scale, Seed, TwoOrMore
from interp.tasks.pairing import differing, permuted, prompted

SHAPES3D = {
    "floor_hue": 10,
    "wall_hue": 10,
    "object_hue": 10,
    "scale": 8,
    "shape": 4,
    "orientation": 15,
}
NETWORK_FIELDS = ("factors", "d", "difficulty")  # fields that a file replaces
MAX_TRAIN_GIB = 16  # GiB of vectors in a training set


class FactorLabels(Task):
    """The label of each image: the asked factor's value under the prompt's map.

    Attributes:
        factors: The number of values of each factor, by name. The default is Shapes3D's; those of
            a file are numbered.
        maps: Size of the pool of maps. With 0, or where left out, every prompt has a new map.
        pairs: Number of images in a prompt.
        d: Numbers in an image's vector; at least as many as there are labels.
        difficulty: How fast the embedding's sines turn. A linear map reads off Shapes3D's factors
            with accuracy 0.97 at 0.3 and 0.29 at 1 (guessing: 0.12).
        noise: Standard deviation of the noise added to each number of a vector. The default is 0.1
            with the network, whose numbers have variance 1, and 0 with a file, whose vectors are
            taken as they are.
        label_scale: Size of a label's one-hot.
        file: Vectors and factors of images (npz), in place of the random network.
        held_out: Share of images that only test prompts show; with 0 both show all images.
        repeats: Whether an image may come twice in a prompt.
        train_prompts: Number of training prompts; where left out they are drawn without end.
        test_prompts: Number of prompts in each split.
        seed: Seed of network, pool and split of images, which are the same for all training seeds.
        extra_loss: What spare outputs are trained to give beside the labels: every factor of each
            image (`weights`), or the factor that is asked for (`context`).
        extra_weight: What that further loss is multiplied by.
    """

    splits: ClassVar = ("test", "fresh")
    evaluated: ClassVar = ("test", "fresh")
    metrics: ClassVar = ("loss", "accuracy", "late_accuracy")
    changes: ClassVar = {"example": False, "exchange": False, "query": False, "permute": True}

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
        """Sets the default noise beside a file, so that the experiment states it."""
        has_file = isinstance(table, Mapping) and table.get("file") is not None
        return {"noise": 0.0} | dict(table) if has_file else table

    @model_validator(mode="after")
    def _factors_fit(self) -> "FactorLabels":
        single = [name for name, count in self.factors.items() if count < 2]
        if single:
            raise ValueError(f"factors: {', '.join(single)} has fewer than 2 values: leave it out")
        fields = type(self).model_fields
        replaced = [name for name in NETWORK_FIELDS if getattr(self, name) != fields[name].default]
        if self.file is not None and replaced:
            raise ValueError(f"file brings its own factors and vectors: drop {replaced[0]}")
        labels, width = max(self.values), self.images.width
        if width < labels:
            raise ValueError(
                f"d {width} is less than {labels} labels: raise it"
                if self.file is None
                else f"file: vectors of {width} numbers, {labels} labels: append zeros"
            )
        return self

    @model_validator(mode="after")
    def _prompts_fit(self) -> "FactorLabels":
        check_size(self.values, self.images.total, self.maps or 0)
        kinds = (self._kind(is_train, None) for is_train in (True, False))
        trained, tested = (len(self.images.shown(kind.share)) for kind in kinds)
        check_count((trained, tested), 1 if self.repeats else self.pairs, self.held_out)
        size = 8 * self.pairs * self.images.width * (self.train_prompts or 0) / 2**30
        if size > MAX_TRAIN_GIB and not self._is_looked_up:
            remedy = "leave it out, to draw prompts anew" + ", or set noise = 0" * bool(self.file)
            raise ValueError(
                f"train_prompts: {size:.1f} GiB of vectors, over {MAX_TRAIN_GIB}: {remedy}"
            )
        return self

    @property
    def data_files(self) -> dict[str, str]:
        """The file of vectors and factors, if there is one."""
        return {} if self.file is None else {"file": self.file}

    @property
    def images(self) -> Images:
        """All images, of the file or of the random network."""
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
        """An image's numbers in; an output for each label and spare ones; two positions a pair."""
        answers, factors = max(self.values), len(self.values)
        spare = {None: 0, "weights": factors * answers, "context": factors}[self.extra_loss]
        return Sizes(d_in=self.images.width, d_vocab_out=answers + spare, n_ctx=2 * self.pairs)

    @property
    def facts(self) -> Facts:
        """Chance, outputs and `PromptFacts`: a prompt asks for one of the factors.

        Chance is that of `test`; examples of `fresh` bring their own.
        """
        prompts = PromptFacts(self.pairs, "factor", self.names, group="factor", factors=self.names)
        return Facts(chance=self.chance("test"), outputs=max(self.values), groups=(prompts,))

    def chance(self, split: str) -> float:
        """Best accuracy on a split of an observer who knows its maps and sees no examples."""
        if split == "fresh" or not self.maps:
            return best_guess_anew(self.values)
        return best_guess(self.images, self._kind(False, self.maps).share, self.maps)

    @property
    def train_count(self) -> int | None:
        """`train_prompts`."""
        return self.train_prompts

    @property
    def held(self) -> dict[str, int]:
        """As for other tasks, except that training on images by number keeps no vectors."""
        return {"test_prompts": self.test_prompts} if self._is_looked_up else super().held

    @property
    def _is_looked_up(self) -> bool:
        """Whether a batch has images by number, which is enough where vectors never change."""
        return self.file is not None and not self.noise

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Training prompts, on the CPU.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        kind = self._kind(True, self.maps)
        drawn = drawn_prompts(self.images, kind, self.count_to_draw(count), generator)
        batch = drawn.answered(self.extra_loss)
        if self._is_looked_up:
            return batch | {IMAGES: drawn.images}
        return batch | {"inputs": self._inputs(drawn, generator)}

    def reader(self, device: torch.device) -> Reader:
        """Looks up a file's vectors, which without noise are the same in every prompt."""
        if not self._is_looked_up or self.file is None:
            return super().reader(device)
        return looked_up(vectors_on(stamp_of(self.file), device), self.label_scale)

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts of held-out images, with maps of the pool (`test`) or drawn anew (`fresh`).

        Labels are `factor`, the factor asked for; `map`, the number of the map (-1 where it is
        drawn anew); and, under each factor's name, its value in the last image.
        """
        self.check_split(split)
        return self._shown(split, seed)[1].head(count)

    def _shown(self, split: str, seed: int) -> tuple[Prompts, Examples]:
        """All prompts of a split, and the same as examples."""
        drawing = generator(seed, 1, 1, self.splits.index(split))
        kind = self._kind(False, self.maps if split == "test" else 0)
        drawn = drawn_prompts(self.images, kind, self.test_prompts, drawing)
        batch = drawn.answered(None)
        values = zip(self.names, drawn.factors[:, -1].T, strict=True)
        examples = Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=self._inputs(drawn, drawing),
            labels={"factor": drawn.asked, "map": drawn.maps, **dict(values)},
            facts=replace(self.facts, chance=self.chance(split)),
        )
        return drawn, examples

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """Prompts up to the last image, some example of which has its value of the asked factor.

        That example, the only one of its kind, gets another label (example); or that label and the
        right one change places in all examples, as another map would have it (exchange); or the
        last image is that of another prompt, with another label (query). In controls the examples
        stand in another order.
        """
        drawn, shown = self._shown(split, seed)
        rows = sampled(pairable(drawn, change), count, seed)
        queries = rows
        if change == "query":
            rows, queries = other_queries(drawn, rows, seed, repeats=self.repeats)
        prompts, examples = drawn.at(rows), shown.at(rows)
        other = other_labels(prompts, self.values, seed)
        answers = changed_answers(prompts, change, other, drawn.factors[queries, -1])
        position = torch.full_like(other, 2 * self.pairs - 2)
        vectors = examples.model_inputs[:, ::2].clone()
        vectors[:, -1] = shown.model_inputs[queries, -2]
        corrupted = replace(
            examples,
            inputs=interleaved(vectors, answers, self.label_scale),
            targets=at_queries(answers),
            labels=dict(examples.labels)
            | {name: shown.label(name)[queries] for name in self.names}
            | ({"map": torch.full_like(other, -1)} if change in ("example", "exchange") else {}),
        )
        corrupted = prompted(corrupted, position)
        if change == "permute":
            inputs = permuted(corrupted.model_inputs, 2, seed)
            corrupted = replace(corrupted, inputs=inputs)
        example = 2 * last_shown(prompts)
        pairs = Pairs(
            clean=prompted(examples, position),
            corrupted=corrupted,
            position=position,
            right=prompts.answers[:, -1],
            wrong=other if change == "permute" else answers[:, -1],
            change=change,
            control=self.changes[change],
            roles={"example image": example, "example label": example + 1, "query": position},
        )
        return differing(pairs)

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean cross-entropy of the labels; in training, plus that of the spare outputs. Pure."""
        answers, spare = logits.tensor_split([max(self.values)], dim=-1)
        loss = super().loss(answers, batch)
        if SIDE not in batch:
            return loss
        return loss + self.extra_weight * scored_mean(class_losses(spare, batch[SIDE]), batch)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss and accuracy of labels, and `late_accuracy` over the last four of a prompt. Pure."""
        answers = logits[..., : max(self.values)]
        is_right = answers.argmax(-1) == batch["targets"]
        late_accuracy = late_share(is_right, batch["scored"], logits.dtype)
        return super().grade(answers, batch) | {"late_accuracy": late_accuracy}

    def _inputs(self, drawn: Prompts, drawing: Generator) -> Tensor:
        """A model's inputs for some prompts, noise included."""
        vectors = self.images.vectors(drawn.images)
        noise = self.noise * torch.randn(vectors.shape, generator=drawing)
        return interleaved(vectors + noise, drawn.answers, self.label_scale)

    def _kind(self, is_train: bool, maps: int | None) -> Kind:
        """The kind of prompts of training, or of tests, with maps of a pool or drawn anew."""
        return Kind(Share(is_train, self.held_out, self.seed), maps or 0, self.pairs, self.repeats)
