"""The HookedTransformer, one file a part."""

from hooks.transformer.config import HookedTransformerConfig
from hooks.transformer.lens import activation_cache, from_transformer_lens, to_transformer_lens
from hooks.transformer.model import HookedTransformer

__all__ = [
    "HookedTransformer",
    "HookedTransformerConfig",
    "activation_cache",
    "from_transformer_lens",
    "to_transformer_lens",
]
