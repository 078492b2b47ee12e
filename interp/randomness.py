"""Generators from explicit seeds."""

import numpy as np
import torch


def generator(*key: int) -> torch.Generator:
    """A CPU generator that the key alone decides; keys that differ give unrelated streams.

    Args:
        key: Seeds and counters, such as (data seed, chunk). None negative.
    """
    # SeedSequence pads with zeros, so that (0,), (0, 0) and (0, 0, 0) would be one stream.
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) % 2**63)
