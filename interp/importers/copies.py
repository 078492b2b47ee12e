"""Which checkpoints hold the same tensors: copies, under the names of several steps.

Of the 154 published revisions of pythia-2.8b, 86 are such copies. A curve through them shows a
plateau that training never had.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

MAX_LISTED_STEPS = 12  # steps in a note


def fingerprint(parameters: Mapping[str, Tensor]) -> str:
    """A hash of all names and numbers, the same for equal parameters only."""
    hashed = hashlib.blake2b(digest_size=16)
    for name in sorted(parameters):
        value = parameters[name].detach().contiguous()
        hashed.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        hashed.update(value.flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def equal_steps(fingerprints: Mapping[int, str]) -> list[tuple[int, ...]]:
    """Groups of steps whose parameters are equal, in order of their first steps."""
    groups: dict[str, list[int]] = {}
    for step in sorted(fingerprints):
        groups.setdefault(fingerprints[step], []).append(step)
    return [tuple(steps) for steps in groups.values() if len(steps) > 1]


def note_of_copies(steps: Sequence[int]) -> str:
    """What is said of steps whose parameters are equal."""
    shown = [str(step) for step in steps[:MAX_LISTED_STEPS]]
    n_more = len(steps) - len(shown)
    last = f"{n_more} more" if n_more else shown.pop()
    return (
        f"steps {', '.join(shown)} and {last} hold equal tensors: copies of one checkpoint, or "
        "nothing was trained between them"
    )
