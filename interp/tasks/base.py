"""What a task is: examples whose answer is known, for training and for looking."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from torch import Tensor

from hooks import LATE_ANSWERS, Examples, Facts, Sizes, Snapshot
from hooks.circuits.pairs import Pairs
from hooks.examples import token_losses
from hooks.messages import did_you_mean
from hooks.own_classes import reference_to
from interp.randomness import generator
from interp.tasks.fields import STRICT

# What is said of padded examples and a model that looks to the right.
SEES_PADDING = (
    "examples of several lengths are padded at the end, and this model is not causal, so that it "
    "would read the padding: give examples of one length; if it was trained to read padding, write "
    "that into the tokens, and leave lengths out"
)
COUNT_SUFFIXES = ("_prompts", "_sequences", "_lines")  # ends of the fields that count examples

PARTNERS = 2  # which of a seed's generators draws what is paired
Batch = Mapping[str, Tensor]
Reader = Callable[[Batch], Batch]


class Task(BaseModel):
    """A synthetic task.

    A subclass gives `name`, `sizes`, `facts`, `data` and `examples`, and `train_count` where it has
    a fixed training set; the loss and the grade of answers among classes are here.

    Attributes:
        splits: Names that `examples` takes. The first is the one that analyses look at by default.
        evaluated: Splits that are scored during training.
        positions: Positions whose logits the loss reads: all, unless a task says otherwise.
        metrics: Names of the numbers that `score` returns.
        changes: What `input_pairs` can change, the first by default, and whether the right
            answer stays, which makes control pairs of them.
        split_of_pairs: The split that pairs are of unless another is named; the first if empty.
        widths: Widths that batches of sentences are padded to, ascending; empty where all examples
            have the same length.
    """

    model_config = STRICT

    splits: ClassVar[tuple[str, ...]] = ("test",)
    evaluated: ClassVar[tuple[str, ...]] = ("test",)
    positions: ClassVar[Literal["last", "all"]] = "all"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    changes: ClassVar[Mapping[str, bool]] = {}
    split_of_pairs: ClassVar[str] = ""
    widths: ClassVar[tuple[int, ...]] = ()

    name: str = Field(init=False)  # of an own task, where its class is: nobody has to give it

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_place(cls, table: Any) -> Any:
        """A task in a file of the user's own is called by where its class is."""
        named = not isinstance(table, dict) or "name" in table
        is_own = cls.model_fields["name"].is_required()
        return {"name": reference_to(cls)} | table if is_own and not named else table

    @property
    def sizes(self) -> Sizes:
        """The sizes that this task gives a model."""
        raise NotImplementedError

    @property
    def facts(self) -> Facts:
        """Facts that analyses need; `chance` is the best accuracy without looking."""
        raise NotImplementedError

    @property
    def train_count(self) -> int | None:
        """Size of the fixed training set, or None where training data are drawn without end."""
        return None

    @property
    def is_padded(self) -> bool:
        """Whether a model that is not causal is refused, since it would read the padding."""
        return False

    def check_trainable(self) -> None:
        """Refuses to be trained on where the task has nothing to train on.

        Raises:
            ValueError: It has nothing; the message says what to give.
        """

    @property
    def data_files(self) -> dict[str, str]:
        """Paths of the files that examples are read from, by the field that names each file."""
        return {}

    @property
    def overlap(self) -> str:
        """How many test examples are also training examples, in a line; empty if none is known."""
        return ""

    @property
    def held(self) -> dict[str, int]:
        """Number of examples that are in memory during training, by the field that counts them."""
        return {
            name: count
            for name in type(self).model_fields
            if name.endswith(COUNT_SUFFIXES) and (count := getattr(self, name)) is not None
        }

    @property
    def draws_split(self) -> bool:
        """Whether the data seed decides which examples are for training."""
        return self.train_count is not None

    def with_train(self, train: Bool[Tensor, " n"]) -> "Task":
        """The same task with a given training set, in place of the one that it draws.

        Args:
            train: True at each of all examples, in the task's order, that is for training.

        Raises:
            ValueError: The task cannot name its training examples.
        """
        raise ValueError(f"the task {self.name} cannot name its training examples")

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """Training data: `tokens` or `inputs`, and `targets` and `scored` at `positions`.

        Where inputs are too large to keep in memory, a task returns what its `reader` turns into
        inputs, batch by batch.

        Args:
            count: Number of examples; None for the whole fixed training set.
            generator: Decides everything that is random.

        Raises:
            ValueError: No count is given, and the task has no fixed training set.
        """
        raise NotImplementedError

    def reader(self, device: torch.device) -> Reader:
        """A function that turns rows of `data` into a batch, on a device.

        By default rows of `data` are a batch already. The function may use tensors alone, so that
        it can be captured in a CUDA graph, and must accept further leading axes.
        """
        return as_it_is

    def flat(self, generator: torch.Generator) -> Batch:
        """The fixed training set of a task with `widths`, without padding.

        Args:
            generator: Decides everything that is random.

        Returns:
            `flat [token]`, all sentences one after the other, and `offsets [sentence + 1]`, where
            each sentence begins and where the last ends. Every token of a sentence but its first
            is predicted from the tokens before it.
        """
        raise NotImplementedError

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Examples with labels and words, for analyses.

        Args:
            split: One of `splits`.
            count: The number of examples to draw at random; None, or more than there are, for all.
            seed: The run's data seed, which also decides the split.

        Raises:
            ValueError: The task has no such split.
        """
        raise NotImplementedError

    def input_pairs(
        self, split: str, count: int | None, seed: int, change: str | None = None
    ) -> Pairs:
        """Inputs of a split, each beside one that differs in one respect, for causal analyses.

        Both are of the same split: to a model that knows its training examples by heart, one from
        anywhere would be another kind of change. Where a change cannot keep that, its task says so.

        Args:
            split: One of `splits`.
            count: The number of pairs at most, drawn at random; None for as many as there are.
            seed: The run's data seed, which also decides the split.
            change: One of `changes`; the first if left out.

        Raises:
            ValueError: The task gives no pairs, or has no such split or change, or no two inputs
                of the split differ so.
        """
        self.check_split(split)
        if not self.changes:
            raise ValueError(
                f"the task {self.name} gives no pairs of inputs; make them of two examples each: "
                "Pairs.of(clean, corrupted)"
            )
        change = next(iter(self.changes)) if change is None else change
        if change not in self.changes:
            raise ValueError(
                f"change '{change}' is none of {', '.join(self.changes)}"
                f"{did_you_mean(change, self.changes)}"
            )
        pairs = self._paired(split, count, seed, change)
        if not len(pairs):
            rest = [name for name in self.splits if name != split]
            remedy = f"; other splits are {', '.join(rest)}" if rest else ""
            raise ValueError(
                f"change '{change}': no two inputs of the split {split} differ so{remedy}"
            )
        return pairs

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """What `input_pairs` returns, of a split and a change that there are."""
        raise NotImplementedError

    def check_split(self, split: str) -> None:
        """Refuses a split that the task does not have.

        Raises:
            ValueError: The task has no such split; the message lists its splits.
        """
        if split not in self.splits:
            raise ValueError(
                f"split '{split}' is none of {', '.join(self.splits)}"
                f"{did_you_mean(split, self.splits)}"
            )

    def count_to_draw(self, count: int | None) -> int:
        """How many prompts `data` draws: the count, or the whole training set where it is None.

        Raises:
            ValueError: No count is given, and the task has no fixed training set.
        """
        count = self.train_count if count is None else count
        if count is None:
            raise ValueError(f"count: {self.name} draws without end; say how many prompts")
        return count

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean cross-entropy of the scored answers, in nats. Pure, without indexing by masks."""
        return scored_mean(token_losses(logits, batch["targets"]), batch)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats and accuracy over the scored answers: scalars. Pure, as `loss` is."""
        is_right = logits.argmax(-1) == batch["targets"]
        return {
            "loss": self.loss(logits, batch),
            "accuracy": share(is_right, batch["scored"], logits.dtype),
        }

    def score(self, snapshot: Snapshot) -> dict[str, float]:
        """The grade of a snapshot on its examples, in float64.

        A task overrides this where its answers take more than one pass through the model.
        """
        examples = snapshot.examples
        batch = {
            "inputs" if examples.tokens is None else "tokens": examples.model_inputs,
            "targets": examples.targets,
            "scored": examples.scored,
        }
        grades = self.grade(snapshot.logits().double().cpu(), batch)
        return {name: float(value) for name, value in grades.items()}


class MissingTask(Task):
    """A run's task whose class or data file is missing here: its fields, and what is missing."""

    model_config = ConfigDict(extra="allow")

    _reason: str = PrivateAttr("")
    _lacks_file: bool = PrivateAttr(False)

    @classmethod
    def of(
        cls, table: Mapping[str, Any], reason: str, *, lacks_file: bool = False
    ) -> "MissingTask":
        """What stands for the task of a table.

        Args:
            table: The table, with the task's name.
            reason: What is missing, and the remedy, after the field that names it.
            lacks_file: Whether it is a data file, rather than the class.
        """
        task = cls.model_validate(table)
        task._reason, task._lacks_file = reason, lacks_file
        return task

    @property
    def reason(self) -> str:
        """Why there is no task."""
        return self._reason

    @property
    def sizes(self) -> Sizes:
        """Refused, as is all else that the class would say."""
        raise ValueError(self._reason)

    @property
    def data_files(self) -> dict[str, str]:
        """None of a class that is missing; refused where one of them is what is missing.

        Raises:
            FileNotFoundError: A data file is missing.
        """
        if self._lacks_file:
            raise FileNotFoundError(self._reason)
        return {}

    @property
    def facts(self) -> Facts:
        """Refused."""
        raise ValueError(self._reason)

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Refused."""
        raise ValueError(self._reason)


def as_it_is(batch: Batch) -> Batch:
    """The batch itself: the reader of a task whose data are batches already."""
    return batch


def model_inputs(batch: Batch) -> Tensor:
    """Tokens or inputs, whichever the model is fed."""
    return batch["tokens"] if "tokens" in batch else batch["inputs"]


def sampled(rows: Int[Tensor, " row"], count: int | None, seed: int) -> Int[Tensor, " sampled_row"]:
    """Some rows drawn at random by a data seed, in their order.

    Args:
        rows: The rows to choose from.
        count: How many to draw; None, or more than there are, for all.
        seed: The run's data seed.
    """
    if count is None or count >= len(rows):
        return rows
    return rows[torch.randperm(len(rows), generator=generator(seed, 1))[:count].sort().values]


def partners(
    allowed: Bool[Tensor, "row candidate"], seed: int, draw: int = 0
) -> tuple[Int[Tensor, " paired"], Int[Tensor, " paired"]]:
    """For each row one of its allowed candidates, all alike likely; rows without any are left out.

    Args:
        allowed: True where a candidate fits a row.
        seed: The run's data seed.
        draw: A number for each of several independent draws.

    Returns:
        The rows that have a candidate, and the candidates.
    """
    rows = allowed.any(1).nonzero()[:, 0]
    if not len(rows):
        return rows, rows
    drawing = generator(seed, PARTNERS + draw)
    drawn = torch.multinomial(allowed[rows].float(), 1, generator=drawing)
    return rows, drawn[:, 0]


def other_classes(
    right: Int[Tensor, " row"], count: int, seed: int, draw: int = 0
) -> Int[Tensor, " row"]:
    """For each class another of `count` classes, all alike likely: the wrong ones of controls."""
    steps = torch.randint(1, count, right.shape, generator=generator(seed, PARTNERS + draw))
    return (right + steps) % count


def scored_mean(losses: Float[Tensor, "batch position"], batch: Batch) -> Float[Tensor, ""]:
    """Mean of losses over the scored positions. Pure, without indexing by masks."""
    scored = batch["scored"].to(losses.dtype)
    return (losses * scored).sum() / scored.sum()


def share(
    is_right: Bool[Tensor, "batch position"],
    counts: Bool[Tensor, "batch position"],
    dtype: torch.dtype,
) -> Float[Tensor, ""]:
    """Share of right answers among the positions that count; NaN where none does. Pure."""
    return (is_right & counts).sum(dtype=dtype) / counts.sum(dtype=dtype)


def late_share(
    is_right: Bool[Tensor, "batch position"],
    scored: Bool[Tensor, "batch position"],
    dtype: torch.dtype,
) -> Float[Tensor, ""]:
    """Share of right answers among each prompt's last four, or all where it has fewer. Pure."""
    is_late = scored & (scored.long().cumsum(1) > scored.long().sum(1, keepdim=True) - LATE_ANSWERS)
    return share(is_right, is_late, torch.float64).to(dtype)
