"""An interactive picture of the circle network: its neurons and logits for any a, b and width.

A reader sets a, b and the number of neurons; a script of ours computes the network anew from the
few numbers it is made of. It is the network of `hooks.models.constructed`:

    pre_j = cos(w a - t_j) + cos(w b - t_j)   logit_c = sum_j act(pre_j) cos(w c - 2 t_j)

with w = 2 pi f / p and t_j = 2 pi j / d_mlp.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), five neurons.
"""

from collections.abc import Mapping
from typing import Any

from analyses.plots import ADDING_NETWORK, View

MAX_NEURONS = 16  # that the reader may choose; more only where the network itself has more
FIRST_OPERANDS = (13, 19)  # the article's a and b, to begin with


def construction_of(config: Any, p: int) -> dict[str, Any]:
    """What a circle written by hand is made of; empty for every other network.

    Args:
        config: A model's config.
        p: The modulus.
    """
    if getattr(config, "network", None) != "circle":
        return {}
    return {
        "p": p,
        "d_mlp": config.d_mlp,
        "act_fn": config.mlp.act_fn,
        "frequency": config.frequency,
    }


def adding_network(construction: Mapping[str, Any]) -> View:
    """The picture, opened at the network's own width.

    Args:
        construction: Of `construction_of`.
    """
    p, d_mlp = construction["p"], construction["d_mlp"]
    return View(
        ADDING_NETWORK,
        {
            **construction,
            "a": FIRST_OPERANDS[0] % p,
            "b": FIRST_OPERANDS[1] % p,
            "widest": max(MAX_NEURONS, d_mlp),
        },
        title=f"Try it: {d_mlp} neurons add modulo {p}",
        caption="Set a, b and the number of neurons. One chart shows the neurons' activations, the "
        "other the logits, with the right answer marked. An answer is right where it leads.",
    )
