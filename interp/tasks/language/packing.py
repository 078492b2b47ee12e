"""Lines of different lengths: stored end to end, and padded to one length.

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


def dense(flat: Flat, width: int) -> dict[str, Tensor]:
    """Lines side by side, for a language model.

    Args:
        flat: Lines end to end, of at least two tokens each.
        width: Positions, no fewer than the longest of them is fed.

    Returns:
        `tokens` all but each line's last, `targets` the next token at each position, `scored`
        True at every real position; tokens and targets are 0 beyond.
    """
    scored = torch.arange(width) < fed_lengths(flat)[:, None]
    starts = flat["offsets"][:-1, None]
    at = (starts + torch.arange(width)).where(scored, 0)
    tokens, targets = flat["flat"][at], flat["flat"][at + 1]
    return {
        "tokens": tokens.where(scored, 0),
        "targets": targets.where(scored, 0),
        "scored": scored,
    }
