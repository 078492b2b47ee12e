"""Llama as Hugging Face's transformers names it: RMS norms, gated neurons, rotary positions.

Matrices are [out, in]. Several query heads may share keys and values. Queries, keys, values and
what attention writes have biases where the config says `attention_bias`.
"""

from typing import Any

from torch import Tensor

from interp.importers.layouts.base import (
    Layout,
    Options,
    Source,
    State,
    mapped,
    with_unembedding,
    with_zero_biases,
)
from interp.importers.layouts.transformers_config import (
    activation,
    check_others,
    head_size,
    rotary,
    stated_options,
)

IGNORED = r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"
# Windows and multipliers are other architectures', whose configs may call themselves llama.
COMPUTED = {"mlp_bias": False, "sliding_window": None, "use_sliding_window": False}
OPTIONS = {
    "num_hidden_layers": "n_layers",
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "intermediate_size": "d_mlp",
    "max_position_embeddings": "n_ctx",
    "vocab_size": "d_vocab",
    "rms_norm_eps": "eps",
    "tie_word_embeddings": "tie_word_embeddings",
}
READ = {
    "num_key_value_heads",
    "hidden_act",
    "head_dim",
    "attention_bias",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "pretraining_tp",
}
BLOCK, THEIRS = "blocks.{layer}.", "model.layers.{layer}."


def _options(config: Options) -> dict[str, Any]:
    if config.get("model_type") != "llama":
        return dict(config)
    check_others(config, COMPUTED, known={*OPTIONS, *READ})
    angles = rotary(config)
    if angles["share"] not in (None, 1):
        raise ValueError(
            f"partial_rotary_factor is {angles['share']!r} in config.json; llama turns whole heads"
        )
    options = stated_options(config, OPTIONS)
    n_heads = config["num_attention_heads"]
    n_shared = config.get("num_key_value_heads") or n_heads
    return options | {
        "n_key_value_heads": None if n_shared == n_heads else n_shared,
        "d_head": config.get("head_dim") or head_size(config["hidden_size"], n_heads),
        "rotary_base": float(angles["theta"] or 10_000),
        "act_fn": activation(config, "hidden_act"),
        "gated_mlp": True,
        "biases": bool(config.get("attention_bias")),
    }


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    n_heads, n_shared = stated["n_heads"], stated.get("n_key_value_heads")
    swap = "d_out d_in -> d_in d_out"
    table = {
        "embed.W_E": Source("model.embed_tokens.weight"),
        "ln_final.w": Source("model.norm.weight"),
        f"{BLOCK}ln1.w": Source(f"{THEIRS}input_layernorm.weight"),
        f"{BLOCK}ln2.w": Source(f"{THEIRS}post_attention_layernorm.weight"),
        f"{BLOCK}attn.W_O": Source(
            f"{THEIRS}self_attn.o_proj.weight",
            "d_model (head d_head) -> head d_head d_model",
            sizes={"head": n_heads},
        ),
        f"{BLOCK}mlp.W_gate": Source(f"{THEIRS}mlp.gate_proj.weight", swap),
        f"{BLOCK}mlp.W_in": Source(f"{THEIRS}mlp.up_proj.weight", swap),
        f"{BLOCK}mlp.W_out": Source(f"{THEIRS}mlp.down_proj.weight", swap),
    }
    shared = "_" if n_shared else ""
    for letter, mark, heads in (
        ("Q", "", n_heads),
        ("K", shared, n_shared or n_heads),
        ("V", shared, n_shared or n_heads),
    ):
        theirs, sizes = f"{THEIRS}self_attn.{letter.lower()}_proj", {"head": heads}
        table[f"{BLOCK}attn.{mark}W_{letter}"] = Source(
            f"{theirs}.weight", "(head d_head) d_model -> head d_model d_head", sizes=sizes
        )
        if stated.get("biases"):
            table[f"{BLOCK}attn.{mark}b_{letter}"] = Source(
                f"{theirs}.bias", "(head d_head) -> head d_head", sizes=sizes
            )
    if stated.get("biases"):
        table[f"{BLOCK}attn.b_O"] = Source(f"{THEIRS}self_attn.o_proj.bias")
    if not stated.get("tie_word_embeddings") or "lm_head.weight" in state:
        table["unembed.W_U"] = Source("lm_head.weight", swap)
    parameters = with_unembedding(mapped(state, table, ignored=IGNORED))
    return with_zero_biases(parameters)


LLAMA = Layout(
    name="llama",
    fits=lambda state, config: config.get("model_type") == "llama",
    parameters=_parameters,
    options=_options,
    fixed={
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
        "attention_dir": "causal",
    },
    reads_fewer=True,
)
