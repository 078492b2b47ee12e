"""Random binary trees, for tests."""

import torch


def random_tree(count: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Brackets of a tree whose brackets are split at random, all splits equally likely."""
    spans, todo = [], [(0, count)]
    while todo:
        start, stop = todo.pop()
        if stop - start > 1:
            spans.append((start, stop))
            middle = int(torch.randint(start + 1, stop, (1,), generator=generator))
            todo += [(middle, stop), (start, middle)]
    return spans
