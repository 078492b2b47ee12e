"""How few of its parts does a network need to answer as it does?

Parts (neurons of the last layer, or single weights) are ranked by size, and all but the largest are
set to 0. Accuracy and faithfulness (the share of examples answered as by the whole network) are
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
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from analyses.findings import Finding, percent
from analyses.plots import lines
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from hooks import Examples, Snapshot
from hooks.edit import check_names, masked_weights
from hooks.messages import at_step
from hooks.neuron_readout import neuron_readout

ORDERS = ("size now", "size at the end", "random")
KINDS = ("neuron", "weight")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEAST_GAIN = 0.05  # accuracy above that of as many random parts, and above chance, that counts
MOST_KEPT = 0.5  # share of all parts that a subnetwork may keep to be called small
MAX_SHARES = 200  # so that a place among them fits into a byte


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a network, and what it answers with only some of them.

    Attributes:
        by: neuron (of the last layer) or weight.
        sizes: Size of each part.
        answers: From a mask, True where a part is kept, to the class answered at each scored
            position.
        matrices: Parameters that the parts are weights of; none where they are neurons.
    """

    by: str
    sizes: Float[Tensor, " part"]
    answers: Callable[[Bool[Tensor, " part"]], Int[Tensor, " answer"]]
    matrices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EffectiveSubnetwork(Result):
    """Accuracy and faithfulness with only some neurons, or some single weights, kept.

    A row of the table is an order and how many are kept.

    Attributes:
        by: What is kept: neuron (of the last layer) or weight.
        matrices: Parameters that the weights are of; none for neurons.
        total: Number of neurons or weights.
        kept: How many neurons or weights are kept, ascending, from 0 to all.
        accuracy: On all examples, by order (size now, size at the end, random).
        faithfulness: Share of examples answered as by the whole network.
        train_accuracy: On the examples labelled `train`, or on all where there is no such label.
        effective_count: The fewest, by size now, whose train accuracy is the whole network's, by
            bisection: accuracy is taken to grow with the number kept.
        place: Of each neuron or weight, by size now, the first place in `kept` at which it is
            kept; empty where another step is the reference.
        chance: Accuracy of guessing.
    """

    needs: ClassVar = Needs(classes=True)
    by_default: ClassVar = Needs(labels=("train",))
    reference: ClassVar = "last"
    count: ClassVar = 1024
    sliding: ClassVar = ("accuracy",)
    coordinates: ClassVar = {"order": ORDERS}
    rows: ClassVar = ("order", "kept")
    columns: ClassVar = {
        "accuracy": "accuracy",
        "train_accuracy": "train_accuracy",
        "faithfulness": "faithfulness",
    }

    by: str
    matrices: tuple[str, ...]
    total: int
    kept: Int[np.ndarray, " kept"]
    accuracy: Float[np.ndarray, "order kept"]
    faithfulness: Float[np.ndarray, "order kept"]
    train_accuracy: Float[np.ndarray, "order kept"]
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
            ValueError: An option does not fit the model, `reference` is of other options or has a
                reference of its own, no example is for training though they say which are, or
                logits are not finite.
        """
        parts = parts_of(snapshot, by, matrices)
        total = len(parts.sizes)
        kept, rank = numbers_kept(parts, shares), ranks(parts.sizes)
        place = places(rank, kept)
        shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).argsort()
        if reference is not None and (
            len(reference.place) != total or reference.kept.tolist() != kept.tolist()
        ):
            raise ValueError(
                "reference: measure it with the same options, and without a reference of its own"
            )
        at_end = place if reference is None else torch.from_numpy(reference.place)
        is_train = trained_on(snapshot.examples)
        targets = snapshot.examples.targets[snapshot.examples.scored].cpu()
        answers = torch.stack(
            [
                torch.stack([parts.answers(order <= number) for number in range(len(kept))])
                for order in (place, at_end, places(shuffled, kept))
            ]
        )
        is_right, whole = answers == targets, parts.answers(torch.ones(total, dtype=torch.bool))
        return cls(
            by=parts.by,
            matrices=parts.matrices,
            total=total,
            kept=kept.numpy(),
            accuracy=is_right.double().mean(2).numpy(),
            faithfulness=(answers == whole).double().mean(2).numpy(),
            train_accuracy=is_right[:, :, is_train].double().mean(2).numpy(),
            effective_count=fewest(
                lambda number: (parts.answers(rank < number) == targets)[is_train], total
            ),
            place=place.numpy() if reference is None else np.zeros(0, np.uint8),
            chance=snapshot.examples.facts.chance,
        )

    def sufficient_share(self, tolerance: float = 0.01) -> float:
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

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Train accuracy with the largest parts alone, beside as many random ones and all.

        Found where the largest beat random ones by LEAST_GAIN and are at most MOST_KEPT of all; not
        found where more are needed; null where random ones do as well, or all together are no
        better than chance.
        """
        place = self._sufficient_place
        ours, random, whole = self.train_accuracy[[0, 2, 0], [place, place, -1]]
        guess = "" if np.isnan(self.chance) else f", chance {_share(self.chance)}"
        if not self.kept[place]:
            text = (
                f"Without any {self.by} train accuracy is {_share(ours)}, with all "
                f"{_share(whole)}{guess}: none is needed"
            )
            return (Finding(text, "null", "accuracy"),)
        text = (
            f"{self._kept_in_words} alone have train accuracy {_share(ours)}; "
            f"random ones {_share(random)}, all {self.by}s {_share(whole)}{guess}"
        )
        if ours - random < LEAST_GAIN or whole - self.chance < LEAST_GAIN:
            return (Finding(text, "null", "accuracy"),)
        is_small = self.kept[place] <= MOST_KEPT * self.total
        return (Finding(text, "found" if is_small else "not found", "accuracy"),)

    @property
    def _sufficient_place(self) -> int:
        """The first place in `kept` that holds the effective number."""
        return int(np.searchsorted(self.kept, self.effective_count))

    @property
    def _kept_in_words(self) -> str:
        """The fewest parts in `kept` that do as well as all, in words."""
        number = int(self.kept[self._sufficient_place])
        if self.by == "weight":
            return f"The largest {percent(round(number / self.total, 3))} of weights"
        return f"The largest {number} of {self.total} neurons"

    def figures(self) -> Mapping[str, Drawing]:
        """Accuracy and faithfulness by what is kept, in the three orders."""
        return {
            "accuracy": self._lines(
                f"{self.effective_count} of {self.total} {self.by}s, the largest, suffice for the "
                f"train accuracy of all ({self._random_in_words})",
                "accuracy on all examples",
                self.accuracy,
            ),
            "faithfulness": self._lines(
                "Share of answers that stay the same",
                "faithfulness to the whole network",
                self.faithfulness,
            ),
        }

    @property
    def _random_in_words(self) -> str:
        """Train accuracy, and that with as many random parts kept, or somewhat more."""
        place = self._sufficient_place
        number, share = int(self.kept[place]), float(self.train_accuracy[2, place])
        return f"{_share(self.train_accuracy[0, -1])}; {number} random ones: {_share(share)}"

    def _lines(self, title: str, y: str, curves: Float[np.ndarray, "order kept"]) -> Drawing:
        is_share = self.by == "weight"
        return lines(
            self.kept / self.total if is_share else self.kept,
            dict(zip(ORDERS, curves, strict=True)),
            title=title,
            axes=(
                f"{'share of largest weights' if is_share else 'largest neurons'} kept "
                f"(of {self.total})",
                y,
            ),
        )


def _share(value: float) -> str:
    """An accuracy in words."""
    return percent(round(float(value), 4))


def trained_on(examples: Examples) -> Bool[Tensor, " answer"]:
    """Which scored answers are of training examples; all where that is not known.

    Raises:
        ValueError: No answer is.
    """
    rows = examples.scored.nonzero()[:, 0]
    train = examples.labels.get("train", torch.ones(len(examples), device=rows.device)).bool()[rows]
    if "train" in examples.labels and not train.any():
        raise ValueError(
            f"EffectiveSubnetwork needs training examples, and none of these {len(examples)} is "
            "labelled `train`: take more, or another split"
        )
    return train


def parts_of(snapshot: Snapshot, by: str | None, matrices: Sequence[str] | None) -> Parts:
    """The parts that options name.

    Args:
        snapshot: A model whose answers are classes.
        by: neuron or weight; None for weight where matrices are named or there are no neurons.
        matrices: As `single_weights` takes them.

    Raises:
        ValueError: There is no such kind or parameter, or matrices are named for neurons.
    """
    if by not in (None, *KINDS):
        raise ValueError(f"by: no kind '{by}'; there are {', '.join(KINDS)}")
    if by == "neuron" and matrices is not None:
        raise ValueError("matrices names whose single weights are kept: drop it, or by = 'neuron'")
    has_neurons = all(snapshot.has_weights(name) for name in ("neuron_in", "neuron_out"))
    if by == "neuron" or (by is None and matrices is None and has_neurons):
        sizes, logits = neuron_sizes(snapshot), neuron_readout(snapshot)
        return Parts("neuron", sizes, lambda kept: _classes(logits(kept), snapshot))
    return single_weights(snapshot, matrices)


def neuron_sizes(snapshot: Snapshot) -> Float[Tensor, " d_mlp"]:
    """|w_in| |w_out| of each neuron: what it reads from all inputs, times what it writes."""
    reads = snapshot.weights("neuron_in").double().square().sum((0, 1)).sqrt()
    return (reads * snapshot.weights("neuron_out").double().norm(dim=-1)).cpu()


def single_weights(snapshot: Snapshot, matrices: Sequence[str] | None = None) -> Parts:
    """The weights of some parameters together, the size of each its magnitude.

    Args:
        snapshot: Any model; what is not named is kept whole.
        matrices: Names of parameters; by default `weight_matrices`.

    Raises:
        ValueError: There is no such parameter, or none is named.
    """
    parameters = snapshot.parameters()
    names = tuple(weight_matrices(snapshot) if matrices is None else matrices)
    check_names(names, parameters, "parameter")
    if not names:
        raise ValueError("matrices: name one parameter at least")
    shapes = [parameters[name].shape for name in names]

    def answers(kept: Bool[Tensor, " part"]) -> Int[Tensor, " answer"]:
        masks = zip(names, kept.split([shape.numel() for shape in shapes]), shapes, strict=True)
        edit = masked_weights({name: mask.reshape(shape) for name, mask, shape in masks})
        return _classes(snapshot.edited(edit).logits()[snapshot.examples.scored], snapshot)

    return Parts(
        "weight",
        torch.cat([parameters[name].double().abs().flatten().cpu() for name in names]),
        answers,
        names,
    )


def weight_matrices(snapshot: Snapshot) -> list[str]:
    """Parameters with two axes or more that are no biases: their own name starts with no b."""
    return [
        name
        for name, value in snapshot.parameters().items()
        if value.ndim > 1 and not name.rpartition(".")[2].startswith("b")
    ]


def numbers_kept(parts: Parts, shares: Sequence[float] | None) -> Int[Tensor, " kept"]:
    """How many parts are kept, ascending: none, what was asked for, and all.

    Args:
        parts: Which parts.
        shares: Of all parts; None for powers of two of neurons, and for `SHARES` of weights.

    Raises:
        ValueError: A share is not from 0 to 1, or there are more than 200.
    """
    total = len(parts.sizes)
    if shares and (len(shares) > MAX_SHARES or not all(0 <= share <= 1 for share in shares)):
        raise ValueError(f"shares = {list(shares)}: give at most {MAX_SHARES}, each from 0 to 1")
    if shares is None and parts.by == "neuron":
        numbers = [2**power for power in range((total - 1).bit_length())]
    else:
        numbers = [round(share * total) for share in (SHARES if shares is None else shares)]
    return torch.tensor(sorted({0, *numbers, total}))


def ranks(sizes: Float[Tensor, " part"]) -> Int[Tensor, " part"]:
    """Each part's rank by size, 0 for the largest; equal ones keep their order."""
    order = sizes.argsort(descending=True, stable=True)
    return torch.empty_like(order).index_copy(0, order, torch.arange(len(order)))


def places(ranked: Int[Tensor, " part"], kept: Int[Tensor, " kept"]) -> UInt8[Tensor, " part"]:
    """The first place in `kept` at which a part of each rank is among those kept."""
    return torch.searchsorted(kept, ranked, right=True).to(torch.uint8)


def fewest(right: Callable[[int], Bool[Tensor, " answer"]], total: int) -> int:
    """The fewest, from 0 to `total`, with as many right as `total`, by bisection."""
    goal, low, high = int(right(total).sum()), 0, total
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if int(right(middle).sum()) >= goal else (middle + 1, high)
    return low


def _classes(
    logits: Float[Tensor, "answer d_vocab_out"], snapshot: Snapshot
) -> Int[Tensor, " answer"]:
    """The class of the largest logit.

    Raises:
        ValueError: A logit is NaN or infinite.
    """
    if not logits.isfinite().all():
        raise ValueError(
            f"logits hold NaN or infinity{at_step(snapshot.step)}: no class is largest"
        )
    return logits.argmax(-1).cpu()
