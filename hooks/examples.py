"""What a model is run on, and the truth about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Tree = Any  # a leaf, mostly a position, or a tuple of trees


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples to look at a model with, and everything true of them.

    Made by a task, so that the truth travels with the data. One of `tokens` and `inputs` is
    given.

    Attributes:
        targets: The right answer at each scored position; 0 elsewhere. Of all positions, or of
            the last ones that a model answers at.
        scored: True where the model's answer counts.
        tokens: Token ids, padded on the right.
        inputs: Real-valued inputs instead of tokens.
        lengths: Number of real positions of each example; all of them where left out.
        labels: By name, one value an example or one a position (`a`, `depth`, `train`).
        trees: Gold parses: nested pairs of token positions.
        constants: Facts about the task (`p`, `operation`, `chance`, class names).
        words: Each example's positions for people to read.
    """

    targets: Shaped[Tensor, "batch answer"]
    scored: Bool[Tensor, "batch answer"]
    tokens: Int[Tensor, "batch pos"] | None = None
    inputs: Float[Tensor, "batch pos d_in"] | None = None
    lengths: Int[Tensor, " batch"] | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    trees: tuple[Tree, ...] | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.inputs is None):
            raise ValueError("Examples take tokens or inputs: give one of the two")

    def __len__(self) -> int:
        return len(self.targets)

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

    def label(self, name: str) -> Tensor:
        """One label by name.

        Raises:
            ValueError: The task provides no such label; the message lists those it does.
        """
        if name not in self.labels:
            known = ", ".join(sorted(self.labels)) or "none"
            raise ValueError(f"labels has no '{name}'; this task provides: {known}")
        return self.labels[name]

    def answered(self, n_answers: int) -> "Examples":
        """The same examples for a model that answers at so many last positions only.

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

    def head(self, count: int) -> "Examples":
        """The first `count` examples."""
        return self.at(torch.arange(min(count, len(self))))

    def drawn(self, count: int, seed: int) -> "Examples":
        """So many examples, all alike likely, in their own order; all where there are no more."""
        if count >= len(self):
            return self
        shuffled = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.at(shuffled[:count].sort().values)

    def at(self, rows: Int[Tensor, " row"]) -> "Examples":
        """The examples of these numbers, in this order."""
        return Examples(
            targets=self.targets[rows],
            scored=self.scored[rows],
            tokens=None if self.tokens is None else self.tokens[rows],
            inputs=None if self.inputs is None else self.inputs[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
            trees=None if self.trees is None else tuple(self.trees[row] for row in rows.tolist()),
            constants=self.constants,
            words=None if self.words is None else tuple(self.words[row] for row in rows.tolist()),
        )
