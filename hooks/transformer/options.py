"""Options of other people's HookedTransformerConfigs: which are computed here, and as what.

A config may ask for more than ours can say. What would change logits, and what is not known here
at all, is refused by name: in an archive's config, in a live model's and in that of a language
model. Names and defaults are those of transformer-lens 3.9.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from hooks.transformer.config import HookedTransformerConfig, config_of_options

# Options that change logits and that ours has not, at the values it computes.
COMPUTED: dict[str, Any] = {
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
    "rotary_scaling_factor": 1.0,
    "use_NTK_by_parts_rope": False,
    "use_dynamic_ntk_rope": False,
    "use_yarn_rope": False,
    "load_in_4bit": False,
    "quantization_method": None,
}

# Options that ours has, or that the shapes of parameters decide.
EXPRESSED = frozenset(HookedTransformerConfig.model_fields) | {"use_attn_scale", "kind"}

# Options that leave logits alone: further hook points, where and how weights were made, names,
# and what is read only where an option of COMPUTED asks for it.
HARMLESS = frozenset(
    """
    use_hook_tokens n_devices n_params layer_norm_folding ungroup_grouped_query_attention
    default_prepend_bos tokenizer_name tokenizer_prepends_bos decoder_start_token_id
    original_architecture trust_remote_code from_checkpoint checkpoint_index
    checkpoint_label_type checkpoint_value window_size attn_types rotary_base_local
    train_seq_length experts_per_token norm_topk_prob relative_attention_max_distance
    relative_attention_num_buckets NTK_by_parts_low_freq_factor
    NTK_by_parts_high_freq_factor NTK_by_parts_factor NTK_original_ctx_len yarn_factor
    yarn_attention_factor yarn_beta_fast yarn_beta_slow
    yarn_original_max_position_embeddings yarn_truncate yarn_global_attn_only
    """.split()  # noqa: SIM905  # as a list, a line each
)
KNOWN = HARMLESS | EXPRESSED | COMPUTED.keys()


def check_computed(options: Mapping[str, Any]) -> None:
    """Refuses options that ask for what this toolkit does not compute, and unknown ones.

    Args:
        options: By HookedTransformerConfig's names. None, and -1 for a number, leave an option to
            its default. Unknown options are left to theirs by None alone.

    Raises:
        ValueError: An option has another value than is computed here, or is unknown; the
            message names each of them.
    """
    faults = [
        f"{name} is {options[name]!r} in the config; this toolkit computes {value!r} only"
        for name, value in COMPUTED.items()
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


def shape_of(cfg: Any) -> HookedTransformerConfig:
    """A live HookedTransformer's config as ours, ours as it is.

    Raises:
        ValueError: It asks for what is not computed here, holds an option that is unknown here, or
            is no config of a HookedTransformer.
    """
    if isinstance(cfg, HookedTransformerConfig):
        return cfg
    if not all(hasattr(cfg, name) for name in ("n_layers", "d_model", "n_heads", "d_head")):
        raise ValueError(
            "the model's cfg has no n_layers, d_model, n_heads and d_head, which a "
            "HookedTransformer's has: take one, or a model of this toolkit"
        )
    # Unknown options do no harm at their default.
    defaults = {each.name: each.default for each in fields(cfg)} if is_dataclass(cfg) else {}
    stated = {
        name: value
        for name, value in vars(cfg).items()
        if name in KNOWN or name not in defaults or defaults[name] != value
    }
    check_computed(stated)
    return shape_of_options(stated)


def shape_of_options(
    stated: Mapping[str, Any], *, source: str = "the model's cfg"
) -> HookedTransformerConfig:
    """Options by HookedTransformerConfig's names as ours; None and -1 stand for defaults.

    Weights drawn by a seed, and W_U and W_E tied in name only, are no part of a shape.

    Args:
        stated: The options; unknown ones are passed over.
        source: Where they come from, for messages.

    Raises:
        ValueError: An option has a value that is not computed here.
    """
    names = HookedTransformerConfig.model_fields.keys() - {"tie_word_embeddings", "seed", "config"}
    options = {name: stated[name] for name in names if stated.get(name) not in (None, -1)}
    if stated.get("normalization_type", "LN") is None:
        options["normalization_type"] = None
    if stated.get("use_attn_scale") is False:
        options["attn_scale"] = 1.0
    elif _agrees(options.get("attn_scale"), math.sqrt(options["d_head"])):
        options.pop("attn_scale", None)
    if options.get("positional_embedding_type") != "rotary":
        options.pop("rotary_dim", None)
    for name in ("init_mode", "init_weights"):
        options.pop(name, None)
    return config_of_options(options, source)
