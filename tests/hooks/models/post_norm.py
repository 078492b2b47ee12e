"""Small post-norm models and what they are fed."""

from typing import Any

import torch

from hooks import Sizes, build
from hooks.models import PostNormConfig, parameters_of

SIZES = Sizes(d_vocab=11, d_vocab_out=11, n_ctx=9)
TOKENS = torch.randint(11, (6, 9), generator=torch.Generator().manual_seed(0))


def tiny(**options: Any) -> PostNormConfig:
    table = {"n_layers": 3, "d_model": 12, "n_heads": 2, "dropout": 0.0}
    return PostNormConfig.model_validate(table | options)


def random_model(seed: int = 0, **options: Any) -> Any:
    """All parameters random, layer norms too, in float64."""
    model = build(tiny(**options), SIZES, seed=seed, dtype="float64")
    generator = torch.Generator().manual_seed(seed)
    for value in parameters_of(model).values():
        value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    model.train(False)  # as snapshots run it
    return model
