"""How few of its parts does a network need to answer as it does?

Parts (neurons of the last layer, or single weights) are ranked by size and all but the largest are
removed. Accuracy and faithfulness (the share of examples answered as by the whole network) are
measured by number of parts kept, in three orders: by size now, by size at the last step (the
circuit that training ends with, found earlier), and at random as a control. `interp analyze` asks
unasked only where accuracy on a fixed training set is in question: where there are labels `train`.

Source: Merrill, Tsilivis and Shukla 2023 (arXiv:2303.11873), section 4: the smallest set of neurons
by norm whose train accuracy equals the full network's. They rank by |w_in|; this ranks by
|w_in| |w_out|, which rescaling across a ReLU does not change. Single weights are ranked by |w|
across matrices, as in global magnitude pruning (Han et al. 2015, arXiv:1506.02626, by layer).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from analyses import plots
from analyses.pruning.subnetworks import Parts, fewest, numbers_kept, parts_of, places, ranks
from analyses.result import Drawing, Result, check_needs
from hooks import Examples, Snapshot

ORDERS = ("size now", "size at the end", "random")
COUNT = 1024  # examples
TOLERANCE = 0.01  # of train accuracy


@dataclass(frozen=True, eq=False)
class EffectiveSubnetwork(Result):
    """Accuracy and faithfulness with only some neurons, or some single weights, kept.

    Attributes:
        by: What is kept: neuron (of the last layer) or weight.
        matrices: Parameters that the weights are of; none for neurons.
        total: Number of neurons or weights.
        kept: How many of them are kept, ascending, from 0 to all.
        accuracy: On all examples, by order (size now, size at the end, random).
        faithfulness: Share of examples answered as by the whole network.
        train_accuracy: On the examples labelled `train`, or on all where there is no such label.
        effective_count: The fewest, by size now, whose train accuracy is the whole network's, by
            bisection: accuracy is taken to grow with the number kept.
        place: Of each neuron or weight, by size now, the first place in `kept` at which it is
            kept; empty where another step is the reference.
        chance: Accuracy of guessing.
    """

    needs: ClassVar = ("classes",)
    by_default: ClassVar = ("labels.train",)
    reference: ClassVar = "last"
    count: ClassVar = COUNT
    sliding: ClassVar = ("accuracy",)

    by: str
    matrices: tuple[str, ...]
    total: int
    kept: Int[np.ndarray, " number"]
    accuracy: Float[np.ndarray, "order number"]
    faithfulness: Float[np.ndarray, "order number"]
    train_accuracy: Float[np.ndarray, "order number"]
    effective_count: int
    place: UInt8[np.ndarray, " part"]
    chance: float

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "EffectiveSubnetwork | None" = None,
        by: str | None = None,
        matrices: Sequence[str] | None = None,
        shares: Sequence[float] | None = None,
        seed: int = 0,
    ) -> "EffectiveSubnetwork":
        """Measures one snapshot. Each number of weights kept costs a pass over the examples.

        Args:
            snapshot: A model whose answers are classes.
            reference: The last step's result with the same options, for its order.
            by: neuron or weight; by default weight where matrices are named or the model has no
                neurons.
            matrices: Parameters whose weights are ranked together; by default all that have two
                axes or more and are no biases. What is not named is kept whole.
            shares: Shares to keep; by default powers of two for neurons, `SHARES` for weights.
            seed: Of the random order.

        Raises:
            ValueError: An option does not fit the model, `reference` is of other options, no
                example is for training though they say which are, or logits are not finite.
        """
        check_needs(cls, snapshot)
        parts = parts_of(snapshot, by, matrices)
        total = len(parts.sizes)
        kept, now = numbers_kept(parts, shares), ranks(parts.sizes)
        place = places(now, kept)
        shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        at_end = place if reference is None else _place_at_end(reference, kept, total)
        train = _train(snapshot.examples)
        targets = snapshot.examples.targets[snapshot.examples.scored].cpu()
        return cls(
            by=parts.by,
            matrices=parts.matrices,
            total=total,
            kept=kept.numpy(),
            **_scores(parts, (place, at_end, places(shuffled.argsort(), kept)), targets, train),
            effective_count=fewest(
                lambda number: (parts.answers(now < number) == targets)[train], total
            ),
            place=place.numpy() if reference is None else np.zeros(0, np.uint8),
            chance=float(snapshot.examples.constants.get("chance", np.nan)),
        )

    def sufficient_share(self, tolerance: float = TOLERANCE) -> float:
        """The smallest share in `kept` from which on train accuracy stays near the whole one's.

        Args:
            tolerance: How far below, in accuracy.
        """
        falls_short = self.train_accuracy[0] < self.train_accuracy[0, -1] - tolerance
        first = int(np.flatnonzero(falls_short)[-1]) + 1 if falls_short.any() else 0
        return float(self.kept[first] / self.total)

    def summary(self) -> dict[str, float | str]:
        """The effective number, the sufficient share, and what a quarter of all does."""
        quarter = int(np.searchsorted(self.kept, self.total / 4, side="right")) - 1
        return {
            f"effective_{self.by}s": self.effective_count,
            "effective_share": self.effective_count / self.total,
            "sufficient_share": self.sufficient_share(),
            f"{self.by}s": self.total,
            "kept_of_quarter": int(self.kept[quarter]),
            "quarter_accuracy": float(self.accuracy[0, quarter]),
            "quarter_accuracy_order_of_end": float(self.accuracy[1, quarter]),
            "quarter_accuracy_random": float(self.accuracy[2, quarter]),
            "quarter_faithfulness": float(self.faithfulness[0, quarter]),
            "accuracy": float(self.accuracy[0, -1]),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row an order and number: `order`, `kept`, accuracies, `faithfulness`."""
        return pd.DataFrame(
            {
                "order": np.repeat(ORDERS, len(self.kept)),
                "kept": np.tile(self.kept, len(ORDERS)),
                "accuracy": self.accuracy.ravel(),
                "train_accuracy": self.train_accuracy.ravel(),
                "faithfulness": self.faithfulness.ravel(),
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Accuracy and faithfulness by what is kept, in the three orders."""
        return {
            "accuracy": self._lines(
                f"{self.effective_count} of {self.total} {self.by}s answer the training examples "
                "as well as all", "accuracy on all examples", self.accuracy,
            ),
            "faithfulness": self._lines(
                "Share of answers that stay the same", "faithfulness to the whole network",
                self.faithfulness,
            ),
        }  # fmt: skip

    def _lines(self, title: str, y: str, curves: Float[np.ndarray, "order number"]) -> Drawing:
        is_share = self.by == "weight"
        x = f"{'share of largest weights' if is_share else 'largest neurons'} kept"
        return plots.lines(
            self.kept / self.total if is_share else self.kept,
            dict(zip(ORDERS, curves, strict=True)),
            title=title,
            axes=(f"{x} (of {self.total})", y),
        )


def _place_at_end(
    reference: EffectiveSubnetwork, kept: Int[Tensor, " number"], total: int
) -> UInt8[Tensor, " part"]:
    """The last step's order.

    Raises:
        ValueError: It is of other options, or was itself measured against another.
    """
    if len(reference.place) != total or reference.kept.tolist() != kept.tolist():
        raise ValueError(
            "reference: measure it with the same options, and without a reference of its own"
        )
    return torch.from_numpy(reference.place)


def _scores(
    parts: Parts,
    orders: Sequence[UInt8[Tensor, " part"]],
    targets: Int[Tensor, " answer"],
    train: Bool[Tensor, " answer"],
) -> dict[str, Any]:
    """Accuracy, train accuracy and faithfulness by order and number kept."""
    whole = parts.answers(torch.ones_like(parts.sizes, dtype=torch.bool))
    numbers = range(int(orders[0].max()) + 1)
    found = [[parts.answers(each <= number) for number in numbers] for each in orders]
    return {
        "accuracy": _shares(found, lambda each: each == targets),
        "faithfulness": _shares(found, lambda each: each == whole),
        "train_accuracy": _shares(found, lambda each: (each == targets)[train]),
    }


def _train(examples: Examples) -> Bool[Tensor, " answer"]:
    """Which scored answers are of training examples; all where that is not known.

    Raises:
        ValueError: None is.
    """
    rows = examples.scored.nonzero()[:, 0]
    if "train" not in examples.labels:
        return torch.ones_like(rows, dtype=torch.bool)
    train = examples.labels["train"].bool()[rows]
    if not train.any():
        raise ValueError(
            f"EffectiveSubnetwork needs training examples, and none of these {len(examples)} is "
            "labelled `train`: take more, or another split"
        )
    return train


def _shares(
    found: Sequence[Sequence[Tensor]], holds: Callable[[Tensor], Tensor]
) -> Float[np.ndarray, "order number"]:
    return np.array([[float(holds(each).double().mean()) for each in row] for row in found])
