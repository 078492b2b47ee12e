"""Logits with every activation kept, against TransformerLens 3.9's run_with_cache."""

from typing import Any

import torch
from torch.testing import assert_close

from hooks import build, to_transformer_lens
from hooks.models import Sizes, TokenConfig
from tests.bench import Comparison, interleaved


def compare() -> Comparison:
    """Four layers of GPT-2's shape, 64 prompts of 32 tokens."""
    config = TokenConfig(n_layers=4, d_model=128, act_fn="gelu_new", normalization_type="LN")
    model: Any = build(config, Sizes(d_vocab=500, d_vocab_out=500, n_ctx=32), seed=0)
    theirs = to_transformer_lens(model.eval())
    tokens = torch.randint(500, (64, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, activations = theirs.run_with_cache(tokens, return_cache_object=False)
        logits, cache = model.run_with_cache(tokens)
        assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        assert list(cache) == list(activations)
        times = interleaved(
            lambda: theirs.run_with_cache(tokens, return_cache_object=False),
            lambda: model.run_with_cache(tokens),
            repeats=31,
        )
    return Comparison("logits and all activations, 4 layers of 128", *times, goal=1)
