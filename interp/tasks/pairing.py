"""Steps of `Task.input_pairs` that several tasks take: prompts cut at the answer, context permuted.

A pair has one answer, at the end of a prompt. Examples for training have more of them, and what
follows an answer gives it away to a model that looks to the right, so that both inputs of a pair
are cut there.
"""

from dataclasses import replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from hooks import Examples
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import PARTNERS


def prompted(examples: Examples, position: Int[Tensor, " _"]) -> Examples:
    """Examples as prompts: each ends at its position, and only the answer there counts.

    Beyond the end, tokens and labels of positions are 0. A gold tree must end before the prompt.

    Args:
        examples: Examples with targets at all positions.
        position: The last position of each prompt, one for each example.
    """
    lengths = position + 1
    width = int(lengths.max()) if len(lengths) else examples.model_inputs.shape[1]
    place = torch.arange(width)
    is_seen, is_last = place < lengths[:, None], place == position[:, None]

    def cut(values: Tensor, where: Tensor = is_seen) -> Tensor:
        kept = values[:, :width]
        return kept * where.reshape(*where.shape, *[1] * (kept.ndim - 2)).to(kept.dtype)

    is_by_position = examples.model_inputs.shape[:2]
    return replace(
        examples,
        tokens=None if examples.tokens is None else cut(examples.tokens),
        inputs=None if examples.inputs is None else cut(examples.inputs),
        targets=cut(examples.targets, is_last),
        scored=is_last,
        lengths=None if bool(is_seen.all()) else lengths,
        labels={
            name: cut(values) if values.shape[:2] == is_by_position else values
            for name, values in examples.labels.items()
        },
        words=None
        if examples.words is None
        else tuple(
            row[:length] for row, length in zip(examples.words, lengths.tolist(), strict=True)
        ),
    )


def permuted(
    inputs: Shaped[Tensor, "prompt pos ..."], block: int, seed: int
) -> Shaped[Tensor, "prompt pos ..."]:
    """Prompts whose examples stand in another order, all orders alike likely.

    Args:
        inputs: Examples of `block` positions each, and then a query of fewer.
        block: Positions of an example.
        seed: Decides the orders.
    """
    count = inputs.shape[1] // block
    order = torch.rand(len(inputs), count, generator=generator(seed, PARTNERS)).argsort(1)
    places = (order[..., None] * block + torch.arange(block)).flatten(1)
    changed = inputs.clone()
    changed[:, : count * block] = inputs[torch.arange(len(inputs))[:, None], places]
    return changed


def differing(pairs: Pairs) -> Pairs:
    """The pairs whose two inputs are not the same."""
    same = (pairs.clean.model_inputs == pairs.corrupted.model_inputs).flatten(1).all(1)
    return pairs.at((~same).nonzero()[:, 0])
