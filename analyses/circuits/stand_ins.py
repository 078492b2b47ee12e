"""What stands in for a part that is ablated: nothing, a mean, or what another example gives.

    zero                  0
    mean                  mean over examples at each position
    mean_over_positions   mean over examples and positions; what tells positions apart goes with it
    resample              the activation of another example, which a permutation decides

Padding counts in no mean and stands in for nothing: a donor has as many real positions as the
example, or more.

Source: Chan et al. 2022, "Causal scrubbing", for resampling; Wang et al. 2022 (arXiv:2211.00593),
section 2.1, for means.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks import Examples, Snapshot

KINDS = ("zero", "mean", "mean_over_positions", "resample")
Part = Literal["all", "train", "test"]
Givers = Literal["scored", "all"]


@dataclass(frozen=True, eq=False)
class StandIns:
    """What stands in for activations of some examples.

    Attributes:
        scored: The examples on which the model is measured, which also give to one another.
        givers: The examples of which means are taken.
        donors: For each scored example, the one whose activation it gets where they are resampled.
    """

    scored: Snapshot
    givers: Snapshot
    donors: Int[Tensor, " example"]

    @classmethod
    def of(cls, snapshot: Snapshot, scored_on: str, means_of: str, seed: int) -> "StandIns":
        """Stand-ins for the examples of a snapshot, or for some of them.

        Args:
            snapshot: A model and examples.
            scored_on: Which examples: all, or by the label `train` those for training or the
                others.
            means_of: Whether means are those of the scored examples or of all.
            seed: Of the permutation.

        Raises:
            ValueError: An option is none of these, there is no label `train`, or no such example.
        """
        for name, value, known in (("scored_on", scored_on, Part), ("means_of", means_of, Givers)):
            if value not in get_args(known):
                raise ValueError(f"{name} '{value}': take one of {', '.join(get_args(known))}")
        scored = snapshot.on(part_of(snapshot.examples, scored_on))
        givers = snapshot if means_of == "all" else scored
        return cls(scored, givers, donors_of(scored.examples, seed))

    def activation(self, name: str) -> Float[Tensor, "batch pos ..."]:
        """What the scored examples have at a hook point; it is not remembered."""
        return self.scored.on(self.scored.examples).cache(name)[name]

    def by_kind(
        self, name: str, activation: Float[Tensor, "batch pos ..."]
    ) -> Iterator[tuple[str, Float[Tensor, "batch pos ..."]]]:
        """For each kind, what stands in for the activation at a hook point."""
        given = activation
        if self.givers.examples is not self.scored.examples:
            given = self.givers.on(self.givers.examples).cache(name)[name]
        # A network of one hidden layer has a single position for all its operands.
        visible = self.givers.examples.visible.cpu()[:, -given.shape[1] :]
        yield "zero", torch.zeros_like(activation)
        yield "mean", mean_at_positions(given, visible).expand_as(activation)
        yield "mean_over_positions", given[visible].mean(0).expand_as(activation)
        yield "resample", activation[self.donors]


def part_of(examples: Examples, scored_on: str) -> Examples:
    """All examples, those labelled `train`, or the others.

    Raises:
        ValueError: There is no such label, or no such example.
    """
    if scored_on == "all":
        return examples
    is_train = examples.label("train").bool().cpu()
    rows = (is_train if scored_on == "train" else ~is_train).nonzero()[:, 0]
    if not len(rows):
        raise ValueError(
            f"scored_on '{scored_on}': none of these {len(examples)} examples is; take more"
        )
    return examples.at(rows)


def donors_of(examples: Examples, seed: int) -> Int[Tensor, " example"]:
    """For each example another one, at random, with as many real positions or more.

    A permutation; where it leads to a shorter example, it is followed on. The longest example of
    each cycle, and what the permutation leaves in place, are their own donors.
    """
    lengths = examples.visible.sum(1).cpu()
    generator = torch.Generator().manual_seed(seed)
    permutation = torch.randperm(len(lengths), generator=generator)
    donors = permutation
    while (is_shorter := lengths[donors] < lengths).any():
        donors = donors.where(~is_shorter, permutation[donors])
    return donors


def mean_at_positions(
    activation: Float[Tensor, "batch pos ..."], visible: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "pos ..."]:
    """The mean over the examples that are that long; 0 where none is."""
    is_real = visible.reshape(*visible.shape, *[1] * (activation.ndim - 2))
    return (activation * is_real).sum(0) / is_real.sum(0).clamp(min=1)
