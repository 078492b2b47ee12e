"""Attention statistics streamed against a cache of every activation."""

import numpy as np
import torch

from analyses import AttentionSparsity
from hooks import Examples, Sizes, Snapshot, build
from hooks.models import TokenConfig
from tests.bench import Comparison, interleaved

LAYERS, POSITIONS = 4, 24
EXAMPLES = 2500  # the plain side holds 1.07 MB an example; 10,000 would take 10.7 GB
BYTES = 2000  # that the result may hold an example


def untrained(count: int) -> Snapshot:
    """A model of width 128 with four heads, on random tokens."""
    config = TokenConfig.model_validate({"n_layers": LAYERS, "d_model": 128, "n_heads": 4})
    model = build(config, Sizes(d_vocab=100, d_vocab_out=100, n_ctx=POSITIONS), seed=0)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(100, (count, POSITIONS), generator=generator)
    examples = Examples(torch.zeros_like(tokens), torch.ones_like(tokens).bool(), tokens)
    return Snapshot.of(model, examples)


def plain_statistics(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """The same statistics from everything that `run_with_cache` keeps."""
    with snapshot.running() as model, torch.no_grad():
        cache = model.run_with_cache(snapshot.examples.tokens)[1]  # pyright: ignore[reportAttributeAccessIssue]  # a HookedTransformer
    patterns = [cache[f"blocks.{layer}.attn.hook_pattern"].double() for layer in range(LAYERS)]
    entropies = [-torch.special.xlogy(pattern, pattern).sum(-1) for pattern in patterns]
    layers = {
        "entropy": [entropy.mean((0, 2)) for entropy in entropies],
        "effective_keys": [entropy.exp().mean((0, 2)) for entropy in entropies],
        "largest_weight": [pattern.amax(-1).mean((0, 2)) for pattern in patterns],
        "key_weight": [pattern[:, :, -1].mean(0) for pattern in patterns],
    }
    return {name: torch.stack(values).numpy() for name, values in layers.items()}


def compare() -> Comparison:
    """Both sides in float32, statistics in float64; the result is small."""
    snapshot = untrained(EXAMPLES)
    plain, ours = plain_statistics(snapshot), AttentionSparsity.measure(snapshot)
    for name, value in plain.items():
        np.testing.assert_allclose(getattr(ours, name), value, rtol=1e-5)
    assert sum(getattr(ours, name).nbytes for name in plain) < BYTES * EXAMPLES
    times = interleaved(
        lambda: plain_statistics(snapshot), lambda: AttentionSparsity.measure(snapshot), repeats=5
    )
    return Comparison("attention statistics of 2,500 examples, streamed", *times, goal=1.3)
