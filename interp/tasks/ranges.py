"""Sorted indices as text, so that thousands of them stay one line of a file: `0-3 7 9-12`.

Ranges hold both their ends, as page numbers do.
"""

import re

import torch
from jaxtyping import Int
from torch import Tensor

WORD = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12}))?")


def write_ranges(indices: Int[Tensor, " n"]) -> str:
    """Indices as text, each once and in ascending order."""
    found = indices.unique()
    starts = (found.diff() > 1).nonzero()[:, 0] + 1
    ranges = [each.tolist() for each in torch.tensor_split(found, starts.cpu()) if len(each)]
    return " ".join(str(each[0]) + (f"-{each[-1]}" if each[1:] else "") for each in ranges)


def read_ranges(text: str, total: int) -> Int[Tensor, " n"]:
    """The indices that a text names, ascending; none where it is empty.

    Args:
        text: Indices and ranges, separated by spaces.
        total: What every index is below.

    Raises:
        ValueError: A word is neither an index nor a range, comes twice or out of order, or reaches
            `total`.
    """
    parts, least = [torch.empty(0, dtype=torch.long)], 0
    for word in text.split():
        match = WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"'{word[:40]}' is neither an index nor a range such as 3-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not least <= first <= last:
            raise ValueError(f"'{word}' is out of order: name each index once, ascending")
        if last >= total:
            raise ValueError(f"'{word}' reaches beyond the last index, {total - 1}")
        parts.append(torch.arange(first, last + 1))
        least = last + 1
    return torch.cat(parts)
