"""What a model is run on: examples, with labels, trees and words that are true of them."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import softplus

from hooks.facts import Facts
from hooks.messages import did_you_mean

LATE_ANSWERS = 4  # answers at a prompt's end, where the most examples have been seen

Tree = Any  # a leaf, mostly a position, or a tuple of trees


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Examples to look at a model with, and everything true of them.

    Made by a task, so that the truth travels with the data. One of `tokens` and `inputs` is
    given. What contradicts itself is refused when they are made: lengths beyond the positions,
    answers scored in the padding, labels of other counts, trees that skip a position. Padding
    stands on the right; on the left it is not offered, since positions are counted from 0.

    Attributes:
        targets: The right answer at each scored position, and 0 elsewhere. Either for all positions
            or only for the last ones, if the model answers at these alone.
        scored: True where the model's answer counts.
        tokens: Token ids, padded on the right.
        inputs: Real-valued inputs instead of tokens.
        lengths: Number of real positions of each example; None if there is no padding.
        labels: By name, one value for each example or for each position (`a`, `depth`, `train`).
        trees: Gold parses: nested tuples of token positions, in ascending order without gaps.
        facts: What the task says of all its examples, such as chance or the modulus.
        words: The positions of each example in words that people can read.
    """

    targets: Shaped[Tensor, "batch answer"]
    scored: Bool[Tensor, "batch answer"]
    tokens: Int[Tensor, "batch pos"] | None = None
    inputs: Float[Tensor, "batch pos d_in"] | None = None
    lengths: Int[Tensor, " batch"] | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    trees: tuple[Tree, ...] | None = None
    facts: Facts = field(default_factory=Facts)
    words: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.inputs is None):
            raise ValueError("Examples take tokens or inputs: give one of the two")
        self._check_counts()
        self._check_numbers()
        self._check_lengths()
        for row, tree in enumerate(self.trees or ()):
            n_pos = self.model_inputs.shape[1]
            _check_tree(tree, row, n_pos if self.lengths is None else int(self.lengths[row]))

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        what = "inputs" if self.tokens is None else "tokens"
        labels = f", labels {', '.join(sorted(self.labels))}" if self.labels else ""
        return f"Examples({len(self)} of {self.model_inputs.shape[1]} {what}{labels})"

    @property
    def model_inputs(self) -> Tensor:
        """Tokens or inputs, whichever the model is fed."""
        return self.inputs if self.tokens is None else self.tokens  # pyright: ignore[reportReturnType]  # __post_init__

    @property
    def visible(self) -> Bool[Tensor, "batch pos"]:
        """True at real positions, False at padding."""
        n_pos = self.model_inputs.shape[1]
        if self.lengths is None:
            return self.scored.new_ones(len(self), n_pos)
        return torch.arange(n_pos, device=self.lengths.device) < self.lengths[:, None]

    @property
    def last_scored(self) -> Int[Tensor, " batch"]:
        """The position of each example's last scored answer; the last of all if none is scored."""
        return self.scored.shape[1] - 1 - self.scored.flip(1).int().argmax(1)

    def label(self, name: str) -> Tensor:
        """One label by name.

        Raises:
            ValueError: The task provides no such label; the message lists those it does.
        """
        if name not in self.labels:
            raise ValueError(
                f"labels has no '{name}'; this task provides: "
                f"{', '.join(sorted(self.labels)) or 'none'}{did_you_mean(name, self.labels)}"
            )
        return self.labels[name]

    def answered(self, n_answers: int) -> "Examples":
        """The same examples for a model that answers at its last `n_answers` positions only.

        Raises:
            ValueError: An earlier position is scored.
        """
        if bool(self.scored[:, :-n_answers].any()):
            raise ValueError(
                f"this model answers at the last {n_answers} positions, these examples are scored "
                "at earlier ones: take a model of kind token"
            )
        return replace(
            self, targets=self.targets[:, -n_answers:], scored=self.scored[:, -n_answers:]
        )

    def check_sizes(self, d_vocab: int | None, d_vocab_out: int | None) -> None:
        """Refuses tokens and targets that a model of these sizes does not have.

        Args:
            d_vocab: Tokens it reads; None if it reads none, or does not say.
            d_vocab_out: Classes it answers with.

        Raises:
            ValueError: A token or a scored target is beyond the last.
        """
        if self.tokens is not None and d_vocab is not None:
            _check_ids("tokens", self.tokens, d_vocab)
        outputs = d_vocab_out if self.facts.outputs is None else self.facts.outputs
        if not self.targets.is_floating_point() and outputs is not None:
            _check_ids("targets", self.targets[self.scored], outputs)

    def head(self, count: int | None) -> "Examples":
        """The first `count` examples; all of them if it is None."""
        return self if count is None else self.at(torch.arange(min(count, len(self))))

    def drawn(self, count: int | None, seed: int) -> "Examples":
        """At most `count` examples, drawn at random with equal chances, in their present order.

        All of them where `count` is None.
        """
        if count is None or count >= len(self):
            return self
        return self.at(drawn_rows(len(self), count, seed))

    def at(self, rows: Int[Tensor, " row"]) -> "Examples":
        """The examples of these numbers, in this order."""
        tensors = ("targets", "scored", "tokens", "inputs", "lengths")
        given = {name: values for name, values in vars(self).items() if values is not None}
        chosen = copy(self)  # parts of what was checked need no check
        vars(chosen).update(
            {name: given[name][rows] for name in tensors if name in given}
            | {"labels": {name: values[rows] for name, values in self.labels.items()}}
            | {
                name: tuple(given[name][row] for row in rows.tolist())
                for name in ("trees", "words")
                if name in given
            }
        )
        return chosen

    def _check_counts(self) -> None:
        """Refuses parts that are not of the same examples and positions."""
        count, n_pos = self.model_inputs.shape[:2]
        if self.scored.shape != self.targets.shape[:2] or self.targets.ndim != 2:
            raise ValueError(
                f"scored is {list(self.scored.shape)} and targets {list(self.targets.shape)}: give "
                "both as [example, answer]"
            )
        if self.scored.dtype != torch.bool:
            raise ValueError(f"scored holds {self.scored.dtype}: give True where an answer counts")
        if self.targets.shape[1] > n_pos:
            raise ValueError(
                f"targets and scored have {self.targets.shape[1]} positions, the examples {n_pos}"
            )
        parts = {
            "targets": self.targets,
            "lengths": self.lengths,
            "trees": self.trees or None,
            "words": self.words,
            **{f"labels {name!r}": values for name, values in self.labels.items()},
        }
        for name, values in parts.items():
            if values is not None and len(values) != count:
                raise ValueError(f"{name} has {len(values)} entries, there are {count} examples")

    def _check_numbers(self) -> None:
        """Refuses ids below 0, and inputs and targets that are NaN or infinite."""
        if self.tokens is not None:
            _check_ids("tokens", self.tokens, None)
        elif not self.model_inputs.isfinite().all():
            raise ValueError("inputs hold NaN or infinity: leave such examples out")
        answers = self.targets[self.scored]
        if not answers.is_floating_point():
            _check_ids("targets", answers, None)
        elif not answers.isfinite().all():
            raise ValueError("targets hold NaN or infinity where scored")
        if not len(answers) and bool((self.targets != 0).any()):
            raise ValueError(
                "targets hold answers and scored is False everywhere, so that none of them "
                "counts: mark them in scored, or give targets of 0"
            )

    def _check_lengths(self) -> None:
        """Refuses lengths that the positions do not allow, and answers in the padding."""
        if self.lengths is None:
            return
        n_pos = self.model_inputs.shape[1]
        wrong = (self.lengths < 1) | (self.lengths > n_pos)
        if bool(wrong.any()):
            row = int(wrong.int().argmax())
            raise ValueError(
                f"lengths[{row}] is {int(self.lengths[row])}: give 1 to {n_pos}, the positions"
            )
        beyond = (self.scored & ~self.visible[:, -self.scored.shape[1] :]).any(1)
        if bool(beyond.any()):
            row = int(beyond.int().argmax())
            raise ValueError(
                f"example {row} has {int(self.lengths[row])} real positions (lengths) and is "
                "scored after them: positions are padded on the right here; move padding that is "
                "on the left behind the real positions"
            )


def _check_ids(name: str, ids: Tensor, count: int | None) -> None:
    """Refuses ids that are no whole numbers from 0 up, or not below a count."""
    if ids.is_floating_point():
        raise ValueError(f"{name} hold {ids.dtype}: give whole numbers")
    if not ids.numel():
        return
    low, high = (int(end) for end in ids.long().aminmax())
    if low < 0 or (count is not None and high >= count):
        wanted = "0 and up" if count is None else f"0 to {count - 1}, as the model has"
        raise ValueError(f"{name} hold {low if low < 0 else high}: ids are {wanted}")


def _check_tree(tree: Tree, row: int, length: int) -> None:
    """Refuses a tree that does not span its sentence: one position after the other."""
    leaves, unread = [], [tree]
    while unread:
        node = unread.pop()
        if isinstance(node, tuple | list):
            unread.extend(reversed(node))
        else:
            leaves.append(node)
    first = leaves[0] if leaves else None
    if not isinstance(first, int) or leaves != list(range(first, first + len(leaves))):
        raise ValueError(
            f"trees[{row}] has the leaves {leaves[:8]}: a tree spans its sentence, each leaf the "
            "position after the one before"
        )
    if first < 0 or leaves[-1] >= length:
        raise ValueError(
            f"trees[{row}] spans the positions {first} to {leaves[-1]}, the example has {length}"
        )


def drawn_rows(total: int, count: int, seed: int) -> Int[Tensor, " row"]:
    """At most `count` of `total` rows, drawn at random with equal chances, in their order."""
    shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return shuffled[:count].sort().values


def token_losses(
    logits: Float[Tensor, "*batch d_vocab_out"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Negative log-likelihood of each target, in nats, in the dtype of the logits.

    Position by position: a HookedTransformer's own loss scores the next token of the whole
    sequence, which is wrong where the answer is read at one position.

    float32 quantises losses below 1e-7; pass float64 logits where small losses matter.
    """
    answers = targets[..., None]
    if logits.shape[-1] == 2:
        # softplus(other logit - right logit): the same, and many times cheaper for stacks.
        ahead = logits.gather(-1, 1 - answers) - logits.gather(-1, answers)
        return softplus(ahead, threshold=40.0).squeeze(-1)
    return -torch.log_softmax(logits, dim=-1).gather(-1, answers).squeeze(-1)
