"""Lines of unlike lengths: stored end to end, and laid side by side as batches.

A line is stored once, from its first token to its last. A language model is fed all but the last
token and predicts all but the first, so that the targets are the tokens shifted by one.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

Flat = Mapping[str, Tensor]


def flattened(
    tokens: Int[np.ndarray, " token"], lengths: Int[np.ndarray, " line"]
) -> dict[str, Tensor]:
    """Lines end to end: `flat`, their tokens, and `offsets`, where each begins and the last ends.

    Args:
        tokens: The tokens of all lines, one line after another.
        lengths: The number of tokens in each line.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return {"flat": torch.from_numpy(tokens), "offsets": torch.from_numpy(offsets)}


def fed_lengths(flat: Flat) -> Int[Tensor, " line"]:
    """How many tokens of each line a model is fed: all but the last."""
    return flat["offsets"].diff() - 1


def padded(
    lines: Flat, width: int, rows: Int[Tensor, "*batch row"] | None = None
) -> dict[str, Tensor]:
    """Whole lines side by side, with the next token as the target at every position but the last.

    Args:
        lines: Lines end to end.
        width: Positions, of which those beyond a line's end hold token 0.
        rows: The lines wanted; all of them where left out.
    """
    flat, offsets = lines["flat"], lines["offsets"]
    starts, ends = (
        (offsets[:-1], offsets[1:]) if rows is None else (offsets[rows], offsets[rows + 1])
    )
    place = starts[..., None] + torch.arange(width, device=flat.device)
    left = ends[..., None] - place  # tokens from here to the line's end
    last, zero = len(flat) - 1, flat.new_zeros(())
    return {
        "tokens": torch.where(left > 0, flat[place.clamp(max=last)], zero),
        "targets": torch.where(left > 1, flat[(place + 1).clamp(max=last)], zero),
        "scored": left > 1,
    }


def dense(lines: Flat, width: int) -> dict[str, Tensor]:
    """Lines side by side as a language model is fed them: all tokens but each line's last.

    Args:
        lines: Lines end to end, of at least two tokens each.
        width: Positions, no fewer than the longest line is fed.

    Returns:
        `tokens`, `targets` (the next token at each position), and `scored`, True at every position
        that is fed; tokens and targets are 0 beyond.
    """
    batch = padded(lines, width)
    return batch | {"tokens": batch["tokens"].where(batch["scored"], 0)}
