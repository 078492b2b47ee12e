"""Grids of patches beside those of TransformerLens 3.9's patching functions."""

from typing import Any

import pytest
import torch

from hooks import Examples, Snapshot, from_transformer_lens, patched
from tests.lens import needs_hooked_transformer, randomised, theirs

pytestmark = needs_hooked_transformer
NORMS = (None, "LN", "LNPre", "RMS")
N_POS, COUNT = 3, 3


def slow(seed: int) -> Any:
    """A seed that is tried with the long tests."""
    return pytest.param(seed, marks=pytest.mark.slow)


def metric(logits: torch.Tensor) -> torch.Tensor:
    """A logit difference at the last position."""
    return (logits[:, -1, 0] - logits[:, -1, 1]).mean()


def models(seed: int) -> tuple[Any, Any, torch.Tensor, torch.Tensor]:
    """A random model of theirs, the same of ours, and clean and corrupted tokens."""
    torch.manual_seed(seed)
    model = theirs(
        n_layers=1 + seed % 2, n_heads=1 + seed % 3, d_model=4, d_head=2, d_mlp=4, n_ctx=N_POS,
        d_vocab=5, d_vocab_out=5, normalization_type=NORMS[seed % 4], dtype=torch.float64,
    )  # fmt: skip
    model = randomised(model.eval(), seed)
    clean, corrupted = torch.randint(5, (2, COUNT, N_POS))
    return model, from_transformer_lens(model), clean, corrupted


def by_position(sources: tuple[Snapshot, Snapshot], point: str) -> Any:
    """The metric on corrupted tokens by layer and position: all positions of a layer in one run."""
    rows = torch.arange(COUNT).repeat(N_POS)
    clean, corrupted = (source.on(source.examples.at(rows)) for source in sources)
    positions = torch.arange(N_POS).repeat_interleave(COUNT)
    grid = [
        corrupted.edited(patched(clean, f"blocks.{layer}.{point}", positions=positions)).logits()
        for layer in range(clean.config.n_layers)
    ]
    return torch.stack([torch.stack([*map(metric, layer.split(COUNT))]) for layer in grid])


def by_head(sources: tuple[Snapshot, Snapshot], point: str) -> Any:
    """The metric on corrupted tokens by layer and head."""
    clean, corrupted = sources
    config: Any = clean.config
    grid = [
        [
            metric(corrupted.edited(patched(clean, f"blocks.{i}.{point}", heads=[head])).logits())
            for head in range(config.n_heads)
        ]
        for i in range(config.n_layers)
    ]
    return torch.tensor(grid, dtype=torch.float64)


@pytest.mark.parametrize("seed", [*range(20), *(slow(seed) for seed in range(20, 100))])
def test_grids_are_those_of_the_library(seed, capsys):
    from transformer_lens import patching

    model, ours, clean, corrupted = models(seed)
    scored = torch.ones(COUNT, N_POS, dtype=torch.bool)
    snapshot = Snapshot.of(ours, Examples(torch.zeros_like(clean), scored, tokens=clean))
    examples = Examples(torch.zeros_like(clean), scored, tokens=corrupted)
    sources = snapshot, snapshot.on(examples)
    grids = {
        patching.get_act_patch_resid_pre: by_position(sources, "hook_resid_pre"),
        patching.get_act_patch_attn_out: by_position(sources, "hook_attn_out"),
        patching.get_act_patch_mlp_out: by_position(sources, "hook_mlp_out"),
        patching.get_act_patch_attn_head_out_all_pos: by_head(sources, "attn.hook_z"),
        patching.get_act_patch_attn_head_pattern_all_pos: by_head(sources, "attn.hook_pattern"),
    }
    with torch.no_grad():
        _, cache = model.run_with_cache(clean)
        for function, found in grids.items():
            wanted = function(model, corrupted, cache, metric)  # which they keep in float32
            torch.testing.assert_close(found, wanted.double(), rtol=1e-6, atol=1e-6)
    capsys.readouterr()  # their bars of progress
    effects = next(iter(grids.values())) - metric(sources[1].logits())
    assert effects.abs().max() > 1e-3
