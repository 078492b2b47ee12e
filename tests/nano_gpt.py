"""A GPT as nanoGPT's model.py computes it, written down here from its state_dict's names."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear

ARGS = {
    "n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 6, "bias": True, "vocab_size": 12,
    "dropout": 0.2,
}  # fmt: skip


def nano_state(
    seed: int = 0, *, bias: bool = True, dtype: Any = torch.float64
) -> dict[str, Tensor]:
    """Random parameters; embedding and unembedding are one tensor."""
    d = 8
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (12, 8),
        "transformer.wpe.weight": (6, 8),
    }
    for layer in range(2):
        place = f"transformer.h.{layer}"
        for name, n_out, n_in in (
            ("attn.c_attn", 3 * d, d), ("attn.c_proj", d, d),
            ("mlp.c_fc", 4 * d, d), ("mlp.c_proj", d, 4 * d),
        ):  # fmt: skip
            shapes[f"{place}.{name}.weight"] = (n_out, n_in)
            shapes |= {f"{place}.{name}.bias": (n_out,)} if bias else {}
        for norm in ("ln_1", "ln_2"):
            shapes[f"{place}.{norm}.weight"] = (d,)
            shapes |= {f"{place}.{norm}.bias": (d,)} if bias else {}
    shapes["transformer.ln_f.weight"] = (d,)
    shapes |= {"transformer.ln_f.bias": (d,)} if bias else {}
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: 0.5 * torch.randn(shape, generator=generator, dtype=dtype)
        for name, shape in shapes.items()
    }
    return state | {"lm_head.weight": state["transformer.wte.weight"]}


def checkpoint(step: int = 500, *, bias: bool = True, **changes: Any) -> dict[str, Any]:
    """What train.py saves as ckpt.pt."""
    state = nano_state(step, bias=bias)
    return {
        "model": {f"_orig_mod.{name}": value for name, value in state.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "model_args": ARGS | {"bias": bias},
        "iter_num": step,
        "best_val_loss": torch.tensor(2.5),
        "config": {"out_dir": "out", "dataset": "mine", "n_layer": 2, "compile": True},
    } | changes


def nano_logits(state: Mapping[str, Tensor], tokens: Tensor, n_heads: int = 2) -> Tensor:
    """Logits at every position."""

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state.get(f"{name}.bias"), 1e-5)

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    n_pos = tokens.shape[1]
    x = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][:n_pos]
    for layer in range(2):
        place = f"transformer.h.{layer}"
        joined = dense(norm(x, f"{place}.ln_1"), f"{place}.attn.c_attn")
        q, k, v = (
            part.unflatten(-1, (n_heads, -1)).transpose(1, 2) for part in joined.chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        later = torch.ones(n_pos, n_pos).triu(1) > 0
        z = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + dense(z.transpose(1, 2).flatten(2), f"{place}.attn.c_proj")
        hidden = gelu(dense(norm(x, f"{place}.ln_2"), f"{place}.mlp.c_fc"))
        x = x + dense(hidden, f"{place}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ state["lm_head.weight"].T
