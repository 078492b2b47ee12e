"""Checkpoints as other code writes them, with random weights: seven numbers and "="."""

import json
from typing import Any

import torch
from torch import Tensor

from hooks.models import HookedModel
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests import lens
from tests.planted import random_model

TASK = ModularArithmetic(p=7, train_fraction=0.5)
PLAIN = {"act_fn": "relu", "normalization_type": None}


def state_of(model: HookedModel) -> dict[str, Tensor]:
    """What state_dict() of TransformerLens' HookedTransformer gives, buffers included."""
    states = {name: value.detach().clone() for name, value in model.named_parameters()}
    for layer in range(model.cfg.n_layers):
        states[f"blocks.{layer}.attn.mask"] = torch.empty((0, 0), dtype=torch.bool)
        states[f"blocks.{layer}.attn.IGNORE"] = torch.tensor(-torch.inf)
    return states


def plain_config(model: HookedModel) -> dict[str, Any]:
    """A config as the remedy for pickled ones makes it; TransformerLens 3.9's where it is there."""
    options = {name: getattr(model.cfg, name) for name in lens.SHAPE}
    for name in ("normalization_type", "positional_embedding_type", "attention_dir", "attn_only"):
        options[name] = getattr(model.cfg, name)
    options |= {"use_attn_scale": True, "attn_scale": model.cfg.d_head**0.5, "eps": model.cfg.eps}
    if lens.HookedTransformerConfig is not None:
        options = vars(lens.HookedTransformerConfig(**options, dtype=model.cfg.dtype))
    return json.loads(json.dumps(options, default=str))


def hooked_state(**changes: Any) -> dict[str, Any]:
    return state_of(random_model()) | changes


def progress_state(seed: int = 0, n_layers: int = 1, dtype=torch.float64) -> dict[str, Tensor]:
    """Random weights in the progress-measures layout, which answers with "=" too."""
    shapes: dict[str, tuple[int, ...]] = {"embed.W_E": (6, 8), "pos_embed.W_pos": (3, 6)}
    for block in range(n_layers):
        shapes |= {f"blocks.{block}.attn.W_{each}": (2, 4, 6) for each in "QKV"}
        shapes |= {
            f"blocks.{block}.attn.W_O": (6, 8),
            f"blocks.{block}.mlp.W_in": (10, 6),
            f"blocks.{block}.mlp.b_in": (10,),
            f"blocks.{block}.mlp.W_out": (6, 10),
            f"blocks.{block}.mlp.b_out": (6,),
        }
    shapes["unembed.W_U"] = (6, 8)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: 0.4 * torch.randn(shape, generator=generator, dtype=dtype)
        for name, shape in shapes.items()
    }
    masks = {f"blocks.{block}.attn.mask": torch.ones(3, 3).tril() for block in range(n_layers)}
    return state | masks


def demo_archive(steps=(0, 10, 19), **changes: Any) -> dict[str, Any]:
    """An archive as the public grokking demo writes it: 20 epochs, each with two losses."""
    models = [random_model(seed=step) for step in steps]
    return {
        "model": state_of(models[-1]),
        "config": plain_config(models[0]),
        "checkpoints": [state_of(model) for model in models],
        "checkpoint_epochs": list(steps),
        "train_losses": [1 / (epoch + 1) for epoch in range(20)],
        "test_losses": [2.0 - epoch / 20 for epoch in range(20)],
    } | changes
