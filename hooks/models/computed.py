"""Which options of HookedTransformerConfig the token model computes, for every door that takes one.

A config may ask for more than `TokenConfig` can say. What would change logits, and what is not
known here at all, is refused by name: in an archive's config, in a live model's and in that of a
language model. Names and defaults are those of transformer-lens 3.9.
"""

import math
from collections.abc import Mapping
from typing import Any

# Options that change logits, at the values the token model computes.
COMPUTED: dict[str, Any] = {
    "use_attn_scale": True,
    "gated_mlp": False,
    "parallel_attn_mlp": False,
    "uses_rms_norm": False,
    "final_rms": False,
    "use_local_attn": False,
    "num_experts": None,
    "scale_attn_by_inverse_layer_idx": False,
    "post_embedding_ln": False,
    "use_normalization_before_and_after": False,
    "attn_scores_soft_cap": -1.0,
    "output_logits_soft_cap": -1.0,
    "use_qk_norm": False,
    "clip_qkv": None,
    "use_logn_attn": False,
    "use_attention_sinks": False,
    "eps": 1e-5,
    "rotary_base": 10000,
    "rotary_scaling_factor": 1.0,
    "rotary_adjacent_pairs": False,
    "use_NTK_by_parts_rope": False,
    "use_dynamic_ntk_rope": False,
    "use_yarn_rope": False,
    "load_in_4bit": False,
    "quantization_method": None,
}

# Options that `TokenConfig` and `Sizes` have, or that the shapes of parameters decide.
EXPRESSED = frozenset({
    "n_layers", "d_model", "n_heads", "d_head", "d_mlp", "attn_only", "act_fn",
    "normalization_type", "positional_embedding_type", "attention_dir", "initializer_range",
    "d_vocab", "d_vocab_out", "n_ctx", "kind",
})  # fmt: skip

# Options that leave logits alone: further hook points, where and how weights were made, names,
# and what is read only where an option of COMPUTED asks for it.
HARMLESS = frozenset({
    "use_attn_result", "use_split_qkv_input", "use_hook_mlp_in", "use_attn_in", "use_hook_tokens",
    "device", "n_devices", "dtype", "seed", "init_mode", "init_weights", "n_params",
    "layer_norm_folding", "ungroup_grouped_query_attention",
    "default_prepend_bos", "tokenizer_name", "tokenizer_prepends_bos", "decoder_start_token_id",
    "model_name", "original_architecture", "trust_remote_code", "tie_word_embeddings",
    "from_checkpoint", "checkpoint_index", "checkpoint_label_type", "checkpoint_value",
    "window_size", "attn_types", "rotary_base_local", "train_seq_length",
    "experts_per_token", "norm_topk_prob",
    "relative_attention_max_distance", "relative_attention_num_buckets",
    "NTK_by_parts_low_freq_factor", "NTK_by_parts_high_freq_factor", "NTK_by_parts_factor",
    "NTK_original_ctx_len", "yarn_factor", "yarn_attention_factor", "yarn_beta_fast",
    "yarn_beta_slow", "yarn_original_max_position_embeddings", "yarn_truncate",
    "yarn_global_attn_only",
})  # fmt: skip


KNOWN = HARMLESS | EXPRESSED | COMPUTED.keys() | {"n_key_value_heads", "rotary_dim", "attn_scale"}


def check_computed(options: Mapping[str, Any], *, n_heads: int, d_head: int) -> None:
    """Refuses options that ask for what the token model does not compute, and unknown ones.

    Args:
        options: By HookedTransformerConfig's names. None, and -1 for a number, leave an option to
            its default. Unknown options are left to theirs by None alone.
        n_heads: Heads a layer.
        d_head: Width of a head.

    Raises:
        ValueError: An option has another value than the token model computes, or is unknown; the
            message names each of them.
    """
    wanted = COMPUTED | {
        "n_key_value_heads": n_heads,
        "rotary_dim": d_head,
        "attn_scale": math.sqrt(d_head),
    }
    faults = [
        f"{name} is {options[name]!r} in the config; the token model computes {value!r} only"
        for name, value in wanted.items()
        if name in options and not _agrees(options[name], value)
    ]
    faults += [
        f"{name} is {value!r} in the config; this option is unknown here, and so is what it does "
        "to logits: leave it out if it does nothing to them"
        for name, value in options.items()
        if name not in KNOWN and value is not None
    ]
    if faults:
        raise ValueError("; ".join(faults))


def _agrees(says: Any, value: Any) -> bool:
    """Whether an option has the value wanted, or is left to its default."""
    if isinstance(value, bool):
        return bool(says) == value  # None is falsy to TransformerLens too
    if says is None or says == value or says == -1:
        return True
    if isinstance(says, int | float) and isinstance(value, int | float):
        return math.isclose(says, value, rel_tol=1e-6)
    return False
