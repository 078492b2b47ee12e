"""Keys and values of the positions a model has read, so that each further token costs one."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.transformer.config import HookedTransformerConfig


@dataclass(eq=False)
class PastKeys:
    """What one block has read.

    Attributes:
        past_keys: Keys of all positions; turned already where positions are rotary.
        past_values: Their values.
    """

    past_keys: Float[Tensor, "batch pos head d_head"]
    past_values: Float[Tensor, "batch pos head d_head"]

    def append(self, new_keys: Tensor, new_values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all positions, the new ones last; they are kept."""
        self.past_keys = torch.cat([self.past_keys, new_keys], dim=1)
        self.past_values = torch.cat([self.past_values, new_values], dim=1)
        return self.past_keys, self.past_values


def past_keys(model: Any, batch: int, device: torch.device) -> list[PastKeys] | None:
    """Empty caches for `past_kv_cache`, a block each; None where a model takes none or looks ahead.

    Args:
        model: A live model.
        batch: Rows it will be run on.
        device: Where it is.
    """
    cfg = model.cfg
    if not isinstance(cfg, HookedTransformerConfig) or cfg.attention_dir != "causal":
        return None
    shape = (batch, 0, cfg.n_key_value_heads or cfg.n_heads, cfg.d_head)
    empty = torch.empty(shape, dtype=cfg.dtype, device=device)
    return [PastKeys(empty, empty) for _ in range(cfg.n_layers)]
