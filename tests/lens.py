"""TransformerLens 3.9's HookedTransformer, for the tests that compare with it."""

import warnings
from typing import Any

import pytest
import torch

try:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
except ImportError:
    HookedTransformer = HookedTransformerConfig = None

needs_hooked_transformer = pytest.mark.skipif(
    HookedTransformer is None,
    reason="TransformerLens 4 has no HookedTransformer; compared where 3.9 is installed",
)
SHAPE: dict[str, Any] = {
    "n_layers": 2, "d_model": 12, "n_ctx": 7, "d_head": 4, "n_heads": 3, "d_mlp": 20,
    "d_vocab": 11, "d_vocab_out": 11, "act_fn": "relu", "device": "cpu",
}  # fmt: skip


def theirs(**options: Any) -> Any:
    """A HookedTransformer made without the toolkit, its weights drawn by torch's generator."""
    assert HookedTransformer is not None
    assert HookedTransformerConfig is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.9 announces its removal
        return HookedTransformer(HookedTransformerConfig(**SHAPE | options))


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with every parameter moved, biases and norms included; by name, not by order."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(seed + len(name) + ord(name[-1]))
            parameter += 0.3 * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )
    return model
