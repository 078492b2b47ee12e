"""What a task is: examples whose answer is known, for training and for looking."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel
from torch import Tensor

from hooks import Examples, Facts, Sizes, Snapshot
from hooks.loss import token_losses
from interp.tasks.fields import STRICT

HELD = ("_prompts", "_sequences", "_lines")  # how fields that count examples end

Batch = Mapping[str, Tensor]
Reader = Callable[[Batch], Batch]


class Task(BaseModel):
    """A synthetic task.

    A subclass gives `name`, `sizes`, `facts`, `train_count`, `data` and `examples`; the loss
    and the grade of answers among classes are here.

    Attributes:
        splits: Names that `examples` takes; the first is the task's own, for looking.
        evaluated: Splits that training scores.
        positions: Positions whose logits the loss reads.
        metrics: Names of what `score` returns.
        widths: Widths that batches of sentences are padded to, ascending; none where all examples
            have one length.
    """

    model_config = STRICT

    splits: ClassVar[tuple[str, ...]]
    evaluated: ClassVar[tuple[str, ...]]
    positions: ClassVar[Literal["last", "all"]]
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    widths: ClassVar[tuple[int, ...]] = ()

    name: str

    @property
    def sizes(self) -> Sizes:
        """The sizes this task gives a model."""
        raise NotImplementedError

    @property
    def facts(self) -> Facts:
        """Facts that analyses need; `chance` is the best accuracy without looking."""
        raise NotImplementedError

    @property
    def train_count(self) -> int | None:
        """Size of the fixed training set, or None where training data are drawn without end."""
        raise NotImplementedError

    @property
    def data_files(self) -> dict[str, str]:
        """Paths of the files that examples are read from, by what they are to the task."""
        return {}

    @property
    def held(self) -> dict[str, int]:
        """Examples that are in memory while training, by the field that counts them."""
        names = type(self).model_fields
        counts = {name: getattr(self, name) for name in names if name.endswith(HELD)}
        return {name: count for name, count in counts.items() if count is not None}

    @property
    def draws_split(self) -> bool:
        """Whether the data seed decides which examples are for training."""
        return self.train_count is not None

    def with_train(self, train: Bool[Tensor, " n"]) -> "Task":
        """The same task with these of all its examples for training, in place of those it draws.

        Raises:
            ValueError: It cannot name them.
        """
        raise ValueError(f"the task {self.name} cannot name its training examples")

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """Training data: `tokens` or `inputs`, and `targets` and `scored` at `positions`.

        A task whose inputs are too large to hold gives what its `reader` makes them of.

        Args:
            count: Number of examples; None for the whole fixed training set.
            generator: Decides everything that is random.
        """
        raise NotImplementedError

    def reader(self, device: torch.device) -> Reader:
        """What turns rows of `data` into a batch, on a device; here they are one.

        It works on tensors alone, with any leading axes, and in a captured step.
        """
        return as_it_is

    def flat(self, generator: torch.Generator) -> Batch:
        """The fixed training set of a task with `widths`, without padding.

        Args:
            generator: Decides everything that is random.

        Returns:
            `flat [token]`, all sentences one after the other, and `offsets [sentence + 1]`, where
            each begins. Every token but a sentence's first is to be predicted from those before.
        """
        raise NotImplementedError

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Examples for looking, with labels and words.

        Args:
            split: One of `splits`.
            count: At most so many, drawn at random; None for all.
            seed: The run's data seed, which also decides the split.
        """
        raise NotImplementedError

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean cross-entropy of the scored answers, in nats. Pure, without indexing by masks."""
        scored = batch["scored"].to(logits.dtype)
        return (token_losses(logits, batch["targets"]) * scored).sum() / scored.sum()

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats and accuracy over the scored answers: scalars. Pure, as `loss` is."""
        right = (logits.argmax(-1) == batch["targets"]) & batch["scored"]
        accuracy = right.sum(dtype=logits.dtype) / batch["scored"].sum(dtype=logits.dtype)
        return {"loss": self.loss(logits, batch), "accuracy": accuracy}

    def score(self, snapshot: Snapshot) -> dict[str, float]:
        """The grade of a snapshot on its examples, in float64.

        A task whose answers are not read off the logits in one pass overrides this.
        """
        examples = snapshot.examples
        name = "inputs" if examples.tokens is None else "tokens"
        batch = {"targets": examples.targets, "scored": examples.scored}
        batch[name] = examples.model_inputs
        found = self.grade(snapshot.logits().double().cpu(), batch)
        return {name: float(value) for name, value in found.items()}


def as_it_is(batch: Batch) -> Batch:
    """The batch."""
    return batch


def model_inputs(batch: Batch) -> Tensor:
    """Tokens or inputs, whichever the model is fed."""
    return batch["tokens"] if "tokens" in batch else batch["inputs"]
