"""What does a network answer when only some of its parts are kept?

A part is a neuron of the last layer, silenced by setting its activation to 0, or a single weight,
removed by setting it to 0. Parts are ranked by size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from hooks import Snapshot
from hooks.edit import check_names, masked_weights
from hooks.messages import at_step
from hooks.readout import neuron_readout

Kept = Bool[Tensor, " part"]

KINDS = ("neuron", "weight")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a network, and what it answers with only some of them.

    Attributes:
        by: neuron or weight.
        sizes: Size of each part.
        answers: From a mask, True where a part is kept, to the class answered at each scored
            position.
        matrices: Parameters that the parts are weights of; none where they are neurons.
    """

    by: str
    sizes: Float[Tensor, " part"]
    answers: Callable[[Kept], Int[Tensor, " answer"]]
    matrices: tuple[str, ...] = ()


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
        return neurons(snapshot)
    return single_weights(snapshot, matrices)


def neuron_sizes(snapshot: Snapshot) -> Float[Tensor, " d_mlp"]:
    """|w_in| |w_out| of each neuron: what it reads from all inputs, times what it writes."""
    reads = snapshot.weights("neuron_in").double().square().sum((0, 1)).sqrt()
    return (reads * snapshot.weights("neuron_out").double().norm(dim=-1)).cpu()


def neurons(snapshot: Snapshot) -> Parts:
    """The neurons of the last layer.

    Raises:
        ValueError: The model has no view `neuron_in` or `neuron_out`.
    """
    sizes, logits = neuron_sizes(snapshot), neuron_readout(snapshot)
    return Parts("neuron", sizes, lambda kept: _classes(logits(kept), snapshot))


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
    counts = [shape.numel() for shape in shapes]

    def answers(kept: Kept) -> Int[Tensor, " answer"]:
        masks = [
            part.reshape(shape) for part, shape in zip(kept.split(counts), shapes, strict=True)
        ]
        return _answers(snapshot.edited(masked_weights(dict(zip(names, masks, strict=True)))))

    sizes = torch.cat([parameters[name].double().abs().flatten().cpu() for name in names])
    return Parts("weight", sizes, answers, names)


def weight_matrices(snapshot: Snapshot) -> list[str]:
    """Parameters with two axes or more that are no biases: their own name starts with no b."""
    return [
        name
        for name, value in snapshot.parameters().items()
        if value.ndim > 1 and not name.rpartition(".")[2].startswith("b")
    ]


def numbers_kept(parts: Parts, shares: Sequence[float] | None) -> Int[Tensor, " number"]:
    """How many parts are kept, ascending: none, what was asked for, and all.

    Args:
        parts: Which parts.
        shares: Of all parts; None for powers of two of neurons, and for `SHARES` of weights.

    Raises:
        ValueError: A share is not from 0 to 1, or there are more than 200.
    """
    total = len(parts.sizes)
    if shares is not None and (len(shares) > 200 or not all(0 <= each <= 1 for each in shares)):
        raise ValueError(f"shares = {list(shares)}: give at most 200, each from 0 to 1")
    if shares is None and parts.by == "neuron":
        numbers = [2**power for power in range((total - 1).bit_length())]
    else:
        numbers = [round(share * total) for share in (SHARES if shares is None else shares)]
    return torch.tensor(sorted({0, *numbers, total}))


def ranks(sizes: Float[Tensor, " part"]) -> Int[Tensor, " part"]:
    """Each part's place by size, 0 for the largest; equals in their own order."""
    order = sizes.argsort(descending=True, stable=True)
    return torch.empty_like(order).index_copy(0, order, torch.arange(len(order)))


def places(ranked: Int[Tensor, " part"], kept: Int[Tensor, " number"]) -> UInt8[Tensor, " part"]:
    """The first place in `kept` at which a part of each rank is among those kept."""
    return torch.searchsorted(kept, ranked, right=True).to(torch.uint8)


def fewest(right: Callable[[int], Bool[Tensor, " answer"]], total: int) -> int:
    """The fewest, from 0 to `total`, with as many right as `total`, by bisection."""
    goal, low, high = int(right(total).sum()), 0, total
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if int(right(middle).sum()) >= goal else (middle + 1, high)
    return low


def _answers(snapshot: Snapshot) -> Int[Tensor, " answer"]:
    return _classes(snapshot.logits()[snapshot.examples.scored], snapshot)


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
