"""Keys and values of the positions a model has read, so that each further token costs one."""

import inspect
from typing import Any

import torch

from hooks.models.base import HookedModel


def past_keys(model: HookedModel, batch: int, device: torch.device) -> Any | None:
    """An empty cache for `past_kv_cache`, or None where the model takes none or looks ahead.

    Args:
        model: A live model.
        batch: Rows it will be run on.
        device: Where it is.
    """
    forward = inspect.signature(getattr(model, "forward", model.__call__))
    if "past_kv_cache" not in forward.parameters or model.cfg.attention_dir != "causal":
        return None
    from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

    return TransformerLensKeyValueCache.init_cache(model.cfg, device, batch)
