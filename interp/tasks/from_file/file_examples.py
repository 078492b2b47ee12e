"""Examples that stand in a file: anybody's task, without code.

`interp.tasks.from_file.table` says what the file holds. What it does not say, because it is true of
the model or of all examples, is a field here.
"""

import math
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from hooks import Examples, Facts, Sizes
from interp.tasks.base import Batch, Task, sampled
from interp.tasks.data_files import OwnFile
from interp.tasks.fields import Count
from interp.tasks.from_file.stated_facts import StatedFacts, StatedFactsTable
from interp.tasks.from_file.table import ALL, ExampleTable, read_examples
from interp.tasks.functions.regression import squared_grade, squared_loss

SIZES = ("d_vocab", "d_in", "d_vocab_out", "n_ctx")


class FileExamples(Task):
    """Examples from a file: npz, jsonl or parquet.

    Attributes:
        file: The file; in a run folder its own file, by a relative path.
        columns: What the file calls `tokens`, `targets`, ..; only these are read then.
        next_token: Whether every next token is predicted, so that the file has no targets.
        d_vocab: Tokens; left out, the vocabulary's, or 1 more than the largest of the data.
        d_in: Numbers of an input; left out, those of the data.
        d_vocab_out: Outputs; left out, 1 more than the largest target, or 1 where targets are real.
        n_ctx: Positions; left out, those of the longest example.
        known_facts: What is true of all examples (`hooks.facts`).
    """

    name: Literal["examples"] = "examples"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    file: OwnFile
    columns: dict[str, str] = Field(default_factory=dict)
    next_token: bool = False
    d_vocab: Count | None = None
    d_in: Count | None = None
    d_vocab_out: Count | None = None
    n_ctx: Count | None = None
    known_facts: StatedFactsTable = StatedFacts()

    @property
    def splits(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # the file decides
        """All examples together, and the splits of the file, train and test first."""
        return (ALL, *self._named_splits)

    @property
    def evaluated(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # the file decides
        """The splits of the file; all examples where it has none."""
        return self._named_splits or (ALL,)

    @property
    def positions(self) -> Literal["last", "all"]:  # pyright: ignore[reportIncompatibleVariableOverride]  # the file decides
        """Last where no other position of any example is scored."""
        return "all" if bool(self._table.examples.scored[:, :-1].any()) else "last"

    @property
    def metrics(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # the file decides
        """Loss and accuracy, or those of real numbers."""
        return ("loss", "error", "explained") if self._is_real else ("loss", "accuracy")

    @property
    def sizes(self) -> Sizes:
        """The sizes that are stated, and those that the data show where they are not."""
        stated = {name: getattr(self, name) for name in SIZES}
        if stated["d_vocab_out"] and stated["n_ctx"] and (stated["d_vocab"] or stated["d_in"]):
            return Sizes(**stated)  # the file is not needed
        return self._sizes_with(self._table)

    @property
    def facts(self) -> Facts:
        """The stated facts; without a stated `chance`, the share of the most frequent answer."""
        return self.known_facts.facts(math.nan if self._is_real else self._largest_share)

    @property
    def train_count(self) -> int | None:
        """Number of examples in the split `train`; None where there is no such split."""
        train = self._table.splits.get("train")
        return None if train is None else int(train.sum())

    @property
    def overlap(self) -> str:
        """How many examples of the split `test` are also in `train`; empty where none is.

        Two examples are one if the model is fed the same, whatever their targets and labels.
        """
        splits = self._table.splits
        if not {"train", "test"} <= splits.keys():
            return ""
        fed = _fed_bytes(self._table.examples)
        trained = {fed[row] for row in splits["train"].nonzero()[:, 0].tolist()}
        tested = splits["test"].nonzero()[:, 0].tolist()
        shared = sum(fed[row] in trained for row in tested)
        if not shared:
            return ""
        return (
            f"{shared} of the {len(tested)} test examples are also training examples, and say "
            "nothing of generalisation: take them out of one of the splits"
        )

    @property
    def held(self) -> dict[str, int]:
        """The number of examples in the file."""
        return {"file": len(self._table.examples)}

    @property
    def draws_split(self) -> bool:
        """False: the file says which examples are for training."""
        return False

    @property
    def data_files(self) -> dict[str, str]:
        """The file."""
        return {"file": self.file}

    @property
    def is_padded(self) -> bool:
        """Whether some examples are shorter than others."""
        examples = self._table.examples
        return not bool(examples.visible.all())

    def check_trainable(self) -> None:
        """Refuses a file without training examples.

        Raises:
            ValueError: It has no split `train`.
        """
        if "train" not in self._table.splits:
            raise ValueError(
                f"{self.file} has no split 'train' to train on: give each example a split, train "
                "or test"
            )

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` examples of the split `train`, in the file's order.

        Raises:
            ValueError: The file has no such split.
        """
        self.check_trainable()
        chosen = self._table.splits["train"].nonzero()[:, 0][:count]
        examples = self._table.examples.at(chosen)
        answers = slice(-1, None) if self.positions == "last" else slice(None)
        return {
            "inputs" if examples.tokens is None else "tokens": examples.model_inputs,
            "targets": examples.targets[:, answers],
            "scored": examples.scored[:, answers],
        }

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Examples of a split in the file's order."""
        self.check_split(split)
        table = self._table
        in_split = table.splits.get(split, torch.ones(len(table.examples), dtype=torch.bool))
        chosen = sampled(in_split.nonzero()[:, 0], count, seed)
        return replace(table.examples.at(chosen), facts=self.facts)

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Cross-entropy in nats, or the squared error of real answers. Pure."""
        logits = logits[..., : self.known_facts.outputs]
        if batch["targets"].is_floating_point():
            return squared_loss(logits, batch)
        return super().loss(logits, batch)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss and accuracy, or loss, error and explained share of real answers. Pure."""
        logits = logits[..., : self.known_facts.outputs]
        if batch["targets"].is_floating_point():
            return {"loss": self.loss(logits, batch)} | squared_grade(logits, batch)
        return super().grade(logits, batch)

    @property
    def _table(self) -> ExampleTable:
        """The examples of the file.

        Raises:
            ValueError: Something in the file is wrong, or a stated size is too small for it.
            FileNotFoundError: There is no such file.
        """
        table = read_examples(self.file, self.columns, next_token=self.next_token)
        self._sizes_with(table)
        return table

    @property
    def _named_splits(self) -> tuple[str, ...]:
        names = self._table.splits
        first = tuple(name for name in ("train", "test") if name in names)
        return (*first, *(name for name in names if name not in first))

    @property
    def _is_real(self) -> bool:
        return self._table.examples.targets.is_floating_point()

    @property
    def _largest_share(self) -> float:
        """The share of the most frequent answer among all that are scored."""
        examples = self._table.examples
        answers = examples.targets[examples.scored]
        if not len(answers):
            return math.nan
        return int(answers.long().bincount().max()) / len(answers)

    def _sizes_with(self, table: ExampleTable) -> Sizes:
        """The sizes, of which none may be smaller than the data show."""
        examples, vocabulary = table.examples, self.known_facts.vocabulary
        shown: dict[str, int | None] = {"n_ctx": examples.model_inputs.shape[1]}
        if examples.inputs is not None:
            shown |= {"d_vocab": None, "d_in": examples.inputs.shape[2]}
        else:
            shown |= {"d_vocab": _above(examples.model_inputs), "d_in": None}
        is_real = examples.targets.is_floating_point()
        shown["d_vocab_out"] = 1 if is_real else _above(examples.targets[examples.scored])
        sizes: dict[str, int | None] = {}
        for name, least in shown.items():
            size = getattr(self, name)
            if size is None and name == "d_vocab" and least is not None:
                size = max(least, len(vocabulary))
            is_other = size is not None and (least is None or size < least)
            if is_other or (name == "d_in" and size not in (None, least)):
                there = f"have {least}" if least is not None else "have none of that kind"
                raise ValueError(f"{name} is {size}, and the examples of {self.file} {there}")
            sizes[name] = least if size is None else size
        if is_real and (self.known_facts.outputs or sizes["d_vocab_out"]) != 1:
            raise ValueError(
                f"d_vocab_out is {sizes['d_vocab_out']}: real targets take 1 output; where others "
                "are spare, state known_facts.outputs = 1"
            )
        return Sizes.model_validate(sizes)


def _fed_bytes(examples: Examples) -> list[bytes]:
    """What the model is fed of each example: its length, and its positions without padding."""
    fed, visible = examples.model_inputs, examples.visible
    shown = fed.where(visible if fed.ndim == 2 else visible[..., None], 0) + 0  # -0 becomes 0
    lengths = visible.sum(1).numpy()
    rows = shown.flatten(1).numpy()
    return [length.tobytes() + row.tobytes() for length, row in zip(lengths, rows, strict=True)]


def _above(ids: Tensor) -> int:
    """One more than the largest id; 1 where there are none."""
    return int(ids.max()) + 1 if ids.numel() else 1
