"""How few neurons does a network need to answer as it does?

Neurons are ranked by size and all but the largest are silenced. Accuracy and faithfulness (the
share of examples answered as by the whole network) are measured by number of neurons kept, in three
orders: by size now, by size at the last step (the circuit that training ends with, found earlier),
and at random as a control.

Source: Merrill, Tsilivis and Shukla 2023 (arXiv:2303.11873), section 4: the smallest set of neurons
by norm whose train accuracy equals the full network's. They rank by |w_in|; this ranks by
|w_in| |w_out|, which rescaling across a ReLU does not change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses import plots
from analyses.result import Drawing, Result, check_needs
from hooks import Examples, Snapshot
from hooks.readout import neuron_readout

ORDERS = ("size now", "size at the end", "random")
COUNT = 1024  # examples


@dataclass(frozen=True, eq=False)
class EffectiveSubnetwork(Result):
    """Accuracy and faithfulness with only some neurons of the last layer kept.

    Attributes:
        kept: Numbers of neurons kept, ascending: powers of two, and all.
        accuracy: On all examples, by order (size now, size at the end, random).
        faithfulness: Share of examples answered as by the whole network.
        train_accuracy: On the examples labelled `train`, or on all where there is no such label.
        effective_count: The fewest neurons, by size now, whose train accuracy is the whole
            network's, by bisection: accuracy is taken to grow with the number kept.
        order: Neurons by size now, largest first.
        chance: Accuracy of guessing.
    """

    needs: ClassVar = ("classes", "weights.neuron_in", "weights.neuron_out")
    reference: ClassVar = "last"
    count: ClassVar = COUNT
    sliding: ClassVar = ("accuracy",)

    kept: Int[np.ndarray, " number"]
    accuracy: Float[np.ndarray, "order number"]
    faithfulness: Float[np.ndarray, "order number"]
    train_accuracy: Float[np.ndarray, "order number"]
    effective_count: int
    order: Int[np.ndarray, " d_mlp"]
    chance: float

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "EffectiveSubnetwork | None" = None,
        seed: int = 0,
    ) -> "EffectiveSubnetwork":
        """Measures one snapshot.

        Args:
            snapshot: A model with neurons whose answers are classes.
            reference: The last step's result, for its order of neurons.
            seed: Of the random order.
        """
        check_needs(cls, snapshot)
        order = neuron_sizes(snapshot).argsort(descending=True, stable=True)
        at_end = torch.from_numpy(reference.order) if reference else order
        shuffled = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
        logits, examples = neuron_readout(snapshot), snapshot.examples
        targets, train = examples.targets[examples.scored], _train(examples)

        def answers(neurons: Int[Tensor, " kept"]) -> Int[Tensor, " answer"]:
            return logits(torch.isin(torch.arange(len(order)), neurons)).argmax(-1).cpu()

        kept, whole = _numbers(len(order)), answers(order)
        found = [[answers(each[:number]) for number in kept] for each in (order, at_end, shuffled)]
        return cls(
            kept=np.array(kept),
            accuracy=_shares(found, lambda each: each == targets),
            faithfulness=_shares(found, lambda each: each == whole),
            train_accuracy=_shares(found, lambda each: (each == targets)[train]),
            effective_count=fewest(
                lambda number: (answers(order[:number]) == targets)[train], len(order)
            ),
            order=order.numpy(),
            chance=float(examples.constants.get("chance", np.nan)),
        )

    def summary(self) -> dict[str, float | str]:
        """The effective number of neurons, and what a quarter of all neurons does."""
        quarter = int(np.searchsorted(self.kept, len(self.order) / 4, side="right")) - 1
        return {
            "effective_neurons": self.effective_count,
            "effective_share": self.effective_count / len(self.order),
            "neurons": len(self.order),
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
        """Accuracy and faithfulness by number of neurons kept, in the three orders."""
        total = len(self.order)
        axes = (f"largest neurons kept (of {total})", "accuracy on all examples")
        return {
            "accuracy": plots.lines(
                self.kept, dict(zip(ORDERS, self.accuracy, strict=True)), axes=axes,
                title=f"{self.effective_count} of {total} neurons answer the training examples "
                "as well as all",
            ),
            "faithfulness": plots.lines(
                self.kept, dict(zip(ORDERS, self.faithfulness, strict=True)),
                title="Share of answers that stay the same",
                axes=(axes[0], "faithfulness to the whole network"),
            ),
        }  # fmt: skip


def neuron_sizes(snapshot: Snapshot) -> Float[Tensor, " d_mlp"]:
    """|w_in| |w_out| of each neuron: what it reads from all inputs, times what it writes."""
    reads = snapshot.weights("neuron_in").double().square().sum((0, 1)).sqrt()
    return (reads * snapshot.weights("neuron_out").double().norm(dim=-1)).cpu()


def fewest(right: Callable[[int], Bool[Tensor, " batch"]], total: int) -> int:
    """The fewest, from 0 to `total`, with as many right as `total`, by bisection."""
    goal, low, high = int(right(total).sum()), 0, total
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if int(right(middle).sum()) >= goal else (middle + 1, high)
    return low


def _train(examples: Examples) -> Bool[Tensor, " answer"]:
    """Which scored answers are of training examples; all where that is not known."""
    rows = examples.scored.nonzero()[:, 0]
    if "train" not in examples.labels:
        return torch.ones_like(rows, dtype=torch.bool)
    return examples.labels["train"].bool()[rows]


def _numbers(total: int) -> list[int]:
    """0, the powers of two below the total, and the total."""
    return [0, *(2**power for power in range(total.bit_length()) if 2**power < total), total]


def _shares(
    found: Sequence[Sequence[Tensor]], holds: Callable[[Tensor], Tensor]
) -> Float[np.ndarray, "order number"]:
    return np.array([[float(holds(each).double().mean()) for each in row] for row in found])
