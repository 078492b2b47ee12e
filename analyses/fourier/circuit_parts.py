"""What `FourierCircuit` is measured from: activations over all pairs, and what is read of them.

Grids hold one function of (a, b) for each class or neuron, in an order in which the operation is
addition (`analyses.fourier.waves`); their source is stated there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analyses.fourier.basis import (
    frequency_power,
    frequency_shares,
    keys_by_share,
    orders_of,
    transform_2d,
    without_rounding,
)
from analyses.fourier.waves import (
    Grid,
    excluded,
    pair_accuracy,
    pair_losses,
    readout_waves,
    restricted,
)
from hooks import Snapshot


def pair_grids(snapshot: Snapshot) -> tuple[Float[Tensor, "n n n"], Grid, Bool[Tensor, "n n"]]:
    """Logits by a, b and class, neurons of the last block, and whether a pair is for training.

    Raises:
        ValueError: Pairs are missing among the examples.
    """
    examples, layer = snapshot.examples, snapshot.config.n_layers - 1
    constants = examples.constants
    p, orders = constants["p"], orders_of(constants)
    index = torch.full((p, p), -1)
    index[examples.label("a"), examples.label("b")] = torch.arange(len(examples))
    if bool((index < 0).any()):
        raise ValueError(
            f"FourierCircuit needs all {p * p} pairs, these examples have {len(examples)}: "
            "use split 'all' and no count"
        )
    rows = index[orders[0]][:, orders[1]]
    name = f"blocks.{layer}.mlp.hook_post"
    neurons = snapshot.cache([name])[name][:, -1].double().cpu()
    logits = snapshot.logits()[:, -1].double().cpu()[:, orders[2]]
    return logits[rows], neurons[rows], examples.label("train")[rows]


def own_keys(snapshot: Snapshot, fve: Tensor, share: float, least_fve: float) -> tuple[int, ...]:
    """Key frequencies of a snapshot, strongest in W_E first.

    Args:
        snapshot: The snapshot.
        fve: Share of its logits that each frequency 1, 2, ... explains.
        share: The fewest frequencies that carry this share of W_E's power together ...
        least_fve: ... of which those that explain at least this share of the logits.
    """
    constants = snapshot.examples.constants
    order = orders_of(constants)[0]
    W_E = snapshot.weights("W_E").double().cpu()[order]
    power = without_rounding(frequency_power(W_E))
    strong = keys_by_share(frequency_shares(power), share)
    return tuple(key for key in strong if fve[key - 1] >= least_fve)


def readout(snapshot: Snapshot, neurons: Grid, keys: Sequence[int]) -> dict[str, Any]:
    """By key frequency, how far the MLP's readout directions carry its two waves."""
    constants = snapshot.examples.constants
    order = orders_of(constants)[2]
    W_L = snapshot.weights("neuron_out").double().cpu()[:, order]
    found = [readout_waves(neurons, W_L, key) for key in keys]
    return {
        "readout_fve": np.array([shares for shares, _ in found]).reshape(-1, 2),
        "readout_slope": np.array([slopes for _, slopes in found]).reshape(-1, 2),
    }


def ablations(logits: Grid, train: Tensor, keys: Sequence[int]) -> dict[str, Any]:
    """Losses and accuracies of the logits, and with key waves alone kept or removed."""
    kept, removed = restricted(logits, keys), excluded(logits, keys)
    single = [pair_losses(excluded(logits, [key]), train)[1] for key in keys]
    return {
        "loss": pair_losses(logits, train),
        "restricted_loss": pair_losses(kept, train),
        "excluded_loss": pair_losses(removed, train),
        "excluded_by_frequency": tuple(single),
        "restricted_accuracy": pair_accuracy(kept),
        "accuracy": pair_accuracy(logits),
    }


def norm_map(grid: Grid) -> Float[np.ndarray, "n n"]:
    """Norms over z of the 2-D coefficients, each z centred over pairs first."""
    centred = grid - grid.mean((0, 1))
    return transform_2d(centred).norm(dim=-1).float().numpy()
