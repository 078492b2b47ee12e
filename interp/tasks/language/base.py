"""What the language tasks share: lines of tokens, drawn or read, of which every token is predicted.

A line is stored once, from SOS to EOS (or cut before EOS), and all lines end to end, since their
lengths differ; as batches they are laid side by side. A model is fed all but a line's last token
and predicts all but the first, so that the targets are the tokens shifted by one. SOS is at
position 0, so that word i of a line, counted from 1, is at position i. Trees and labels count
positions in the same way. The loss is over every real position, EOS included.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from pydantic import BaseModel, model_validator
from torch import Tensor

from hooks import Examples, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch, Task, sampled
from interp.tasks.data_files import DataFile
from interp.tasks.fields import STRICT, Count

Flat = Mapping[str, Tensor]
LINE_COUNTS = ("train_lines", "validation_lines", "generalization_lines")


@runtime_checkable
class AnyLines(Protocol):
    """Lines in whatever form a task keeps them."""

    def __len__(self) -> int:
        """The number of lines."""
        ...

    def at(self, rows: Any) -> Any:
        """The lines with these row numbers, in their order."""
        ...

    def row_keys(self) -> list[bytes]:
        """A key for each line; two lines are equal if and only if their keys are."""
        ...


class Files(BaseModel):
    """Paths of published files (`interp.tasks.data_files` says where relative paths begin)."""

    model_config = STRICT

    train: DataFile
    validation: DataFile
    generalization: DataFile


class LanguageTask(Task):
    """A task whose examples are lines of tokens, of which every next token is predicted.

    A subclass gives `vocabulary` and `widths`, draws and reads lines, and gives their labels and
    trees.

    Attributes:
        train_lines: Number of training lines. With `files`, as many lines are read from the
            beginning of the file, or all where this is left out. The next two fields do the same.
        validation_lines: Number of lines that are like the training lines but not among them.
        generalization_lines: Number of lines of a kind that is not in the training data.
        files: Published files from which lines are read, in place of drawing them.
    """

    splits: ClassVar[tuple[str, ...]] = ("validation", "generalization", "train")
    evaluated: ClassVar = ("validation", "generalization")

    train_lines: Count | None = 100_000
    validation_lines: Count | None = 1_000
    generalization_lines: Count | None = 10_000
    files: Files | None = None

    @model_validator(mode="before")
    @classmethod
    def _files_are_read_whole(cls, table: Any) -> Any:
        # Default counts are those of drawn lines; files are read to their end.
        is_read = isinstance(table, Mapping) and table.get("files") is not None
        return dict.fromkeys(LINE_COUNTS) | dict(table) if is_read else table

    @model_validator(mode="after")
    def _drawn_lines_are_counted(self) -> "LanguageTask":
        for name in LINE_COUNTS:
            if self.files is None and getattr(self, name) is None:
                raise ValueError(f"{name} must be given where no files are read")
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each token id stands for."""
        raise NotImplementedError

    @property
    def sizes(self) -> Sizes:
        """The vocabulary as inputs and outputs, and the positions of the longest line."""
        n_words = len(self.vocabulary)
        return Sizes(d_vocab=n_words, d_vocab_out=n_words, n_ctx=self.widths[-1])

    @property
    def train_count(self) -> int:
        """Number of training lines."""
        if self.files is None:
            assert self.train_lines is not None  # checked above
            return self.train_lines
        return len(self._lines("train", torch.Generator()))

    @property
    def data_files(self) -> dict[str, str]:
        """The path of each split's published file, where lines are read from files."""
        return {} if self.files is None else self.files.model_dump()

    @property
    def draws_split(self) -> bool:
        """Whether lines are drawn rather than read."""
        return self.files is None

    def flat(self, generator: torch.Generator) -> Flat:
        """The training lines end to end, each from SOS to EOS: `flat` and `offsets`."""
        return self._flat(self._lines("train", generator))

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` training lines, padded to one length."""
        flat = self._flat(self._lines("train", generator).at(slice(count)))
        return dense(flat, self._width(fed_lengths(flat)))

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Lines in the order they were drawn or read, with labels, trees and words."""
        self.check_split(split)
        if count is not None and count < 1:
            raise ValueError(f"count {count}: take one example or more, or None for all")
        lines = self._lines(split, generator(seed, 0))
        return self._shown(lines.at(sampled(torch.arange(len(lines)), count, seed).numpy()))

    def _shown(self, lines: Any) -> Examples:
        """Lines (`AnyLines`) as examples."""
        flat = self._flat(lines)
        lengths = fed_lengths(flat)
        batch = dense(flat, self._width(lengths))
        labels, trees = self._truth(lines, batch)
        return Examples(
            **batch,
            lengths=lengths,
            labels=labels,
            trees=trees,
            facts=self.facts,
            words=self._words(batch["tokens"], lengths),
        )

    def _words(
        self, tokens: Int[Tensor, "line pos"], lengths: Int[Tensor, " line"]
    ) -> tuple[tuple[str, ...], ...]:
        """The words of each line, without padding."""
        names, rows = self.vocabulary, zip(tokens.tolist(), lengths.tolist(), strict=True)
        return tuple(tuple(names[token] for token in row[:length]) for row, length in rows)

    def _width(self, lengths: Tensor) -> int:
        """The length to which lines are padded, given how many tokens of each line are fed."""
        return int(lengths.max())

    def _lines(self, split: str, generator: torch.Generator) -> Any:
        """The lines of a split (`AnyLines`)."""
        if self.files is None:
            return self._drawn(split, int(torch.randint(2**62, (1,), generator=generator)))
        path = getattr(self.files, split)
        lines = self._read(path).at(slice(getattr(self, f"{split}_lines")))
        if split != "train":
            _check_unseen(lines, self._lines("train", generator), (path, self.files.train))
        self._check_kind(split, lines, path)
        return lines

    def _drawn(self, split: str, key: int) -> Any:
        """The lines of a split (`AnyLines`) that a seed decides."""
        raise NotImplementedError

    def _read(self, path: str) -> Any:
        """The lines of a file (`AnyLines`)."""
        raise NotImplementedError

    def _check_kind(self, split: str, lines: Any, path: str) -> None:
        """Refuses lines of a file that do not belong to the split; by default all belong to it."""

    def _flat(self, lines: Any) -> Flat:
        """Lines as tokens, end to end."""
        raise NotImplementedError

    def _truth(self, lines: Any, batch: Batch) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
        """Labels and trees of lines, given their tokens."""
        raise NotImplementedError


def _check_unseen(lines: AnyLines, trained: AnyLines, paths: tuple[str, str]) -> None:
    """Refuses lines of a test split that are among the training lines."""
    seen = set(trained.row_keys())
    for number, key in enumerate(lines.row_keys(), 1):
        if key in seen:
            raise ValueError(
                f"{paths[0]}:{number}: this line is in {paths[1]} too, so it is trained on: take "
                "it out of one of the two"
            )


def flattened(
    tokens: Int[np.ndarray, " token"], lengths: Int[np.ndarray, " line"]
) -> dict[str, Tensor]:
    """Lines end to end: `flat`, their tokens, and `offsets`, where each begins and the last ends.

    Args:
        tokens: The tokens of all lines, one line after another.
        lengths: The number of tokens in each line.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return {"flat": torch.from_numpy(tokens), "offsets": torch.from_numpy(offsets)}


def fed_lengths(flat: Flat) -> Int[Tensor, " line"]:
    """How many tokens of each line a model is fed: all but the last."""
    return flat["offsets"].diff() - 1


def padded(
    lines: Flat, width: int, rows: Int[Tensor, "*batch row"] | None = None
) -> dict[str, Tensor]:
    """Whole lines side by side, with the next token as the target at every position but the last.

    Args:
        lines: Lines end to end.
        width: Positions, of which those beyond a line's end hold token 0.
        rows: The lines wanted; all of them where left out.
    """
    flat, offsets = lines["flat"], lines["offsets"]
    starts, ends = (
        (offsets[:-1], offsets[1:]) if rows is None else (offsets[rows], offsets[rows + 1])
    )
    place = starts[..., None] + torch.arange(width, device=flat.device)
    left = ends[..., None] - place  # tokens from here to the line's end
    last, zero = len(flat) - 1, flat.new_zeros(())
    return {
        "tokens": torch.where(left > 0, flat[place.clamp(max=last)], zero),
        "targets": torch.where(left > 1, flat[(place + 1).clamp(max=last)], zero),
        "scored": left > 1,
    }


def dense(lines: Flat, width: int) -> dict[str, Tensor]:
    """Lines side by side as a language model is fed them: all tokens but each line's last.

    Args:
        lines: Lines end to end, of at least two tokens each.
        width: Positions, no fewer than the longest line is fed.

    Returns:
        `tokens`, `targets` (the next token at each position), and `scored`, True at every position
        that is fed; tokens and targets are 0 beyond.
    """
    batch = padded(lines, width)
    return batch | {"tokens": batch["tokens"].where(batch["scored"], 0)}
